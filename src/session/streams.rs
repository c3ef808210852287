//! The lanes of TLS and QUIC of a connection together, and [which kinds carry](super::kinds). They
//! see themselves to what the line holds, and take what they have place for.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    kinds::{Choice, Kind},
    laden::Load,
};
use crate::net::{flight::per_second, lane::Closed, network::Faster, stream::StreamSender};

/// When nothing was taken from a lane for so long others carry, too.
const STUCK: Duration = Duration::from_secs(1);

/// A lane that is not the only one takes no more than it delivers in two round trips and so long, so
/// that nobody waits for what it has; and at least so many bytes.
const SOON: Duration = Duration::from_millis(200);
const LITTLE: u64 = 128 * 1024;

/// How long a rate is measured.
const MEASURE: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Streams {
    /// Those that carry, and perhaps one that is closing.
    all: Vec<Stream>,
    /// Which kinds carry.
    pub(super) choice: Choice,
    /// Bytes delivered by lanes of TLS and of QUIC that are gone.
    tls_earlier: u64,
    quic_earlier: u64,
}

/// One of them.
#[derive(Debug)]
struct Stream {
    number: u32,
    kind: Kind,
    sender: StreamSender,
    load: Load,
    /// Nothing more is given to it.
    closing: bool,
    /// Bytes a second that it has delivered of late; what it had then, and when.
    rate: u64,
    mark: (u64, Instant),
}

impl Stream {
    fn new(number: u32, kind: Kind, sender: StreamSender, now: Instant) -> Self {
        let load = Load::new(now);
        Self { number, kind, sender, load, closing: false, rate: 0, mark: (0, now) }
    }

    /// Whether it may take a message, on a line with such a round trip, alone or beside others.
    fn admits(&self, round: Duration, alone: bool) -> bool {
        let soon = u128::from(self.rate) * (round * 2 + SOON).as_millis() / 1000;
        let admits = alone || u128::from(self.load.under_way) < soon.max(LITTLE.into());
        admits && self.sender.has_place()
    }

    fn send(&mut self, message: Bytes, now: Instant) -> Result<(), Closed> {
        self.load.add(message.len() as u64, now);
        let sent = self.sender.send(message);
        self.closing |= sent.is_err(); // It is told elsewhere, too.
        sent
    }

    fn look(&mut self, now: Instant) {
        match self.sender.outstanding() {
            Ok(outstanding) => self.load.see(outstanding, now),
            // What it had goes over another when it is known to be gone.
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

impl Streams {
    /// None yet, of kinds that there may be.
    pub(super) fn new(faster: Faster, now: Instant) -> Self {
        let choice = Choice::new(faster, now);
        Self { all: Vec::new(), choice, tls_earlier: 0, quic_earlier: 0 }
    }

    /// There is one, on a line with such a round trip.
    pub(super) fn open(
        &mut self,
        number: u32,
        kind: Kind,
        sender: StreamSender,
        round: Duration,
        now: Instant,
    ) {
        self.all.push(Stream::new(number, kind, sender, now));
        self.choice.opened(kind, round, now);
    }

    /// One is gone, if there was one of that number.
    pub(super) fn gone(&mut self, number: u32, now: Instant) {
        let index = self.all.iter().position(|stream| stream.number == number);
        if let Some(index) = index {
            let stream = self.all.remove(index);
            let earlier = match stream.kind {
                Kind::Quic => &mut self.quic_earlier,
                _ => &mut self.tls_earlier,
            };
            *earlier += stream.load.delivered();
            self.choice.gone(stream.kind, now);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Asks each of them what it has delivered.
    pub(super) fn look(&mut self, now: Instant) {
        self.all.iter_mut().for_each(|stream| stream.look(now));
    }

    /// The one of a kind that carries, if its kind does.
    fn of(&self, kind: Kind) -> Option<&Stream> {
        self.all.iter().find(|stream| stream.kind == kind && !stream.closing)
    }

    /// Those that carry, that which is preferred first.
    fn used(&self, now: Instant) -> impl Iterator<Item = &Stream> + Clone {
        let kinds = [(Kind::Tls, self.choice.tls_carries()), (Kind::Quic, self.ice_carries(now))];
        let kinds = kinds.into_iter().filter(|(_, carries)| *carries);
        kinds.filter_map(|(kind, _)| self.of(kind))
    }

    /// Whether there is one of this kind that carries.
    pub(super) fn carries(&self, kind: Kind, now: Instant) -> bool {
        self.used(now).any(|stream| stream.kind == kind)
    }

    /// Whether there is a lane of this kind on which the peer takes something.
    fn goes(&self, kind: Kind, now: Instant) -> bool {
        self.of(kind).is_some_and(|stream| stream.load.silent_for(now) <= STUCK)
    }

    /// Whether what goes the way of ICE carries.
    fn ice_carries(&self, now: Instant) -> bool {
        let has_tls = self.all.iter().any(|stream| stream.kind == Kind::Tls);
        self.choice.ice_carries(now) || (has_tls && !self.goes(Kind::Tls, now))
    }

    /// Whether data channels carry, beside them or alone.
    pub(super) fn channels_carry(&self, now: Instant) -> bool {
        self.ice_carries(now) && !self.goes(Kind::Quic, now)
    }

    /// The kind of that which has place for a message, on a line with such a round trip.
    pub(super) fn with_place(&self, round: Duration, now: Instant) -> Option<Kind> {
        let used = self.used(now);
        let alone = used.clone().count() == 1 && !self.channels_carry(now);
        used.clone().find(|stream| stream.admits(round, alone)).map(|stream| stream.kind)
    }

    /// Those on which place may be waited for.
    pub(super) fn senders(&self, now: Instant) -> Vec<StreamSender> {
        self.used(now).map(|stream| stream.sender.clone()).collect()
    }

    /// The number of the one of a kind, if there is one.
    pub(super) fn number(&self, kind: Kind) -> Option<u32> {
        self.of(kind).map(|stream| stream.number)
    }

    /// Sends over the one of a kind.
    pub(super) fn send(&mut self, kind: Kind, message: Bytes) -> Result<(), Closed> {
        let mut all = self.all.iter_mut();
        let stream = all.find(|stream| stream.kind == kind && !stream.closing);
        stream.map_or(Ok(()), |stream| stream.send(message, Instant::now()))
    }

    /// Bytes that those of a kind have delivered.
    pub(super) fn delivered(&self, kind: Kind) -> u64 {
        let earlier = if kind == Kind::Quic { self.quic_earlier } else { self.tls_earlier };
        let of_kind = self.all.iter().filter(|stream| stream.kind == kind);
        earlier + of_kind.map(|stream| stream.load.delivered()).sum::<u64>()
    }

    /// Bytes on their way over them.
    pub(super) fn under_way(&self) -> u64 {
        self.all.iter().map(|stream| stream.load.under_way).sum()
    }

    /// The shortest round trip over any of them so far.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.all.iter().filter_map(|stream| stream.sender.shortest()).min()
    }

    /// What each of them was given, by its number.
    pub(super) fn loads(&self) -> impl Iterator<Item = (u32, Load)> {
        self.all.iter().map(|stream| (stream.number, stream.load))
    }

    /// Closes those that have delivered nothing for so long. Gives their numbers.
    pub(super) fn close_silent(&mut self, time: Duration, now: Instant) -> Vec<u32> {
        let silent = self.all.iter_mut().filter(|stream| stream.load.silent_for(now) > time);
        let open = silent.filter(|stream| !stream.closing);
        let close = |stream: &mut Stream| {
            stream.closing = true;
            stream.number
        };
        open.map(close).collect()
    }
}
