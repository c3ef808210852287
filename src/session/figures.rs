//! What the [carrier](super::carrier) tells of itself while it works, and the reader asks.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{growth::Reason, progress::Over};

/// What the carrier has done, and waited for.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Payload bytes handed to lanes.
    pub sent: u64,
    /// Bytes handed to lanes that the peer has not acknowledged.
    pub under_way: u64,
    /// Lanes that are used.
    pub lanes: usize,
    /// Of which kinds.
    pub over: Over,
    /// What data channels may have under way in all.
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
        over: Over::NONE,
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
    /// Nothing was done; messages may have this length, in bytes.
    pub(super) fn new(length: usize) -> Self {
        let figures = Mutex::new(Figures::NONE);
        Self { sent: Arc::default(), length: Arc::new(length.into()), figures: Arc::new(figures) }
    }

    /// So many more payload bytes were handed to lanes.
    pub(super) fn count(&self, payload: u64) {
        self.sent.fetch_add(payload, Ordering::Relaxed);
    }

    /// Messages may have this length from now on, in bytes.
    pub(super) fn set_length(&self, length: usize) {
        self.length.store(length, Ordering::Relaxed);
    }

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

    /// The figures but for what was sent.
    pub(super) fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
