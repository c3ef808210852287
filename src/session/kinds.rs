//! Which kinds of lane carry: data channels until there is one of TLS, which costs the processors a
//! third. On a short line it then carries alone. On a long one, where a single TCP connection may
//! be slow because packets are lost, both carry, and TLS carries alone once that was seen to be as
//! fast.

use std::time::{Duration, Instant};

use super::flight::{SHORT, per_second};
use crate::net::network::Kinds;

/// How long data channels carry alone, or more of them are not opened, because one of TLS may come.
const SOON: Duration = Duration::from_secs(1);

/// The same when the user wants TLS.
const WANTED: Duration = Duration::from_secs(10);

/// How long a rate is measured, and the same in round trips of the line, when that is longer.
const MEASURE: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 10;

/// How soon a lane that is gone, or did not come up, is followed by another; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How soon it is tried whether TLS is as fast alone, once both carry; twice as long each time.
const FIRST_TRIAL: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub struct Choice {
    wish: Kinds,
    state: State,
    /// How long to wait for the next lane of TLS.
    pause: Duration,
    /// How long until TLS carries alone on trial.
    trial: Duration,
    mark: Option<(Instant, Carried)>,
    /// The highest rate of TLS alone.
    best: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no lane of TLS; one is to be asked for then.
    Without(Instant),
    /// One was asked for.
    Asked(Instant),
    /// Both kinds carry; TLS may be tried alone then.
    Both(Instant),
    /// TLS carries alone, to be compared with this rate of both.
    Trial(u64),
    /// TLS carries alone.
    Alone,
}

/// What was carried in all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Bytes delivered by lanes of TLS.
    pub tls: u64,
    /// Bytes delivered by all lanes.
    pub all: u64,
    /// Time spent waiting for place on them.
    pub waited: Duration,
}

impl Choice {
    /// Follows a wish that both ends can grant.
    #[must_use]
    pub fn new(wish: Kinds, now: Instant) -> Self {
        Self {
            wish,
            state: State::Without(now),
            pause: FIRST_PAUSE,
            trial: FIRST_TRIAL,
            mark: None,
            best: 0,
        }
    }

    /// Whether a lane of TLS is to be opened; said once.
    pub fn asks(&mut self, now: Instant) -> bool {
        match self.state {
            State::Without(then) if self.wish != Kinds::DataChannel && now >= then => {
                self.state = State::Asked(now);
                true
            }
            State::Asked(then) if now >= then + WANTED + self.pause => {
                self.pause_until_next();
                self.state = State::Asked(now);
                true
            }
            _ => false,
        }
    }

    /// There is a lane of TLS, on a line with such a round trip.
    pub fn opened(&mut self, round: Duration, now: Instant) {
        let alone = round <= SHORT || self.wish == Kinds::Tls;
        self.state = if alone { State::Alone } else { State::Both(now + self.trial) };
        self.mark = None;
        self.best = 0;
    }

    /// It is gone.
    pub fn gone(&mut self, now: Instant) {
        self.state = State::Without(now + self.pause);
        self.pause_until_next();
    }

    fn pause_until_next(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Whether data channels carry.
    #[must_use]
    pub fn channels_carry(&self, now: Instant) -> bool {
        match self.state {
            State::Trial(_) | State::Alone => false,
            State::Without(_) | State::Both(_) => true,
            State::Asked(then) => self.wish != Kinds::Tls || now >= then + WANTED,
        }
    }

    /// Whether more data channels may be opened if that helps.
    #[must_use]
    pub fn channels_grow(&self, now: Instant) -> bool {
        match self.state {
            State::Asked(then) => now >= then + SOON,
            _ => self.channels_carry(now),
        }
    }

    /// Looks how it goes.
    pub fn look(&mut self, carried: Carried, round: Duration, now: Instant) {
        let (then, before) = *self.mark.get_or_insert((now, carried));
        let took = now.saturating_duration_since(then);
        if took < MEASURE.max(round * ROUNDS) {
            return;
        }
        self.mark = Some((now, carried));
        let tls = per_second(carried.tls - before.tls, took);
        let all = per_second(carried.all - before.all, took);
        let is_the_limit = carried.waited.saturating_sub(before.waited) >= took / 2;
        self.state = match self.state {
            State::Both(trial) if now >= trial && tls >= all / 2 => State::Trial(all),
            State::Trial(both) if is_the_limit && tls < both - both / 8 => self.both(now),
            State::Trial(_) => State::Alone,
            State::Alone if is_the_limit && tls < self.best / 2 && self.wish != Kinds::Tls => {
                self.both(now)
            }
            state => state,
        };
        self.best = if self.state == State::Alone { self.best.max(tls) } else { 0 };
    }

    fn both(&mut self, now: Instant) -> State {
        self.trial = (self.trial * 2).min(LONGEST_PAUSE);
        State::Both(now + self.trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_LINE: Duration = Duration::from_millis(20);

    /// A choice, and what was carried while it looked.
    struct Run {
        choice: Choice,
        carried: Carried,
        now: Instant,
    }

    impl Run {
        fn opened(wish: Kinds, round: Duration) -> Self {
            let now = Instant::now();
            let mut choice = Choice::new(wish, now);
            assert!(choice.asks(now) && !choice.asks(now));
            choice.opened(round, now);
            Self { choice, carried: Carried::default(), now }
        }

        /// Seconds in which TLS carries so much, data channels so much if they may, and the lanes
        /// are what is waited for, or not.
        fn pass(&mut self, seconds: u32, tls: u64, channels: u64, is_the_limit: bool) {
            for _ in 0..seconds * 100 {
                let channels = if self.carry() { channels } else { 0 };
                self.carried.tls += tls / 100;
                self.carried.all += (tls + channels) / 100;
                self.carried.waited += Duration::from_millis(if is_the_limit { 9 } else { 1 });
                self.now += Duration::from_millis(10);
                self.choice.look(self.carried, LONG_LINE, self.now);
            }
        }

        fn carry(&self) -> bool {
            self.choice.channels_carry(self.now)
        }
    }

    #[test]
    fn on_a_short_line_tls_carries_alone_at_once() {
        assert!(!Run::opened(Kinds::Auto, Duration::from_millis(1)).carry());
    }

    #[test]
    fn on_a_long_line_tls_carries_alone_when_that_is_as_fast() {
        let mut run = Run::opened(Kinds::Auto, LONG_LINE);
        assert!(run.carry());
        run.pass(5, 10_000_000, 1_000_000, true);
        assert!(!run.carry());
        run.pass(5, 1_000_000, 9_000_000, true);
        assert!(run.carry(), "it has become slow");
    }

    #[test]
    fn what_waits_for_something_else_is_not_slow() {
        let mut run = Run::opened(Kinds::Auto, LONG_LINE);
        run.pass(5, 10_000_000, 1_000_000, true);
        run.pass(5, 1_000_000, 1_000_000, false);
        assert!(!run.carry());
    }

    #[test]
    fn on_a_line_that_loses_packets_both_carry() {
        let mut run = Run::opened(Kinds::Auto, LONG_LINE);
        for _ in 0..30 {
            run.pass(1, 1_000_000, 9_000_000, true);
            assert!(run.carry(), "TLS carries too little to be tried alone");
        }
        let mut run = Run::opened(Kinds::Auto, LONG_LINE);
        let mut alone = 0;
        for _ in 0..100 {
            run.pass(1, 6_000_000, 5_000_000, true);
            alone += u32::from(!run.carry());
        }
        assert!((1..10).contains(&alone), "it was tried alone for {alone} s of 100");
    }

    #[test]
    fn who_wants_data_channels_gets_nothing_else_and_who_wants_tls_waits_for_it() {
        let now = Instant::now();
        assert!(!Choice::new(Kinds::DataChannel, now).asks(now));
        let mut choice = Choice::new(Kinds::Tls, now);
        assert!(choice.asks(now) && !choice.channels_carry(now));
        assert!(choice.channels_carry(now + WANTED), "there is none");
        choice.opened(LONG_LINE, now);
        assert!(!choice.channels_carry(now));
    }

    #[test]
    fn a_lane_that_is_gone_is_followed_by_another_later_each_time() {
        let mut now = Instant::now();
        let mut choice = Choice::new(Kinds::Auto, now);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let start = now;
            while !choice.asks(now) {
                now += Duration::from_millis(100);
            }
            pauses.push(now - start);
            choice.opened(Duration::ZERO, now);
            choice.gone(now);
            assert!(choice.channels_carry(now));
        }
        let [first, second, third, fourth] = pauses.try_into().unwrap();
        assert_eq!(first, Duration::ZERO);
        assert!(second < third && third < fourth, "{second:?} {third:?} {fourth:?}");
    }
}
