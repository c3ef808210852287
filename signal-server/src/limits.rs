//! How much the server holds, and for whom: pure values, compared by `rooms` and `admission`.
//!
//! Not the sizes of messages; those are part of the contract with clients and stand in
//! [`protocol`](crate::protocol).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Caps of one server. A *source* is what counts as one client: an IPv4 address, or an IPv6 prefix
/// of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Waiting slots and rooms together. 10 000: were every one filled to the brim with
    /// unacknowledged messages they would need 1.3 GB; in ordinary use it is a few MB.
    pub max_rooms: usize,
    /// Places (waiting slots and ends of rooms) of one source. 32: a session holds two at
    /// each end, its room and the one to reconnect in; so about ten sessions and ten waiting
    /// slots behind one address, and an attacker needs 300 addresses to fill the server.
    pub max_rooms_per_source: usize,
    /// Open sockets. 20 000: two for each room.
    pub max_connections: usize,
    /// Open sockets of one source. 64: an office behind one address, and still only a
    /// three-hundredth of the server.
    pub max_connections_per_source: usize,
    /// How long a slot or room outlives its last socket. Two minutes: longer than a change of
    /// network or a lost connection takes to be noticed.
    pub grace: Duration,
    /// How long a nameplate rests after its slot is gone. One hour, so that a code which was
    /// read out late does not lead to somebody else's slot.
    pub quarantine: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_rooms: 10_000,
            max_rooms_per_source: 32,
            max_connections: 20_000,
            max_connections_per_source: 64,
            grace: Duration::from_secs(2 * 60),
            quarantine: Duration::from_secs(60 * 60),
        }
    }
}

/// Caps of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// Allocations. 8 000: each end of a room opens one for every transport it tries.
    pub max_allocations: usize,
    /// Allocations of one room. 32: both ends, over UDP, TCP and TLS, from several interfaces.
    pub max_allocations_per_room: usize,
    /// Bytes that one room may have relayed, in both directions. 200 GB.
    pub max_bytes_per_room: u64,
    /// Bytes per second and room; what is over it is lost. 125 MB, which is 1 Gbit/s.
    pub max_rate_per_room: u64,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            max_allocations: 8_000,
            max_allocations_per_room: 32,
            max_bytes_per_room: 200_000_000_000,
            max_rate_per_room: 125_000_000,
        }
    }
}

/// What counts as one client: an IPv4 address, or the 64-bit prefix that one IPv6 subscriber has
/// at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The address.
    V4(Ipv4Addr),
    /// The first four groups of the address.
    V6([u16; 4]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn ipv4_addresses_are_told_apart_and_mapped_ones_are_not() {
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
    }

    #[test]
    fn ipv6_addresses_count_by_their_prefix_of_64_bits() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }
}
