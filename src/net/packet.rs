//! How large packets are, and messages, so that they fill them.

/// What every path carries (RFC 8200, section 5).
pub const SAFE_MTU: u32 = 1280;

/// What is around an SCTP packet: IPv6, UDP, a relay's `ChannelData`, a DTLS record.
pub(super) const AROUND: u32 = 40 + 8 + 4 + RECORD;
const RECORD: u32 = 37;

/// What is around the payload in an SCTP packet (RFC 9260, section 3).
const IN_PACKET: u32 = 12 + 16;

/// What the system takes at once of datagrams that are alike, in bytes: as much as in one.
const BATCH: u32 = 65_535;

/// The largest path MTU that is of use: the crate takes in SCTP packets of 8,192 bytes.
pub const LARGEST_MTU: u32 = 8000 + AROUND;

/// The longest message that travels in one packet, on a path with this MTU; chunks are multiples
/// of 4 bytes (RFC 9260, section 3.2).
#[must_use]
pub fn packet_payload(mtu: u32) -> usize {
    ((mtu.saturating_sub(AROUND + IN_PACKET)) & !3) as usize
}

/// Packets that the system takes at once, on a path with this MTU.
#[must_use]
pub fn packets_at_once(mtu: u32) -> usize {
    (BATCH / (mtu - AROUND + RECORD)) as usize
}

/// The longest message that the system takes at once, as full packets: a longer one would leave
/// packets over, which cost as much each.
#[must_use]
pub fn batch_payload(mtu: u32) -> usize {
    packet_payload(mtu) * packets_at_once(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_what_is_around_them_fit_the_path() {
        for mtu in [SAFE_MTU, 1_500, LARGEST_MTU] {
            let payload = packet_payload(mtu);
            let packet = payload + (AROUND + IN_PACKET) as usize;
            assert!(packet <= mtu as usize && packet + 4 > mtu as usize, "{mtu}: {packet}");
            let datagram = payload + (IN_PACKET + RECORD) as usize;
            assert!(datagram * packets_at_once(mtu) <= BATCH as usize, "{mtu}");
            assert_eq!(batch_payload(mtu) % payload, 0, "{mtu}");
        }
        assert_eq!(packets_at_once(LARGEST_MTU), 8);
        assert_eq!(batch_payload(1_500), 45 * 1_380);
    }
}
