//! When each slot and room ends. A value without a clock; used by `rooms`.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::protocol::RoomId;

/// At most one deadline for each slot or room.
#[derive(Default)]
pub(super) struct Deadlines {
    by_room: HashMap<RoomId, Instant>,
    in_order: BTreeSet<(Instant, RoomId)>,
}

impl Deadlines {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, room: &RoomId, at: Instant) {
        self.cancel(room);
        self.by_room.insert(room.clone(), at);
        self.in_order.insert((at, room.clone()));
    }

    /// Lets a slot or room live on.
    pub(super) fn cancel(&mut self, room: &RoomId) {
        if let Some(at) = self.by_room.remove(room) {
            self.in_order.remove(&(at, room.clone()));
        }
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes out one slot or room whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<RoomId> {
        self.next().filter(|at| *at <= now)?;
        let (_, room) = self.in_order.pop_first()?;
        self.by_room.remove(&room);
        Some(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deadlines_come_in_order_and_can_be_moved_and_cancelled() {
        let start = Instant::now();
        let [a, b, c] = [1, 2, 3].map(|n| RoomId::from_128_bits([n; 16]));
        let mut deadlines = Deadlines::default();
        let second = |n| start + Duration::from_secs(n);
        deadlines.set(&a, second(1));
        deadlines.set(&b, second(2));
        deadlines.set(&c, second(3));
        deadlines.set(&a, second(4));
        deadlines.cancel(&c);
        assert_eq!(deadlines.next(), Some(second(2)));
        assert_eq!(deadlines.pop_due(second(1)), None);
        assert_eq!(deadlines.pop_due(second(9)), Some(b));
        assert_eq!(deadlines.pop_due(second(9)), Some(a));
        assert_eq!(deadlines.pop_due(second(9)), None);
    }
}
