//! A message that is put together part by part, in memory that an earlier one had if there is such:
//! new memory, which the system has to clear, costs the sender a twentieth of its time on a LAN.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Messages that are at least so long leave their memory to later ones.
const LONG: usize = 16 * 1024;

/// How many of them are kept in mind: as many as a receiver's window has, and some.
const MOST_EARLIER: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The message as far as it goes, and beyond that bytes that may be overwritten.
    memory: BytesMut,
    length: usize,
    /// Messages that were given away, the oldest first.
    earlier: VecDeque<Bytes>,
}

impl Draft {
    /// How long it is so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was put into it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Finds room for a message, of which there is nothing yet, that will not be longer than this.
    pub(super) fn expect(&mut self, length: usize) {
        let is_free = length >= LONG && self.earlier.front().is_some_and(Bytes::is_unique);
        let free = if is_free { self.earlier.pop_front() } else { None };
        let free = free.and_then(|message| message.try_into_mut().ok());
        self.memory = free.unwrap_or_else(|| BytesMut::with_capacity(length));
    }

    /// Adds bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.extend(bytes.len()).copy_from_slice(bytes);
    }

    /// Adds so many bytes, whatever they are, to be overwritten.
    pub(super) fn extend(&mut self, length: usize) -> &mut [u8] {
        let begin = self.length;
        self.length += length;
        if self.memory.len() < self.length {
            self.memory.resize(self.length, 0);
        }
        self.memory.get_mut(begin..self.length).unwrap_or_default()
    }

    /// Takes back what was added after it had this length.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Gives the message away.
    pub(super) fn finish(&mut self) -> Bytes {
        let mut message = std::mem::take(&mut self.memory);
        message.truncate(std::mem::take(&mut self.length));
        let message = message.freeze();
        if message.len() >= LONG {
            self.earlier.push_back(message.clone());
            if self.earlier.len() > MOST_EARLIER {
                self.earlier.pop_front();
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(draft: &mut Draft, byte: u8, length: usize) -> Bytes {
        draft.expect(length);
        draft.put(&[byte; 8]);
        draft.extend(length - 8).fill(byte);
        draft.finish()
    }

    #[test]
    fn memory_is_used_again_once_nobody_has_the_message() {
        let mut draft = Draft::default();
        let first = message(&mut draft, 1, LONG);
        let at = first.as_ptr();
        let second = message(&mut draft, 2, LONG);
        assert_ne!(second.as_ptr(), at);
        assert_eq!(first, [1; LONG].as_slice());
        drop(first);
        let third = message(&mut draft, 3, LONG);
        assert_eq!(third.as_ptr(), at);
        assert_eq!(third, [3; LONG].as_slice());
        assert_eq!(second, [2; LONG].as_slice());
    }

    #[test]
    fn lengths_may_differ_and_what_was_taken_back_is_not_in_the_message() {
        let mut draft = Draft::default();
        drop(message(&mut draft, 1, LONG));
        for length in [LONG - 1, 9, 3 * LONG, LONG] {
            draft.expect(length);
            draft.put(&[7; 8]);
            draft.extend(length).fill(9);
            draft.truncate(8);
            draft.extend(length - 8).fill(8);
            let expected = [vec![7; 8], vec![8; length - 8]].concat();
            assert_eq!(draft.finish(), expected, "{length}");
        }
    }

    #[test]
    fn of_messages_that_nobody_drops_not_all_are_kept_in_mind() {
        let mut draft = Draft::default();
        let all = (0..MOST_EARLIER + 9).map(|_| message(&mut draft, 1, LONG)).collect::<Vec<_>>();
        assert_eq!(draft.earlier.len(), MOST_EARLIER);
        assert!(all.iter().all(|message| *message == [1; LONG].as_slice()));
    }
}
