//! Lanes as the carrier sees them: what each was given, and has not delivered yet.

use std::time::{Duration, Instant};

use crate::net::flight::LEAST;

/// What a data channel of a short line may have under way has shrunk for so long until more is tried,
/// and after a loss for so long until another counts.
const FIT_GROWS: Duration = Duration::from_secs(3);
const FIT_SHRINKS: Duration = Duration::from_millis(50);

/// A lane that has delivered nothing for so long, and so many round trips, has fallen behind: a data
/// channel waits for SCTP's timer then, which takes a second, and what it has is not on the line any
/// more. An acknowledgement alone may take 200 ms, and a browser that has much to do longer than some.
const BEHIND: Duration = Duration::from_millis(250);
const BEHIND_ROUNDS: u32 = 2;

/// What a lane was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Bytes handed to it.
    handed: u64,
    /// Those that the peer has not acknowledged.
    pub(super) under_way: u64,
    /// When something was delivered last, or nothing was under way.
    progressed: Instant,
    /// Bytes that were written off, and what was handed when the last of them were.
    lost: u64,
    lost_until: u64,
}

impl Load {
    /// Nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { handed: 0, under_way: 0, progressed: now, lost: 0, lost_until: 0 }
    }

    /// It was given so many bytes.
    pub(super) fn add(&mut self, bytes: u64, now: Instant) {
        if self.under_way == 0 {
            self.progressed = now;
        }
        self.handed += bytes;
        self.under_way += bytes;
    }

    /// So many bytes are not acknowledged.
    pub(super) fn see(&mut self, outstanding: u64, now: Instant) {
        if outstanding < self.under_way || outstanding == 0 {
            self.progressed = now;
        }
        self.under_way = outstanding.min(self.handed);
    }

    /// Bytes that the peer has acknowledged.
    pub(super) fn delivered(&self) -> u64 {
        self.handed - self.under_way
    }

    /// Those that had not been written off.
    pub(super) fn delivered_in_time(&self) -> u64 {
        self.delivered().max(self.lost_until) - self.lost
    }

    /// Bytes that are under way and were not written off.
    pub(super) fn on_the_line(&self) -> u64 {
        self.handed - self.delivered().max(self.lost_until)
    }

    /// Writes off what is under way. Gives the bytes that are.
    pub(super) fn write_off(&mut self) -> u64 {
        let bytes = self.on_the_line();
        self.lost += bytes;
        self.lost_until = self.handed;
        bytes
    }

    /// Whether it has fallen behind, on a line with such a round trip.
    pub(super) fn is_behind(&self, round: Duration, now: Instant) -> bool {
        self.silent_for(now) > BEHIND + round * BEHIND_ROUNDS
    }

    /// Since when the peer has acknowledged nothing of what is under way.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        let waits = self.under_way > 0;
        if waits { now.saturating_duration_since(self.progressed) } else { Duration::ZERO }
    }
}

/// How much a data channel may have under way at most, on a short line: there it is the peer's socket
/// that overflows, and a browser's holds 64 KiB. Each data channel has one of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    most: u64,
    changed: Instant,
}

impl Fit {
    /// Where nothing is lost.
    pub(super) const MOST: u64 = 2 * 1024 * 1024;

    pub(super) fn new(now: Instant) -> Self {
        Self { most: Self::MOST, changed: now }
    }

    /// Bytes.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// So many packets were sent again since the last time, while each data channel had so much under
    /// way.
    pub(super) fn see(&mut self, again: u64, under_way: u64, now: Instant) {
        let since = now.saturating_duration_since(self.changed);
        let (most, waits) = if again > 0 {
            ((self.most.min(under_way) / 4 * 3).max(LEAST), FIT_SHRINKS)
        } else {
            ((self.most + self.most / 8).min(Self::MOST), FIT_GROWS)
        };
        if since >= waits {
            (self.most, self.changed) = (most, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_off_neither_is_on_the_line_nor_arrives_in_time() {
        let now = Instant::now();
        let mut load = Load::new(now);
        load.add(100, now);
        load.see(60, now);
        assert_eq!((load.delivered_in_time(), load.on_the_line()), (40, 60));
        assert_eq!(load.write_off(), 60);
        assert_eq!((load.delivered_in_time(), load.on_the_line()), (40, 0));
        load.add(10, now);
        assert_eq!((load.under_way, load.on_the_line()), (70, 10));
        load.see(20, now);
        assert_eq!((load.delivered_in_time(), load.on_the_line()), (40, 10));
        load.see(3, now);
        assert_eq!((load.delivered_in_time(), load.on_the_line()), (47, 3));
        assert_eq!((load.write_off(), load.write_off()), (3, 0));
        load.see(0, now);
        assert_eq!((load.delivered(), load.delivered_in_time()), (110, 47));
    }

    #[test]
    fn what_is_lost_makes_a_channel_fit_the_peers_socket() {
        let mut now = Instant::now();
        let mut fit = Fit::new(now);
        let lose = |fit: &mut Fit, now: &mut Instant, under_way: u64| {
            *now += FIT_SHRINKS;
            fit.see(3, under_way, *now);
            fit.most()
        };
        assert_eq!(lose(&mut fit, &mut now, 100_000), 75_000);
        // The same loss, of which more is heard.
        fit.see(5, 75_000, now + FIT_SHRINKS / 2);
        assert_eq!(fit.most(), 75_000);
        assert_eq!(lose(&mut fit, &mut now, 75_000), 56_250);
        for _ in 0..4 {
            assert_eq!(lose(&mut fit, &mut now, 1_000), LEAST);
        }
    }

    #[test]
    fn where_nothing_is_lost_any_more_it_grows_again() {
        let mut now = Instant::now() + FIT_SHRINKS;
        let mut fit = Fit::new(now);
        now += FIT_SHRINKS;
        fit.see(1, 64 * 1024, now);
        let before = fit.most();
        fit.see(0, before, now + FIT_GROWS / 2);
        assert_eq!(fit.most(), before);
        now += FIT_GROWS;
        fit.see(0, before, now);
        assert_eq!(fit.most(), before + before / 8);
        for _ in 0..60 {
            now += FIT_GROWS;
            fit.see(0, before, now);
        }
        assert_eq!(fit.most(), Fit::MOST);
    }
}
