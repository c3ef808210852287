//! The arithmetic of progress: how far, how fast, how much longer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::proto::limit::Limit;

/// How strongly the newest second weighs in the rate.
const WEIGHT: f64 = 0.3;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Bytes that the other end has, or that were written here.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes a second, of late.
    pub rate: f64,
    /// Time left at that rate; `None` before there is one.
    pub left: Option<Duration>,
    /// What the transfer waits for, once that is known.
    pub limit: Option<Limit>,
    /// What carries it; at the receiver, the fastest of what may.
    pub over: Over,
    /// What the lanes do, at the sender.
    pub lanes: Option<Lanes>,
}

/// The kinds of lane that carry a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// Data channels.
    pub data_channels: bool,
    /// TLS over TCP.
    pub tls: bool,
    /// QUIC.
    pub quic: bool,
}

impl Over {
    /// None.
    pub const NONE: Self = Self { data_channels: false, tls: false, quic: false };
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.tls, self.quic, self.data_channels) {
            (true, false, false) => "TLS",
            (true, false, true) => "TLS and data channels",
            (true, true, _) => "TLS and QUIC",
            (false, true, _) => "QUIC",
            (false, false, _) => "data channels",
        })
    }
}

/// What the lanes of a transfer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// How many are used.
    pub count: usize,
    /// Bytes on their way.
    pub under_way: u64,
    /// Bytes that may be.
    pub window: u64,
    /// The shortest time that something took to be acknowledged.
    pub round: Duration,
    /// How often bytes were sent over another lane, too.
    pub again: u64,
    /// Packets that the lanes themselves sent again.
    pub repaired: u64,
    /// The largest packets that are sent, in bytes.
    pub mtu: u32,
}

/// Measures a transfer; the time is an argument.
#[derive(Clone, Debug)]
pub struct Meter {
    total: u64,
    started: Instant,
    last: (Instant, u64),
    rate: Option<f64>,
}

impl Meter {
    /// Starts to measure.
    #[must_use]
    pub fn new(total: u64, now: Instant) -> Self {
        Self { total, started: now, last: (now, 0), rate: None }
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    /// There is this much in all.
    pub fn expect(&mut self, total: u64) {
        self.total = total;
    }

    /// Takes a measurement.
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn measure(&mut self, done: u64, now: Instant) -> Progress {
        let (then, before) = self.last;
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 {
            let current = done.saturating_sub(before) as f64 / seconds;
            let weight = (WEIGHT * seconds).clamp(WEIGHT / 10.0, 1.0);
            self.rate = Some(self.rate.map_or(current, |rate| rate + (current - rate) * weight));
            self.last = (now, done);
        }
        let rate = self.rate.unwrap_or_default();
        let missing = self.total.saturating_sub(done) as f64;
        let left =
            (rate >= 1.0).then(|| Duration::try_from_secs_f64(missing / rate).ok()).flatten();
        Progress {
            done,
            total: self.total,
            rate,
            left,
            limit: None,
            over: Over::default(),
            lanes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_transfer_has_a_steady_rate_and_a_shrinking_rest() {
        let start = Instant::now();
        let mut meter = Meter::new(1000, start);
        for second in 1..=5_u8 {
            let now = start + Duration::from_secs(u64::from(second));
            let progress = meter.measure(u64::from(second) * 100, now);
            assert!((progress.rate - 100.0).abs() < 1e-6);
            let left = progress.left.unwrap().as_secs_f64();
            assert!((left - (10.0 - f64::from(second))).abs() < 1e-6);
        }
        assert_eq!(meter.elapsed(start + Duration::from_secs(5)), Duration::from_secs(5));
    }

    #[test]
    fn a_stalled_transfer_has_no_end_in_sight() {
        let start = Instant::now();
        let mut meter = Meter::new(1000, start);
        assert_eq!(meter.measure(0, start).left, None);
        assert_eq!(meter.measure(0, start + Duration::from_secs(9)).left, None);
    }
}
