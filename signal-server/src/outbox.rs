//! What waits to be written to one socket: a queue bounded by bytes.
//!
//! Filled by `hub` while it holds its lock, so filling never waits; emptied by `connection`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;

/// The most bytes that may wait. 256 KiB: everything that three full rooms keep for one end, which
/// a rejoining client gets at once. Also what one client that does not read can cost.
const MOST_BYTES: usize = 256 * 1024;

/// The end that is filled.
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Utf8Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// The end that is emptied.
pub(crate) struct Inbox {
    queue: mpsc::UnboundedReceiver<Utf8Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// The client reads too slowly, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Both ends of a new queue.
pub(crate) fn outbox() -> (Outbox, Inbox) {
    // Unbounded in messages because it is bounded in bytes.
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox { queue: receiver, waiting: Arc::clone(&waiting) };
    (Outbox { queue: sender, waiting }, inbox)
}

impl Outbox {
    /// Puts a message at the end.
    pub(crate) fn push(&self, text: String) -> Result<(), Overflow> {
        let length = text.len();
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        if before + length > MOST_BYTES {
            return Err(Overflow);
        }
        // The other end is dropped only when its connection is over.
        let _ = self.queue.send(text.into());
        Ok(())
    }
}

impl Inbox {
    /// The first message; none when the other end was dropped.
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        let text = self.queue.recv().await?;
        self.waiting.fetch_sub(text.len(), Ordering::Relaxed);
        Some(text)
    }

    /// Whether the other end was dropped.
    pub(crate) fn is_cut(&self) -> bool {
        self.queue.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_by_bytes_and_reading_makes_room() {
        let (outbox, mut inbox) = outbox();
        let half = "x".repeat(MOST_BYTES / 2);
        assert_eq!(outbox.push(half.clone()), Ok(()));
        assert_eq!(outbox.push(half.clone()), Ok(()));
        assert_eq!(inbox.next().await.as_deref(), Some(half.as_str()));
        assert_eq!(outbox.push(half.clone()), Ok(()));
        assert_eq!(outbox.push("x".to_owned()), Err(Overflow));
    }
}
