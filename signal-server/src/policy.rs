//! Whom an open relay may talk to: nobody who is not a public host. Pure.
//!
//! Every way of writing an IPv4 address into an IPv6 one is undone first: each has been a hole in
//! some TURN server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an open relay must not send there, or let anything in from there. `own` are the
/// addresses of this machine.
pub(crate) fn is_forbidden(address: IpAddr, own: &[IpAddr]) -> bool {
    let is_own = |address: IpAddr| own.iter().any(|own| own.to_canonical() == address);
    if is_own(address.to_canonical()) {
        return true;
    }
    match address {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => {
            is_special_v6(v6)
                || embedded_v4(v6).into_iter().any(|v4| is_special_v4(v4) || is_own(v4.into()))
        }
    }
}

/// Everything in the IANA registry of special-purpose addresses, and multicast.
fn is_special_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!((a, b, c), (0 | 224.., _, _) | (100, 64..=127, _) | (198, 18..=19, _))
        || matches!((a, b, c), (192, 0, 0) | (192, 88, 99) | (192, 31, 196) | (192, 52, 193))
        || (a, b, c) == (192, 175, 48)
}

/// Everything but global unicast addresses, and what is special among those.
fn is_special_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = a & 0xe000 == 0x2000;
    let translated = (a, b) == (0x64, 0xff9b); // Judged by what is in it.
    let mapped = address.to_ipv4_mapped().is_some();
    let special = (a, b) == (0x2001, 0x0db8) || (a == 0x2001 && b < 0x200 && b != 0) || a == 0x3fff;
    (!is_global && !translated && !mapped) || special
}

/// The IPv4 addresses that an IPv6 address may lead to: mapped and compatible ones (RFC 4291), NAT64
/// (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo's server and client (RFC 4380), ISATAP (RFC 5214).
fn embedded_v4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |first: u16, second: u16| Ipv4Addr::from(u32::from(first) << 16 | u32::from(second));
    let [_, in_6to4, server, server_end, .., last, end] = segments;
    match segments {
        [0x64, 0xff9b, 0 | 1, ..]
        | [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [.., 0x0 | 0x200, 0x5efe, _, _] => vec![v4(last, end)],
        [0x2002, ..] => vec![v4(in_6to4, server)],
        [0x2001, 0, ..] => vec![v4(server, server_end), v4(!last, !end)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[&str] = &["203.0.114.7", "2a00:1450::7"];

    fn forbidden(address: &str) -> bool {
        let own: Vec<IpAddr> = OWN.iter().map(|own| own.parse().unwrap()).collect();
        is_forbidden(address.parse().unwrap(), &own)
    }

    #[test]
    fn no_special_address_passes_in_any_spelling() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.251",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.114.7",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:203.0.114.7",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::1",
            "2001:0:808:808:0:0:80ff:fffe",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::1",
            "2002:cb00:7207::1",
            "2a01::5efe:127.0.0.1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::fb",
            "2a00:1450::7",
        ] {
            assert!(forbidden(address), "{address}");
        }
    }

    #[test]
    fn public_hosts_do() {
        for address in ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::8", "1.1.1.1"]
        {
            assert!(!forbidden(address), "{address}");
        }
    }
}
