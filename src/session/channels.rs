//! The data channels of a connection. Together they have under way what the line
//! [holds](crate::net::flight), and what one of them does not deliver in time counts no longer, so
//! that the others have its place.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    growth::Reason,
    laden::{Fit, Load},
    pace::Pace,
    signs::Signs,
};
use crate::{
    net::{
        flight::{Flight, SHORT},
        lane::{Closed, LaneSender},
    },
    proto::binding::FIRST_DATA,
};

/// What a new data channel may have under way: SCTP's slow start lets four packets leave.
const START: u64 = 16 * 1024;

/// What may leave at once, in time.
const BURST: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct Channels {
    /// The first, which is there as long as the connection is, and further ones.
    all: Vec<Channel>,
    /// How many of the further ones may carry.
    wanted: usize,
    line: Flight,
    signs: Signs,
    fit: Fit,
    /// Bytes handed to all of them.
    handed: u64,
    /// Bytes delivered in time by those that are gone.
    earlier: u64,
    /// Packets that they sent again, and bytes that they hold back.
    repaired: u64,
    held_back: u64,
    /// What keeps bursts off the line.
    pace: Pace,
}

/// One of them.
struct Channel {
    number: u32,
    sender: LaneSender,
    load: Load,
    /// Nothing more is given to it.
    closing: bool,
    /// Packets that its connection sent again.
    repaired: u64,
}

impl Channel {
    fn new(number: u32, sender: LaneSender, now: Instant) -> Self {
        let (repaired, _) = sender.meter().again_and_held_back();
        Self { number, sender, load: Load::new(now), closing: false, repaired }
    }

    /// Whether it may take a message, as one of several that share a window.
    fn admits(&self, bytes: u64, window: u64, sharers: usize) -> bool {
        let share = window / sharers.max(1) as u64;
        self.load.under_way + bytes <= most(bytes, share, self.load.delivered())
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Closed> {
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
    async fn look(&mut self) -> (u64, u64) {
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

impl Channels {
    /// The first.
    pub(super) fn new(first: LaneSender, now: Instant) -> Self {
        Self {
            all: vec![Channel::new(FIRST_DATA, first, now)],
            wanted: 0,
            line: Flight::new(Fit::MOST, now),
            signs: Signs::new(now),
            fit: Fit::new(now),
            handed: 0,
            earlier: 0,
            repaired: 0,
            held_back: 0,
            pace: Pace::new(u64::MAX, BURST, now),
        }
    }

    /// There is one more.
    pub(super) fn open(&mut self, number: u32, sender: LaneSender, now: Instant) {
        self.all.push(Channel::new(number, sender, now));
        if self.further() > 1 {
            self.line.look_for_more();
        }
    }

    /// One is gone, if there was one of that number; the first is told of elsewhere.
    pub(super) fn gone(&mut self, number: u32) {
        let index = self.all.iter().position(|channel| channel.number == number);
        if let Some(index) = index.filter(|index| *index > 0) {
            let channel = self.all.remove(index);
            self.earlier += channel.load.delivered_in_time();
            self.handed -= channel.load.on_the_line();
        }
    }

    /// So many may carry beside the first. Whether that is more than before.
    pub(super) fn want(&mut self, count: usize) -> bool {
        count > mem::replace(&mut self.wanted, count)
    }

    /// How many there are beside the first.
    pub(super) fn further(&self) -> usize {
        self.all.len() - 1
    }

    /// Asks each of them what it has delivered, on a line with such a round trip.
    pub(super) async fn look(&mut self, round: Duration) {
        let (mut repaired, mut held_back) = (0, 0);
        for channel in &mut self.all {
            let (again, back) = channel.look().await;
            repaired += again;
            held_back += back;
        }
        let now = Instant::now();
        self.write_off(round, now);
        self.line.delivered(self.delivered(), now);
        self.signs.see(repaired, held_back, self.under_way(), now);
        let used = self.used().count() as u64;
        if round <= SHORT {
            self.fit.see(repaired, self.line.window() / used.max(1), now);
        }
        self.line.set_most(self.fit.most() * used);
        self.repaired += repaired;
        self.held_back = held_back;
    }

    /// What one has that has fallen behind is not on the line.
    fn write_off(&mut self, round: Duration, now: Instant) {
        let loads = self.all.iter_mut().map(|channel| &mut channel.load);
        let bytes = loads.filter(|load| load.is_behind(round, now)).map(Load::write_off).sum();
        if bytes > 0 {
            self.handed -= bytes;
            self.line.lost(bytes);
        }
    }

    /// The length of a message that the line takes best, in bytes; they have it from now on, but are
    /// no longer than the peer takes.
    pub(super) fn fit_messages(&mut self, longest: usize) -> usize {
        let newest = self.all.last();
        let best = newest.map(|channel| channel.sender.best_length(self.line.at_once()));
        let length = best.unwrap_or(longest).min(longest);
        self.line.set_message(length as u64);
        length
    }

    /// The index of that which is to take a message of such a length, if one has place.
    pub(super) fn with_place(
        &mut self,
        length: u64,
        round: Duration,
        now: Instant,
    ) -> Option<usize> {
        let on_the_line = self.on_the_line(round, now);
        let admits = self.pace.passes(now) && self.line.admits(length, on_the_line);
        admits.then(|| self.free(length, round, now)).flatten()
    }

    /// Bytes on their way that count for the window. On a long line that loses packets SCTP's windows
    /// keep some back, which are not on the line, and whose place others may have: a lane with nothing
    /// behind what is on its way does not make its window larger.
    fn on_the_line(&self, round: Duration, now: Instant) -> u64 {
        let bytes: u64 = self.all.iter().map(|channel| channel.load.on_the_line()).sum();
        let is_repaired = round > SHORT && self.signs.is_lossy(now);
        if is_repaired { bytes.saturating_sub(self.held_back) } else { bytes }
    }

    /// Those that move share the window. One that has fallen behind takes what it might have anyway,
    /// and only when none of the others has place: it may show the peer what it lacks.
    fn free(&self, length: u64, round: Duration, now: Instant) -> Option<usize> {
        let behind = |channel: &Channel| channel.load.is_behind(round, now);
        let (window, all) = (self.line.window(), self.used().count());
        let moving = self.used().filter(|channel| !behind(channel)).count();
        let sharers = |channel: &Channel| if behind(channel) { all } else { moving };
        let free = self.used().filter(|channel| channel.admits(length, window, sharers(channel)));
        let best = free.min_by_key(|channel| {
            (channel.number == FIRST_DATA, behind(channel), channel.load.under_way)
        })?;
        self.all.iter().position(|channel| channel.number == best.number)
    }

    /// Those that may take something: the first only until another carries as much as the line holds.
    fn used(&self) -> impl Iterator<Item = &Channel> + Clone {
        let further = self.all.iter().skip(1);
        let further = further.filter(|channel| !channel.closing).take(self.wanted);
        let window = self.line.window();
        let replaced = further.clone().any(|channel| channel.load.delivered() >= window);
        let first = self.all.first().filter(|_| !replaced);
        first.into_iter().chain(further)
    }

    /// How many of them carry; the first is not counted while others take its place.
    pub(super) fn carrying(&self) -> usize {
        self.used().count().min(self.wanted.max(1))
    }

    /// The number of that at an index.
    pub(super) fn number(&self, index: usize) -> Option<u32> {
        self.all.get(index).map(|channel| channel.number)
    }

    /// Sends over that at an index.
    pub(super) async fn send(
        &mut self,
        index: usize,
        message: Bytes,
        round: Duration,
    ) -> Result<(), Closed> {
        let Some(channel) = self.all.get_mut(index) else { return Ok(()) };
        let length = message.len() as u64;
        let was_behind = channel.load.is_behind(round, Instant::now());
        channel.send(message).await?;
        let now = Instant::now();
        if was_behind {
            channel.load.write_off();
        } else {
            self.handed += length;
            self.line.sent(self.handed, now);
        }
        if let Some(rate) = self.line.pace() {
            self.pace.set_rate(rate);
            self.pace.passed(length, now);
        }
        Ok(())
    }

    /// Bytes that all of them have delivered in time.
    pub(super) fn delivered(&self) -> u64 {
        let all = self.all.iter();
        self.earlier + all.map(|channel| channel.load.delivered_in_time()).sum::<u64>()
    }

    /// Bytes on their way over them.
    pub(super) fn under_way(&self) -> u64 {
        self.all.iter().map(|channel| channel.load.under_way).sum()
    }

    /// What each of them was given, by its number.
    pub(super) fn loads(&self) -> impl Iterator<Item = (u32, Load)> {
        self.all.iter().map(|channel| (channel.number, channel.load))
    }

    /// Closes those that have delivered nothing for so long, but for the first. Gives their numbers.
    pub(super) fn close_silent(&mut self, time: Duration, now: Instant) -> Vec<u32> {
        let further = self.all.iter_mut().skip(1);
        let silent = further.filter(|channel| channel.load.silent_for(now) > time);
        let open = silent.filter(|channel| !channel.closing);
        let close = |channel: &mut Channel| {
            channel.closing = true;
            channel.number
        };
        open.map(close).collect()
    }

    /// Why more of them would help, if they would: the line loses packets, or their own windows keep
    /// bytes from leaving.
    pub(super) fn reason_for_more(&self, round: Duration, now: Instant) -> Option<Reason> {
        let lossy = self.signs.is_lossy(now).then_some(Reason::Lossy);
        let held_back = || self.line.is_steady() && self.signs.is_held_back(round, now);
        lossy.or_else(|| (self.line.is_full() || held_back()).then_some(Reason::HeldBack))
    }

    /// Whether it is known what the line holds.
    pub(super) fn is_steady(&self) -> bool {
        self.line.is_steady()
    }

    /// The shortest round trip over any of them so far.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.line.shortest()
    }

    /// What they may have under way together, in bytes.
    pub(super) fn window(&self) -> u64 {
        self.line.window()
    }

    /// Packets that they have sent again.
    pub(super) fn repaired(&self) -> u64 {
        self.repaired
    }

    /// The largest packets that they send, in bytes.
    pub(super) fn mtu(&self) -> u32 {
        self.used().map(|channel| channel.sender.mtu()).max().unwrap_or_default()
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
}
