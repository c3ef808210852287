//! Carries messages to the receiver, over as many lanes as there are: all take from one queue. Data
//! channels share what the line [holds](crate::net::flight); lanes of TLS and QUIC see to that
//! themselves, and take what they have place for. What a lane holds back goes over another.

use std::{
    time::{Duration, Instant},
    vec,
};

use futures_util::future::select_all;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

use super::{
    figures::{Figures, Shared},
    growth::{Connections, Growth, Reason, Seen},
    kinds::{Carried, Choice, Kind},
    laden::{Channel, Fit, Load, Stream},
    lanes::AnySender,
    limits::processor,
    progress::Over,
    signs::Signs,
};
use crate::{
    net::{
        flight::{Flight, SHORT},
        lane::{Closed, LaneSender},
        network::Faster,
        stream::StreamSender,
    },
    proto::{
        binding::FIRST_DATA,
        lanes::{Message, Outbox},
        receiver::WINDOW,
    },
};

/// How soon it is looked again whether a lane has place: the least that the timer knows.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The same while nothing waits for it.
const LOOK_IDLE: Duration = Duration::from_millis(10);

/// A lane that has delivered nothing for so long is gone.
const GONE: Duration = Duration::from_secs(4);

/// When nothing was taken from a lane of TLS or QUIC for so long others carry, too.
const STUCK: Duration = Duration::from_secs(1);

/// What may be sent at once under the user's limit, in time.
const BURST: Duration = Duration::from_millis(50);

/// What may leave at once, in time.
const LINE_BURST: Duration = Duration::from_millis(5);

/// What the user wants of the lanes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// How many there are.
    pub connections: Connections,
    /// The most bytes a second, of payload.
    pub bwlimit: Option<u64>,
}

/// What becomes of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// There are to be so many data channels beside the first.
    Lanes(usize),
    /// There is to be a lane of TLS or QUIC.
    Stream(Kind),
    /// A lane does not deliver any more.
    Close(u32),
}

/// A change of the lanes.
#[derive(Debug)]
pub enum Change {
    /// There is one more.
    Open(u32, AnySender),
    /// One is gone.
    Gone(u32),
    /// One of this kind did not come up.
    InVain(Kind),
}

/// What a message goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The data channel at this index.
    Channel(usize),
    /// The lane of this kind.
    Stream(Kind),
}

/// What one turn of the loop waits for.
enum Wait {
    Messages,
    Credit,
    Place,
    /// Place on one of these, which carry alone.
    Streams(Vec<StreamSender>),
    Limit(Instant),
}

/// See the module.
pub struct Carrier {
    channels: Vec<Channel>,
    /// Those that carry, and perhaps one that is closing.
    streams: Vec<Stream>,
    choice: Choice,
    line: Flight,
    /// What was known of the round trip at first, or nothing.
    first_round: Duration,
    signs: Signs,
    fit: Fit,
    /// Bytes handed to all data channels.
    handed: u64,
    outbox: Outbox,
    /// What was given together and is not in the outbox yet.
    waiting: vec::IntoIter<Message>,
    /// As much is ready to be sent as may be.
    ready: bool,
    growth: Growth,
    wanted: usize,
    granted: watch::Receiver<u64>,
    /// Payload that may be sent in all.
    credit: u64,
    /// The longest message that the peer takes, in bytes.
    longest: usize,
    changes: mpsc::UnboundedReceiver<Change>,
    needs: mpsc::UnboundedSender<Need>,
    shared: Shared,
    /// Bytes delivered in time by data channels, and by lanes of TLS and of QUIC, that are gone.
    earlier: u64,
    tls_earlier: u64,
    quic_earlier: u64,
    /// Packets that lanes sent again, and bytes that they hold back.
    repaired: u64,
    held_back: u64,
    /// The user's limit.
    limit: Option<Pace>,
    /// What keeps bursts off the line.
    pace: Pace,
}

/// Lets so many bytes a second pass, and no more than a few at once.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate: u64,
    burst: Duration,
    free: Instant,
}

impl Pace {
    fn passed(&mut self, bytes: u64, now: Instant) {
        let takes = |bytes: u64| {
            Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.rate.max(1))
        };
        self.free = self.free.max(now.checked_sub(self.burst).unwrap_or(now)) + takes(bytes);
    }
}

/// The other end of a carrier.
#[derive(Debug)]
pub struct Handle {
    /// How many payload bytes may be sent in all.
    pub credit: watch::Sender<u64>,
    /// Lanes that come and go.
    pub changes: mpsc::UnboundedSender<Change>,
    /// What the carrier wants of lanes.
    pub needs: mpsc::UnboundedReceiver<Need>,
    /// What it has done.
    pub shared: Shared,
}

impl Carrier {
    /// Carries over a first lane until there are others; the peer takes messages so long.
    #[must_use]
    pub fn new(
        first: LaneSender,
        longest: usize,
        wishes: Wishes,
        faster: Faster,
        round: Duration,
    ) -> (Self, Handle) {
        let now = Instant::now();
        let (credit, granted) = watch::channel(0);
        let (change, changes) = mpsc::unbounded_channel();
        let (need, needs) = mpsc::unbounded_channel();
        let shared = Shared::new(first.best_length(0).min(longest));
        let carrier = Self {
            channels: vec![Channel::new(FIRST_DATA, first, now)],
            streams: Vec::new(),
            choice: Choice::new(faster, now),
            line: Flight::new(Fit::MOST, now),
            first_round: round,
            signs: Signs::new(now),
            fit: Fit::new(now),
            handed: 0,
            outbox: Outbox::default(),
            waiting: Vec::new().into_iter(),
            ready: false,
            growth: Growth::new(wishes.connections),
            wanted: 0,
            granted,
            credit: 0,
            longest,
            changes,
            needs: need,
            shared: shared.clone(),
            earlier: 0,
            tls_earlier: 0,
            quic_earlier: 0,
            repaired: 0,
            held_back: 0,
            limit: wishes.bwlimit.map(|rate| Pace { rate, burst: BURST, free: now }),
            pace: Pace { rate: u64::MAX, burst: LINE_BURST, free: now },
        };
        (carrier, Handle { credit, changes: change, needs, shared })
    }

    /// Carries until the first lane is closed, or nothing more will come.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Vec<Message>>) {
        loop {
            self.ready = messages.len() == messages.max_capacity();
            while let Ok(change) = self.changes.try_recv() {
                self.change(change);
            }
            self.look().await;
            self.hear_credit();
            if self.outbox.wants_more() {
                if self.waiting.len() == 0 {
                    messages
                        .try_recv()
                        .into_iter()
                        .for_each(|more| self.waiting = more.into_iter());
                }
                self.waiting.next().into_iter().for_each(|message| self.outbox.push(message));
            }
            let wait = match self.outbox.next() {
                Some((length, payload)) => match self.may_send(length, payload) {
                    Ok(way) => {
                        if self.send(way).await.is_err() && way == Way::Channel(0) {
                            return; // The link is lost, which is told elsewhere.
                        }
                        continue;
                    }
                    Err(wait) => wait,
                },
                None => Wait::Messages,
            };
            let since = Instant::now();
            if matches!(wait, Wait::Messages | Wait::Credit) || self.round() <= SHORT {
                self.doubt(since);
            }
            self.close_silent(since);
            self.tell(since);
            match wait {
                Wait::Messages => {
                    let busy = self.under_way() > 0;
                    tokio::select! {
                        more = messages.recv() => match more {
                            Some(more) => self.waiting = more.into_iter(),
                            None => return,
                        },
                        change = self.changes.recv() => match change {
                            Some(change) => self.change(change),
                            None => return,
                        },
                        () = sleep(LOOK_IDLE), if busy => {}
                    }
                }
                Wait::Credit => {
                    tokio::select! {
                        changed = self.granted.changed() => if changed.is_err() { return },
                        () = sleep(LOOK_IDLE) => {}
                    }
                }
                Wait::Place => sleep(LOOK_AGAIN).await,
                Wait::Streams(ref streams) => {
                    let places = streams.iter().map(|stream| Box::pin(stream.place()));
                    tokio::select! {
                        _ = select_all(places) => {}
                        () = sleep(LOOK_IDLE) => {}
                    }
                }
                Wait::Limit(until) => sleep_until(until.into()).await,
            }
            self.waited(&wait, since.elapsed());
        }
    }

    fn change(&mut self, change: Change) {
        let now = Instant::now();
        match change {
            Change::Open(number, sender) => self.open(number, sender, now),
            Change::Gone(number) => self.gone(number, now),
            Change::InVain(kind) => self.choice.gone(kind, now),
        }
    }

    fn open(&mut self, number: u32, sender: AnySender, now: Instant) {
        self.outbox.open(number);
        // From now on what the first lane holds back can go over another.
        self.outbox.open(FIRST_DATA);
        match sender {
            AnySender::DataChannel(sender) => {
                self.channels.push(Channel::new(number, sender, now));
                if self.channels.len() > 2 {
                    self.line.look_for_more();
                }
            }
            AnySender::Stream(kind, sender) => {
                let carried = self.channels_carry(now);
                self.streams.push(Stream::new(number, kind, sender, now));
                self.choice.opened(kind, self.round(), now);
                self.replace_channels(carried, now);
            }
        }
    }

    fn gone(&mut self, number: u32, now: Instant) {
        if let Some(index) = self.streams.iter().position(|stream| stream.number == number) {
            let stream = self.streams.remove(index);
            let earlier = match stream.kind {
                Kind::Quic => &mut self.quic_earlier,
                _ => &mut self.tls_earlier,
            };
            *earlier += stream.load.delivered();
            self.outbox.lost(number);
            self.choice.gone(stream.kind, now);
        }
        if let Some(index) = self.channels.iter().position(|channel| channel.number == number)
            && index > 0
        {
            let channel = self.channels.remove(index);
            self.earlier += channel.load.delivered_in_time();
            self.handed -= channel.load.on_the_line();
            self.outbox.lost(number);
        }
    }

    /// Asks every lane what it has delivered.
    async fn look(&mut self) {
        let (mut repaired, mut held_back) = (0, 0);
        for channel in &mut self.channels {
            let (again, back) = channel.look().await;
            repaired += again;
            held_back += back;
        }
        let now = Instant::now();
        self.write_off(now);
        self.line.delivered(self.channels_delivered(), now);
        self.signs.see(repaired, held_back, self.channels_under_way(), now);
        if self.round() <= SHORT {
            let channels = self.used().count().max(1) as u64;
            self.fit.see(repaired, self.line.window() / channels, now);
        }
        self.repaired += repaired;
        self.held_back = held_back;
        self.streams.iter_mut().for_each(|stream| stream.look(now));
        self.choose(now);
        self.fit_messages(now);
        self.grow(now);
    }

    /// What a data channel has that has fallen behind is not on the line.
    fn write_off(&mut self, now: Instant) {
        let round = self.round();
        let loads = self.channels.iter_mut().map(|channel| &mut channel.load);
        let bytes = loads.filter(|load| load.is_behind(round, now)).map(Load::write_off).sum();
        if bytes > 0 {
            self.handed -= bytes;
            self.line.lost(bytes);
        }
    }

    /// Takes what the receiver grants: that says what of it has arrived, too.
    fn hear_credit(&mut self) {
        let credit = *self.granted.borrow();
        if credit > self.credit {
            self.credit = credit;
            self.outbox.taken(credit.saturating_sub(WINDOW));
        }
    }

    /// Which kinds of lane carry, and what is to be opened: something at once on a long line, and on a
    /// short one as soon as more is ready than leaves at once.
    fn choose(&mut self, now: Instant) {
        let round = self.round();
        if self.stream(Kind::Tls).is_some() && self.choice.is_due(round, now) {
            let channels = self.channels_carry(now);
            let carried = Carried {
                tls: self.delivered_by(Kind::Tls),
                all: self.delivered(),
                waited: self.shared.figures().for_place,
                processor: processor(),
            };
            self.choice.look(carried, round, now);
            self.replace_channels(channels, now);
        }
        while (self.ready || round > SHORT)
            && let Some(kind) = self.choice.asks(round, now)
        {
            // The session may have ended already.
            let _ = self.needs.send(Need::Stream(kind));
        }
    }

    /// When data channels carry no longer the receiver is not to wait for them, which are slower.
    fn replace_channels(&mut self, carried: bool, now: Instant) {
        if carried && !self.channels_carry(now) {
            for channel in self.channels.iter().filter(|channel| channel.load.under_way > 0) {
                self.outbox.doubt(channel.number);
            }
        }
    }

    /// The lane of this kind that carries.
    fn stream(&self, kind: Kind) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.kind == kind && !stream.closing)
    }

    /// The lanes of TLS and QUIC that carry, that which is preferred first.
    fn carrying(&self, now: Instant) -> impl Iterator<Item = &Stream> + Clone {
        let kinds = [(Kind::Tls, self.choice.tls_carries()), (Kind::Quic, self.ice_carries(now))];
        let kinds = kinds.into_iter().filter(|(_, carries)| *carries);
        kinds.filter_map(|(kind, _)| self.stream(kind))
    }

    /// Whether there is a lane of this kind on which the peer takes something.
    fn goes(&self, kind: Kind, now: Instant) -> bool {
        self.stream(kind).is_some_and(|stream| stream.load.silent_for(now) <= STUCK)
    }

    /// Whether what goes the way of ICE carries.
    fn ice_carries(&self, now: Instant) -> bool {
        let has_tls = self.streams.iter().any(|stream| stream.kind == Kind::Tls);
        self.choice.ice_carries(now) || (has_tls && !self.goes(Kind::Tls, now))
    }

    fn channels_carry(&self, now: Instant) -> bool {
        self.ice_carries(now) && !self.goes(Kind::Quic, now)
    }

    /// Messages are as long as the line takes them best.
    fn fit_messages(&mut self, now: Instant) {
        let newest =
            self.channels.last().map(|channel| channel.sender.best_length(self.line.at_once()));
        let length = newest.filter(|_| self.channels_carry(now)).unwrap_or(self.longest);
        let length = length.min(self.longest);
        self.line.set_message(length as u64);
        self.shared.set_length(length);
    }

    /// The shortest round trip so far, over data channels or on lanes of TLS and QUIC.
    fn round(&self) -> Duration {
        let streams = self.streams.iter().filter_map(|stream| stream.sender.shortest());
        let others = streams.chain(self.line.shortest()).min();
        others.unwrap_or(self.first_round)
    }

    /// Bytes that all lanes have delivered.
    fn delivered(&self) -> u64 {
        self.channels_delivered() + self.delivered_by(Kind::Tls) + self.delivered_by(Kind::Quic)
    }

    fn channels_delivered(&self) -> u64 {
        let channels = self.channels.iter();
        self.earlier + channels.map(|channel| channel.load.delivered_in_time()).sum::<u64>()
    }

    /// Bytes that lanes of TLS or QUIC have delivered.
    fn delivered_by(&self, kind: Kind) -> u64 {
        let earlier = if kind == Kind::Quic { self.quic_earlier } else { self.tls_earlier };
        let streams = self.streams.iter().filter(|stream| stream.kind == kind);
        earlier + streams.map(|stream| stream.load.delivered()).sum::<u64>()
    }

    /// Bytes on their way over all lanes.
    fn under_way(&self) -> u64 {
        let streams = self.streams.iter().map(|stream| stream.load.under_way);
        self.channels_under_way() + streams.sum::<u64>()
    }

    fn channels_under_way(&self) -> u64 {
        self.channels.iter().map(|channel| channel.load.under_way).sum()
    }

    fn grow(&mut self, now: Instant) {
        let is_wanted = self.credit > 0;
        if !is_wanted || !self.choice.channels_grow(now) {
            return;
        }
        let channels = self.used().count();
        self.line.set_most(self.fit.most() * channels as u64);
        let seen = Seen {
            delivered: self.delivered(),
            ready: self.ready,
            open: self.channels.len() - 1,
            steady: self.line.is_steady(),
            round: self.round(),
            reason: self.reason_for_more(now),
            helped: !self.streams.is_empty(),
        };
        self.growth.look(seen, now);
        let wanted = self.growth.wanted();
        if wanted > self.wanted {
            // The session may have ended already.
            let _ = self.needs.send(Need::Lanes(wanted));
        }
        self.wanted = wanted;
    }

    /// The data channels that may take something: the first only until another carries as much as the
    /// line holds.
    fn used(&self) -> impl Iterator<Item = &Channel> + Clone {
        let others = self.channels.iter().skip(1);
        let others = others.filter(|channel| !channel.closing).take(self.wanted);
        let window = self.line.window();
        let replaced = others.clone().any(|channel| channel.load.delivered() >= window);
        let first = self.channels.first().filter(|_| !replaced);
        first.into_iter().chain(others)
    }

    /// What a message of such a length and payload is to go over.
    fn may_send(&mut self, length: u64, payload: u64) -> Result<Way, Wait> {
        if payload > 0 && self.shared.sent() + payload > self.credit {
            return Err(Wait::Credit);
        }
        let now = Instant::now();
        if let Some(limit) = self.limit.filter(|limit| now < limit.free) {
            return Err(Wait::Limit(limit.free));
        }
        if let Some(kind) = self.stream_with_place(now)? {
            return Ok(Way::Stream(kind));
        }
        if now < self.pace.free || !self.line.admits(length, self.on_the_line(now)) {
            return Err(Wait::Place);
        }
        self.free_channel(length, now).map(Way::Channel).ok_or(Wait::Place)
    }

    /// Bytes on their way over data channels that count for the window. On a long line that loses packets
    /// SCTP's windows keep some back, which are not on the line, and whose place others may have: a lane
    /// with nothing behind what is on its way does not make its window larger.
    fn on_the_line(&self, now: Instant) -> u64 {
        let bytes: u64 = self.channels.iter().map(|channel| channel.load.on_the_line()).sum();
        let is_repaired = self.round() > SHORT && self.signs.is_lossy(now);
        if is_repaired { bytes.saturating_sub(self.held_back) } else { bytes }
    }

    /// The index of the data channel that is to take a message of such a length, if one has place.
    /// Those that move share the window. One that has fallen behind takes what it might have anyway, and
    /// only when none of the others has place: it may show the peer what it lacks.
    fn free_channel(&self, length: u64, now: Instant) -> Option<usize> {
        let round = self.round();
        let behind = |channel: &Channel| channel.load.is_behind(round, now);
        let (window, all) = (self.line.window(), self.used().count());
        let moving = self.used().filter(|channel| !behind(channel)).count();
        let sharers = |channel: &Channel| if behind(channel) { all } else { moving };
        let free = self.used().filter(|channel| channel.admits(length, window, sharers(channel)));
        let best = free.min_by_key(|channel| {
            (channel.number == FIRST_DATA, behind(channel), channel.load.under_way)
        })?;
        self.channels.iter().position(|channel| channel.number == best.number)
    }

    /// The lane of TLS or QUIC that takes a message, if one does; what to wait for when none does and
    /// data channels do not carry.
    fn stream_with_place(&self, now: Instant) -> Result<Option<Kind>, Wait> {
        let streams = self.carrying(now);
        let channels_carry = self.channels_carry(now);
        let (round, alone) = (self.round(), streams.clone().count() == 1 && !channels_carry);
        let free = streams.clone().find(|stream| stream.admits(round, alone));
        if free.is_some() || channels_carry {
            return Ok(free.map(|stream| stream.kind));
        }
        let senders: Vec<_> = streams.map(|stream| stream.sender.clone()).collect();
        Err(if senders.is_empty() { Wait::Place } else { Wait::Streams(senders) })
    }

    /// Sends the next message.
    async fn send(&mut self, way: Way) -> Result<(), Closed> {
        match way {
            Way::Channel(index) => self.send_over_channel(index).await,
            Way::Stream(kind) => self.send_over_stream(kind),
        }
    }

    fn send_over_stream(&mut self, kind: Kind) -> Result<(), Closed> {
        let mut streams = self.streams.iter_mut();
        let stream = streams.find(|stream| stream.kind == kind && !stream.closing);
        let Some(stream) = stream else { return Ok(()) };
        let Some(Message { bytes, payload, .. }) = self.outbox.take(stream.number) else {
            return Ok(());
        };
        let (length, now) = (bytes.len() as u64, Instant::now());
        let sent = stream.send(bytes, now);
        self.count(length, payload, now);
        sent
    }

    async fn send_over_channel(&mut self, index: usize) -> Result<(), Closed> {
        let round = self.round();
        let Some(channel) = self.channels.get_mut(index) else { return Ok(()) };
        let Some(Message { bytes, payload, .. }) = self.outbox.take(channel.number) else {
            return Ok(());
        };
        let length = bytes.len() as u64;
        let was_behind = channel.load.is_behind(round, Instant::now());
        channel.send(bytes).await?;
        let now = Instant::now();
        if was_behind {
            channel.load.write_off();
        } else {
            self.handed += length;
            self.line.sent(self.handed, now);
        }
        self.count(length, payload, now);
        if let Some(rate) = self.line.pace() {
            self.pace.rate = rate;
            self.pace.passed(length, now);
        }
        Ok(())
    }

    /// A message was given to a lane.
    fn count(&mut self, length: u64, payload: u64, now: Instant) {
        self.shared.count(payload);
        self.limit.iter_mut().for_each(|limit| limit.passed(length, now));
    }

    /// What a lane has not delivered for a while goes over another one: when there is nothing new that
    /// could be sent, and on a short line at once, where that is long.
    fn doubt(&mut self, now: Instant) {
        let others = self.channels.len() > 2 || !self.streams.is_empty();
        let channels = self.channels.iter().filter(|_| others);
        let channels = channels.map(|channel| (channel.number, channel.load));
        let streams = self.streams.iter().map(|stream| (stream.number, stream.load));
        let round = self.round();
        for (number, load) in channels.chain(streams) {
            if load.is_behind(round, now) && self.outbox.doubt(number) {
                self.shared.lock().again += 1;
            }
        }
    }

    fn close_silent(&mut self, now: Instant) {
        let channels = self.channels.iter_mut().skip(1);
        let channels = channels.map(|channel| (channel.number, channel.load, &mut channel.closing));
        let streams = self.streams.iter_mut();
        let streams = streams.map(|stream| (stream.number, stream.load, &mut stream.closing));
        for (number, load, closing) in channels.chain(streams) {
            if load.silent_for(now) > GONE && !*closing {
                *closing = true;
                // The session may have ended already.
                let _ = self.needs.send(Need::Close(number));
            }
        }
    }

    fn reason_for_more(&self, now: Instant) -> Option<Reason> {
        let lossy = self.signs.is_lossy(now).then_some(Reason::Lossy);
        lossy.or_else(|| self.is_held_back(now).then_some(Reason::HeldBack))
    }

    /// Whether the lanes' own windows keep bytes from leaving.
    fn is_held_back(&self, now: Instant) -> bool {
        let round = self.round();
        self.line.is_full() || (self.line.is_steady() && self.signs.is_held_back(round, now))
    }

    /// Tells the session how it goes.
    fn tell(&self, now: Instant) {
        // The first is not counted while others take its place.
        let used = self.used().count().min(self.wanted.max(1));
        let channels = if self.channels_carry(now) { used } else { 0 };
        let carries = |kind| self.carrying(now).any(|stream| stream.kind == kind);
        let (tls, quic) = (carries(Kind::Tls), carries(Kind::Quic));
        let mut figures = self.shared.lock();
        *figures = Figures {
            under_way: self.under_way(),
            lanes: channels + usize::from(tls) + usize::from(quic),
            over: Over { tls, quic, data_channels: channels > 0 },
            window: self.line.window(),
            round: self.round(),
            repaired: self.repaired,
            mtu: self.used().map(|channel| channel.sender.mtu()).max().unwrap_or_default(),
            reason: self.reason_for_more(now).filter(|_| channels > 0),
            ..*figures
        };
    }

    fn waited(&self, wait: &Wait, time: Duration) {
        let mut figures = self.shared.lock();
        let spent = match wait {
            Wait::Messages => &mut figures.for_messages,
            Wait::Credit => &mut figures.for_credit,
            Wait::Place | Wait::Streams(_) => &mut figures.for_place,
            Wait::Limit(_) => &mut figures.for_limit,
        };
        *spent += time;
    }
}
