//! One order over several lanes. The sender numbers its frames, any lane may carry any of them, and
//! the receiver takes them in the order of their numbers. What a lane that died, or fell behind, may
//! not have delivered goes over another under the same number, and what arrives twice counts once:
//! so nobody above has to know how many lanes there are.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

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
    pub bytes: Bytes,
    /// Bytes that credit counts; none when it is sent again.
    pub payload: u64,
}

/// A copy of a message that the receiver may not have.
#[derive(Debug)]
struct Kept {
    number: u64,
    /// The payload of all messages up to this one, with it.
    through: u64,
    bytes: Bytes,
}

/// The sender's end: chooses what is sent next, and keeps a copy of what the receiver may not have,
/// for another lane. That a lane has delivered so many bytes does not say which: what it lacks may
/// be older than much of what it has. But credit follows what the receiver has taken, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: HashMap<u32, VecDeque<Kept>>,
    again: BTreeMap<u64, Kept>,
    /// A message that was not sent yet.
    new: Option<Message>,
    /// The payload of all messages that were sent.
    sent: u64,
}

impl Outbox {
    /// A lane can carry from now on. Those that were not opened here carry without a copy: who
    /// loses one of them has lost the connection.
    pub fn open(&mut self, lane: u32) {
        self.lanes.entry(lane).or_default();
    }

    /// Whether there is place for a new message.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.new.is_none()
    }

    /// Takes a new message, when there is place.
    pub fn push(&mut self, message: Message) {
        debug_assert!(self.new.is_none(), "a new message waits already");
        self.new = Some(message);
    }

    /// The length of the message to be sent next, and its payload. What is sent again comes before
    /// what is new: it may be what the receiver waits for before it grants more credit.
    #[must_use]
    pub fn next(&self) -> Option<(u64, u64)> {
        let again = self.again.first_key_value().map(|(_, kept)| (kept.bytes.len() as u64, 0));
        let new = || self.new.as_ref().map(|new| (new.bytes.len() as u64, new.payload));
        again.or_else(new)
    }

    /// The message to be sent next, over this lane.
    pub fn take(&mut self, lane: u32) -> Option<Message> {
        let (message, kept) = match self.again.pop_first() {
            Some((number, kept)) => {
                (Message { number, bytes: kept.bytes.clone(), payload: 0 }, Some(kept))
            }
            None => (self.new.take()?, None),
        };
        self.sent += message.payload;
        if let Some(carried) = self.lanes.get_mut(&lane) {
            carried.push_back(kept.unwrap_or_else(|| Kept {
                number: message.number,
                through: self.sent,
                bytes: message.bytes.clone(),
            }));
        }
        Some(message)
    }

    /// The receiver has taken so many bytes of payload.
    pub fn taken(&mut self, payload: u64) {
        // A message without payload may follow the last byte.
        let has = |kept: &Kept| kept.through < payload;
        for carried in self.lanes.values_mut() {
            while carried.front().is_some_and(has) {
                carried.pop_front();
            }
        }
        self.again.retain(|_, kept| !has(kept));
    }

    /// A lane is gone: what the receiver may lack of it is to be sent again.
    pub fn lost(&mut self, lane: u32) {
        let carried = self.lanes.remove(&lane).unwrap_or_default();
        self.again.extend(carried.into_iter().map(|kept| (kept.number, kept)));
    }

    /// A lane has fallen behind: what the receiver may lack of it is to be sent over another, too.
    /// Whether there is anything.
    pub fn doubt(&mut self, lane: u32) -> bool {
        let Some(carried) = self.lanes.get_mut(&lane) else { return false };
        let some = !carried.is_empty();
        self.again.extend(carried.drain(..).map(|kept| (kept.number, kept)));
        some
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64, length: usize) -> Message {
        let bytes = number.to_be_bytes().into_iter().chain(vec![7; length]).collect();
        Message { number, bytes, payload: length as u64 }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A lane takes the next message, an old one before a new one.
        Send(u32),
        /// A lane's oldest message arrives, and this end may hear what was taken.
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
        made: u64,
        arrived: u64,
    }

    impl World {
        fn send(&mut self, lane: u32, new: bool) -> bool {
            if new && self.outbox.wants_more() {
                self.outbox.push(message(self.made, 10));
                self.made += 1;
            }
            let Some(message) = self.outbox.take(lane) else { return false };
            self.on_the_way.entry(lane).or_default().push_back(message.bytes);
            true
        }

        fn arrive(&mut self, lane: u32, heard: bool) {
            let Some(bytes) = self.on_the_way.entry(lane).or_default().pop_front() else { return };
            self.inbox.take(&bytes).unwrap();
            while let Some(frame) = self.inbox.pop() {
                assert_eq!(frame.len(), 10);
                self.arrived += 1;
            }
            if heard {
                self.outbox.taken(self.arrived * 10);
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
                        world.outbox.open(lane);
                    }
                    Step::Doubt(lane) => {
                        world.outbox.doubt(lane);
                    }
                }
            }
            (2..6).for_each(|lane| world.outbox.lost(lane));
            world.on_the_way.clear();
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
        let far = message(MAX_AHEAD, 1).bytes;
        assert_eq!(inbox.take(&far), Err(Misnumbered));
        assert_eq!(inbox.take(&message(MAX_AHEAD - 1, 1).bytes), Ok(()));
        let full = (1..MAX_AHEAD)
            .find(|number| inbox.take(&message(*number, MAX_FRAME - NUMBER).bytes).is_err());
        let most = MOST_EARLY / MAX_FRAME as u64;
        assert!(full.is_some_and(|full| full.abs_diff(most) <= 2), "{full:?}");
    }

    /// An outbox that has sent three messages over one lane.
    fn with_three() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.open(2);
        for number in 0..3 {
            outbox.push(message(number, 10));
            outbox.take(2);
        }
        outbox
    }

    #[test]
    fn what_was_taken_is_not_sent_again() {
        let mut outbox = with_three();
        outbox.taken(20);
        outbox.lost(2);
        // After 20 bytes a message without payload may be missing yet, but not before them.
        assert_eq!(outbox.take(1).map(|message| message.number), Some(1));
        outbox.taken(31);
        assert!(outbox.next().is_none());
    }

    #[test]
    fn what_is_sent_again_comes_before_what_is_new_and_takes_no_credit() {
        let mut outbox = with_three();
        outbox.push(message(3, 10));
        assert!(outbox.doubt(2) && !outbox.wants_more());
        let order: Vec<_> = std::iter::from_fn(|| {
            let (length, payload) = outbox.next()?;
            let message = outbox.take(1)?;
            assert_eq!((message.bytes.len() as u64, message.payload), (length, payload));
            Some((message.number, payload))
        })
        .collect();
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (3, 10)]);
    }
}
