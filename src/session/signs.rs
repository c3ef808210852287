//! What the [counts of packets](crate::net::packet::Meter) say of a line that they do not fill: it
//! loses some of them, or a lane's own window keeps them from leaving, which SCTP halves at each
//! loss. More lanes help against both.

use std::time::{Duration, Instant};

/// How long a loss is remembered. One alone says nothing.
const REMEMBERED: Duration = Duration::from_secs(3);

/// Bytes are held back when they have been so for this long, and so many round trips: SCTP's slow
/// start holds them back, too.
const LEAST: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 4;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// When packets were sent again, the last two times.
    losses: [Option<Instant>; 2],
    /// When less than a quarter of what was under way was held back.
    free: Instant,
}

impl Signs {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { losses: [None; 2], free: now }
    }

    /// So many packets were sent again since the last time, and of the bytes under way the stack
    /// holds some back.
    pub fn see(&mut self, again: u64, held_back: u64, under_way: u64, now: Instant) {
        for _ in 0..again.min(2) {
            self.losses = [self.losses[1], Some(now)];
        }
        if held_back <= under_way / 4 {
            self.free = now;
        }
    }

    /// Whether the line loses packets.
    #[must_use]
    pub fn is_lossy(&self, now: Instant) -> bool {
        let of_late = |at: Instant| now.saturating_duration_since(at) < REMEMBERED;
        self.losses.iter().all(|at| at.is_some_and(of_late))
    }

    /// Whether it is not the line that keeps bytes from leaving.
    #[must_use]
    pub fn is_held_back(&self, round: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.free) > LEAST.max(round * ROUNDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(100);

    #[test]
    fn one_loss_is_none_and_two_are_forgotten() {
        let start = Instant::now();
        let mut signs = Signs::new(start);
        signs.see(1, 0, 0, start);
        assert!(!signs.is_lossy(start));
        signs.see(1, 0, 0, start + Duration::from_secs(1));
        assert!(signs.is_lossy(start + Duration::from_secs(2)));
        assert!(!signs.is_lossy(start + REMEMBERED));
        signs.see(9, 0, 0, start + REMEMBERED);
        assert!(signs.is_lossy(start + REMEMBERED));
    }

    #[test]
    fn what_is_held_back_for_long_is_so_until_it_leaves() {
        let start = Instant::now();
        let mut signs = Signs::new(start);
        signs.see(0, 60, 100, start + ROUND * ROUNDS);
        assert!(!signs.is_held_back(ROUND, start + ROUND * ROUNDS));
        assert!(signs.is_held_back(ROUND, start + ROUND * (ROUNDS + 1)));
        signs.see(0, 20, 100, start + ROUND * (ROUNDS + 1));
        assert!(!signs.is_held_back(ROUND, start + ROUND * (ROUNDS + 1)));
    }
}
