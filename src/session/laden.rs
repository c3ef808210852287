//! Lanes as the carrier sees them: what each was given, and has not delivered yet.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::kinds::Kind;
use crate::net::{
    flight::{LEAST, per_second},
    lane::{Closed, LaneSender},
    stream::StreamSender,
};

/// What a new data channel may have under way: SCTP's slow start lets four packets leave.
const START: u64 = 16 * 1024;

/// What a data channel of a short line may have under way has shrunk for so long until more is tried,
/// and after a loss for so long until another counts.
const FIT_GROWS: Duration = Duration::from_secs(3);
const FIT_SHRINKS: Duration = Duration::from_millis(50);

/// A lane that has delivered nothing for so long, and so many round trips, has fallen behind: a data
/// channel waits for SCTP's timer then, which takes a second, and what it has is not on the line any
/// more. An acknowledgement alone may take 200 ms, and a browser that has much to do longer than some.
const BEHIND: Duration = Duration::from_millis(250);
const BEHIND_ROUNDS: u32 = 2;

/// A lane of TLS or QUIC that is not the only one takes no more than it delivers in two round trips
/// and so long, so that nobody waits for what it has; and at least so many bytes.
const SOON: Duration = Duration::from_millis(200);
const LITTLE: u64 = 128 * 1024;

/// How long a rate is measured.
const MEASURE: Duration = Duration::from_millis(100);

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
    fn new(now: Instant) -> Self {
        Self { handed: 0, under_way: 0, progressed: now, lost: 0, lost_until: 0 }
    }

    fn add(&mut self, bytes: u64, now: Instant) {
        if self.under_way == 0 {
            self.progressed = now;
        }
        self.handed += bytes;
        self.under_way += bytes;
    }

    fn see(&mut self, outstanding: u64, now: Instant) {
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

/// A data channel.
pub(super) struct Channel {
    pub(super) number: u32,
    pub(super) sender: LaneSender,
    pub(super) load: Load,
    /// Nothing more is given to it.
    pub(super) closing: bool,
    /// Packets that its connection sent again.
    repaired: u64,
}

impl Channel {
    pub(super) fn new(number: u32, sender: LaneSender, now: Instant) -> Self {
        let (repaired, _) = sender.meter().again_and_held_back();
        Self { number, sender, load: Load::new(now), closing: false, repaired }
    }

    /// Whether it may take a message, as one of several that share a window.
    pub(super) fn admits(&self, bytes: u64, window: u64, channels: usize) -> bool {
        let share = window / channels.max(1) as u64;
        self.load.under_way + bytes <= most(bytes, share, self.load.delivered())
    }

    pub(super) async fn send(&mut self, message: Bytes) -> Result<(), Closed> {
        let length = message.len() as u64;
        let sent = self.sender.send(message.into()).await;
        match sent {
            Ok(()) => self.load.add(length, Instant::now()),
            Err(Closed) => self.closing = true, // It is told elsewhere, too.
        }
        sent
    }

    /// Asks what it has delivered. Gives the packets that were sent again since, and the bytes that
    /// it holds back.
    pub(super) async fn look(&mut self) -> (u64, u64) {
        if self.load.under_way == 0 {
            return (0, 0);
        }
        let Ok(outstanding) = self.sender.outstanding().await else {
            // What it had goes over another when it is known to be gone.
            self.closing = true;
            return (0, 0);
        };
        self.load.see(outstanding as u64, Instant::now());
        let (again, held_back) = self.sender.meter().again_and_held_back();
        (again - mem::replace(&mut self.repaired, again), held_back)
    }
}

/// What a data channel may have under way that has such a share of the window and has delivered so
/// much. A new one takes only what SCTP's slow start lets it send soon, later two messages at least:
/// when the end of one is lost, only what follows it shows that before SCTP's timer does, a second
/// later.
fn most(message: u64, share: u64, delivered: u64) -> u64 {
    (share * 2).max(message * 2).min(delivered + START).max(message)
}

/// A lane of TLS or QUIC.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) sender: StreamSender,
    pub(super) load: Load,
    /// Nothing more is given to it.
    pub(super) closing: bool,
    /// Bytes a second that it has delivered of late; what it had then, and when.
    rate: u64,
    mark: (u64, Instant),
}

impl Stream {
    pub(super) fn new(number: u32, kind: Kind, sender: StreamSender, now: Instant) -> Self {
        let load = Load::new(now);
        Self { number, kind, sender, load, closing: false, rate: 0, mark: (0, now) }
    }

    /// Whether it may take a message, on a line with such a round trip, alone or beside others.
    pub(super) fn admits(&self, round: Duration, alone: bool) -> bool {
        let soon = u128::from(self.rate) * (round * 2 + SOON).as_millis() / 1000;
        let admits = alone || u128::from(self.load.under_way) < soon.max(LITTLE.into());
        admits && self.sender.has_place()
    }

    pub(super) fn send(&mut self, message: Bytes, now: Instant) -> Result<(), Closed> {
        self.load.add(message.len() as u64, now);
        let sent = self.sender.send(message);
        self.closing |= sent.is_err(); // It is told elsewhere, too.
        sent
    }

    pub(super) fn look(&mut self, now: Instant) {
        match self.sender.outstanding() {
            Ok(outstanding) => self.load.see(outstanding, now),
            // As with a data channel.
            Err(Closed) => self.closing = true,
        }
        let (before, then) = self.mark;
        let took = now.saturating_duration_since(then);
        if took >= MEASURE {
            let delivered = self.load.delivered();
            self.rate = per_second(delivered - before, took).max(self.rate / 4 * 3);
            self.mark = (delivered, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_takes_two_messages_however_small_its_share_once_it_is_not_new() {
        assert_eq!(most(10_000, 3_000, 0), START);
        assert_eq!(most(10_000, 3_000, 100_000), 20_000);
        assert_eq!(most(10_000, 50_000, 1_000_000), 100_000);
        assert_eq!(most(60_000, 3_000, 0), 60_000, "one message always");
    }

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
