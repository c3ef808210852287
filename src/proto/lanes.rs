//! One order over several lanes. The sender numbers its frames, any lane may carry any of them, and
//! the receiver takes them in the order of their numbers. What a lane that died, or fell behind, may
//! not have delivered goes over another under the same number, and what arrives twice counts once:
//! so nobody above has to know how many lanes there are.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::{frame::MAX_FRAME, receiver::WINDOW};

/// Bytes before each frame on a data lane: its number.
pub const NUMBER: usize = 8;

/// The longest message on a data lane, in bytes.
pub const MAX_MESSAGE: usize = MAX_FRAME;

/// How far ahead of what is missing a frame may be: the receiver keeps what comes early. Credit
/// bounds the payload among it; this, what is around it.
pub const MAX_AHEAD: u64 = 64 * 1024;

/// The most bytes of frames that the receiver keeps.
const MOST_EARLY: u64 = 2 * WINDOW;

/// What arrived on a data lane cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame came too far ahead of another, or without a number")]
pub struct Misnumbered;

/// The receiver's end: takes what lanes bring, in any order.
#[derive(Debug, Default)]
pub struct Inbox {
    next: u64,
    early: BTreeMap<u64, Bytes>,
    held: u64,
}

impl Inbox {
    /// Takes a message.
    ///
    /// # Errors
    /// [`Misnumbered`] when it has no number, or is more than there can be of it.
    pub fn take(&mut self, message: &Bytes) -> Result<(), Misnumbered> {
        let number = message.first_chunk::<NUMBER>().ok_or(Misnumbered)?;
        let number = u64::from_be_bytes(*number);
        let frame = message.slice(NUMBER..);
        if number.checked_sub(self.next).is_some_and(|ahead| ahead >= MAX_AHEAD) {
            return Err(Misnumbered);
        }
        if number < self.next || self.early.contains_key(&number) {
            return Ok(()); // It came over another lane.
        }
        self.held += frame.len() as u64;
        if self.held > MOST_EARLY {
            return Err(Misnumbered);
        }
        self.early.insert(number, frame);
        Ok(())
    }

    /// The next frame in order, when it is here.
    pub fn pop(&mut self) -> Option<Bytes> {
        let frame = self.early.remove(&self.next)?;
        self.next += 1;
        self.held -= frame.len() as u64;
        Some(frame)
    }
}

/// A frame with its number, as it is sent, and how many bytes of payload it holds.
#[derive(Debug)]
pub struct Message {
    /// Its number.
    pub number: u64,
    /// Its bytes, the number first.
    pub bytes: BytesMut,
    /// Bytes that credit counts.
    pub payload: u64,
}

/// What a lane carries and has not delivered.
#[derive(Debug, Default)]
struct Carried {
    /// Bytes that were handed to it in all.
    handed: u64,
    messages: VecDeque<Kept>,
}

/// A copy of what a lane carries.
#[derive(Debug)]
struct Kept {
    number: u64,
    /// What was handed to the lane in all, with it.
    end: u64,
    bytes: Bytes,
}

/// The sender's end: keeps what is not delivered for another lane.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: HashMap<u32, Carried>,
    again: BTreeMap<u64, Bytes>,
}

impl Outbox {
    /// A lane can carry from now on.
    pub fn open(&mut self, lane: u32) {
        self.lanes.insert(lane, Carried::default());
    }

    /// A lane is about to carry a message. Lanes that were not opened here carry theirs without a
    /// copy: who loses one of them has lost the connection.
    pub fn carries(&mut self, lane: u32, message: &Message) {
        if let Some(carried) = self.lanes.get_mut(&lane) {
            let bytes = Bytes::copy_from_slice(&message.bytes);
            carried.handed += bytes.len() as u64;
            let kept = Kept { number: message.number, end: carried.handed, bytes };
            carried.messages.push_back(kept);
        }
    }

    /// A lane has delivered so many bytes in all.
    pub fn delivered(&mut self, lane: u32, total: u64) {
        let Some(carried) = self.lanes.get_mut(&lane) else { return };
        while carried.messages.front().is_some_and(|kept| kept.end <= total) {
            carried.messages.pop_front();
        }
    }

    /// A lane is gone: what it has not delivered is to be carried again.
    pub fn lost(&mut self, lane: u32) {
        let carried = self.lanes.remove(&lane).unwrap_or_default();
        self.again.extend(carried.messages.into_iter().map(|kept| (kept.number, kept.bytes)));
    }

    /// A lane has fallen behind: what it has not delivered is to be carried by another, too.
    /// Whether there is anything.
    pub fn doubt(&mut self, lane: u32) -> bool {
        let Some(carried) = self.lanes.get_mut(&lane) else { return false };
        let some = !carried.messages.is_empty();
        self.again.extend(carried.messages.drain(..).map(|kept| (kept.number, kept.bytes)));
        some
    }

    /// Whether something is to be carried again.
    #[must_use]
    pub fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// What is to be carried again, the oldest first; its credit was taken the first time.
    pub fn again(&mut self) -> Option<Message> {
        let (number, bytes) = self.again.pop_first()?;
        Some(Message { number, bytes: bytes.into(), payload: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64, length: usize) -> Message {
        let mut bytes = BytesMut::from(number.to_be_bytes().as_slice());
        bytes.resize(NUMBER + length, 7);
        Message { number, bytes, payload: length as u64 }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A lane takes the next message, an old one before a new one.
        Send(u32),
        /// A lane's oldest message arrives, and this end may hear of it.
        Arrive(u32, bool),
        /// A lane dies, and another takes its place.
        Die(u32),
        /// A lane is behind.
        Doubt(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let lane = 2..6_u32;
        prop_oneof![
            6 => lane.clone().prop_map(Step::Send),
            6 => (lane.clone(), any::<bool>()).prop_map(|(lane, heard)| Step::Arrive(lane, heard)),
            1 => lane.clone().prop_map(Step::Die),
            1 => lane.prop_map(Step::Doubt),
        ]
    }

    /// Lanes, each with what is on its way.
    #[derive(Default)]
    struct World {
        outbox: Outbox,
        inbox: Inbox,
        on_the_way: HashMap<u32, VecDeque<Bytes>>,
        delivered: HashMap<u32, u64>,
        made: u64,
        arrived: u64,
    }

    impl World {
        fn send(&mut self, lane: u32, new: bool) -> bool {
            let message = self.outbox.again().or_else(|| {
                let number = self.made;
                new.then(|| {
                    self.made += 1;
                    message(number, 10)
                })
            });
            let Some(message) = message else { return false };
            self.outbox.carries(lane, &message);
            self.on_the_way.entry(lane).or_default().push_back(message.bytes.freeze());
            true
        }

        fn arrive(&mut self, lane: u32, heard: bool) {
            let Some(bytes) = self.on_the_way.entry(lane).or_default().pop_front() else { return };
            self.inbox.take(&bytes).unwrap();
            while let Some(frame) = self.inbox.pop() {
                assert_eq!(frame.len(), 10);
                self.arrived += 1;
            }
            let delivered = self.delivered.entry(lane).or_default();
            *delivered += bytes.len() as u64;
            if heard {
                self.outbox.delivered(lane, *delivered);
            }
        }
    }

    proptest! {
        #[test]
        fn every_frame_arrives_once_and_in_order(
            steps in proptest::collection::vec(step(), 0..400)
        ) {
            let mut world = World::default();
            (2..6).for_each(|lane| world.outbox.open(lane));
            for step in steps {
                match step {
                    Step::Send(lane) => {
                        world.send(lane, true);
                    }
                    Step::Arrive(lane, heard) => world.arrive(lane, heard),
                    Step::Die(lane) => {
                        world.outbox.lost(lane);
                        world.on_the_way.remove(&lane);
                        world.delivered.remove(&lane);
                        world.outbox.open(lane);
                    }
                    Step::Doubt(lane) => {
                        world.outbox.doubt(lane);
                    }
                }
            }
            (2..6).for_each(|lane| world.outbox.lost(lane));
            world.on_the_way.clear();
            world.delivered.clear();
            world.outbox.open(9);
            while world.send(9, false) {
                world.arrive(9, true);
            }
            prop_assert_eq!(world.arrived, world.made);
        }
    }

    #[test]
    fn what_comes_too_early_or_without_a_number_is_refused() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.take(&Bytes::from_static(b"1234567")), Err(Misnumbered));
        let far = message(MAX_AHEAD, 1).bytes.freeze();
        assert_eq!(inbox.take(&far), Err(Misnumbered));
        assert_eq!(inbox.take(&message(MAX_AHEAD - 1, 1).bytes.freeze()), Ok(()));
        let full = (1..MAX_AHEAD).find(|number| {
            inbox.take(&message(*number, MAX_FRAME - NUMBER).bytes.freeze()).is_err()
        });
        let most = MOST_EARLY / MAX_FRAME as u64;
        assert!(full.is_some_and(|full| full.abs_diff(most) <= 2), "{full:?}");
    }

    #[test]
    fn what_was_delivered_is_not_carried_again() {
        let mut outbox = Outbox::default();
        outbox.open(2);
        for number in 0..3 {
            outbox.carries(2, &message(number, 10));
        }
        outbox.delivered(2, 36);
        outbox.lost(2);
        assert_eq!(outbox.again().map(|message| message.number), Some(2));
        assert!(!outbox.has_again());
    }
}
