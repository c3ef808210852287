//! Relayed addresses: mere names for a closed relay, sockets for an open one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use turn_types::AddressFamily;

use super::Turn;
use crate::relay::{Client, Ports};

/// The dynamic ports (RFC 6335, section 6), which relayed addresses have (RFC 8656, section 7.2).
const FIRST_PORT: u16 = 49_152;
const EVEN_PORTS: u16 = (u16::MAX - FIRST_PORT) / 2;

/// What the names of a closed relay begin with: the IPv4 dummy address (RFC 7600, section 4.8) and
/// the discard-only prefix (RFC 6666). Nothing is ever sent there, and nobody is misled to send
/// anything to a real host.
const NAME_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const NAME_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// How often a socket is bound until its port is even.
const TRIES: usize = 32;

/// The longest datagram that is taken from a peer.
const MAX_DATAGRAM: usize = 2048;

/// The address of an open relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelayIp {
    /// What its sockets are bound to.
    pub(crate) bound: IpAddr,
    /// What others know it by: not the same behind a NAT.
    pub(crate) public: IpAddr,
}

/// What relayed addresses are made of.
pub(super) enum Relayed {
    Named { next: u16 },
    Real { from: RelayIp, turn: Weak<Turn>, open: HashMap<SocketAddr, Open> },
}

/// A socket, and the task that reads from it.
pub(super) struct Open {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Relayed {
    pub(super) fn named() -> Self {
        Self::Named { next: 0 }
    }

    pub(super) fn real(from: RelayIp, turn: Weak<Turn>) -> Self {
        Self::Real { from, turn, open: HashMap::new() }
    }

    /// The socket of a relayed address.
    pub(super) fn socket(&self, relayed: SocketAddr) -> Option<Arc<UdpSocket>> {
        let Self::Real { open, .. } = self else { return None };
        open.get(&relayed).map(|open| Arc::clone(&open.socket))
    }
}

impl Ports for Relayed {
    fn open(&mut self, client: Client, family: AddressFamily) -> Option<SocketAddr> {
        match self {
            Self::Named { next } => {
                let ip = match family {
                    AddressFamily::IPV4 => NAME_V4.into(),
                    AddressFamily::IPV6 => NAME_V6.into(),
                };
                *next = (*next + 1) % EVEN_PORTS;
                Some(SocketAddr::new(ip, FIRST_PORT + 2 * *next))
            }
            Self::Real { from, turn, open } => {
                if from.public.is_ipv4() != (family == AddressFamily::IPV4) {
                    return None;
                }
                let mut bound = (0..TRIES).map_while(|_| bind(*from).ok());
                let (relayed, socket) =
                    bound.find(|(relayed, _)| relayed.port().is_multiple_of(2))?;
                let reader = tokio::spawn(read(turn.clone(), client, Arc::clone(&socket)));
                open.insert(relayed, Open { socket, reader: reader.abort_handle() });
                Some(relayed)
            }
        }
    }

    fn close(&mut self, relayed: SocketAddr) {
        if let Self::Real { open, .. } = self {
            open.remove(&relayed);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn bind(from: RelayIp) -> std::io::Result<(SocketAddr, Arc<UdpSocket>)> {
    let socket = std::net::UdpSocket::bind((from.bound, 0))?;
    socket.set_nonblocking(true)?;
    let relayed = SocketAddr::new(from.public, socket.local_addr()?.port());
    Ok((relayed, Arc::new(UdpSocket::from_std(socket)?)))
}

async fn read(turn: Weak<Turn>, client: Client, socket: Arc<UdpSocket>) {
    let mut bytes = [0; MAX_DATAGRAM];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut bytes).await else { continue };
        let Some(turn) = turn.upgrade() else { return };
        turn.take_from_peer(client, peer, &bytes[..length]).await;
    }
}
