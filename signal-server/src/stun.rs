//! Answers to STUN Binding requests (RFC 8489), with what it takes to find out how a NAT behaves
//! when the server has a second address (RFC 5780). Pure.

use std::net::SocketAddr;

use turn_types::stun::attribute::{
    Attribute as _, AttributeType, MappedSocketAddr, RawAttribute, XorMappedAddress,
};
use turn_types::stun::message::{
    BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteVec,
};

/// CHANGE-REQUEST (RFC 5780, section 7.2), and its flags.
const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const CHANGE_ADDRESS: u32 = 4;
const CHANGE_PORT: u32 = 2;

/// RESPONSE-ORIGIN and OTHER-ADDRESS (RFC 5780, sections 7.3 and 7.4).
const RESPONSE_ORIGIN: AttributeType = AttributeType::new(0x802b);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);

/// An answer, and from which of the server's addresses it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) via: SocketAddr,
}

/// The server's two addresses with two ports each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) first: SocketAddr,
    pub(crate) second: SocketAddr,
}

impl Pair {
    /// All four.
    pub(crate) fn all(self) -> [SocketAddr; 4] {
        let Self { first, second } = self;
        let mixed = |ip: SocketAddr, port: SocketAddr| SocketAddr::new(ip.ip(), port.port());
        [first, mixed(first, second), mixed(second, first), second]
    }

    /// The address with the other IP address, the other port, or both.
    fn other(self, at: SocketAddr, change_address: bool, change_port: bool) -> SocketAddr {
        let Self { first, second } = self;
        let (address, port) = (at.ip() == first.ip(), at.port() == first.port());
        let ip = if address == change_address { second.ip() } else { first.ip() };
        let port = if port == change_port { second.port() } else { first.port() };
        SocketAddr::new(ip, port)
    }
}

/// Answers a Binding request that came from a client to one of the server's addresses.
pub(crate) fn answer(
    request: &Message<'_>,
    from: SocketAddr,
    at: SocketAddr,
    pair: Option<Pair>,
) -> Option<Answer> {
    if request.class() != MessageClass::Request || request.method() != BINDING {
        return None;
    }
    let pair = pair.filter(|pair| pair.all().contains(&at));
    let unknown = |attribute: &AttributeType| {
        attribute.comprehension_required()
            && !(*attribute == CHANGE_REQUEST && pair.is_some())
            && !is_harmless(*attribute)
    };
    let attributes = request.iter_attributes().map(|(_, raw)| raw.get_type());
    let unknown: Vec<_> = attributes.filter(unknown).collect();
    if !unknown.is_empty() {
        let refusal = Message::unknown_attributes(request, &unknown, MessageWriteVec::new());
        return Some(Answer { bytes: refusal.finish(), via: at });
    }
    let change = request.raw_attribute(CHANGE_REQUEST).map_or(0, |raw| flags(&raw));
    let via = pair
        .map_or(at, |pair| pair.other(at, change & CHANGE_ADDRESS != 0, change & CHANGE_PORT != 0));
    let mut answer = Message::builder_success(request, MessageWriteVec::new());
    let mapped = XorMappedAddress::new(canonical(from), request.transaction_id());
    answer.add_attribute(&mapped).ok()?;
    if let Some(pair) = pair {
        let [origin, other] = [via, pair.other(at, true, true)].map(MappedSocketAddr::new);
        answer.add_attribute(&origin.to_raw(RESPONSE_ORIGIN)).ok()?;
        answer.add_attribute(&other.to_raw(OTHER_ADDRESS)).ok()?;
    }
    answer.add_fingerprint().ok()?;
    Some(Answer { bytes: answer.finish(), via })
}

/// Attributes that a Binding request may hold and that change nothing about the answer: those of
/// authentication, which it does not need.
fn is_harmless(attribute: AttributeType) -> bool {
    matches!(attribute.value(), 0x0006 | 0x0008 | 0x0014 | 0x0015 | 0x001c | 0x001d | 0x001e)
}

fn flags(raw: &RawAttribute<'_>) -> u32 {
    raw.value.as_ref().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// An IPv4 client that came to a socket for both families is one of IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "[::ffff:192.0.2.9]:4000";

    fn request(change: Option<u32>) -> Vec<u8> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        if let Some(change) = change {
            let bytes = change.to_be_bytes();
            request.add_attribute(&RawAttribute::new(CHANGE_REQUEST, &bytes)).unwrap();
        }
        request.finish()
    }

    fn ask(change: Option<u32>, at: &str, pair: Option<Pair>) -> Answer {
        let request = request(change);
        let request = Message::from_bytes(&request).unwrap();
        answer(&request, FROM.parse().unwrap(), at.parse().unwrap(), pair).unwrap()
    }

    fn pair() -> Pair {
        Pair { first: "10.0.0.1:1".parse().unwrap(), second: "10.0.0.2:2".parse().unwrap() }
    }

    #[test]
    fn a_client_learns_its_address() {
        let answer = ask(None, "10.0.0.1:1", None);
        let message = Message::from_bytes(&answer.bytes).unwrap();
        let mapped = message.attribute::<XorMappedAddress>().unwrap();
        assert_eq!(mapped.addr(message.transaction_id()), "192.0.2.9:4000".parse().unwrap());
        assert!(answer.bytes.len() <= 20 + 12 + 8);
    }

    #[test]
    fn answers_come_from_where_they_are_wanted() {
        for (at, change, via) in [
            ("10.0.0.1:1", 0, "10.0.0.1:1"),
            ("10.0.0.1:1", 2, "10.0.0.1:2"),
            ("10.0.0.1:1", 4, "10.0.0.2:1"),
            ("10.0.0.1:1", 6, "10.0.0.2:2"),
            ("10.0.0.2:2", 6, "10.0.0.1:1"),
            ("10.0.0.2:1", 2, "10.0.0.2:2"),
        ] {
            let answer = ask(Some(change), at, Some(pair()));
            assert_eq!(answer.via, via.parse().unwrap(), "{at} {change}");
            let message = Message::from_bytes(&answer.bytes).unwrap();
            let other = message.raw_attribute(OTHER_ADDRESS).unwrap();
            let other = MappedSocketAddr::from_raw(&other).unwrap().addr();
            assert_eq!(other, pair().other(at.parse().unwrap(), true, true));
        }
    }

    #[test]
    fn without_a_second_address_change_request_is_not_known() {
        let answer = ask(Some(6), "10.0.0.1:1", None);
        let message = Message::from_bytes(&answer.bytes).unwrap();
        assert_eq!(message.class(), MessageClass::Error);
        assert_eq!(answer.via, "10.0.0.1:1".parse().unwrap());
    }
}
