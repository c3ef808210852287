//! How many bytes may be on their way: as many as the line holds, and little more. What is beyond
//! that only waits in somebody's queue, and where the queue is full it is lost; SCTP as it is
//! implemented takes very long to repair such a loss.
//!
//! The line is measured as BBR does (draft-ietf-ccwg-bbr): the highest rate at which bytes were
//! acknowledged of late, and the shortest time that one took. Their product is what the line
//! holds. A fixed time's worth on top of it lets the rate rise when the line has become faster, and
//! covers what the two machines need for themselves.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The window at first, and the least, in bytes: every socket takes so much.
pub const LEAST: u64 = 48 * 1024;

/// Once a round trip is known the window is what a line of so many bytes a second would hold, up to
/// so many bytes; SCTP's own slow start leads up to it.
const LIKELY: u64 = 12_500_000;
const MOST_LIKELY: u64 = 192 * 1024;

/// What may wait beyond what the line holds, in time, beside an eighth of the line's own. What the
/// machines need for themselves is part of a long line's time already, so this is less there.
const EXTRA: Duration = Duration::from_millis(6);

/// The same on a slow line, of at most so many bytes a second: there the machines need less, and
/// queues are thin.
const LEAST_EXTRA: Duration = Duration::from_millis(2);
const SLOW: u64 = 16_000_000;

/// What is to leave at once, in time: it waits on the line as long as that takes.
const AT_ONCE: Duration = Duration::from_millis(1);

/// A wait that is longer by this much, or by an eighth, is a sign that the line is full.
const SIGN: Duration = Duration::from_millis(2);

/// A round is at least so long: shorter ones measure only how processes are scheduled.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);

/// A line as short as this is within a machine or a room: a rate that rises says only how busy the
/// machines are, and one TCP connection fills it.
pub const SHORT: Duration = Duration::from_millis(5);

/// Rounds whose highest rate counts.
const ROUNDS: usize = 10;

/// Rounds in which the rate may stay what it was until the line counts as full.
const FLAT_ROUNDS: u32 = 3;

/// How long the shortest time is believed: a route may change.
const BELIEVED: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Clone, Debug)]
pub struct Flight {
    most: u64,
    follows: Step,
    message: u64,
    window: u64,
    phase: Phase,
    /// What was delivered in all, and when that became more.
    delivered: (u64, Instant),
    /// When that left which was delivered last.
    left: Instant,
    marks: VecDeque<Mark>,
    round: Round,
    rates: VecDeque<u64>,
    shortest: Option<(Duration, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The window grows, as long as the rate does. What a round measures was sent in the round
    /// before it, so after each growth a round passes in which it is only waited for the effect.
    Startup { best: u64, flat: u32, step: Step },
    /// The window is what the line holds.
    Steady,
    /// The window is smaller for a round, which shows the shortest time anew.
    Emptying,
}

/// What a round of the start does to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It becomes larger by one part in so many.
    Grow(u64),
    /// It stays, and the next round says nothing of it yet.
    Wait,
    /// It stays.
    Look,
}

/// How much the window grows: while the rate follows it, when it follows a little, and when it may
/// yet follow. A queue that is nearly full takes no more than that.
const FOLLOWS: Step = Step::Grow(2);
const FOLLOWS_A_LITTLE: Step = Step::Grow(4);
const MAY_FOLLOW: Step = Step::Grow(8);

/// While the rate follows, where what overflows a queue is repaired at once.
const FOLLOWS_BOLDLY: Step = Step::Grow(1);

/// Something that was sent.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// What was sent in all, with it, and when it left.
    sent: u64,
    at: Instant,
    /// What was known then of what was sent before.
    delivered: (u64, Instant),
    left: Instant,
}

impl Mark {
    /// How fast things were delivered while this was on its way, in bytes a second. They were not
    /// faster than they had left: acknowledgements that are held up on their way come all at once.
    fn rate(&self, delivered: u64, now: Instant) -> u64 {
        let (before, then) = self.delivered;
        let took = now.saturating_duration_since(then);
        per_second(delivered - before, took.max(self.at.saturating_duration_since(self.left)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Round {
    start: Instant,
    /// It is over when more than this is delivered: something that left in it.
    end: u64,
    /// The highest rate in it.
    rate: u64,
    shortest: Option<Duration>,
    /// What was acknowledged last in it took so long.
    last: Duration,
    /// The window was in the way: it is the line that was measured.
    held_back: bool,
}

impl Round {
    fn new(start: Instant, end: u64) -> Self {
        Self { start, end, rate: 0, shortest: None, last: Duration::ZERO, held_back: false }
    }
}

impl Flight {
    /// A line of which nothing is known; the window will never be larger than this many bytes.
    #[must_use]
    pub fn new(most: u64, now: Instant) -> Self {
        Self {
            most,
            follows: FOLLOWS,
            message: 0,
            window: LEAST.min(most),
            phase: Phase::Startup { best: 0, flat: 0, step: Step::Look },
            delivered: (0, now),
            left: now,
            marks: VecDeque::new(),
            round: Round::new(now, 0),
            rates: VecDeque::new(),
            shortest: None,
        }
    }

    /// The same where what overflows a queue is repaired at once.
    #[must_use]
    pub fn bold(most: u64, now: Instant) -> Self {
        Self { follows: FOLLOWS_BOLDLY, ..Self::new(most, now) }
    }

    /// The window will not be larger than this many bytes.
    pub fn set_most(&mut self, most: u64) {
        self.most = most;
        self.window = self.window.min(most);
    }

    /// The line may hold more than it did, or more of it may be used: that is to be seen.
    pub fn look_for_more(&mut self) {
        self.phase = Phase::Startup { best: self.rate(), flat: 0, step: MAY_FOLLOW };
    }

    /// Messages have this length.
    pub fn set_message(&mut self, length: u64) {
        self.message = length;
    }

    /// How many bytes may be on their way.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Whether the window is as large as it can be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.window == self.most
    }

    /// How many bytes a second may leave, once the line is known: what was held up for a moment must
    /// not leave all at once. Before that SCTP's slow start sees to it.
    #[must_use]
    pub fn pace(&self) -> Option<u64> {
        self.is_steady().then(|| self.rate() + self.rate() / 4)
    }

    /// How many bytes are to leave at once, as one message.
    #[must_use]
    pub fn at_once(&self) -> u64 {
        in_time(self.rate(), AT_ONCE)
    }

    /// The shortest time that something took until it was acknowledged.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        self.shortest.map(|(shortest, _)| shortest)
    }

    /// Whether it is known what the line holds.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        !matches!(self.phase, Phase::Startup { .. })
    }

    /// Whether so many bytes may be sent, when so many are on their way; one message always may.
    pub fn admits(&mut self, bytes: u64, under_way: u64) -> bool {
        let admitted = under_way == 0 || under_way.saturating_add(bytes) <= self.window;
        self.round.held_back |= !admitted;
        admitted
    }

    /// So many bytes have been sent in all.
    pub fn sent(&mut self, total: u64, now: Instant) {
        if self.marks.is_empty() {
            // Nothing was on its way: what passed since the last time says nothing of the line.
            self.delivered.1 = now;
            self.left = now;
        }
        let Self { delivered, left, .. } = *self;
        self.marks.push_back(Mark { sent: total, at: now, delivered, left });
    }

    /// More was to be sent than the window let.
    pub fn was_held_back(&mut self) {
        self.round.held_back = true;
    }

    /// So many more bytes have been delivered, the last of which left then. For what is acknowledged
    /// packet by packet: of what left before, the rest is lost, or was overtaken.
    pub fn acknowledged(&mut self, bytes: u64, left: Instant, now: Instant) {
        self.delivered = (self.delivered.0 + bytes, now);
        while let Some(mark) = self.marks.front().copied()
            && mark.at <= left
        {
            self.marks.pop_front();
            self.left = mark.at;
            if self.marks.front().is_none_or(|next| next.at > left) {
                self.measure(mark, now);
            }
        }
        if left >= self.round.start {
            self.end_round(now);
        }
    }

    /// So many bytes have been delivered in all.
    pub fn delivered(&mut self, total: u64, now: Instant) {
        if total > self.delivered.0 {
            self.delivered = (total, now);
        }
        while let Some(mark) = self.marks.front().copied()
            && mark.sent <= total
        {
            self.marks.pop_front();
            self.left = mark.at;
            self.measure(mark, now);
        }
        if total > self.round.end {
            self.end_round(now);
        }
    }

    /// So many bytes of what is on its way count as if they had not been sent. What left before says
    /// nothing any more: its marks may be theirs.
    pub fn lost(&mut self, bytes: u64) {
        self.round.end = self.round.end.saturating_sub(bytes);
        self.marks.clear();
    }

    /// What left with a mark was delivered.
    fn measure(&mut self, mark: Mark, now: Instant) {
        self.round.rate = self.round.rate.max(mark.rate(self.delivered.0, now));
        self.took(now.saturating_duration_since(mark.at), now);
    }

    fn took(&mut self, time: Duration, now: Instant) {
        let shortest = self.round.shortest.map_or(time, |shortest| shortest.min(time));
        self.round.shortest = Some(shortest);
        self.round.last = time;
        if self.shortest.is_none() {
            let likely = in_time(LIKELY, time).min(MOST_LIKELY);
            self.window = self.window.max(likely).min(self.most);
            self.phase = Phase::Startup { best: 0, flat: 0, step: Step::Grow(1) };
        }
        if self.shortest.is_none_or(|(shortest, _)| time <= shortest) {
            self.shortest = Some((time, now));
        }
    }

    /// Something that left in the round was delivered: it is over, if it was long enough.
    fn end_round(&mut self, now: Instant) {
        if now.saturating_duration_since(self.round.start) < SHORTEST_ROUND {
            return;
        }
        let Round { rate, shortest, last, held_back, .. } = self.round;
        let before = self.rate();
        // A round in which there was too little to send says nothing against the line.
        if held_back || rate > before {
            self.rates.push_back(rate);
            if self.rates.len() > ROUNDS {
                self.rates.pop_front();
            }
        }
        if held_back {
            self.next_phase(before, shortest, last, now);
        }
        self.round = Round::new(now, self.marks.back().map_or(self.delivered.0, |mark| mark.sent));
    }

    fn next_phase(
        &mut self,
        before: u64,
        shortest: Option<Duration>,
        last: Duration,
        now: Instant,
    ) {
        let rate = self.round.rate;
        let Some((line, measured)) = self.shortest else { return };
        let waits = last > line + (line / 8).max(SIGN);
        self.phase = match self.phase {
            Phase::Startup { best, flat, step: Step::Grow(_) } => {
                Phase::Startup { best, flat, step: Step::Wait }
            }
            Phase::Startup { best, .. } if rate >= best + best / 8 && !waits => {
                let follows = rate >= best + best * 3 / 8;
                let step = if self.may_overflow(line) {
                    MAY_FOLLOW
                } else if follows {
                    self.follows
                } else {
                    FOLLOWS_A_LITTLE
                };
                Phase::Startup { best: rate, flat: 0, step }
            }
            // What waits while the rate grows that much waits for SCTP's own slow start.
            Phase::Startup { best, .. } if rate >= best + best / 4 => {
                Phase::Startup { best: rate, flat: 0, step: Step::Look }
            }
            Phase::Startup { best, flat, .. } if flat + 1 < FLAT_ROUNDS && !waits => {
                Phase::Startup { best, flat: flat + 1, step: MAY_FOLLOW }
            }
            // It was not the line that was full, but what SCTP's slow start let pass.
            Phase::Steady if line > SHORT && rate >= before + before / 16 && !waits => {
                Phase::Startup { best: rate, flat: 0, step: self.follows }
            }
            Phase::Steady if now.saturating_duration_since(measured) > BELIEVED => Phase::Emptying,
            Phase::Emptying => {
                self.shortest = shortest.map(|shortest| (shortest, now));
                Phase::Steady
            }
            Phase::Startup { .. } | Phase::Steady => Phase::Steady,
        };
        let line = self.shortest.map_or(line, |(line, _)| line);
        let window = match self.phase {
            Phase::Startup { step: Step::Grow(part), .. } => self.window + self.window / part,
            Phase::Startup { step: Step::Wait | Step::Look, .. } => self.window,
            Phase::Steady => {
                let rate = self.rate();
                let extra = if rate > SLOW { EXTRA } else { LEAST_EXTRA }.saturating_sub(line / 4);
                // A message is admitted when there is place for all of it.
                in_time(rate, line + line / 8 + extra) + self.message
            }
            Phase::Emptying => in_time(self.rate(), line * 7 / 8),
        };
        self.window = window.clamp(LEAST.min(self.most), self.most);
    }

    /// Whether the peer's socket may overflow, which is all the queue that a short line has.
    fn may_overflow(&self, line: Duration) -> bool {
        line <= SHORT && self.window < MOST_LIKELY && self.follows == FOLLOWS
    }

    fn rate(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or_default()
    }
}

/// Bytes a second.
#[must_use]
pub fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn in_time(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1024;
    const MOST: u64 = 2 * 1024 * 1024;

    /// A line with a rate, a delay both ways together and a queue without end.
    struct Line {
        rate: u64,
        delay: Duration,
        now: Instant,
        /// When the line will have sent all it was given.
        free: Instant,
        /// What will be acknowledged, and when.
        under_way: VecDeque<(u64, Instant)>,
        sent: u64,
        delivered: u64,
        /// The longest that anything waited.
        longest: Duration,
        /// How long acknowledgements are held up, once.
        held: Duration,
    }

    impl Line {
        fn new(rate: u64, delay_ms: u64) -> Self {
            let now = Instant::now();
            Self {
                rate,
                delay: Duration::from_millis(delay_ms),
                now,
                free: now,
                under_way: VecDeque::new(),
                sent: 0,
                delivered: 0,
                longest: Duration::ZERO,
                held: Duration::ZERO,
            }
        }

        fn send_packet(&mut self) {
            self.sent += PACKET;
            self.longest = self.longest.max(self.free.saturating_duration_since(self.now));
            let takes = Duration::from_nanos(PACKET * 1_000_000_000 / self.rate);
            self.free = self.free.max(self.now) + takes;
            self.under_way.push_back((self.sent, self.free + self.delay));
        }

        /// Sends as much as may be sent for a while.
        fn run(&mut self, flight: &mut Flight, seconds: u64) {
            let end = self.now + Duration::from_secs(seconds);
            self.longest = Duration::ZERO;
            while self.now < end {
                self.tick(flight);
            }
        }

        /// The same for a millisecond.
        fn tick(&mut self, flight: &mut Flight) {
            let packets = (flight.at_once() / PACKET).clamp(8, 64);
            flight.set_message(packets * PACKET);
            while flight.admits(packets * PACKET, self.sent - self.delivered) {
                (0..packets).for_each(|_| self.send_packet());
                flight.sent(self.sent, self.now);
            }
            self.now += Duration::from_millis(1) + std::mem::take(&mut self.held);
            while let Some((sent, _)) = self.under_way.front().filter(|(_, at)| *at <= self.now) {
                self.delivered = *sent;
                self.under_way.pop_front();
            }
            flight.delivered(self.delivered, self.now);
        }
    }

    /// What share of a line is used, in hundredths, and the longest wait once it is known.
    fn used(rate: u64, delay_ms: u64) -> (u64, Duration) {
        let mut line = Line::new(rate, delay_ms);
        let mut flight = Flight::new(MOST, line.now);
        line.run(&mut flight, 3);
        let before = line.delivered;
        line.run(&mut flight, 40);
        ((line.delivered - before) * 100 / (rate * 40), line.longest)
    }

    #[test]
    fn lines_are_filled_and_little_waits() {
        for (rate, delay_ms) in [
            (1_250_000, 20),
            (12_500_000, 1),
            (12_500_000, 20),
            (12_500_000, 100),
            (100_000_000, 5),
        ] {
            let (share, longest) = used(rate, delay_ms);
            assert!(share >= 95, "{rate} B/s, {delay_ms} ms: {share} %");
            // The least window takes its time on the line, too.
            let least = Duration::from_nanos(LEAST * 1_000_000_000 / rate);
            let allowed = EXTRA + least + Duration::from_millis(delay_ms) / 2;
            assert!(longest <= allowed, "{rate} B/s, {delay_ms} ms: {longest:?}");
        }
    }

    #[test]
    fn a_thin_queue_does_not_overflow_while_the_line_is_measured() {
        // All of a queue of 64 KiB, and nine tenths of one of 256 and of one of 1,280.
        for (rate, delay_ms, most) in
            [(12_500_000, 1, 65_536), (12_500_000, 20, 235_929), (12_500_000, 100, 1_179_648)]
        {
            let mut line = Line::new(rate, delay_ms);
            let mut flight = Flight::new(MOST, line.now);
            line.run(&mut flight, 10);
            // A tenth of what is on the line are headers.
            let waiting = in_time(rate, line.longest) * 11 / 10;
            assert!(waiting <= most, "{rate} B/s, {delay_ms} ms: {waiting} B");
        }
    }

    /// A browser's socket holds 64 KiB, which a process that is not woken for a moment leaves in it.
    #[test]
    fn on_a_short_line_the_window_grows_step_by_step_until_it_shows_place() {
        let mut line = Line::new(100_000_000, 2);
        let mut flight = Flight::new(MOST, line.now);
        let mut before = flight.window();
        while before < MOST_LIKELY {
            line.tick(&mut flight);
            assert!(flight.window() <= before + before / 8, "{before}, {}", flight.window());
            before = flight.window();
        }
    }

    #[test]
    fn a_line_that_becomes_faster_or_longer_is_filled_again() {
        let mut line = Line::new(2_000_000, 20);
        let mut flight = Flight::new(MOST, line.now);
        line.run(&mut flight, 5);
        line.rate = 20_000_000;
        line.run(&mut flight, 5);
        let before = line.delivered;
        line.run(&mut flight, 10);
        assert!(line.delivered - before >= 180_000_000, "faster");
        line.delay = Duration::from_millis(60);
        line.run(&mut flight, 40);
        let before = line.delivered;
        line.run(&mut flight, 10);
        assert!(line.delivered - before >= 180_000_000, "longer: {}", line.delivered - before);
    }

    #[test]
    fn too_little_to_send_does_not_make_the_line_slow() {
        let mut line = Line::new(12_500_000, 20);
        let mut flight = Flight::new(MOST, line.now);
        line.run(&mut flight, 5);
        let window = flight.window;
        for _ in 0..1_000 {
            line.sent += 1_000;
            flight.sent(line.sent, line.now);
            line.now += Duration::from_millis(30);
            line.delivered = line.sent;
            line.under_way.clear();
            flight.delivered(line.delivered, line.now);
        }
        assert_eq!(flight.window, window);
    }

    #[test]
    fn acknowledgements_that_come_all_at_once_do_not_make_the_line_fast() {
        let mut line = Line::new(12_500_000, 20);
        let mut flight = Flight::new(MOST, line.now);
        line.run(&mut flight, 5);
        let window = flight.window;
        for _ in 0..20 {
            // Something on the way back holds what it has for a moment, again and again.
            line.held = Duration::from_millis(30);
            line.run(&mut flight, 1);
        }
        assert!(flight.window <= window * 5 / 4, "{} after {window}", flight.window);
    }

    #[test]
    fn what_is_lost_does_not_make_a_line_slow_that_is_acknowledged_by_packet() {
        let (rate, delay) = (12_500_000, Duration::from_millis(50));
        let start = Instant::now();
        let (mut now, mut free, mut sent, mut delivered) = (start, start, 0, 0);
        let mut flight = Flight::bold(MOST, start);
        // When each left, and when it arrives, or would have.
        let mut under_way = VecDeque::<(Instant, Instant)>::new();
        while now < start + Duration::from_secs(10) {
            while flight.admits(PACKET, under_way.len() as u64 * PACKET) {
                sent += PACKET;
                free = free.max(now) + Duration::from_nanos(PACKET * 1_000_000_000 / rate);
                under_way.push_back((now, free + delay));
                flight.sent(sent, now);
            }
            now += Duration::from_millis(1);
            while let Some((left, arrives)) = under_way.front().copied()
                && arrives <= now
            {
                under_way.pop_front();
                // One in fifty is lost.
                if !(sent / PACKET + under_way.len() as u64).is_multiple_of(50) {
                    delivered += PACKET;
                    flight.acknowledged(PACKET, left, now);
                }
            }
        }
        assert!(delivered > rate * 10 * 9 / 10, "{delivered}");
        let holds = in_time(rate, delay);
        assert!((holds..holds * 5 / 4).contains(&flight.window()), "{}", flight.window());
    }

    #[test]
    fn what_was_sent_before_something_was_lost_says_nothing_of_the_line() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut flight = Flight::new(MOST, start);
        flight.sent(1_000, at(0));
        flight.delivered(1_000, at(5));
        flight.sent(2_000, at(6));
        flight.sent(3_000, at(7));
        flight.lost(1_000);
        flight.delivered(2_000, at(8));
        assert_eq!(flight.shortest(), Some(Duration::from_millis(5)));
        flight.sent(3_000, at(9));
        flight.delivered(3_000, at(13));
        assert_eq!(flight.shortest(), Some(Duration::from_millis(4)));
    }

    #[test]
    fn one_message_always_may_and_the_window_has_an_end() {
        let now = Instant::now();
        let mut flight = Flight::new(MOST, now);
        assert!(flight.admits(10 * MOST, 0));
        assert!(!flight.admits(MOST, 1));
        let mut line = Line::new(1_000_000_000, 50);
        let mut flight = Flight::new(MOST, line.now);
        line.run(&mut flight, 5);
        assert_eq!(flight.window, MOST);
    }
}
