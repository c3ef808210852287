//! A lane: an ordered, reliable way to send messages to the peer. Here one that is a data channel;
//! [`stream`](super::stream) has others.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelState};

use super::packet::{Meter, message_length};

/// Messages that may wait for the session, which takes them at once; the payload among them is
/// bounded further by credit.
const QUEUE: usize = 256;

/// How often a lane is asked whether everything has left.
const DRAIN_STEP: Duration = Duration::from_millis(2);

/// The lane is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the peer is closed")]
pub struct Closed;

/// What happens on a lane.
#[derive(Debug)]
pub enum LaneEvent {
    /// Messages can be sent.
    Open,
    /// A message arrived.
    Message(Bytes),
    /// Nothing follows.
    Closed,
}

/// The end that sends.
#[derive(Clone)]
pub struct LaneSender {
    channel: Arc<OnceLock<Arc<dyn DataChannel>>>,
    mtu: u32,
    /// Of the connection, which may have other channels, too.
    meter: Meter,
}

/// The end that receives.
#[derive(Debug)]
pub struct LaneReceiver {
    events: mpsc::Receiver<LaneEvent>,
    task: JoinHandle<()>,
}

/// Makes a lane of a data channel that there is, or that the peer is going to create, on a path
/// with this MTU.
#[must_use]
pub fn lane(
    channel: oneshot::Receiver<Arc<dyn DataChannel>>,
    mtu: u32,
    meter: Meter,
) -> (LaneSender, LaneReceiver) {
    let sender = LaneSender { channel: Arc::default(), mtu, meter };
    let known = sender.channel.clone();
    let receiver = LaneReceiver::start(async move |events| pump(channel, known, events).await);
    (sender, receiver)
}

/// Takes messages from the library as they come: a channel that is not polled closes its window.
async fn pump(
    channel: oneshot::Receiver<Arc<dyn DataChannel>>,
    known: Arc<OnceLock<Arc<dyn DataChannel>>>,
    forward: mpsc::Sender<LaneEvent>,
) {
    if let Ok(channel) = channel.await {
        let channel = known.get_or_init(|| channel);
        while let Some(event) = channel.poll().await {
            let event = match event {
                DataChannelEvent::OnOpen => LaneEvent::Open,
                DataChannelEvent::OnMessage(message) => LaneEvent::Message(message.data.freeze()),
                DataChannelEvent::OnClose => break,
                _ => continue,
            };
            if forward.send(event).await.is_err() {
                return;
            }
        }
    }
    // The session may have ended already.
    let _ = forward.send(LaneEvent::Closed).await;
}

impl LaneSender {
    /// Sends a message, as soon as what waits before it is below the limit.
    ///
    /// # Errors
    /// [`Closed`] when the lane is.
    pub async fn send(&self, message: BytesMut) -> Result<(), Closed> {
        let channel = self.channel.get().ok_or(Closed)?;
        self.meter.send(message.len());
        channel.send(message).await.map_err(|error| {
            tracing::debug!(%error, "send");
            Closed
        })
    }

    /// The length of the messages that it carries best when so many bytes are to leave at once.
    #[must_use]
    pub fn best_length(&self, at_once: u64) -> usize {
        message_length(self.mtu, at_once)
    }

    /// The largest packet that it sends, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// What has left of the connection's packets.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Bytes that the peer has not acknowledged.
    ///
    /// # Errors
    /// [`Closed`] when the lane is: nobody will ever know what the peer has of them.
    pub async fn outstanding(&self) -> Result<usize, Closed> {
        let Some(channel) = self.channel.get() else { return Ok(0) };
        let bytes = channel.outstanding_bytes().await.map_err(|_| Closed)?;
        // The library says 0 of a channel that is gone, too.
        let is_open =
            bytes > 0 || matches!(channel.ready_state().await, Ok(RTCDataChannelState::Open));
        if is_open { Ok(bytes) } else { Err(Closed) }
    }

    /// Waits until the peer has acknowledged everything, or the lane is closed; for ever if neither
    /// happens.
    pub async fn drained(&self) {
        while self.outstanding().await.is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }
}

impl std::fmt::Debug for LaneSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneSender(..)")
    }
}

impl LaneReceiver {
    /// Starts what tells of events, which ends with the receiver.
    pub(super) fn start<F>(tell: impl FnOnce(mpsc::Sender<LaneEvent>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (forward, events) = mpsc::channel(QUEUE);
        Self { events, task: tokio::spawn(tell(forward)) }
    }

    /// The next thing that happens; [`LaneEvent::Closed`] again and again at the end.
    pub async fn next(&mut self) -> LaneEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`LaneReceiver::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<LaneEvent> {
        self.events.poll_recv(cx).map(|event| event.unwrap_or(LaneEvent::Closed))
    }
}

/// A lane of several, with its number; [`LaneEvent::Closed`] is the last thing that happens.
#[derive(Debug)]
pub struct Numbered {
    lane: u32,
    events: LaneReceiver,
    closed: bool,
}

impl Numbered {
    /// Gives a lane a number.
    #[must_use]
    pub fn new(lane: u32, events: LaneReceiver) -> Self {
        Self { lane, events, closed: false }
    }
}

impl Stream for Numbered {
    type Item = (u32, LaneEvent);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let lane = self.lane;
        self.events.poll_next(cx).map(|event| {
            self.closed = matches!(event, LaneEvent::Closed);
            Some((lane, event))
        })
    }
}

impl Drop for LaneReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}
