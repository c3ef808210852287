//! How large packets are, and messages, so that they fill them; and how many of them left.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

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

/// Full packets of the shortest message: fewer would make what is around them count.
const FEWEST: usize = 8;

/// The longest message that the system takes at once, as full packets: a longer one would leave
/// packets over, which cost as much each.
#[must_use]
pub fn batch_payload(mtu: u32) -> usize {
    packet_payload(mtu) * packets_at_once(mtu)
}

/// The length of messages of full packets, when so many bytes are to leave at once and no more than
/// the system takes.
#[must_use]
pub fn message_length(mtu: u32, bytes: u64) -> usize {
    let payload = packet_payload(mtu);
    let packets = usize::try_from(bytes / payload as u64).unwrap_or(usize::MAX);
    let most = packets_at_once(mtu);
    payload * packets.clamp(FEWEST.min(most), most)
}

/// Counts the full packets of a connection: those that its messages fill, and those that left, the
/// lost among them twice. The stack itself tells neither.
#[derive(Clone, Debug)]
pub struct Meter {
    payload: usize,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    filled: AtomicU64,
    left: AtomicU64,
    again: AtomicU64,
}

impl Meter {
    /// Nothing was sent yet, on a path with this MTU.
    #[must_use]
    pub fn new(mtu: u32) -> Self {
        Self { payload: packet_payload(mtu), counts: Arc::default() }
    }

    /// A message of so many bytes is sent.
    pub fn send(&self, length: usize) {
        let packets = length / self.payload;
        self.counts.filled.fetch_add(packets as u64, Ordering::Relaxed);
    }

    /// So many bytes left, as datagrams of this length and perhaps a shorter one.
    pub fn leave(&self, length: usize, each: usize) {
        if each >= self.payload + (IN_PACKET + RECORD) as usize {
            self.counts.left.fetch_add((length / each) as u64, Ordering::Relaxed);
        }
    }

    /// Packets that left again, and bytes that the stack holds back of what was sent: as far as is
    /// known, since of packets that are still held back some may be to leave again.
    #[must_use]
    pub fn again_and_held_back(&self) -> (u64, u64) {
        let [left, filled] =
            [&self.counts.left, &self.counts.filled].map(|count| count.load(Ordering::Relaxed));
        let more = left.saturating_sub(filled);
        let again = self.counts.again.fetch_max(more, Ordering::Relaxed).max(more);
        (again, (filled + again).saturating_sub(left) * self.payload as u64)
    }
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
        assert_eq!(message_length(1_500, 0), 8 * 1_380);
        assert_eq!(message_length(1_500, 20_000), 14 * 1_380);
        assert_eq!(message_length(1_500, u64::MAX), batch_payload(1_500));
        assert_eq!(packets_at_once(LARGEST_MTU), 8);
        assert_eq!(batch_payload(1_500), 45 * 1_380);
    }
    #[test]
    fn packets_that_leave_again_are_told_from_those_that_are_held_back() {
        let meter = Meter::new(SAFE_MTU);
        let payload = packet_payload(SAFE_MTU);
        let datagram = payload + (IN_PACKET + RECORD) as usize;
        meter.send(10 * payload + 1);
        meter.leave(4 * datagram + 100, datagram);
        assert_eq!(meter.again_and_held_back(), (0, 6 * payload as u64));
        meter.leave(6 * datagram, datagram);
        meter.leave(datagram, datagram);
        meter.leave(100, 100);
        assert_eq!(meter.again_and_held_back(), (1, 0));
        meter.send(payload);
        assert_eq!(meter.again_and_held_back(), (1, payload as u64));
    }
}
