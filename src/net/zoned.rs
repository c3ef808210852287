//! IPv6 link-local addresses for the `webrtc` crate, which forgets their zones.
//!
//! Such an address means nothing without its interface, and a socket bound to one says so in its
//! address. The crate looks sockets up by that address, with the zone, but its candidates are
//! plain addresses, so what it wants to send finds no socket; and what arrives is from a peer
//! that no candidate names. So the crate gets a stand-in: it binds a loopback address with the
//! same port, and the [runtime](super::sockets) then exchanges the socket for the real one, takes
//! the zone off what arrives and puts it on what leaves. Candidates that name the stand-in are
//! corrected before a peer sees them.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// The zone of addresses that have none.
pub(super) const NO_ZONE: u32 = 0;

/// How many ports are tried until one is free on loopback, too.
const TRIES: u32 = 8;

/// Sockets on link-local addresses, each known by its port.
#[derive(Clone, Debug, Default)]
pub struct Zoned {
    bound: Arc<HashMap<u16, SocketAddrV6>>,
    waiting: Arc<Mutex<HashMap<u16, UdpSocket>>>,
}

impl Zoned {
    /// Opens a socket for each address with a zone, and puts a stand-in into its place.
    #[must_use]
    pub fn replace(addresses: Vec<SocketAddr>) -> (Self, Vec<SocketAddr>) {
        let (mut bound, mut waiting) = (HashMap::new(), HashMap::new());
        let mut plain = Vec::new();
        for address in addresses {
            match address {
                SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                    if let Some((port, socket)) = open(v6) {
                        plain.push((Ipv6Addr::LOCALHOST, port).into());
                        bound.insert(port, v6);
                        waiting.insert(port, socket);
                    }
                }
                address => plain.push(address),
            }
        }
        (Self { bound: Arc::new(bound), waiting: Arc::new(Mutex::new(waiting)) }, plain)
    }

    /// The socket that another stands in for, and its zone.
    pub(super) fn take(&self, stand_in: &UdpSocket) -> Option<(UdpSocket, u32)> {
        let address = stand_in.local_addr().ok()?;
        let zone = self.bound_at(address.ip(), address.port())?.scope_id();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        Some((waiting.remove(&address.port())?, zone))
    }

    /// The address that a peer must be told: the real one when this is a stand-in.
    #[must_use]
    pub fn behind(&self, address: IpAddr, port: u16) -> IpAddr {
        self.bound_at(address, port).map_or(address, |real| (*real.ip()).into())
    }

    fn bound_at(&self, address: IpAddr, port: u16) -> Option<&SocketAddrV6> {
        self.bound.get(&port).filter(|_| address == Ipv6Addr::LOCALHOST)
    }
}

/// A socket with a port that is free on loopback, too.
fn open(address: SocketAddrV6) -> Option<(u16, UdpSocket)> {
    (0..TRIES).find_map(|_| {
        let socket = UdpSocket::bind(address).ok()?;
        socket.set_nonblocking(true).ok()?;
        let port = socket.local_addr().ok()?.port();
        UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).ok()?;
        Some((port, socket))
    })
}

/// A socket on a link-local address, of whose zone its user knows nothing. What would leave the link
/// is lost: such addresses are paired with their like alone (RFC 8445, section 6.1.2.2). A peer at
/// another address hears from this one, and may not be able to answer, as Firefox, which forgets the
/// zone.
#[derive(Debug)]
pub(super) struct ZonedSocket {
    pub(super) inner: Arc<dyn AsyncUdpSocket>,
    pub(super) zone: u32,
}

impl AsyncUdpSocket for ZonedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr().map(|address| with_zone(address, NO_ZONE))
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if !is_link_local(transmit.destination) {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let destination = with_zone(transmit.destination, self.zone);
        self.inner.poll_send(cx, &Transmit { destination, ..*transmit })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            meta.iter_mut().take(count).for_each(|meta| meta.addr = with_zone(meta.addr, NO_ZONE));
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

fn is_link_local(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// A link-local address in another zone; other addresses have none.
pub(super) fn with_zone(address: SocketAddr, zone: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if v6.ip().is_unicast_link_local() => {
            v6.set_scope_id(zone);
            v6.into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_link_local_addresses_get_a_zone() {
        let zoned = |text: &str| with_zone(text.parse().unwrap(), 7).to_string();
        assert_eq!(zoned("[fe80::1]:9"), "[fe80::1%7]:9");
        assert_eq!(zoned("[fe80::1%3]:9"), "[fe80::1%7]:9");
        assert_eq!(zoned("[2001:db8::1]:9"), "[2001:db8::1]:9");
        assert_eq!(zoned("10.0.0.1:9"), "10.0.0.1:9");
    }

    /// A socket that must not be used.
    #[derive(Debug)]
    struct Untouched;

    impl AsyncUdpSocket for Untouched {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            unreachable!()
        }

        fn poll_send(&self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
            unreachable!()
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            unreachable!()
        }
    }

    #[test]
    fn nothing_leaves_the_link() {
        let socket = ZonedSocket { inner: Arc::new(Untouched), zone: 7 };
        let destination = "[2001:db8::1]:9".parse().unwrap();
        let (contents, ecn, segment_size, src_ip) = (&b"lost"[..], None, None, None);
        let transmit = Transmit { destination, ecn, contents, segment_size, src_ip };
        let sent = socket.poll_send(&mut Context::from_waker(std::task::Waker::noop()), &transmit);
        assert!(matches!(sent, Poll::Ready(Ok(4))), "{sent:?}");
    }

    #[test]
    fn addresses_without_a_zone_are_left_alone() {
        let addresses = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let (zoned, plain) = Zoned::replace(addresses.clone());
        assert_eq!(plain, addresses);
        assert!(zoned.take(&UdpSocket::bind("127.0.0.1:0").unwrap()).is_none());
        let loopback = Ipv6Addr::LOCALHOST.into();
        assert_eq!(zoned.behind(loopback, 9), loopback);
    }
}
