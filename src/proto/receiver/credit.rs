//! What the sender may send on one connection. PROTOCOL.md, "Credit and memory".

use super::{TOO_MANY, WINDOW};
use crate::proto::sender::Failure;

/// Credit is granted anew after this many bytes were written.
pub(super) const STEP: u64 = 512 * 1024;

/// The most parts that may wait for the disk: each takes some hundred bytes of memory besides its
/// own, so credit alone does not bound what crumbs take. A whole window in parts of 1 KiB is half
/// of this.
pub(super) const MAX_WAITING_PARTS: u32 = 32 * 1024;

/// Payload that was granted, has arrived and was written, in bytes.
#[derive(Debug, Default)]
pub(super) struct Credit {
    received: u64,
    stored: u64,
    granted: u64,
    /// Bytes of an earlier connection that still wait for the disk.
    earlier: u64,
    /// Parts that are not written yet.
    waiting: u32,
}

impl Credit {
    /// A part of so many bytes arrives.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Failure> {
        self.received = self.received.saturating_add(bytes);
        self.waiting = self.waiting.saturating_add(1);
        let fits = self.received <= self.granted && self.waiting <= MAX_WAITING_PARTS;
        if fits { Ok(()) } else { Err(TOO_MANY) }
    }

    /// Bytes were written, in so many parts.
    pub(super) fn store(&mut self, bytes: u64, parts: u32) {
        self.stored = self.stored.saturating_add(bytes);
        self.waiting = self.waiting.saturating_sub(parts);
    }

    /// Whether something waits for the disk.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// More credit, when enough was written since the last.
    pub(super) fn grant(&mut self) -> Option<u64> {
        let limit = self.stored.saturating_add(WINDOW).saturating_sub(self.earlier);
        if limit < self.granted.saturating_add(STEP) {
            return None;
        }
        self.granted = limit;
        Some(limit)
    }

    /// Counts anew, on a new connection.
    pub(super) fn restart(&mut self) {
        let earlier = self.received.saturating_add(self.earlier).saturating_sub(self.stored);
        *self = Self { earlier, waiting: self.waiting, ..Self::default() };
    }
}
