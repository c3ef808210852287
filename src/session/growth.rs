//! How many lanes: one of its own beside the first, which finds out the path's MTU and leaves the
//! first to what is said besides; and more for as long as that makes the transfer faster. A line that
//! loses packets, or holds more than a lane's window, is filled by several lanes. Losses do not
//! always show: a lane that repairs one looks like one on a slower line. So more are tried on any
//! line that is not a short one, whose rate is that of the processors.

use std::time::{Duration, Instant};

/// The user's wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// As many as make the transfer faster.
    #[default]
    Auto,
    /// So many.
    Fixed(usize),
}

/// Numbers of lanes beside the first that are tried, one after the other.
const STEPS: [usize; 4] = [0, 1, 4, 16];

/// On a line as short as this more lanes are tried only when something is lost.
const SHORT: Duration = Duration::from_millis(5);

/// Less than this is sent too soon for a further lane to be of use; on a slow line, or one that
/// loses something, an eighth of it is not.
const WORTH_IT: u64 = 4 * 1024 * 1024;
const SLOW: Duration = Duration::from_millis(500);

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
    /// Lanes that are open, beside the first.
    pub open: usize,
    /// Those in use know what the line holds.
    pub steady: bool,
    /// The round trip of the line.
    pub round: Duration,
    /// A lane has all under way that it may.
    pub full: bool,
    /// Something was lost of late.
    pub lossy: bool,
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
            Phase::Start(Some(start)) => {
                let slow = seen.lossy || since(start) >= SLOW;
                let worth_it = delivered >= if slow { WORTH_IT / 8 } else { WORTH_IT };
                if worth_it { Phase::Resting(now) } else { self.phase }
            }
            Phase::Resting(until) => {
                let rate = self.lately(delivered, now);
                let next = self.next(seen).filter(|_| now >= until);
                match next.zip(rate) {
                    Some((next, rate)) => self.try_step(next, rate, now),
                    None => self.phase,
                }
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
        self.marks = None;
        self.before = Some((self.step, rate));
        self.step = step;
        Phase::Opening(now)
    }

    /// The step to try next, if it may help.
    fn next(&self, seen: Seen) -> Option<usize> {
        let last = STEPS.len() - 1;
        let next = match self.step {
            _ if seen.lossy => last,
            0 if seen.round <= SHORT => 1,
            step if seen.full || (seen.steady && seen.round > SHORT) => (step + 1).max(2).min(last),
            step => step,
        };
        Some(next).filter(|next| *next > self.step)
    }

    /// So many bytes a second go over these lanes.
    fn measured(&mut self, rate: u64, seen: Seen, now: Instant) -> Phase {
        // Where something is lost fewer lanes are never better for long, whatever they were before.
        if let Some((step, before)) = self.before.take()
            && rate < before + before / 8
            && !seen.lossy
        {
            // One lane of its own costs nothing, and leaves the first to what is said besides.
            self.step = step.max(1);
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

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(delivered: u64, open: usize) -> Seen {
        let round = Duration::from_millis(50);
        Seen { delivered, open, steady: true, round, full: false, lossy: false }
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
        Seen { lossy: true, ..seen }
    }

    fn full(seen: Seen) -> Seen {
        Seen { full: true, ..seen }
    }

    #[test]
    fn lanes_are_added_while_that_helps() {
        let in_all = |most: u64| move |lanes: usize| (lanes as u64 * 5_000_000).min(most);
        assert_eq!(grown(in_all(u64::MAX), lossy, 20).wanted(), 16);
        assert_eq!(grown(in_all(u64::MAX), full, 20).wanted(), 16);
        assert_eq!(grown(in_all(20_000_000), full, 10).wanted(), 4);
        assert_eq!(grown(in_all(5_000_000), full, 8).wanted(), 1);
        assert_eq!(grown(in_all(5_000_000), lossy, 8).wanted(), 16);
    }

    #[test]
    fn without_a_sign_more_are_tried_but_not_on_a_short_line() {
        let rate = |lanes: usize| lanes as u64 * 11_000_000;
        assert_eq!(grown(rate, |seen| seen, 10).wanted(), 16);
        assert_eq!(grown(|_| 11_000_000, |seen| seen, 8).wanted(), 1);
        let short = |seen| Seen { round: Duration::from_millis(1), ..seen };
        assert_eq!(grown(rate, short, 60).wanted(), 1);
    }

    #[test]
    fn what_did_not_help_is_tried_again_less_and_less_often() {
        assert_eq!(grown(|_| 10_000_000, full, 900).pause, LONGEST_PAUSE);
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
        growth.look(lossy(seen(1_000, 0)), Instant::now());
        assert_eq!(growth.wanted(), 0);
    }
}
