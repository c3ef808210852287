//! What the server listens on: the same port number for TCP and UDP, on one address or several.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::stun::Pair;
use crate::udp::{Udp, families};

/// How often another free port is tried when TCP has it and UDP has not.
const TRIES: usize = 16;

/// Sockets that are bound, but not yet served.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<Udp>,
    pub(crate) pair: Option<Pair>,
}

impl Listeners {
    /// Listens on one more address, over TCP, and over UDP if that is wanted. Port 0 takes one
    /// that is free for both. The answer is the address with its port.
    ///
    /// # Errors
    /// Those of `bind`.
    pub async fn add(&mut self, address: SocketAddr, with_udp: bool) -> io::Result<SocketAddr> {
        let mut tries = 0;
        loop {
            let tcp = TcpListener::bind(address).await?;
            let bound = tcp.local_addr()?;
            let families = if with_udp { families(bound) } else { Vec::new() };
            match families.into_iter().map(Udp::bind).collect::<io::Result<Vec<_>>>() {
                Ok(udp) => {
                    self.tcp.push(tcp);
                    self.udp.extend(udp);
                    return Ok(bound);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse && address.port() == 0 => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers STUN on a second address too, so that clients can find out how their NAT behaves
    /// (RFC 5780): each of the two addresses with each of the two ports. Port 0 takes one that is
    /// free.
    ///
    /// # Errors
    /// Those of `bind`; [`ErrorKind::InvalidInput`] when the server listens on all addresses, or
    /// the second is not another one of the same family.
    pub fn add_second(&mut self, second: SocketAddr) -> io::Result<SocketAddr> {
        let first = self.udp.first().map(Udp::local).ok_or(ErrorKind::InvalidInput)?;
        let is_other = first.ip() != second.ip() && first.is_ipv4() == second.is_ipv4();
        if first.ip().is_unspecified() || second.ip().is_unspecified() || !is_other {
            return Err(ErrorKind::InvalidInput.into());
        }
        let socket = Udp::bind(second)?;
        let pair = Pair { first, second: socket.local() };
        let [_, other_port, other_address, _] = pair.all();
        if pair.first.port() == pair.second.port() {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.udp.extend([socket, Udp::bind(other_port)?, Udp::bind(other_address)?]);
        self.pair = Some(pair);
        Ok(pair.second)
    }

    /// The ports of TURN beside the first one.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let ports = self.tcp.iter().filter_map(|tcp| tcp.local_addr().ok());
        ports.map(|address| address.port()).collect()
    }
}

impl From<TcpListener> for Listeners {
    /// A rendezvous without STUN and TURN.
    fn from(listener: TcpListener) -> Self {
        Self { tcp: vec![listener], ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_and_udp_get_the_same_free_port() {
        let mut listeners = Listeners::default();
        let address = listeners.add("127.0.0.1:0".parse().unwrap(), true).await.unwrap();
        assert_eq!(listeners.udp[0].local(), address);
        assert_eq!(listeners.ports(), [address.port()]);
    }

    #[tokio::test]
    async fn a_second_address_makes_four_sockets() {
        let mut listeners = Listeners::default();
        let first = listeners.add("127.0.0.1:0".parse().unwrap(), true).await.unwrap();
        let second = listeners.add_second("127.0.0.2:0".parse().unwrap()).unwrap();
        let bound: Vec<_> = listeners.udp.iter().map(Udp::local).collect();
        for address in (Pair { first, second }).all() {
            assert!(bound.contains(&address), "{address}");
        }
        assert!(listeners.add_second(first).is_err());
    }
}
