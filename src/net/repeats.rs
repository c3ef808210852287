//! Keeps from the `webrtc` crate what its DTLS must not hear twice. Whoever waits for the next flight of
//! a handshake sends its own again after a second (RFC 6347, section 4.2.4). The crate stops that clock
//! for good when it hears something of the flight before once more, as it does when its own was lost:
//! both ends' clocks are the same, and the peer's repetition is there first. Then nobody sends anything.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

/// Messages that are remembered, of everybody who sends any; a handshake has about ten.
const MOST: usize = 64;

/// The first byte of a record with a handshake's message.
const HANDSHAKE: u8 = 22;

/// The header of a record, and what of it are type, version and epoch; that of a message, and where its
/// number is.
const RECORD: usize = 13;
const EPOCH: usize = 3;
const MESSAGE: usize = 12;
const NUMBER: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    keys: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Repeats {
    /// Whether a datagram has nothing but messages of a handshake that have come from there before; they
    /// are remembered. The first of each end may come again: it is what the other is waiting for.
    pub(super) fn is_one(&self, datagram: &[u8], from: SocketAddr) -> bool {
        if datagram.first() != Some(&HANDSHAKE) {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rest, mut all_seen) = (datagram, true);
        while !rest.is_empty() {
            let Some((message, after)) = plain_message(rest) else { return false };
            let key = self.keys.hash_one((from, message));
            all_seen &= seen.contains(&key);
            if seen.len() < MOST {
                seen.insert(key);
            }
            rest = after;
        }
        all_seen
    }
}

/// The message in the first record, header and all, if it is of a handshake, not encrypted, and not its
/// end's first; and the records after it.
fn plain_message(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = records.split_first_chunk::<RECORD>()?;
    let [.., high, low] = *header;
    let (message, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    let number = message.first_chunk::<MESSAGE>()?.get(NUMBER..NUMBER + 2)?;
    let is_plain = header.first() == Some(&HANDSHAKE) && header.get(EPOCH..EPOCH + 2)? == [0, 0];
    (is_plain && number != [0, 0]).then_some((message, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1));

    /// A record with a number of its own, as each has.
    fn record(kind: u8, epoch: u8, sequence: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let header = [kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, sequence, 0, length];
        [&header, content].concat()
    }

    fn message(number: u8, body: u8) -> Vec<u8> {
        vec![11, 0, 0, 1, 0, number, 0, 0, 0, 0, 0, 1, body]
    }

    #[test]
    fn a_message_is_a_repetition_the_second_time_it_comes_from_there() {
        let repeats = Repeats::default();
        assert!(!repeats.is_one(&record(22, 0, 1, &message(1, 7)), PEER));
        assert!(repeats.is_one(&record(22, 0, 2, &message(1, 7)), PEER));
        assert!(!repeats.is_one(&record(22, 0, 3, &message(1, 8)), PEER));
        let other = SocketAddr::new(PEER.ip(), 2);
        assert!(!repeats.is_one(&record(22, 0, 1, &message(1, 7)), other));
    }

    #[test]
    fn a_datagram_with_anything_new_is_none() {
        let repeats = Repeats::default();
        let [first, second] = [1, 2].map(|number| record(22, 0, number, &message(number, 7)));
        assert!(!repeats.is_one(&first, PEER));
        assert!(!repeats.is_one(&[&first[..], &second].concat(), PEER));
        assert!(repeats.is_one(&[&first[..], &second].concat(), PEER));
        assert!(!repeats.is_one(&[&first[..], &record(20, 0, 3, &[1])].concat(), PEER));
        assert!(!repeats.is_one(&[&first[..], &record(22, 1, 0, &message(3, 7))].concat(), PEER));
        assert!(!repeats.is_one(&first[..first.len() - 1], PEER));
    }

    #[test]
    fn the_first_message_of_an_end_may_come_again_and_data_is_no_message() {
        let repeats = Repeats::default();
        for datagram in [record(22, 0, 0, &message(0, 7)), record(23, 0, 1, &message(1, 7))] {
            assert!(!repeats.is_one(&datagram, PEER));
            assert!(!repeats.is_one(&datagram, PEER));
        }
        assert!(!repeats.is_one(&[], PEER));
    }

    #[test]
    fn no_more_than_a_handshake_needs_is_remembered() {
        let repeats = Repeats::default();
        for body in 0..=255 {
            assert!(!repeats.is_one(&record(22, 0, body, &message(1, body)), PEER));
        }
        assert_eq!(repeats.seen.lock().unwrap().len(), MOST);
    }
}
