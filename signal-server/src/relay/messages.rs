//! How the relay's messages are read and written (RFC 8489, section 14, RFC 8656, section 18).

use std::net::SocketAddr;
use std::time::Duration;

use turn_types::attribute::{
    ChannelNumber, DontFragment, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport,
    XorPeerAddress, XorRelayedAddress,
};
use turn_types::stun::attribute::{
    Attribute as _, AttributeStaticType, AttributeWrite, ErrorCode, MessageIntegrity, Nonce, Realm,
    Username, XorMappedAddress,
};
use turn_types::stun::message::{
    IntegrityAlgorithm, IntegrityKey, Message, MessageWrite, MessageWriteExt, MessageWriteVec,
};

/// The realm, which clients only repeat.
pub(super) const REALM: &str = "p2pshare";

/// Peers that one request may name.
const MOST_PEERS: usize = 64;

pub(super) type Answer = MessageWriteVec;

/// Why a request is refused (RFC 8489, section 14.8, RFC 8656, section 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    AllocationMismatch = 437,
    StaleNonce = 438,
    FamilyNotSupported = 440,
    WrongCredentials = 441,
    TransportNotSupported = 442,
    FamilyMismatch = 443,
    QuotaReached = 486,
    NoCapacity = 508,
}

pub(super) fn peers(message: &Message<'_>) -> Vec<SocketAddr> {
    let transaction = message.transaction_id();
    let attribute = |at| message.nth_attribute::<XorPeerAddress>(at).ok();
    (0..MOST_PEERS).map_while(attribute).map(|peer| peer.addr(transaction)).collect()
}

pub(super) fn requested_lifetime(message: &Message<'_>) -> Option<Duration> {
    let lifetime = message.attribute::<Lifetime>().ok()?;
    Some(Duration::from_secs(lifetime.seconds().into()))
}

pub(super) fn lifetime_attribute(lifetime: Duration) -> Lifetime {
    Lifetime::new(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX))
}

/// The refusal of a request that has an attribute which must be understood and is not.
pub(super) fn unknown_attributes(message: &Message<'_>) -> Option<Vec<u8>> {
    let known = [
        Username::TYPE,
        MessageIntegrity::TYPE,
        Realm::TYPE,
        Nonce::TYPE,
        Lifetime::TYPE,
        RequestedTransport::TYPE,
        RequestedAddressFamily::TYPE,
        XorPeerAddress::TYPE,
        ChannelNumber::TYPE,
        DontFragment::TYPE,
        EvenPort::TYPE,
    ];
    let attributes = message.iter_attributes().map(|(_, raw)| raw.get_type());
    let unknown: Vec<_> =
        attributes.filter(|it| it.comprehension_required() && !known.contains(it)).collect();
    let refuse = || Message::unknown_attributes(message, &unknown, MessageWriteVec::new()).finish();
    (!unknown.is_empty()).then(refuse)
}

pub(super) fn allocated(
    message: &Message<'_>,
    client: SocketAddr,
    relayed: SocketAddr,
    lifetime: Duration,
) -> Answer {
    let transaction = message.transaction_id();
    let mut answer = success(message);
    add(&mut answer, &XorRelayedAddress::new(relayed, transaction));
    add(&mut answer, &lifetime_attribute(lifetime));
    add(&mut answer, &XorMappedAddress::new(client, transaction));
    answer
}

pub(super) fn success(message: &Message<'_>) -> Answer {
    Message::builder_success(message, MessageWriteVec::new())
}

pub(super) fn error(message: &Message<'_>, refusal: Refusal) -> Answer {
    let mut answer = Message::builder_error(message, MessageWriteVec::new());
    let code = ErrorCode::builder(refusal as u16).build().expect("a code of the registry");
    add(&mut answer, &code);
    answer
}

/// The refusal of a request without valid credentials, with what it takes to do better.
pub(super) fn challenge(message: &Message<'_>, refusal: Refusal, nonce: &str) -> Vec<u8> {
    let mut answer = error(message, refusal);
    if matches!(refusal, Refusal::Unauthorized | Refusal::StaleNonce) {
        add(&mut answer, &Realm::new(REALM).expect("short"));
        add(&mut answer, &Nonce::new(nonce).expect("short"));
    }
    answer.finish()
}

pub(super) fn sign(answer: &mut Answer, key: &IntegrityKey) {
    let signed = answer.add_message_integrity_with_key(key, IntegrityAlgorithm::Sha1);
    signed.expect("the answer has no integrity yet");
}

pub(super) fn add(message: &mut Answer, attribute: &dyn AttributeWrite) {
    message.add_attribute(attribute).expect("each attribute is added once, before integrity");
}
