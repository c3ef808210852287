//! What a network lets through: Binding requests that show how a NAT behaves (RFC 5780), relays
//! that answer or do not, whether there is a way to the IPv6 internet. For `doctor`.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{UdpSocket, lookup_host},
    sync::mpsc,
    time::timeout,
};
use turn_client_proto::stun::types::{
    attribute::{AttributeType, MappedSocketAddr, RawAttribute, XorMappedAddress},
    message::{BINDING, Message, MessageWrite, MessageWriteExt, MessageWriteVec},
};

use super::{
    dial::Dialer,
    ice::{Carrier, HostPort, TurnServer},
    relay::{RelayEvent, Relays},
};

/// How long answers are waited for, request by request.
const WAITS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(750)];

/// How long a relay may take.
const RELAY: Duration = Duration::from_secs(5);

/// CHANGE-REQUEST and its flags, and OTHER-ADDRESS (RFC 5780, section 7).
const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const CHANGE_PORT: u32 = 2;
const CHANGE_BOTH: u32 = 6;
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);

/// A public address of the IPv6 internet; nothing is sent there.
const SOMEWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf)), 53);

/// Which destinations share an address that a NAT gives to a socket (RFC 4787, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// There is no NAT.
    None,
    /// All.
    EndpointIndependent,
    /// Not all.
    Dependent,
    /// The server has one address only.
    Unknown,
}

/// From where a NAT or firewall lets datagrams in (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// From anywhere.
    EndpointIndependent,
    /// From addresses that something was sent to.
    AddressDependent,
    /// From addresses and ports that something was sent to.
    AddressAndPortDependent,
    /// The server has one address only.
    Unknown,
}

/// How the network between this machine and a STUN server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// The address that the server sees.
    pub mapped: SocketAddr,
    /// See [`Mapping`].
    pub mapping: Mapping,
    /// See [`Filtering`].
    pub filtering: Filtering,
}

/// Asks a STUN server; `None` when UDP does not come through.
pub async fn behaviour(server: &HostPort) -> Option<Behaviour> {
    let address = lookup_host((server.host.as_str(), server.port)).await.ok()?.next()?;
    let socket = bound(address).await?;
    let (first, filtering) = tokio::join!(ask(&socket, address, None), filtering(address));
    let Answer { mapped, other } = first?;
    let mapping = match other {
        _ if is_own(&socket, mapped, address).await => Mapping::None,
        None => Mapping::Unknown,
        Some(other) => match ask(&socket, other, None).await {
            Some(second) if second.mapped == mapped => Mapping::EndpointIndependent,
            Some(_) => Mapping::Dependent,
            None => Mapping::Unknown,
        },
    };
    let filtering = if other.is_some() { filtering } else { Filtering::Unknown };
    Some(Behaviour { mapped, mapping, filtering })
}

/// Finds out who may send to a socket that has sent to the server's first address alone.
async fn filtering(server: SocketAddr) -> Filtering {
    let asked = async {
        let (from_both, from_port) = (bound(server).await?, bound(server).await?);
        ask(&from_both, server, None).await?;
        ask(&from_port, server, None).await?;
        Some(tokio::join!(
            ask(&from_both, server, Some(CHANGE_BOTH)),
            ask(&from_port, server, Some(CHANGE_PORT))
        ))
    };
    match asked.await {
        None => Filtering::Unknown,
        Some((Some(_), _)) => Filtering::EndpointIndependent,
        Some((None, Some(_))) => Filtering::AddressDependent,
        Some((None, None)) => Filtering::AddressAndPortDependent,
    }
}

struct Answer {
    mapped: SocketAddr,
    other: Option<SocketAddr>,
}

async fn bound(server: SocketAddr) -> Option<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    UdpSocket::bind(any).await.ok()
}

/// Whether the address that the server sees is this machine's.
async fn is_own(socket: &UdpSocket, mapped: SocketAddr, server: SocketAddr) -> bool {
    // A socket that is connected knows which of its addresses it sends from.
    let Some(probe) = bound(server).await else { return false };
    let connected = probe.connect(server).await.and_then(|()| probe.local_addr());
    let port = socket.local_addr().map(|address| address.port());
    connected.is_ok_and(|own| own.ip() == mapped.ip()) && port.is_ok_and(|own| own == mapped.port())
}

async fn ask(socket: &UdpSocket, server: SocketAddr, change: Option<u32>) -> Option<Answer> {
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    if let Some(flags) = change {
        request.add_attribute(&RawAttribute::new(CHANGE_REQUEST, &flags.to_be_bytes())).ok()?;
    }
    let request = request.finish();
    let transaction = Message::from_bytes(&request).ok()?.transaction_id();
    let mut buffer = [0; 1500];
    for wait in WAITS {
        socket.send_to(&request, server).await.ok()?;
        let answered = timeout(wait, async {
            loop {
                let (length, _) = socket.recv_from(&mut buffer).await.ok()?;
                let Ok(message) = Message::from_bytes(&buffer[..length]) else { continue };
                if message.transaction_id() == transaction {
                    return answer(&message);
                }
            }
        });
        if let Ok(answered) = answered.await {
            return answered;
        }
    }
    None
}

fn answer(message: &Message<'_>) -> Option<Answer> {
    let mapped = message.attribute::<XorMappedAddress>().ok()?.addr(message.transaction_id());
    let other = message.raw_attribute(OTHER_ADDRESS);
    let other = other.and_then(|raw| MappedSocketAddr::from_raw(&raw).ok());
    Some(Answer { mapped, other: other.map(|address| address.addr()) })
}

/// Over which carriers relays answer, of those that are asked.
pub async fn relays(servers: &[TurnServer], dialer: &Dialer) -> Vec<(Carrier, bool)> {
    let mut answers = Vec::new();
    for server in servers {
        let (events, mut answered) = mpsc::unbounded_channel();
        let relay = Relays::start(std::slice::from_ref(server), dialer, &events);
        let answered = timeout(RELAY, answered.recv()).await;
        answers.push((server.carrier, matches!(answered, Ok(Some(RelayEvent::Candidate(_))))));
        drop(relay);
    }
    answers
}

/// Whether this machine has a way to the IPv6 internet. Nothing is sent.
pub async fn has_ipv6() -> bool {
    let Some(socket) = bound(SOMEWHERE).await else { return false };
    socket.connect(SOMEWHERE).await.is_ok()
}
