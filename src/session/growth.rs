//! How many lanes: one of its own beside the first, which finds out the path's MTU and leaves the
//! first to what is said besides; a few on a line that is not a short one, which they fill sooner;
//! and more for as long as that makes the transfer faster, or because the line
//! [loses packets](super::signs) or holds more than the lanes' windows.

use std::time::{Duration, Instant};

use crate::net::flight::{SHORT, per_second};

/// The user's wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// As many as make the transfer faster.
    #[default]
    Auto,
    /// So many.
    Fixed(usize),
}

/// Numbers of lanes beside the first that are tried, one after the other: the one of its own, the
/// few that a long line is given at once, and the most.
const STEPS: [usize; 4] = [0, 1, 4, 16];
const OWN: usize = 1;
const FEW: usize = 2;
const MOST: usize = 3;

/// On a line as long as this SCTP's slow start, which adds a packet for each acknowledgement, takes
/// seconds: it is given all lanes at once.
const FAR: Duration = Duration::from_millis(40);

/// Less than this is sent too soon over a short line for a further lane to be of use; on a slow line
/// an eighth of it is not.
const WORTH_IT: u64 = 4 * 1024 * 1024;
const SLOW: Duration = Duration::from_millis(500);

/// A short line that loses packets while one lane carries so few bytes a second, after so long, has
/// other reasons for it than machines that are too slow for each other: Wi-Fi, or a full queue.
const POOR: u64 = 16_000_000;
const SOON: Duration = Duration::from_millis(100);

/// How long a number of lanes runs before it is measured, and how long that takes.
const SETTLE: Duration = Duration::from_millis(600);
const MEASURE: Duration = Duration::from_millis(800);

/// The same in round trips of the line, when that is longer.
const ROUNDS: u32 = 8;

/// How long lanes are waited for, and the end of their start.
const MOST_WAIT: Duration = Duration::from_secs(6);

/// When more lanes are tried again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Clone, Debug)]
pub struct Growth {
    connections: Connections,
    step: usize,
    phase: Phase,
    /// The step before this one, which is only tried, and the rate there.
    before: Option<(usize, u64)>,
    /// What was delivered, and when, one and two steps of time ago.
    marks: Option<[(Instant, u64); 2]>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing much is sent yet; since then.
    Start(Option<Instant>),
    /// There are as many as the user wants.
    Fixed,
    /// Lanes are opening, or finding out what the line holds.
    Opening(Instant),
    Settling(Instant),
    Measuring(Instant, u64),
    /// It stays so until then.
    Resting(Instant),
}

/// What is known of the lanes.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Bytes delivered in all.
    pub delivered: u64,
    /// As much is ready to be sent as may be.
    pub ready: bool,
    /// Lanes that are open, beside the first.
    pub open: usize,
    /// Those in use know what the line holds.
    pub steady: bool,
    /// The round trip of the line.
    pub round: Duration,
    /// A reason for more lanes.
    pub reason: Option<Reason>,
    /// There is a lane of another kind, which fills a line by itself unless there is a reason.
    pub helped: bool,
}

/// Why one lane is too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The lanes' own windows, and not the line, keep bytes from leaving.
    HeldBack,
    /// The line loses packets.
    Lossy,
}

impl Seen {
    fn is_long(&self) -> bool {
        self.round > SHORT
    }

    fn is_lossy(&self) -> bool {
        self.reason == Some(Reason::Lossy)
    }

    fn is_enough(&self) -> bool {
        self.helped && self.reason.is_none()
    }
}

impl Growth {
    /// Follows the user's wish.
    #[must_use]
    pub fn new(connections: Connections) -> Self {
        Self {
            connections,
            step: 0,
            phase: Phase::Start(None),
            before: None,
            marks: None,
            pause: FIRST_PAUSE,
        }
    }

    /// How many lanes are wanted beside the first, which is used when there is none.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match (self.connections, self.phase) {
            (_, Phase::Start(_)) => 0,
            (Connections::Fixed(count), _) => count,
            (Connections::Auto, _) => STEPS.get(self.step).copied().unwrap_or_default(),
        }
    }

    /// Looks how it goes.
    pub fn look(&mut self, seen: Seen, now: Instant) {
        let Seen { delivered, .. } = seen;
        let since = |then: Instant| now.saturating_duration_since(then);
        self.phase = match self.phase {
            Phase::Start(_) if self.connections != Connections::Auto => Phase::Fixed,
            Phase::Start(None) if delivered > 0 => Phase::Start(Some(now)),
            Phase::Start(Some(_)) if seen.is_enough() => self.phase,
            Phase::Start(Some(_)) if seen.ready && seen.is_long() => {
                self.go_to(if seen.round < FAR { FEW } else { MOST }, now)
            }
            Phase::Start(Some(start))
                if seen.ready
                    && seen.is_lossy()
                    && since(start) >= SOON
                    && per_second(delivered, since(start)) < POOR =>
            {
                self.go_to(FEW, now)
            }
            // What a short line loses is too much for the peer's socket: several have more place. How
            // fast one was before the first loss says nothing.
            Phase::Start(Some(_)) if seen.ready && seen.is_lossy() => {
                match self.lately(delivered, now) {
                    Some(rate) => {
                        self.step = OWN;
                        self.try_step(FEW, rate, now)
                    }
                    None => self.phase,
                }
            }
            Phase::Start(Some(start)) => {
                let worth_it = if since(start) >= SLOW { WORTH_IT / 8 } else { WORTH_IT };
                if delivered >= worth_it { self.go_to(OWN, now) } else { self.phase }
            }
            Phase::Resting(until) => {
                let rate = self.lately(delivered, now);
                let next = self.next(seen).filter(|_| now >= until);
                match next.zip(rate) {
                    Some((next, rate)) => self.try_step(next, rate, now),
                    None => self.phase,
                }
            }
            // There is no need to measure first what too few lanes do.
            Phase::Opening(_) | Phase::Settling(_) | Phase::Measuring(..)
                if seen.is_long() && seen.reason.is_some() && self.step < MOST =>
            {
                self.go_to(MOST, now)
            }
            Phase::Opening(start) => {
                let ready = seen.open >= self.wanted() && seen.steady;
                if ready || since(start) >= MOST_WAIT { Phase::Settling(now) } else { self.phase }
            }
            Phase::Settling(start) if since(start) >= SETTLE.max(seen.round * ROUNDS) => {
                Phase::Measuring(now, delivered)
            }
            Phase::Measuring(start, before) if since(start) >= MEASURE.max(seen.round * ROUNDS) => {
                self.measured(per_second(delivered - before, since(start)), seen, now)
            }
            phase => phase,
        };
    }

    /// The rate of late, when it is known; it need not be exact.
    fn lately(&mut self, delivered: u64, now: Instant) -> Option<u64> {
        let [before, last] = self.marks.unwrap_or([(now, delivered); 2]);
        let fresh = now.saturating_duration_since(last.0) < MEASURE / 2;
        self.marks = Some(if fresh { [before, last] } else { [last, (now, delivered)] });
        let time = now.saturating_duration_since(before.0);
        (time >= MEASURE / 2).then(|| per_second(delivered - before.1, time))
    }

    fn try_step(&mut self, step: usize, rate: u64, now: Instant) -> Phase {
        self.before = Some((self.step, rate));
        self.go_to(step, now)
    }

    fn go_to(&mut self, step: usize, now: Instant) -> Phase {
        self.marks = None;
        self.step = step;
        Phase::Opening(now)
    }

    /// The step to try next, if it may help.
    fn next(&self, seen: Seen) -> Option<usize> {
        let next = match self.step {
            _ if seen.is_long() && seen.reason.is_some() => MOST,
            step if seen.is_enough() => step,
            step if seen.is_long() && seen.steady => (step + 1).clamp(FEW, MOST),
            step if seen.reason.is_some() => (step + 1).min(MOST),
            step => step,
        };
        Some(next).filter(|next| *next > self.step)
    }

    /// The rate of more lanes that is worth them. Where a line loses packets what is measured is mostly
    /// which lanes wait for a timer meanwhile, and on a long one fewer are never better for long.
    fn enough(before: u64, seen: Seen) -> u64 {
        match (seen.is_lossy(), seen.is_long()) {
            (true, true) => 0,
            (true, false) if before < POOR => before - before / 8,
            _ => before + before / 8,
        }
    }

    /// So many bytes a second go over these lanes.
    fn measured(&mut self, rate: u64, seen: Seen, now: Instant) -> Phase {
        if let Some((step, before)) = self.before.take()
            && rate < Self::enough(before, seen)
        {
            self.step = step;
            let until = now + self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Phase::Resting(until);
        }
        match self.next(seen) {
            Some(next) => self.try_step(next, rate, now),
            None => Phase::Resting(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn seen(delivered: u64, open: usize) -> Seen {
        let round = Duration::from_millis(20);
        Seen { delivered, ready: true, open, steady: true, round, reason: None, helped: false }
    }

    /// Where a line that gives so many bytes a second to so many lanes gets to in a time.
    fn grown(rate: impl Fn(usize) -> u64, sign: impl Fn(Seen) -> Seen, seconds: u32) -> Growth {
        let mut growth = Growth::new(Connections::Auto);
        let (mut now, mut delivered) = (Instant::now(), 0);
        for _ in 0..seconds * 100 {
            let lanes = growth.wanted();
            delivered += rate(lanes.max(1)) / 100;
            now += Duration::from_millis(10);
            growth.look(sign(seen(delivered, lanes)), now);
        }
        growth
    }

    fn lossy(seen: Seen) -> Seen {
        Seen { reason: Some(Reason::Lossy), ..seen }
    }

    fn held_back(seen: Seen) -> Seen {
        Seen { reason: Some(Reason::HeldBack), ..seen }
    }

    fn short(seen: Seen) -> Seen {
        Seen { round: Duration::from_millis(1), ..seen }
    }

    #[test]
    fn a_long_line_has_a_few_lanes_and_more_while_that_helps() {
        let in_all = |most: u64| move |lanes: usize| (lanes as u64 * 5_000_000).min(most);
        assert_eq!(grown(in_all(u64::MAX), |seen| seen, 20).wanted(), 16);
        assert_eq!(grown(in_all(20_000_000), |seen| seen, 10).wanted(), 4);
    }

    #[test]
    fn a_line_across_an_ocean_has_all_lanes_at_once() {
        let far = |seen| Seen { round: Duration::from_millis(100), ..seen };
        assert_eq!(grown(|_| 10_000_000, far, 1).wanted(), 16);
    }

    #[test]
    fn a_lane_that_loses_packets_or_holds_bytes_back_is_followed_by_many_at_once() {
        for sign in [lossy, held_back] {
            assert_eq!(grown(|lanes| lanes as u64 * 1_000_000, sign, 1).wanted(), 16);
        }
        assert_eq!(grown(|_| 5_000_000, lossy, 8).wanted(), 16);
    }

    #[test]
    fn a_short_line_has_one_lane_of_its_own_unless_more_help() {
        let rate = |lanes: usize| lanes as u64 * 11_000_000;
        assert_eq!(grown(rate, short, 60).wanted(), 1);
        assert_eq!(grown(rate, |seen| short(lossy(seen)), 1).wanted(), 4);
        assert_eq!(grown(rate, |seen| short(lossy(seen)), 20).wanted(), 16);
        assert_eq!(grown(|_| 100_000_000, |seen| short(lossy(seen)), 6).wanted(), 1);
    }

    #[test]
    fn what_a_short_line_gives_before_its_first_loss_is_no_measure() {
        let steps = Cell::new(0);
        let rate = |lanes: usize| {
            steps.set(steps.get() + 1);
            if steps.get() <= 30 { 110_000_000 } else { lanes.min(4) as u64 * 17_000_000 }
        };
        let sign = |seen| if steps.get() <= 30 { short(seen) } else { short(lossy(seen)) };
        assert_eq!(grown(rate, sign, 10).wanted(), 4);
    }

    #[test]
    fn a_short_line_that_loses_packets_and_is_slow_has_a_few_lanes_at_once_and_keeps_what_is_no_worse()
     {
        let sign = |seen| short(lossy(seen));
        let mut growth = Growth::new(Connections::Auto);
        let start = Instant::now();
        growth.look(sign(seen(100_000, 0)), start);
        growth.look(sign(seen(1_000_000, 0)), start + SOON);
        assert_eq!(growth.wanted(), 4);
        assert_eq!(grown(|_| 10_000_000, sign, 10).wanted(), 16);
        let worse = |lanes: usize| if lanes > 4 { 8_000_000 } else { 10_000_000 };
        assert_eq!(grown(worse, sign, 8).wanted(), 4);
    }

    #[test]
    fn what_did_not_help_is_tried_again_less_and_less_often() {
        assert_eq!(grown(|_| 10_000_000, |seen| seen, 900).pause, LONGEST_PAUSE);
    }

    #[test]
    fn a_fixed_number_is_taken_at_once() {
        let mut growth = Growth::new(Connections::Fixed(7));
        growth.look(seen(0, 0), Instant::now());
        assert_eq!(growth.wanted(), 7);
    }

    #[test]
    fn little_needs_no_further_lane() {
        let mut growth = Growth::new(Connections::Auto);
        for _ in 0..3 {
            growth.look(Seen { ready: false, ..lossy(seen(1_000, 0)) }, Instant::now());
        }
        assert_eq!(growth.wanted(), 0);
    }
}
