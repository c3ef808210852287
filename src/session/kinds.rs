//! Which kinds of lane carry. Data channels do until there is another. TLS costs the processors two
//! thirds of what the others do, and goes over TCP; QUIC takes the path that ICE has found, as data
//! channels do, which it replaces, since it loses no time to packets that are lost.
//!
//! On a short line TLS carries alone. On a long one, where a single TCP connection may be slow because
//! packets are lost, QUIC carries, or data channels and TLS together where there is none, and TLS
//! carries alone once that was seen to be as fast for no more processor time. A machine that is busy
//! may take a short line for a long one at first; then TLS carries alone from when that turns out.

use std::time::{Duration, Instant};

use crate::net::{
    flight::{SHORT, per_second},
    network::Faster,
};

/// How long data channels carry alone, or more of them are not opened, because a faster lane may come.
const SOON: Duration = Duration::from_secs(1);

/// The same when the user wants it.
const WANTED: Duration = Duration::from_secs(10);

/// How long a rate is measured, and the same in round trips of the line, when that is longer.
const MEASURE: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 10;

/// How soon a lane that is gone, or did not come up, is followed by another; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How soon it is tried whether TLS is as fast, once there is another way; twice as long each time.
const FIRST_TRIAL: Duration = Duration::from_secs(4);

/// A kind of lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A data channel of a PeerConnection.
    DataChannel,
    /// TLS over TCP.
    Tls,
    /// QUIC on the first PeerConnection's path.
    Quic,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Choice {
    faster: Faster,
    tls: Opening,
    quic: Opening,
    share: Share,
    /// The line was a short one when there was a lane of TLS, or turned out to be.
    short: bool,
    /// How long until TLS carries alone on trial.
    trial: Duration,
    mark: Option<(Instant, Carried)>,
    /// The highest rate of TLS alone.
    best: u64,
}

/// One lane of a kind, as far as it is there.
#[derive(Clone, Debug)]
struct Opening {
    state: State,
    /// How long to wait for the next.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There cannot be one.
    Never,
    /// There is none; one is to be asked for then.
    Without(Instant),
    /// One was asked for.
    Asked(Instant),
    Open,
}

/// What TLS carries while there is a lane of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// What it can; it may be tried alone then.
    Both(Instant),
    /// All, to be compared with what both did.
    Trial(Measured),
    /// All.
    Alone,
    /// Nothing until then, as long as there is QUIC: who waits for the slower of two loses by it.
    Parked(Instant),
}

/// How it went for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    /// Bytes a second.
    rate: u64,
    /// Nanoseconds of processor time for 10^6 bytes; nothing where that is not known.
    cost: u128,
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
    /// Processor time of this process; nothing where that is not known.
    pub processor: Duration,
}

impl Measured {
    /// Whether TLS alone, which went so, is as good as both were: about as fast, and not dearer unless
    /// it is faster.
    fn is_as_good(self, both: Self) -> bool {
        let (eighth, dear) = (both.rate / 8, both.cost + both.cost / 8);
        self.rate >= both.rate - eighth && (self.cost <= dear || self.rate > both.rate + eighth)
    }
}

impl Opening {
    fn new(may: bool, now: Instant) -> Self {
        let state = if may { State::Without(now) } else { State::Never };
        Self { state, pause: FIRST_PAUSE }
    }

    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether none has come to an end so far, or to nothing.
    fn is_first(&self) -> bool {
        self.pause == FIRST_PAUSE
    }

    /// Whether one was asked for so short a time ago that it may yet come.
    fn may_come(&self, within: Duration, now: Instant) -> bool {
        matches!(self.state, State::Asked(then) if now < then + within)
    }

    fn asks(&mut self, now: Instant) -> bool {
        let asks = match self.state {
            State::Never | State::Open => false,
            State::Without(then) => now >= then,
            State::Asked(then) => {
                let in_vain = now >= then + WANTED + self.pause;
                if in_vain {
                    self.pause_longer();
                }
                in_vain
            }
        };
        if asks {
            self.state = State::Asked(now);
        }
        asks
    }

    fn gone(&mut self, now: Instant) {
        self.state = State::Without(now + self.pause);
        self.pause_longer();
    }

    fn pause_longer(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Choice {
    /// Chooses among data channels and these.
    #[must_use]
    pub fn new(faster: Faster, now: Instant) -> Self {
        Self {
            faster,
            tls: Opening::new(faster.tls, now),
            quic: Opening::new(faster.quic, now),
            share: Share::Alone,
            short: false,
            trial: FIRST_TRIAL,
            mark: None,
            best: 0,
        }
    }

    fn opening(&mut self, kind: Kind) -> Option<&mut Opening> {
        match kind {
            Kind::DataChannel => None,
            Kind::Tls => Some(&mut self.tls),
            Kind::Quic => Some(&mut self.quic),
        }
    }

    /// What kind of lane is to be opened, on a line with such a round trip; said once. QUIC goes
    /// where TLS does not, or where that may be slow.
    pub fn asks(&mut self, round: Duration, now: Instant) -> Option<Kind> {
        if self.tls.asks(now) {
            return Some(Kind::Tls);
        }
        let tls_will_do = self.tls.is_open() || self.tls.may_come(SOON, now);
        let wants_quic = round > SHORT || !tls_will_do;
        (wants_quic && self.quic.asks(now)).then_some(Kind::Quic)
    }

    /// There is a lane of this kind, on a line with such a round trip.
    pub fn opened(&mut self, kind: Kind, round: Duration, now: Instant) {
        self.opening(kind).into_iter().for_each(|opening| opening.state = State::Open);
        if kind == Kind::Tls {
            self.short = round <= SHORT;
            self.share = if self.short || self.faster.alone {
                Share::Alone
            } else if self.quic.is_open() || self.quic.may_come(SOON, now) {
                Share::Parked(now + self.trial)
            } else {
                Share::Both(now + self.trial)
            };
            self.mark = None;
            self.best = 0;
        }
    }

    /// It is gone, or did not come up.
    pub fn gone(&mut self, kind: Kind, now: Instant) {
        self.opening(kind).into_iter().for_each(|opening| opening.gone(now));
    }

    /// Whether TLS carries, if there is a lane of it.
    #[must_use]
    pub fn tls_carries(&self) -> bool {
        !self.quic.is_open() || !matches!(self.share, Share::Parked(_))
    }

    /// Whether what goes the way of ICE carries: QUIC, or data channels where there is none.
    #[must_use]
    pub fn ice_carries(&self, now: Instant) -> bool {
        if self.tls.is_open() {
            return matches!(self.share, Share::Both(_) | Share::Parked(_));
        }
        let wait = |opening: &Opening| opening.is_first() && opening.may_come(WANTED, now);
        !self.faster.alone || !(wait(&self.tls) || wait(&self.quic))
    }

    /// Whether more data channels may be opened if that helps.
    #[must_use]
    pub fn channels_grow(&self, now: Instant) -> bool {
        let nothing_comes = !self.tls.may_come(SOON, now) && !self.quic.may_come(SOON, now);
        self.ice_carries(now) && !self.quic.is_open() && nothing_comes
    }

    /// Whether it is time to look how it goes.
    #[must_use]
    pub fn is_due(&self, round: Duration, now: Instant) -> bool {
        let measure = MEASURE.max(round * ROUNDS);
        let measured = |(then, _)| now.saturating_duration_since(then) >= measure;
        self.turns_out_short(round) || self.mark.is_none_or(measured)
    }

    fn turns_out_short(&self, round: Duration) -> bool {
        round <= SHORT && !self.short
    }

    /// Looks how it goes, when it [is time](Self::is_due).
    pub fn look(&mut self, carried: Carried, round: Duration, now: Instant) {
        let mark = self.mark.replace((now, carried));
        if self.turns_out_short(round) {
            self.short = true;
            self.share = Share::Alone;
            return;
        }
        let Some((then, before)) = mark else { return };
        let took = now.saturating_duration_since(then);
        let tls = per_second(carried.tls - before.tls, took);
        let all = carried.all - before.all;
        let processor = carried.processor.saturating_sub(before.processor);
        let cost = processor.as_nanos() * 1_000_000 / u128::from(all.max(1));
        let went = Measured { rate: per_second(all, took), cost };
        let is_the_limit = carried.waited.saturating_sub(before.waited) >= took / 2;
        self.share = match self.share {
            Share::Both(_) if self.quic.is_open() && tls < went.rate / 2 => self.parked(now),
            Share::Parked(then) if now >= then || !self.quic.is_open() => Share::Both(now),
            Share::Both(trial) if now >= trial && tls >= went.rate / 2 => Share::Trial(went),
            Share::Trial(both) if is_the_limit && !went.is_as_good(both) => self.both(now),
            Share::Trial(_) => Share::Alone,
            Share::Alone if is_the_limit && tls < self.best / 2 && !self.faster.alone => {
                self.both(now)
            }
            share => share,
        };
        self.best = if self.share == Share::Alone { self.best.max(tls) } else { 0 };
    }

    fn both(&mut self, now: Instant) -> Share {
        self.try_later();
        Share::Both(now + self.trial)
    }

    fn parked(&mut self, now: Instant) -> Share {
        let until = now + self.trial;
        self.try_later();
        Share::Parked(until)
    }

    fn try_later(&mut self) {
        self.trial = (self.trial * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_LINE: Duration = Duration::from_millis(20);
    const SHORT_LINE: Duration = Duration::from_millis(1);

    const NONE: Faster = Faster { tls: false, quic: false, alone: false };
    const TLS: Faster = Faster { tls: true, ..NONE };
    const BOTH: Faster = Faster { quic: true, ..TLS };

    /// A choice, and what was carried while it looked.
    struct Run {
        choice: Choice,
        round: Duration,
        carried: Carried,
        /// Nanoseconds of processor time that a byte costs over TLS; 1 over the other path.
        cost: u64,
        now: Instant,
    }

    impl Run {
        fn opened(round: Duration) -> Self {
            let now = Instant::now();
            let mut choice = Choice::new(TLS, now);
            assert_eq!(choice.asks(round, now), Some(Kind::Tls));
            assert_eq!(choice.asks(round, now), None);
            choice.opened(Kind::Tls, round, now);
            Self { choice, round, carried: Carried::default(), cost: 1, now }
        }

        /// Seconds in which TLS carries so much, the other path so much if it may, and the lanes
        /// are what is waited for, or not.
        fn pass(&mut self, seconds: u32, tls: u64, other: u64, is_the_limit: bool) {
            for _ in 0..seconds * 100 {
                let other = if self.both() { other } else { 0 };
                self.carried.tls += tls / 100;
                self.carried.all += (tls + other) / 100;
                let cost = (tls * self.cost + other) / 100;
                self.carried.processor += Duration::from_nanos(cost);
                self.carried.waited += Duration::from_millis(if is_the_limit { 9 } else { 1 });
                self.now += Duration::from_millis(10);
                if self.choice.is_due(self.round, self.now) {
                    self.choice.look(self.carried, self.round, self.now);
                }
            }
        }

        fn both(&self) -> bool {
            self.choice.ice_carries(self.now)
        }
    }

    #[test]
    fn on_a_short_line_tls_carries_alone_at_once() {
        assert!(!Run::opened(SHORT_LINE).both());
    }

    #[test]
    fn on_a_line_that_turns_out_to_be_short_tls_carries_alone_from_then_on() {
        let mut run = Run::opened(LONG_LINE);
        assert!(run.both());
        run.round = SHORT_LINE;
        run.pass(5, 10_000_000, 1_000_000, true);
        assert!(!run.both());
        run.pass(5, 1_000_000, 9_000_000, true);
        assert!(run.both(), "it has become slow");
    }

    #[test]
    fn on_a_long_line_tls_carries_alone_when_that_is_as_fast() {
        let mut run = Run::opened(LONG_LINE);
        assert!(run.both());
        run.pass(5, 10_000_000, 1_000_000, true);
        assert!(!run.both());
        run.pass(5, 1_000_000, 9_000_000, true);
        assert!(run.both(), "it has become slow");
    }

    #[test]
    fn tls_does_not_carry_alone_where_that_costs_more_of_the_processors_and_is_no_faster() {
        for (cost, alone) in [(1, true), (3, false)] {
            let mut run = Run::opened(LONG_LINE);
            run.pass(4, 6_000_000, 4_000_000, true);
            assert!(run.both());
            run.cost = cost;
            run.pass(2, 10_000_000, 0, true);
            assert_eq!(!run.both(), alone);
        }
    }

    #[test]
    fn what_waits_for_something_else_is_not_slow() {
        let mut run = Run::opened(LONG_LINE);
        run.pass(5, 10_000_000, 1_000_000, true);
        run.pass(5, 1_000_000, 1_000_000, false);
        assert!(!run.both());
    }

    #[test]
    fn on_a_line_that_loses_packets_both_carry() {
        let mut run = Run::opened(LONG_LINE);
        for _ in 0..30 {
            run.pass(1, 1_000_000, 9_000_000, true);
            assert!(run.both(), "TLS carries too little to be tried alone");
        }
        let mut run = Run::opened(LONG_LINE);
        let mut alone = 0;
        for _ in 0..100 {
            run.pass(1, 6_000_000, 5_000_000, true);
            alone += u32::from(!run.both());
        }
        assert!((1..10).contains(&alone), "it was tried alone for {alone} s of 100");
    }

    #[test]
    fn quic_goes_where_tls_is_slow_or_does_not_go() {
        let start = Instant::now();
        let mut long = Choice::new(BOTH, start);
        assert_eq!(long.asks(LONG_LINE, start), Some(Kind::Tls));
        assert_eq!(long.asks(LONG_LINE, start), Some(Kind::Quic));

        let mut short = Choice::new(BOTH, start);
        assert_eq!(short.asks(SHORT_LINE, start), Some(Kind::Tls));
        assert_eq!(short.asks(SHORT_LINE, start), None, "TLS may come");
        let mut blocked = short.clone();
        assert_eq!(blocked.asks(SHORT_LINE, start + SOON), Some(Kind::Quic));
        short.opened(Kind::Tls, SHORT_LINE, start);
        assert_eq!(short.asks(SHORT_LINE, start + SOON), None, "TLS has come");
        short.gone(Kind::Tls, start + SOON);
        assert_eq!(short.asks(SHORT_LINE, start + SOON), Some(Kind::Quic));
    }

    #[test]
    fn on_a_long_line_tls_is_tried_beside_quic_now_and_then() {
        let mut run = Run::opened(LONG_LINE);
        run.choice.opened(Kind::Quic, LONG_LINE, run.now);
        run.choice.opened(Kind::Tls, LONG_LINE, run.now);
        assert!(!run.choice.tls_carries());
        let mut turned_out = run.choice.clone();
        turned_out.look(run.carried, SHORT_LINE, run.now);
        assert!(turned_out.tls_carries() && !turned_out.ice_carries(run.now), "the line is short");
        let mut carried = 0;
        for _ in 0..100 {
            let tls = if run.choice.tls_carries() { 4_000_000 } else { 0 };
            run.pass(1, tls, 9_000_000, true);
            assert!(run.both());
            carried += u32::from(run.choice.tls_carries());
        }
        assert!((1..20).contains(&carried), "{carried} s of 100");
        run.pass(300, 10_000_000, 1_000_000, true);
        assert!(run.choice.tls_carries() && !run.both(), "it has become fast");
        run.choice.gone(Kind::Quic, run.now);
        run.choice.gone(Kind::Tls, run.now);
        run.choice.opened(Kind::Tls, LONG_LINE, run.now);
        assert!(run.choice.tls_carries() && run.both(), "there is no QUIC");
    }

    #[test]
    fn data_channels_become_more_only_where_nothing_faster_comes() {
        let start = Instant::now();
        let mut choice = Choice::new(BOTH, start);
        assert!(choice.asks(LONG_LINE, start).is_some() && choice.asks(LONG_LINE, start).is_some());
        assert!(choice.ice_carries(start) && !choice.channels_grow(start));
        assert!(choice.channels_grow(start + SOON));
        choice.opened(Kind::Quic, LONG_LINE, start);
        assert!(choice.ice_carries(start + SOON) && !choice.channels_grow(start + SOON));
    }

    #[test]
    fn who_wants_data_channels_gets_nothing_else_and_who_wants_tls_or_quic_waits_for_it() {
        let now = Instant::now();
        assert_eq!(Choice::new(NONE, now).asks(LONG_LINE, now), None);
        for (wish, kind) in [
            (Faster { alone: true, ..TLS }, Kind::Tls),
            (Faster { tls: false, alone: true, ..BOTH }, Kind::Quic),
        ] {
            let mut choice = Choice::new(wish, now);
            assert_eq!(choice.asks(SHORT_LINE, now), Some(kind));
            assert!(!choice.ice_carries(now));
            assert!(choice.ice_carries(now + WANTED), "there is none");
            let mut failing = choice.clone();
            choice.opened(kind, LONG_LINE, now);
            assert_eq!(choice.ice_carries(now), kind == Kind::Quic);
            failing.gone(kind, now);
            assert!(failing.ice_carries(now), "it is waited for once");
            assert_eq!(failing.asks(LONG_LINE, now + FIRST_PAUSE), Some(kind));
            assert!(failing.ice_carries(now + FIRST_PAUSE), "it is waited for once");
        }
    }

    #[test]
    fn a_lane_that_is_gone_is_followed_by_another_later_each_time() {
        let mut now = Instant::now();
        let mut choice = Choice::new(TLS, now);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let start = now;
            while choice.asks(LONG_LINE, now).is_none() {
                now += Duration::from_millis(100);
            }
            pauses.push(now - start);
            choice.opened(Kind::Tls, Duration::ZERO, now);
            choice.gone(Kind::Tls, now);
            assert!(choice.ice_carries(now));
        }
        let [first, second, third, fourth] = pauses.try_into().unwrap();
        assert_eq!(first, Duration::ZERO);
        assert!(second < third && third < fourth, "{second:?} {third:?} {fourth:?}");
    }
}
