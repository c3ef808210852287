//! What one end of a room has sent and the other has not acknowledged: numbering and bounds.
//!
//! Knows neither rooms nor connections. Used by `rooms::room`.

use std::collections::VecDeque;

use crate::protocol::{Body, MAX_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED_BYTES, Refusal};

/// The messages of one direction.
#[derive(Default)]
pub(super) struct Mail {
    /// The number of the last message that was sent, 0 for none.
    sent: u64,
    /// The last messages, the newest at the back with the number `sent`.
    kept: VecDeque<Body>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is the next one.
    New,
    /// It was sent before.
    Duplicate,
}

impl Mail {
    /// The number of the last message that was sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes a message in and keeps it.
    pub(super) fn post(&mut self, number: u64, body: &Body) -> Result<Posted, Refusal> {
        if number <= self.sent {
            return Ok(Posted::Duplicate);
        }
        if number - self.sent > 1 {
            return Err(Refusal::Gap);
        }
        if !self.has_room_for(body) {
            return Err(Refusal::TooMuchWaiting);
        }
        self.kept.push_back(body.clone());
        self.sent = number;
        Ok(Posted::New)
    }

    fn has_room_for(&self, body: &Body) -> bool {
        let bytes: usize = self.kept.iter().chain([body]).map(|body| body.as_bytes().len()).sum();
        self.kept.len() < MAX_UNACKNOWLEDGED && bytes <= MAX_UNACKNOWLEDGED_BYTES
    }

    /// Forgets every message up to this number.
    pub(super) fn acknowledge(&mut self, number: u64) -> Result<(), Refusal> {
        if number > self.sent {
            return Err(Refusal::BadMessage);
        }
        while self.first_kept() <= number && self.kept.pop_front().is_some() {}
        Ok(())
    }

    /// Forgets every message: nobody will read it.
    pub(super) fn discard(&mut self) {
        self.kept.clear();
    }

    /// The messages that are kept, oldest first.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u64, &Body)> {
        (self.first_kept()..).zip(&self.kept)
    }

    fn first_kept(&self) -> u64 {
        self.sent - self.kept.len() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MAX_BODY;

    fn body(length: usize) -> Body {
        Body::new(vec![7; length]).expect("a short body")
    }

    fn numbers(mail: &Mail) -> Vec<u64> {
        mail.kept().map(|(number, _)| number).collect()
    }

    #[test]
    fn messages_are_numbered_one_by_one() {
        let mut mail = Mail::default();
        assert_eq!(mail.post(2, &body(1)), Err(Refusal::Gap));
        assert_eq!(mail.post(1, &body(1)), Ok(Posted::New));
        assert_eq!(mail.post(1, &body(1)), Ok(Posted::Duplicate));
        assert_eq!(mail.post(3, &body(1)), Err(Refusal::Gap));
        assert_eq!(mail.post(u64::MAX, &body(1)), Err(Refusal::Gap));
        assert_eq!(mail.post(2, &body(1)), Ok(Posted::New));
        assert_eq!(numbers(&mail), [1, 2]);
    }

    #[test]
    fn what_is_acknowledged_is_forgotten() {
        let mut mail = Mail::default();
        for number in 1..=5 {
            mail.post(number, &body(1)).expect("room for five");
        }
        mail.acknowledge(3).expect("three were sent");
        assert_eq!(numbers(&mail), [4, 5]);
        mail.acknowledge(1).expect("again is harmless");
        assert_eq!(numbers(&mail), [4, 5]);
        assert_eq!(mail.acknowledge(6), Err(Refusal::BadMessage));
        mail.acknowledge(5).expect("five were sent");
        assert_eq!(numbers(&mail), [0; 0]);
        assert_eq!(mail.post(6, &body(1)), Ok(Posted::New));
    }

    #[test]
    fn the_number_of_waiting_messages_is_bounded_and_an_acknowledgement_makes_room() {
        let mut mail = Mail::default();
        let many = MAX_UNACKNOWLEDGED as u64;
        for number in 1..=many {
            assert_eq!(mail.post(number, &body(1)), Ok(Posted::New));
        }
        assert_eq!(mail.post(many + 1, &body(1)), Err(Refusal::TooMuchWaiting));
        mail.acknowledge(1).expect("one was sent");
        assert_eq!(mail.post(many + 1, &body(1)), Ok(Posted::New));
    }

    #[test]
    fn the_bytes_of_waiting_messages_are_bounded() {
        let mut mail = Mail::default();
        let fit = (MAX_UNACKNOWLEDGED_BYTES / MAX_BODY) as u64;
        for number in 1..=fit {
            assert_eq!(mail.post(number, &body(MAX_BODY)), Ok(Posted::New));
        }
        assert_eq!(mail.post(fit + 1, &body(MAX_BODY)), Err(Refusal::TooMuchWaiting));
        assert_eq!(mail.post(fit + 1, &body(1)), Ok(Posted::New));
    }
}
