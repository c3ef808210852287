//! Carries messages to the receiver, over as many lanes as there are: all take from one queue, and
//! share what the line [holds](super::flight). What a lane holds back goes over another.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

use super::{
    flight::Flight,
    growth::{Connections, Growth, Seen},
};
use crate::{
    net::lane::{Closed, LaneSender},
    proto::{
        binding::FIRST_DATA,
        lanes::{Message, Outbox},
    },
};

/// What a new lane may have under way.
const START: u64 = 128 * 1024;

/// The most bytes that a lane may have under way.
const MOST_UNDER_WAY: u64 = 2 * 1024 * 1024;

/// How soon it is looked again whether a lane has place: the least that the timer knows.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The same while nothing waits for it.
const LOOK_IDLE: Duration = Duration::from_millis(10);

/// A lane that has delivered nothing for so long has fallen behind, and is gone after so long.
const BEHIND: Duration = Duration::from_millis(250);
const GONE: Duration = Duration::from_secs(4);

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
    /// There are to be so many beside the first.
    Lanes(usize),
    /// A lane does not deliver any more.
    Close(u32),
}

/// A change of the lanes.
#[derive(Debug)]
pub enum Change {
    /// There is one more.
    Open(u32, LaneSender),
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
    /// What lanes may have under way in all.
    pub window: u64,
    /// The shortest time that something took until it was acknowledged.
    pub round: Duration,
    /// How often messages were sent over another lane, too.
    pub again: u64,
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
    /// A lane's window is as large as it can be.
    pub window_is_full: bool,
    /// A lane repairs a loss, or has done so of late.
    pub lossy: bool,
}

impl Figures {
    /// Nothing was done.
    pub const NONE: Self = Self {
        sent: 0,
        under_way: 0,
        lanes: 0,
        window: 0,
        round: Duration::ZERO,
        again: 0,
        for_messages: Duration::ZERO,
        for_credit: Duration::ZERO,
        for_place: Duration::ZERO,
        for_limit: Duration::ZERO,
        mtu: 0,
        window_is_full: false,
        lossy: false,
    };
}

/// What the carrier shares with the session.
#[derive(Clone, Debug)]
pub struct Shared {
    sent: Arc<AtomicU64>,
    longest: Arc<AtomicUsize>,
    figures: Arc<Mutex<Figures>>,
}

impl Shared {
    /// Payload bytes handed to lanes.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How long messages may be, in bytes: the lanes take them best so.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
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
    /// When something was delivered last, or nothing was under way.
    progressed: Instant,
    closing: bool,
}

impl Lane {
    fn new(number: u32, sender: LaneSender, now: Instant) -> Self {
        Self { number, sender, handed: 0, under_way: 0, progressed: now, closing: false }
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

/// What one turn of the loop waits for.
enum Wait {
    Messages,
    Credit,
    Place,
    Limit(Instant),
}

/// See the module.
pub struct Carrier {
    lanes: Vec<Lane>,
    line: Flight,
    /// Bytes handed to all lanes.
    handed: u64,
    outbox: Outbox,
    growth: Growth,
    wanted: usize,
    granted: watch::Receiver<u64>,
    /// The longest message that the peer takes, in bytes.
    longest: usize,
    changes: mpsc::UnboundedReceiver<Change>,
    needs: mpsc::UnboundedSender<Need>,
    shared: Shared,
    /// Bytes delivered by lanes that are gone.
    earlier: u64,
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
        let burst = self.burst.max(takes(START));
        self.free = self.free.max(now.checked_sub(burst).unwrap_or(now)) + takes(bytes);
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
    pub fn new(first: LaneSender, longest: usize, wishes: Wishes) -> (Self, Handle) {
        let now = Instant::now();
        let (credit, granted) = watch::channel(0);
        let (change, changes) = mpsc::unbounded_channel();
        let (need, needs) = mpsc::unbounded_channel();
        let shared = Shared {
            sent: Arc::default(),
            longest: Arc::new(first.best_length().min(longest).into()),
            figures: Arc::default(),
        };
        let carrier = Self {
            lanes: vec![Lane::new(FIRST_DATA, first, now)],
            line: Flight::new(MOST_UNDER_WAY, now),
            handed: 0,
            outbox: Outbox::default(),
            growth: Growth::new(wishes.connections),
            wanted: 0,
            granted,
            longest,
            changes,
            needs: need,
            shared: shared.clone(),
            earlier: 0,
            limit: wishes.bwlimit.map(|rate| Pace { rate, burst: BURST, free: now }),
            pace: Pace { rate: u64::MAX, burst: LINE_BURST, free: now },
        };
        (carrier, Handle { credit, changes: change, needs, shared })
    }

    /// Carries until the first lane is closed, or nothing more will come.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let (mut next, mut later) = (None::<Message>, None);
        loop {
            while let Ok(change) = self.changes.try_recv() {
                self.change(change);
            }
            self.look().await;
            if self.outbox.has_again() && next.as_ref().is_none_or(|message| message.payload > 0) {
                // It may be what the receiver waits for before it grants more credit.
                later = next.take().or(later);
                next = self.outbox.again();
            }
            if next.is_none() {
                next = later.take().or_else(|| messages.try_recv().ok());
            }
            let wait = match &next {
                Some(message) => match self.may_send(message) {
                    Ok(lane) => {
                        let Some(message) = next.take() else { continue };
                        if self.send(lane, message).await.is_err() && lane == 0 {
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
                    let busy = self.lanes.iter().any(|lane| lane.under_way > 0);
                    tokio::select! {
                        message = messages.recv() => match message {
                            Some(message) => next = Some(message),
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
                Wait::Limit(until) => sleep_until(until.into()).await,
            }
            self.waited(&wait, since.elapsed());
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Open(number, sender) => {
                self.outbox.open(number);
                let longest = sender.best_length().min(self.longest);
                self.shared.longest.store(longest, Ordering::Relaxed);
                self.lanes.push(Lane::new(number, sender, Instant::now()));
                if self.lanes.len() > 2 {
                    self.line.look_for_more();
                }
            }
            Change::Gone(number) => {
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
        for lane in &mut self.lanes {
            if lane.under_way == 0 {
                continue;
            }
            let Ok(under_way) = lane.sender.outstanding().await else {
                // What it had goes over another when it is known to be gone.
                lane.closing = true;
                continue;
            };
            let under_way = under_way as u64;
            let now = Instant::now();
            if under_way < lane.under_way || under_way == 0 {
                lane.progressed = now;
            }
            lane.under_way = under_way.min(lane.handed);
            self.outbox.delivered(lane.number, lane.delivered());
        }
        let now = Instant::now();
        self.line.delivered(self.delivered(), now);
        self.grow(now);
    }

    fn delivered(&self) -> u64 {
        self.earlier + self.lanes.iter().map(Lane::delivered).sum::<u64>()
    }

    fn grow(&mut self, now: Instant) {
        let lanes = self.used().count();
        let most = MOST_UNDER_WAY * lanes as u64;
        self.line.set_most(most);
        let seen = Seen {
            delivered: self.delivered(),
            open: self.lanes.len() - 1,
            steady: self.line.is_steady(),
            round: self.line.shortest().unwrap_or_default(),
            full: self.line.window() == most,
            lossy: self.line.is_lossy(now),
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

    /// The lane that a message is to go over.
    fn may_send(&mut self, message: &Message) -> Result<usize, Wait> {
        if message.payload > 0 && self.shared.sent() + message.payload > *self.granted.borrow() {
            return Err(Wait::Credit);
        }
        let now = Instant::now();
        if let Some(limit) = self.limit.filter(|limit| now < limit.free) {
            return Err(Wait::Limit(limit.free));
        }
        if now < self.pace.free {
            return Err(Wait::Place);
        }
        let length = message.bytes.len() as u64;
        let under_way = self.lanes.iter().map(|lane| lane.under_way).sum();
        if !self.line.admits(length, under_way) {
            return Err(Wait::Place);
        }
        let (window, lanes) = (self.line.window(), self.used().count());
        let free = self.used().filter(|lane| lane.admits(length, window, lanes));
        let best = free.min_by_key(|lane| (lane.number == FIRST_DATA, lane.under_way));
        let number = best.map(|lane| lane.number).ok_or(Wait::Place)?;
        self.lanes.iter().position(|lane| lane.number == number).ok_or(Wait::Place)
    }

    async fn send(&mut self, index: usize, message: Message) -> Result<(), Closed> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        self.outbox.carries(lane.number, &message);
        let Message { bytes, payload, .. } = message;
        let length = bytes.len() as u64;
        let sent = lane.sender.send(bytes).await;
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
        let others = self.lanes.len() > 2;
        let round = self.line.shortest().unwrap_or_default();
        for lane in self.lanes.iter_mut().skip(1).filter(|lane| lane.under_way > 0) {
            let silent = lane.silent_for(now);
            if others && silent > BEHIND + round * 2 && self.outbox.doubt(lane.number) {
                self.shared.lock().again += 1;
            }
        }
        self.close_silent(now);
    }

    fn close_silent(&mut self, now: Instant) {
        for lane in self.lanes.iter_mut().skip(1).filter(|lane| !lane.closing) {
            if lane.under_way > 0 && lane.silent_for(now) > GONE {
                lane.closing = true;
                // The session may have ended already.
                let _ = self.needs.send(Need::Close(lane.number));
            }
        }
    }

    fn waited(&mut self, wait: &Wait, time: Duration) {
        let now = Instant::now();
        self.close_silent(now);
        let under_way = self.lanes.iter().map(|lane| lane.under_way).sum();
        let lanes = self.used().count();
        let window = self.line.window();
        let round = self.line.shortest().unwrap_or_default();
        let window_is_full = window == MOST_UNDER_WAY * lanes as u64;
        let lossy = self.line.is_lossy(now);
        let mtu = self.used().map(|lane| lane.sender.mtu()).max().unwrap_or_default();
        let mut figures = self.shared.lock();
        let spent = match wait {
            Wait::Messages => &mut figures.for_messages,
            Wait::Credit => &mut figures.for_credit,
            Wait::Place => &mut figures.for_place,
            Wait::Limit(_) => &mut figures.for_limit,
        };
        *spent += time;
        *figures =
            Figures { under_way, lanes, window, round, mtu, window_is_full, lossy, ..*figures };
    }
}
