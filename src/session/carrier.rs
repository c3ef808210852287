//! Carries messages to the receiver, over as many lanes as there are: all take from one queue. Data
//! channels share what the line [holds](super::flight); a lane of TLS takes what its kernel lets
//! it. What a lane holds back goes over another.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
    vec,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

use super::{
    flight::Flight,
    growth::{Connections, Growth, Reason, Seen},
    kinds::{Carried, Choice},
    lanes::AnySender,
    signs::Signs,
};
use crate::{
    net::{
        lane::{Closed, LaneSender},
        network::Kinds,
        stream::StreamSender,
    },
    proto::{
        binding::FIRST_DATA,
        lanes::{Message, Outbox},
        receiver::WINDOW,
    },
};

/// What a new lane may have under way: SCTP's slow start lets four packets leave.
const START: u64 = 16 * 1024;

/// The most bytes that a lane may have under way.
const MOST_UNDER_WAY: u64 = 2 * 1024 * 1024;

/// How soon it is looked again whether a lane has place: the least that the timer knows.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The same while nothing waits for it.
const LOOK_IDLE: Duration = Duration::from_millis(10);

/// A lane that has delivered nothing for so long has fallen behind, and is gone after so long.
const BEHIND: Duration = Duration::from_millis(250);
const GONE: Duration = Duration::from_secs(4);

/// When nothing was taken from a lane of TLS for so long data channels carry, too.
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
    /// There is to be a lane of TLS.
    Tls,
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
}

/// What the carrier has done, and waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Payload bytes handed to lanes.
    pub sent: u64,
    /// Bytes handed to lanes that the peer has not acknowledged.
    pub under_way: u64,
    /// Lanes that are used.
    pub lanes: usize,
    /// Data channels among them.
    pub channels: usize,
    /// Whether there is one of TLS.
    pub tls: bool,
    /// What lanes may have under way in all.
    pub window: u64,
    /// The shortest time that something took until it was acknowledged.
    pub round: Duration,
    /// How often messages were sent over another lane, too.
    pub again: u64,
    /// Packets that were sent again, by the lanes themselves.
    pub repaired: u64,
    /// Time spent waiting for messages.
    pub for_messages: Duration,
    /// Time spent waiting for the receiver's credit.
    pub for_credit: Duration,
    /// Time spent waiting for place on a lane.
    pub for_place: Duration,
    /// Time spent waiting because of the user's limit.
    pub for_limit: Duration,
    /// The largest packets that are sent, in bytes.
    pub mtu: u32,
    /// Why more lanes would help, if they would.
    pub reason: Option<Reason>,
}

impl Figures {
    /// Nothing was done.
    pub const NONE: Self = Self {
        sent: 0,
        under_way: 0,
        lanes: 0,
        channels: 0,
        tls: false,
        window: 0,
        round: Duration::ZERO,
        again: 0,
        repaired: 0,
        for_messages: Duration::ZERO,
        for_credit: Duration::ZERO,
        for_place: Duration::ZERO,
        for_limit: Duration::ZERO,
        mtu: 0,
        reason: None,
    };
}

/// What the carrier shares with the session.
#[derive(Clone, Debug)]
pub struct Shared {
    sent: Arc<AtomicU64>,
    length: Arc<AtomicUsize>,
    figures: Arc<Mutex<Figures>>,
}

impl Shared {
    /// Payload bytes handed to lanes.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How long messages may be, in bytes: the line takes them best so.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures { sent: self.sent(), ..*self.lock() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lane {
    number: u32,
    sender: LaneSender,
    /// Bytes handed to it.
    handed: u64,
    under_way: u64,
    /// Packets that its connection sent again.
    repaired: u64,
    /// When something was delivered last, or nothing was under way.
    progressed: Instant,
    closing: bool,
}

impl Lane {
    fn new(number: u32, sender: LaneSender, now: Instant) -> Self {
        let (repaired, _) = sender.meter().again_and_held_back();
        Self { number, sender, handed: 0, under_way: 0, repaired, progressed: now, closing: false }
    }

    fn delivered(&self) -> u64 {
        self.handed - self.under_way
    }

    /// Whether it may take a message, as one of several that share a window. A new one takes only
    /// what SCTP's slow start lets it send soon.
    fn admits(&self, bytes: u64, window: u64, lanes: usize) -> bool {
        let share = (window / lanes.max(1) as u64).saturating_mul(2);
        let most = share.min(self.delivered() + START).max(bytes);
        self.under_way + bytes <= most
    }

    /// Since when nothing was delivered of what it carries.
    fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progressed)
    }
}

/// The lane of TLS.
#[derive(Debug)]
struct TlsLane {
    number: u32,
    sender: StreamSender,
    handed: u64,
    under_way: u64,
    progressed: Instant,
    closing: bool,
}

impl TlsLane {
    fn new(number: u32, sender: StreamSender, now: Instant) -> Self {
        Self { number, sender, handed: 0, under_way: 0, progressed: now, closing: false }
    }

    fn delivered(&self) -> u64 {
        self.handed - self.under_way
    }

    fn look(&mut self, now: Instant) {
        let Ok(outstanding) = self.sender.outstanding() else {
            // What it had goes over another when it is known to be gone.
            self.closing = true;
            return;
        };
        if outstanding < self.under_way || outstanding == 0 {
            self.progressed = now;
        }
        self.under_way = outstanding;
    }

    /// Since when the peer has taken nothing of what it carries.
    fn silent_for(&self, now: Instant) -> Duration {
        if self.under_way > 0 {
            now.saturating_duration_since(self.progressed)
        } else {
            Duration::ZERO
        }
    }

    fn send(&mut self, message: Bytes, now: Instant) -> Result<(), Closed> {
        let length = message.len() as u64;
        self.sender.send(message)?;
        if self.under_way == 0 {
            self.progressed = now;
        }
        self.handed += length;
        self.under_way += length;
        Ok(())
    }
}

/// What a message goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The data channel at this index.
    Channel(usize),
    Tls,
}

/// What one turn of the loop waits for.
enum Wait {
    Messages,
    Credit,
    Place,
    /// Place on the lane of TLS, which carries alone.
    Tls(StreamSender),
    Limit(Instant),
}

/// See the module.
pub struct Carrier {
    /// Data channels.
    lanes: Vec<Lane>,
    tls: Option<TlsLane>,
    choice: Choice,
    line: Flight,
    signs: Signs,
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
    /// Bytes delivered by data channels, and by lanes of TLS, that are gone.
    earlier: u64,
    tls_earlier: u64,
    /// Packets that lanes sent again.
    repaired: u64,
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
    pub fn new(first: LaneSender, longest: usize, wishes: Wishes, kinds: Kinds) -> (Self, Handle) {
        let now = Instant::now();
        let (credit, granted) = watch::channel(0);
        let (change, changes) = mpsc::unbounded_channel();
        let (need, needs) = mpsc::unbounded_channel();
        let shared = Shared {
            sent: Arc::default(),
            length: Arc::new(first.best_length(0).min(longest).into()),
            figures: Arc::default(),
        };
        let carrier = Self {
            lanes: vec![Lane::new(FIRST_DATA, first, now)],
            tls: None,
            choice: Choice::new(kinds, now),
            line: Flight::new(MOST_UNDER_WAY, now),
            signs: Signs::new(now),
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
            repaired: 0,
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
            if matches!(wait, Wait::Messages | Wait::Credit) {
                self.doubt(since);
            }
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
                Wait::Tls(ref lane) => tokio::select! {
                    () = lane.place() => {}
                    () = sleep(LOOK_IDLE) => {}
                },
                Wait::Limit(until) => sleep_until(until.into()).await,
            }
            self.waited(&wait, since.elapsed());
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Open(number, AnySender::DataChannel(sender)) => {
                self.outbox.open(number);
                self.lanes.push(Lane::new(number, sender, Instant::now()));
                if self.lanes.len() > 2 {
                    self.line.look_for_more();
                }
            }
            Change::Open(number, AnySender::Tls(sender)) => {
                let now = Instant::now();
                self.outbox.open(number);
                // From now on what the first lane holds back can go over another.
                self.outbox.open(FIRST_DATA);
                self.tls = Some(TlsLane::new(number, sender, now));
                self.choice.opened(self.line.shortest().unwrap_or_default(), now);
            }
            Change::Gone(number) => {
                if let Some(lane) = self.tls.take_if(|lane| lane.number == number) {
                    self.tls_earlier += lane.delivered();
                    self.outbox.lost(number);
                    self.choice.gone(Instant::now());
                }
                if let Some(index) = self.lanes.iter().position(|lane| lane.number == number)
                    && index > 0
                {
                    let lane = self.lanes.remove(index);
                    self.earlier += lane.delivered();
                    self.handed -= lane.under_way;
                    self.outbox.lost(number);
                }
            }
        }
    }

    /// Asks every lane what it has delivered.
    async fn look(&mut self) {
        let (mut repaired, mut held_back, mut under_way) = (0, 0, 0);
        for lane in &mut self.lanes {
            if lane.under_way == 0 {
                continue;
            }
            let Ok(outstanding) = lane.sender.outstanding().await else {
                // What it had goes over another when it is known to be gone.
                lane.closing = true;
                continue;
            };
            let outstanding = outstanding as u64;
            if outstanding < lane.under_way || outstanding == 0 {
                lane.progressed = Instant::now();
            }
            lane.under_way = outstanding.min(lane.handed);
            let (again, back) = lane.sender.meter().again_and_held_back();
            repaired += again - std::mem::replace(&mut lane.repaired, again);
            held_back += back;
            under_way += lane.under_way;
        }
        let now = Instant::now();
        self.line.delivered(self.delivered(), now);
        self.signs.see(repaired, held_back, under_way, now);
        self.repaired += repaired;
        self.tls.iter_mut().for_each(|lane| lane.look(now));
        self.choose(now);
        self.fit_messages(now);
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

    /// Which kinds of lane carry, and whether there is to be one of TLS: as soon as more is ready
    /// than leaves at once.
    fn choose(&mut self, now: Instant) {
        if self.tls.is_some() {
            let tls = self.tls_delivered();
            let waited = self.shared.figures().for_place;
            let carried = Carried { tls, all: tls + self.delivered(), waited };
            let carried_before = self.choice.channels_carry(now);
            self.choice.look(carried, self.line.shortest().unwrap_or_default(), now);
            if carried_before && !self.choice.channels_carry(now) {
                // The receiver is not to wait for those that are slower.
                for lane in self.lanes.iter().filter(|lane| lane.under_way > 0) {
                    self.outbox.doubt(lane.number);
                }
            }
        } else if self.ready && self.choice.asks(now) {
            // The session may have ended already.
            let _ = self.needs.send(Need::Tls);
        }
    }

    fn channels_carry(&self, now: Instant) -> bool {
        let stuck = |lane: &TlsLane| lane.closing || lane.silent_for(now) > STUCK;
        self.choice.channels_carry(now) || self.tls.as_ref().is_some_and(stuck)
    }

    /// Messages are as long as the line takes them best.
    fn fit_messages(&mut self, now: Instant) {
        let newest = self.lanes.last().map(|lane| lane.sender.best_length(self.line.at_once()));
        let length = newest.filter(|_| self.channels_carry(now)).unwrap_or(self.longest);
        let length = length.min(self.longest);
        self.line.set_message(length as u64);
        self.shared.length.store(length, Ordering::Relaxed);
    }

    /// Bytes that data channels have delivered.
    fn delivered(&self) -> u64 {
        self.earlier + self.lanes.iter().map(Lane::delivered).sum::<u64>()
    }

    fn tls_delivered(&self) -> u64 {
        self.tls_earlier + self.tls.as_ref().map_or(0, TlsLane::delivered)
    }

    /// Bytes on their way over all lanes.
    fn under_way(&self) -> u64 {
        let tls = self.tls.as_ref().map_or(0, |lane| lane.under_way);
        tls + self.channels_under_way()
    }

    fn channels_under_way(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.under_way).sum()
    }

    fn grow(&mut self, now: Instant) {
        if !self.choice.channels_grow(now) {
            return;
        }
        let lanes = self.used().count();
        self.line.set_most(MOST_UNDER_WAY * lanes as u64);
        let seen = Seen {
            delivered: self.tls_delivered() + self.delivered(),
            ready: self.ready,
            open: self.lanes.len() - 1,
            steady: self.line.is_steady(),
            round: self.line.shortest().unwrap_or_default(),
            reason: self.reason_for_more(now),
            helped: self.tls.is_some(),
        };
        self.growth.look(seen, now);
        let wanted = self.growth.wanted();
        if wanted > self.wanted {
            // The session may have ended already.
            let _ = self.needs.send(Need::Lanes(wanted));
        }
        self.wanted = wanted;
    }

    /// The lanes that may take something: the first only until another carries as much as the line
    /// holds.
    fn used(&self) -> impl Iterator<Item = &Lane> + Clone {
        let others = self.lanes.iter().skip(1).filter(|lane| !lane.closing).take(self.wanted);
        let window = self.line.window();
        let replaced = others.clone().any(|lane| lane.delivered() >= window);
        let first = self.lanes.first().filter(|_| !replaced);
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
        let tls = self.tls.as_ref().filter(|lane| !lane.closing);
        if tls.is_some_and(|lane| lane.sender.has_place()) {
            return Ok(Way::Tls);
        }
        if !self.channels_carry(now) {
            return Err(tls.map_or(Wait::Place, |lane| Wait::Tls(lane.sender.clone())));
        }
        if now < self.pace.free || !self.line.admits(length, self.channels_under_way()) {
            return Err(Wait::Place);
        }
        let (window, lanes) = (self.line.window(), self.used().count());
        let free = self.used().filter(|lane| lane.admits(length, window, lanes));
        let best = free.min_by_key(|lane| (lane.number == FIRST_DATA, lane.under_way));
        let number = best.map(|lane| lane.number).ok_or(Wait::Place)?;
        let index = self.lanes.iter().position(|lane| lane.number == number);
        index.map(Way::Channel).ok_or(Wait::Place)
    }

    /// Sends the next message.
    async fn send(&mut self, way: Way) -> Result<(), Closed> {
        match way {
            Way::Channel(index) => self.send_over_channel(index).await,
            Way::Tls => self.send_over_tls(),
        }
    }

    fn send_over_tls(&mut self) -> Result<(), Closed> {
        let Some(lane) = &mut self.tls else { return Ok(()) };
        let Some(Message { bytes, payload, .. }) = self.outbox.take(lane.number) else {
            return Ok(());
        };
        let (length, now) = (bytes.len() as u64, Instant::now());
        let sent = lane.send(bytes, now);
        lane.closing |= sent.is_err(); // It is told elsewhere, too.
        self.shared.sent.fetch_add(payload, Ordering::Relaxed);
        self.limit.iter_mut().for_each(|limit| limit.passed(length, now));
        sent
    }

    async fn send_over_channel(&mut self, index: usize) -> Result<(), Closed> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        let Some(Message { bytes, payload, .. }) = self.outbox.take(lane.number) else {
            return Ok(());
        };
        let length = bytes.len() as u64;
        let sent = lane.sender.send(bytes.into()).await;
        if sent.is_err() {
            lane.closing = true; // It is told elsewhere, too.
            return sent;
        }
        let now = Instant::now();
        if lane.under_way == 0 {
            lane.progressed = now;
        }
        lane.handed += length;
        lane.under_way += length;
        self.handed += length;
        self.line.sent(self.handed, now);
        self.shared.sent.fetch_add(payload, Ordering::Relaxed);
        self.limit.iter_mut().for_each(|limit| limit.passed(length, now));
        if let Some(rate) = self.line.pace() {
            self.pace.rate = rate;
            self.pace.passed(length, now);
        }
        Ok(())
    }

    /// There is nothing new that could be sent: what a lane has not delivered for a while goes over
    /// another one. A lane that never does is closed.
    fn doubt(&mut self, now: Instant) {
        let others = self.lanes.len() > 2 || self.tls.is_some();
        let first = usize::from(self.tls.is_none());
        let round = self.line.shortest().unwrap_or_default();
        if let Some(lane) = &self.tls
            && lane.silent_for(now) > BEHIND + round * 2
            && self.outbox.doubt(lane.number)
        {
            self.shared.lock().again += 1;
        }
        for lane in self.lanes.iter().skip(first).filter(|lane| lane.under_way > 0) {
            let silent = lane.silent_for(now);
            if others && silent > BEHIND + round * 2 && self.outbox.doubt(lane.number) {
                self.shared.lock().again += 1;
            }
        }
        self.close_silent(now);
    }

    fn close_silent(&mut self, now: Instant) {
        if let Some(lane) = self.tls.as_mut().filter(|lane| !lane.closing)
            && lane.silent_for(now) > GONE
        {
            lane.closing = true;
            // The session may have ended already.
            let _ = self.needs.send(Need::Close(lane.number));
        }
        for lane in self.lanes.iter_mut().skip(1).filter(|lane| !lane.closing) {
            if lane.under_way > 0 && lane.silent_for(now) > GONE {
                lane.closing = true;
                // The session may have ended already.
                let _ = self.needs.send(Need::Close(lane.number));
            }
        }
    }

    fn reason_for_more(&self, now: Instant) -> Option<Reason> {
        let lossy = self.signs.is_lossy(now).then_some(Reason::Lossy);
        lossy.or_else(|| self.is_held_back(now).then_some(Reason::HeldBack))
    }

    /// Whether the lanes' own windows keep bytes from leaving.
    fn is_held_back(&self, now: Instant) -> bool {
        let round = self.line.shortest().unwrap_or_default();
        self.line.is_full() || (self.line.is_steady() && self.signs.is_held_back(round, now))
    }

    fn waited(&mut self, wait: &Wait, time: Duration) {
        let now = Instant::now();
        self.close_silent(now);
        let under_way = self.under_way();
        let channels = if self.channels_carry(now) { self.used().count() } else { 0 };
        let tls = self.tls.is_some();
        let lanes = channels + usize::from(tls);
        let window = self.line.window();
        let round = self.line.shortest().unwrap_or_default();
        let reason = self.reason_for_more(now).filter(|_| channels > 0);
        let repaired = self.repaired;
        let mtu = self.used().map(|lane| lane.sender.mtu()).max().unwrap_or_default();
        let mut figures = self.shared.lock();
        let spent = match wait {
            Wait::Messages => &mut figures.for_messages,
            Wait::Credit => &mut figures.for_credit,
            Wait::Place | Wait::Tls(_) => &mut figures.for_place,
            Wait::Limit(_) => &mut figures.for_limit,
        };
        *spent += time;
        let before = *figures;
        *figures = Figures {
            under_way,
            lanes,
            channels,
            tls,
            window,
            round,
            repaired,
            mtu,
            reason,
            ..before
        };
    }
}
