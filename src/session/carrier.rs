//! Carries messages to the receiver, over as many lanes as there are: all take from one queue. Lanes of
//! TLS and QUIC are asked first, then data channels; what one holds back goes over another.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
    vec,
};

use futures_util::future::select_all;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

use super::{
    channels::Channels,
    figures::{Figures, Shared},
    growth::{Connections, Growth, Seen},
    kinds::{Carried, Kind},
    lanes::AnySender,
    limits::processor,
    pace::Pace,
    progress::Over,
    streams::Streams,
};
use crate::{
    net::{
        flight::SHORT,
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

/// What may be sent at once under the user's limit, in time.
const BURST: Duration = Duration::from_millis(50);

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
    channels: Channels,
    streams: Streams,
    /// What was known of the round trip at first, or nothing.
    first_round: Duration,
    outbox: Outbox,
    /// What was given together and is not in the outbox yet.
    waiting: vec::IntoIter<Message>,
    /// As much is ready to be sent as may be.
    ready: bool,
    growth: Growth,
    granted: watch::Receiver<u64>,
    /// Payload that may be sent in all.
    credit: u64,
    /// The longest message that the peer takes, in bytes.
    longest: usize,
    changes: mpsc::UnboundedReceiver<Change>,
    needs: mpsc::UnboundedSender<Need>,
    shared: Shared,
    /// The user's limit.
    limit: Option<Pace>,
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
            channels: Channels::new(first, now),
            streams: Streams::new(faster, now),
            first_round: round,
            outbox: Outbox::default(),
            waiting: Vec::new().into_iter(),
            ready: false,
            growth: Growth::new(wishes.connections),
            granted,
            credit: 0,
            longest,
            changes,
            needs: need,
            shared: shared.clone(),
            limit: wishes.bwlimit.map(|rate| Pace::new(rate, BURST, now)),
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
            self.fill_outbox(&mut messages);
            match self.next_way() {
                Ok(way) => {
                    if self.send(way).await.is_err() && way == Way::Channel(0) {
                        return; // The link is lost, which is told elsewhere.
                    }
                }
                Err(wait) => {
                    let since = Instant::now();
                    self.before_waiting(&wait, since);
                    if self.wait(&wait, &mut messages).await.is_break() {
                        return;
                    }
                    self.waited(&wait, since.elapsed());
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        let now = Instant::now();
        match change {
            Change::Open(number, sender) => self.open(number, sender, now),
            Change::Gone(number) => {
                self.streams.gone(number, now);
                self.channels.gone(number);
                if number != FIRST_DATA {
                    self.outbox.lost(number);
                }
            }
            Change::InVain(kind) => self.streams.choice.gone(kind, now),
        }
    }

    fn open(&mut self, number: u32, sender: AnySender, now: Instant) {
        self.outbox.open(number);
        // From now on what the first lane holds back can go over another.
        self.outbox.open(FIRST_DATA);
        match sender {
            AnySender::DataChannel(sender) => self.channels.open(number, sender, now),
            AnySender::Stream(kind, sender) => {
                let (carried, round) = (self.streams.channels_carry(now), self.round());
                self.streams.open(number, kind, sender, round, now);
                self.replace_channels(carried, now);
            }
        }
    }

    /// Asks every lane what it has delivered, and sees what follows from that.
    async fn look(&mut self) {
        self.channels.look(self.round()).await;
        let now = Instant::now();
        self.streams.look(now);
        self.choose(now);
        let channels_carry = self.streams.channels_carry(now);
        let fit = channels_carry.then(|| self.channels.fit_messages(self.longest));
        self.shared.set_length(fit.unwrap_or(self.longest));
        self.grow(now);
    }

    /// Takes what the receiver grants: that says what of it has arrived, too.
    fn hear_credit(&mut self) {
        let credit = *self.granted.borrow();
        if credit > self.credit {
            self.credit = credit;
            self.outbox.taken(credit.saturating_sub(WINDOW));
        }
    }

    fn fill_outbox(&mut self, messages: &mut mpsc::Receiver<Vec<Message>>) {
        if !self.outbox.wants_more() {
            return;
        }
        if self.waiting.len() == 0
            && let Ok(more) = messages.try_recv()
        {
            self.waiting = more.into_iter();
        }
        self.waiting.next().into_iter().for_each(|message| self.outbox.push(message));
    }

    /// Which kinds of lane carry, and what is to be opened: something at once on a long line, and on a
    /// short one as soon as more is ready than leaves at once.
    fn choose(&mut self, now: Instant) {
        let round = self.round();
        if self.streams.number(Kind::Tls).is_some() && self.streams.choice.is_due(round, now) {
            let channels = self.streams.channels_carry(now);
            let carried = Carried {
                tls: self.streams.delivered(Kind::Tls),
                all: self.delivered(),
                waited: self.shared.figures().for_place,
                processor: processor(),
            };
            self.streams.choice.look(carried, round, now);
            self.replace_channels(channels, now);
        }
        while (self.ready || round > SHORT)
            && let Some(kind) = self.streams.choice.asks(round, now)
        {
            // The session may have ended already.
            let _ = self.needs.send(Need::Stream(kind));
        }
    }

    /// When data channels carry no longer the receiver is not to wait for them, which are slower.
    fn replace_channels(&mut self, carried: bool, now: Instant) {
        if carried && !self.streams.channels_carry(now) {
            for (number, _) in self.channels.loads().filter(|(_, load)| load.under_way > 0) {
                self.outbox.doubt(number);
            }
        }
    }

    fn grow(&mut self, now: Instant) {
        let is_wanted = self.credit > 0;
        if !is_wanted || !self.streams.choice.channels_grow(now) {
            return;
        }
        let round = self.round();
        let seen = Seen {
            delivered: self.delivered(),
            ready: self.ready,
            open: self.channels.further(),
            steady: self.channels.is_steady(),
            round,
            reason: self.channels.reason_for_more(round, now),
            helped: !self.streams.is_empty(),
        };
        self.growth.look(seen, now);
        let wanted = self.growth.wanted();
        if self.channels.want(wanted) {
            // The session may have ended already.
            let _ = self.needs.send(Need::Lanes(wanted));
        }
    }

    /// The shortest round trip so far, over data channels or on lanes of TLS and QUIC.
    fn round(&self) -> Duration {
        let shortest = self.streams.shortest().into_iter().chain(self.channels.shortest());
        shortest.min().unwrap_or(self.first_round)
    }

    /// Bytes that all lanes have delivered.
    fn delivered(&self) -> u64 {
        let streams = self.streams.delivered(Kind::Tls) + self.streams.delivered(Kind::Quic);
        self.channels.delivered() + streams
    }

    /// Bytes on their way over all lanes.
    fn under_way(&self) -> u64 {
        self.channels.under_way() + self.streams.under_way()
    }

    /// What the next message is to go over, or what it waits for.
    fn next_way(&mut self) -> Result<Way, Wait> {
        let (length, payload) = self.outbox.next().ok_or(Wait::Messages)?;
        if payload > 0 && self.shared.sent() + payload > self.credit {
            return Err(Wait::Credit);
        }
        let now = Instant::now();
        if let Some(limit) = self.limit.filter(|limit| !limit.passes(now)) {
            return Err(Wait::Limit(limit.free()));
        }
        let round = self.round();
        if let Some(kind) = self.streams.with_place(round, now) {
            return Ok(Way::Stream(kind));
        }
        if self.streams.channels_carry(now) {
            return self
                .channels
                .with_place(length, round, now)
                .map(Way::Channel)
                .ok_or(Wait::Place);
        }
        let senders = self.streams.senders(now);
        Err(if senders.is_empty() { Wait::Place } else { Wait::Streams(senders) })
    }

    /// Sends the next message.
    async fn send(&mut self, way: Way) -> Result<(), Closed> {
        let number = match way {
            Way::Channel(index) => self.channels.number(index),
            Way::Stream(kind) => self.streams.number(kind),
        };
        let message = number.and_then(|number| self.outbox.take(number));
        let Some(Message { bytes, payload, .. }) = message else { return Ok(()) };
        let length = bytes.len() as u64;
        let sent = match way {
            Way::Channel(index) => self.channels.send(index, bytes, self.round()).await,
            Way::Stream(kind) => self.streams.send(kind, bytes),
        };
        self.shared.count(payload);
        let now = Instant::now();
        self.limit.iter_mut().for_each(|limit| limit.passed(length, now));
        sent
    }

    fn before_waiting(&mut self, wait: &Wait, now: Instant) {
        if matches!(wait, Wait::Messages | Wait::Credit) || self.round() <= SHORT {
            self.doubt(now);
        }
        self.close_silent(now);
        self.tell(now);
    }

    /// Waits, until it is time to look again or nothing more will come.
    async fn wait(
        &mut self,
        wait: &Wait,
        messages: &mut mpsc::Receiver<Vec<Message>>,
    ) -> ControlFlow<()> {
        match wait {
            Wait::Messages => {
                let busy = self.under_way() > 0;
                tokio::select! {
                    more = messages.recv() => match more {
                        Some(more) => self.waiting = more.into_iter(),
                        None => return ControlFlow::Break(()),
                    },
                    change = self.changes.recv() => match change {
                        Some(change) => self.change(change),
                        None => return ControlFlow::Break(()),
                    },
                    () = sleep(LOOK_IDLE), if busy => {}
                }
            }
            Wait::Credit => {
                tokio::select! {
                    changed = self.granted.changed() => if changed.is_err() {
                        return ControlFlow::Break(());
                    },
                    () = sleep(LOOK_IDLE) => {}
                }
            }
            Wait::Place => sleep(LOOK_AGAIN).await,
            Wait::Streams(streams) => {
                let places = streams.iter().map(|stream| Box::pin(stream.place()));
                tokio::select! {
                    _ = select_all(places) => {}
                    () = sleep(LOOK_IDLE) => {}
                }
            }
            Wait::Limit(until) => sleep_until((*until).into()).await,
        }
        ControlFlow::Continue(())
    }

    /// What a lane has not delivered for a while goes over another one: when there is nothing new that
    /// could be sent, and on a short line at once, where that is long.
    fn doubt(&mut self, now: Instant) {
        let others = self.channels.further() > 1 || !self.streams.is_empty();
        let channels = self.channels.loads().filter(|_| others);
        let round = self.round();
        for (number, load) in channels.chain(self.streams.loads()) {
            if load.is_behind(round, now) && self.outbox.doubt(number) {
                self.shared.lock().again += 1;
            }
        }
    }

    fn close_silent(&mut self, now: Instant) {
        let channels = self.channels.close_silent(GONE, now);
        for number in channels.into_iter().chain(self.streams.close_silent(GONE, now)) {
            // The session may have ended already.
            let _ = self.needs.send(Need::Close(number));
        }
    }

    /// Tells the session how it goes.
    fn tell(&self, now: Instant) {
        let channels = if self.streams.channels_carry(now) { self.channels.carrying() } else { 0 };
        let [tls, quic] = [Kind::Tls, Kind::Quic].map(|kind| self.streams.carries(kind, now));
        let (round, again) = (self.round(), self.channels.repaired());
        let mut figures = self.shared.lock();
        *figures = Figures {
            under_way: self.under_way(),
            lanes: channels + usize::from(tls) + usize::from(quic),
            over: Over { tls, quic, data_channels: channels > 0 },
            window: self.channels.window(),
            round,
            repaired: again,
            mtu: self.channels.mtu(),
            reason: self.channels.reason_for_more(round, now).filter(|_| channels > 0),
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
