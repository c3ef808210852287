//! The machine's addresses: which to gather candidates on, and which to name to a person.
//!
//! Enumerated here because a wildcard bind in the `webrtc` crate skips loopback and link-local
//! addresses, which are all that a lone machine or a bare cable has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};

use if_addrs::{IfAddr, Interface};

/// The most addresses that candidates are gathered on: with as many on the other side this is
/// already 64 pairs to check.
const MOST: usize = 8;

/// What an Ethernet carries in a packet, in bytes.
pub const ETHERNET_MTU: u32 = 1500;

/// One UDP address with port 0 for every address that a peer might reach: loopback only when
/// there is nothing else.
#[must_use]
pub fn gather() -> Vec<SocketAddr> {
    let mut interfaces = up();
    interfaces.sort_by_key(rank);
    let usable = |interface: &&Interface| !interface.is_loopback();
    let mut addresses: Vec<_> =
        interfaces.iter().filter(usable).map(socket_address).filter(can_bind).take(MOST).collect();
    if addresses.is_empty() {
        addresses = interfaces.iter().map(socket_address).filter(can_bind).take(MOST).collect();
    }
    if addresses.is_empty() {
        addresses.push((Ipv4Addr::LOCALHOST, 0).into());
    }
    addresses
}

/// `host:port` as a person elsewhere on this LAN would type it: an IPv6 address in brackets.
/// Zones are left out, since they mean something on their own machine only; [`zones`] makes up
/// for them. `None` without a network.
#[must_use]
pub fn contact(port: u16) -> Option<String> {
    let mut interfaces = up();
    interfaces.sort_by_key(rank);
    let best = interfaces.iter().find(|interface| !interface.is_loopback())?;
    Some(match best.ip() {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    })
}

/// The interfaces that a link-local address without a zone may lie behind, by index.
#[must_use]
pub fn zones() -> Vec<u32> {
    let link_local = |interface: &Interface| interface.ip().is_ipv6() && interface.is_link_local();
    up().into_iter().filter(link_local).filter_map(|interface| interface.index).collect()
}

/// Whether an address is on this LAN as far as a person is concerned: a private, link-local or
/// own one, or in the subnet of an interface.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_private = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    };
    is_private || up().iter().any(|interface| is_in_subnet(&interface.addr, address))
}

/// The largest packet that the way from an address of this machine to another takes as far as the
/// kernel knows, in bytes; that of an ordinary interface when it does not.
#[must_use]
pub fn mtu(own: IpAddr, peer: IpAddr) -> u32 {
    // What this machine sends to itself never leaves it, whatever the address.
    let is_here = up().iter().any(|interface| interface.ip() == peer);
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (own, peer) = if is_here { (loopback, loopback) } else { (own, peer) };
    known_mtu(own, peer).unwrap_or(ETHERNET_MTU)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn known_mtu(own: IpAddr, peer: IpAddr) -> Option<u32> {
    /// Connecting a UDP socket sends nothing.
    const DISCARD: u16 = 9;
    let socket = UdpSocket::bind((own, 0)).ok()?;
    socket.connect((peer, DISCARD)).ok()?;
    let mtu = match own {
        IpAddr::V4(_) => rustix::net::sockopt::ip_mtu(&socket),
        IpAddr::V6(_) => rustix::net::sockopt::ipv6_mtu(&socket),
    };
    mtu.ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn known_mtu(_own: IpAddr, _peer: IpAddr) -> Option<u32> {
    None
}

fn is_in_subnet(interface: &IfAddr, address: IpAddr) -> bool {
    match (interface, address) {
        (IfAddr::V4(v4), IpAddr::V4(address)) => v4.ip & v4.netmask == address & v4.netmask,
        (IfAddr::V6(v6), IpAddr::V6(address)) => v6.ip & v6.netmask == address & v6.netmask,
        _ => false,
    }
}

fn up() -> Vec<Interface> {
    if_addrs::get_if_addrs().unwrap_or_default().into_iter().filter(Interface::is_oper_up).collect()
}

/// Addresses that reach farther come first, IPv4 before IPv6 since it is easier to type, and
/// those of virtual machines last.
fn rank(interface: &Interface) -> (bool, bool, bool) {
    let virtual_prefixes = ["docker", "br-", "veth", "virbr", "vboxnet", "vmnet", "lxc"];
    let is_virtual = virtual_prefixes.iter().any(|prefix| interface.name.starts_with(prefix));
    (is_virtual, interface.is_link_local(), interface.ip().is_ipv6())
}

/// Link-local addresses of IPv6 mean nothing without their interface.
fn socket_address(interface: &Interface) -> SocketAddr {
    match &interface.addr {
        IfAddr::V6(v6) if v6.is_link_local() => {
            SocketAddrV6::new(v6.ip, 0, 0, interface.index.unwrap_or_default()).into()
        }
        address => SocketAddr::new(address.ip(), 0),
    }
}

/// An IPv6 address that is still checked for duplicates cannot be bound yet.
fn can_bind(address: &SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_something_to_gather_on() {
        let addresses = gather();
        assert!(!addresses.is_empty() && addresses.len() <= MOST);
        let loopback = addresses.iter().filter(|address| address.ip().is_loopback()).count();
        assert!(loopback == 0 || loopback == addresses.len(), "{addresses:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_way_to_oneself_takes_large_packets_and_no_way_ordinary_ones() {
        let (loopback, elsewhere) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::from([203, 0, 113, 1]));
        assert!(mtu(loopback, loopback) > ETHERNET_MTU);
        assert_eq!(mtu(loopback, elsewhere.into()), ETHERNET_MTU);
    }

    #[test]
    fn private_link_local_and_own_addresses_are_near() {
        for near in [
            "10.1.2.3",
            "192.168.0.1",
            "169.254.9.9",
            "127.0.0.1",
            "fe80::1",
            "fd00::1",
            "::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["8.8.8.8", "2001:db8::1", "172.32.0.1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
        assert!(up().iter().all(|interface| is_near(interface.ip())));
    }
}
