//! So many bytes a second, and no more than a few at once.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: u64,
    burst: Duration,
    free: Instant,
}

impl Pace {
    /// Lets so many bytes a second pass, and at once what takes so long.
    pub(super) fn new(rate: u64, burst: Duration, now: Instant) -> Self {
        Self { rate, burst, free: now }
    }

    /// Changes the rate, in bytes a second.
    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// Whether something may pass.
    pub(super) fn passes(&self, now: Instant) -> bool {
        now >= self.free
    }

    /// From when on something may.
    pub(super) fn free(&self) -> Instant {
        self.free
    }

    /// So many bytes have passed.
    pub(super) fn passed(&mut self, bytes: u64, now: Instant) {
        let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.rate.max(1));
        self.free = self.free.max(now.checked_sub(self.burst).unwrap_or(now)) + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: Duration = Duration::from_millis(50);

    #[test]
    fn so_many_bytes_a_second_pass() {
        let start = Instant::now();
        let (mut pace, mut now, mut passed) = (Pace::new(1_000_000, BURST, start), start, 0);
        while now < start + Duration::from_secs(2) {
            if pace.passes(now) {
                pace.passed(1_000, now);
                passed += 1_000;
            }
            now += Duration::from_micros(100);
        }
        assert_eq!(passed, 2_000_000);
    }

    #[test]
    fn after_a_pause_a_burst_passes_however_long_it_was() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000, BURST, start);
        let (later, mut burst) = (start + Duration::from_secs(5), 0);
        while pace.passes(later) {
            pace.passed(1_000, later);
            burst += 1_000;
        }
        assert_eq!(burst, 51_000);
        assert_eq!(pace.free(), later + Duration::from_millis(1));
    }
}
