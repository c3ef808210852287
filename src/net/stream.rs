//! A lane over a stream of bytes to the other end, which the kernel or a library paces: messages
//! one way, each after its length, and the other way how much of them was taken.
//! PROTOCOL.md, "Lanes of TLS and QUIC".

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{Notify, mpsc},
    time::timeout,
};

use super::lane::{Closed, LaneEvent, LaneReceiver};
use crate::proto::lanes::MAX_MESSAGE;

/// Before each message: its length.
const LENGTH: usize = 4;

/// An acknowledgement.
const TAKEN: usize = 8;

/// Bytes of messages that may wait for the stream: with what it takes at once this keeps it busy
/// while the session does something else.
const QUEUE: u64 = 512 * 1024;

/// Messages that leave in one go.
const BATCH: usize = 8;

/// Messages are parts of buffers of so many bytes, of which the last so many are left over when a
/// new one is begun.
const BUFFER: usize = 256 * 1024;
const LEFT_OVER: usize = 16 * 1024;

/// Buffers that are kept in mind for being used again: as many as a receiver's window has.
const MOST_EARLIER: usize = 64;

/// It is said what was taken when it is so many bytes, or so long after the last of them.
const SAY_TAKEN: u64 = 256 * 1024;
const SAY_AFTER: Duration = Duration::from_millis(5);

/// A stream to the other end, which has shown the right certificate.
#[derive(Debug)]
pub struct Connection<S> {
    /// Its bytes.
    pub stream: S,
    /// What it exports for a lane's [binding](crate::proto::binding).
    pub exporter: [u8; 32],
    /// The shortest round trip on it.
    pub shortest: Shortest,
}

/// The shortest round trip that was seen on a connection so far.
#[derive(Clone, Debug)]
pub struct Shortest(Arc<AtomicU64>);

impl Default for Shortest {
    fn default() -> Self {
        Self(Arc::new(u64::MAX.into()))
    }
}

impl Shortest {
    /// One was seen.
    pub fn see(&self, round: Duration) {
        let nanoseconds = u64::try_from(round.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_min(nanoseconds, Ordering::Relaxed);
    }

    /// It, if there was any.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let nanoseconds = self.0.load(Ordering::Relaxed);
        (nanoseconds < u64::MAX).then(|| Duration::from_nanos(nanoseconds))
    }
}

/// Connections to the other end, as they come.
pub trait Arrivals {
    /// What carries their bytes.
    type Stream;

    /// The next; never, when there is none.
    fn next(&mut self) -> impl Future<Output = Connection<Self::Stream>> + Send;
}

/// The end of a stream that sends messages; at the receiver it is only a handle.
#[derive(Clone, Debug)]
pub struct StreamSender {
    queue: mpsc::UnboundedSender<Bytes>,
    state: Arc<State>,
    shortest: Shortest,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of messages that were queued, and that the stream has, and that the peer has taken.
    handed: AtomicU64,
    written: AtomicU64,
    taken: AtomicU64,
    closed: AtomicBool,
    /// There is place, or the lane is closed.
    place: Notify,
    /// It is to be closed.
    end: Notify,
}

impl State {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.place.notify_one();
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Makes the sender's end of a lane. Nothing but its end comes from the receiver.
#[must_use]
pub fn sending<S>(stream: S, shortest: Shortest) -> (StreamSender, LaneReceiver)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (queue, messages) = mpsc::unbounded_channel(); // Who sends looks for place.
    let state = Arc::new(State::default());
    let sender = StreamSender { queue, state: state.clone(), shortest };
    let receiver = LaneReceiver::start(async move |events| {
        let (read, write) = split(stream);
        let ended = tokio::select! {
            ended = write_messages(write, messages, &state) => ended,
            ended = read_taken(read, &state) => ended,
            () = state.end.notified() => Ok(()),
        };
        tracing::debug!(?ended, "stream");
        state.close();
        // The session may have ended already.
        let _ = events.send(LaneEvent::Closed).await;
    });
    (sender, receiver)
}

/// Makes the receiver's end of a lane.
#[must_use]
pub fn receiving<S>(stream: S) -> LaneReceiver
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    LaneReceiver::start(async move |events| {
        let (read, write) = split(stream);
        let ended = read_messages(read, write, &events).await;
        tracing::debug!(?ended, "stream");
        let _ = events.send(LaneEvent::Closed).await;
    })
}

/// Writes one message.
///
/// # Errors
/// Those of the stream.
pub async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    stream.write_all(&[&length(message.len()), message].concat()).await?;
    stream.flush().await
}

/// Reads one message, and nothing beyond it.
///
/// # Errors
/// Those of the stream, and one for a message that is too long.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = checked_length(stream.read_u32().await?)?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message.into())
}

fn length(length: usize) -> [u8; LENGTH] {
    u32::try_from(length).expect("a message is no longer than MAX_MESSAGE").to_be_bytes()
}

fn checked_length(length: u32) -> io::Result<usize> {
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE);
    length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is too long"))
}

async fn write_messages<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
    state: &State,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        let lengths: Vec<_> = batch.iter().map(|message| length(message.len())).collect();
        let parts = lengths.iter().zip(&batch);
        let mut parts: Vec<_> = parts
            .flat_map(|(length, message)| [IoSlice::new(length), IoSlice::new(message)])
            .collect();
        let mut left = parts.as_mut_slice();
        while !left.is_empty() {
            let written = stream.write_vectored(left).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        stream.flush().await?;
        batch.clear();
        state.written.fetch_add(bytes as u64, Ordering::Relaxed);
        state.place.notify_one();
    }
    stream.shutdown().await
}

async fn read_taken<S: AsyncRead>(mut stream: ReadHalf<S>, state: &State) -> io::Result<()> {
    loop {
        let taken = stream.read_u64().await?;
        if taken > State::get(&state.handed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more taken than was sent"));
        }
        state.taken.fetch_max(taken, Ordering::Relaxed);
    }
}

async fn read_messages<S: AsyncRead + AsyncWrite>(
    mut read: ReadHalf<S>,
    mut write: WriteHalf<S>,
    events: &mpsc::Sender<LaneEvent>,
) -> io::Result<()> {
    let (mut taken, mut said) = (0, 0);
    let (mut buffer, mut earlier) = (BytesMut::with_capacity(BUFFER), VecDeque::new());
    loop {
        if buffer.capacity() - buffer.len() < LEFT_OVER {
            renew(&mut buffer, &mut earlier);
        }
        let read = read.read_buf(&mut buffer);
        let count = if taken == said { Ok(read.await) } else { timeout(SAY_AFTER, read).await };
        let Ok(count) = count else {
            say_taken(&mut write, taken, &mut said).await?;
            continue;
        };
        let count = count?;
        if count == 0 {
            return Ok(());
        }
        while let Some(message) = next_message(&mut buffer)? {
            taken += message.len() as u64;
            if events.send(LaneEvent::Message(message)).await.is_err() {
                return Ok(());
            }
        }
        if taken - said >= SAY_TAKEN {
            say_taken(&mut write, taken, &mut said).await?;
        }
    }
}

/// Goes on in another buffer: the oldest, if nobody has its messages any more, or else a new one.
fn renew(buffer: &mut BytesMut, earlier: &mut VecDeque<BytesMut>) {
    let is_free = earlier.front_mut().is_some_and(|oldest| oldest.try_reclaim(BUFFER));
    let free = if is_free { earlier.pop_front() } else { None };
    let mut next = free.unwrap_or_else(|| BytesMut::with_capacity(BUFFER));
    next.extend_from_slice(buffer);
    buffer.clear();
    earlier.push_back(std::mem::replace(buffer, next));
    earlier.truncate(MOST_EARLIER);
}

fn next_message(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = buffer.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = checked_length(u32::from_be_bytes(*length))?;
    if buffer.len() < LENGTH + length {
        return Ok(None);
    }
    buffer.advance(LENGTH);
    Ok(Some(buffer.split_to(length).freeze()))
}

async fn say_taken(
    stream: &mut (impl AsyncWrite + Unpin),
    taken: u64,
    said: &mut u64,
) -> io::Result<()> {
    if taken > *said {
        let bytes: [u8; TAKEN] = taken.to_be_bytes();
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        *said = taken;
    }
    Ok(())
}

impl StreamSender {
    /// Sends a message; it waits where there is [place](Self::has_place) for it, or there is none.
    ///
    /// # Errors
    /// [`Closed`] when the lane is.
    pub fn send(&self, message: Bytes) -> Result<(), Closed> {
        self.state.handed.fetch_add(message.len() as u64, Ordering::Relaxed);
        self.queue.send(message).map_err(|_| Closed)
    }

    /// Closes the lane; what was not taken by then may be lost.
    pub fn close(&self) {
        self.state.end.notify_one();
    }

    /// Whether little enough waits for the stream.
    #[must_use]
    pub fn has_place(&self) -> bool {
        State::get(&self.state.handed) - State::get(&self.state.written) < QUEUE
    }

    /// Waits until there may be place, or the lane may be closed.
    pub async fn place(&self) {
        self.state.place.notified().await;
    }

    /// The shortest round trip so far, if one was seen.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        self.shortest.get()
    }

    /// Bytes that the peer has not taken.
    ///
    /// # Errors
    /// [`Closed`] when the lane is.
    pub fn outstanding(&self) -> Result<u64, Closed> {
        if self.state.closed.load(Ordering::Relaxed) {
            return Err(Closed);
        }
        Ok(State::get(&self.state.handed) - State::get(&self.state.taken))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn lane(buffer: usize) -> (StreamSender, LaneReceiver, LaneReceiver) {
        let (ours, theirs) = duplex(buffer);
        let (sender, events) = sending(ours, Shortest::default());
        (sender, events, receiving(theirs))
    }

    fn message(length: usize) -> Bytes {
        (0..length).map(|i| (i % 251).to_le_bytes()[0]).collect()
    }

    async fn all_taken(sender: &StreamSender) {
        while sender.outstanding() != Ok(0) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn messages_arrive_as_they_were_and_are_acknowledged() {
        let (sender, _events, mut receiver) = lane(1_000);
        for length in [0, 1, 1_000, MAX_MESSAGE] {
            sender.send(message(length)).unwrap();
        }
        for length in [0, 1, 1_000, MAX_MESSAGE] {
            let LaneEvent::Message(arrived) = receiver.next().await else { panic!("closed") };
            assert_eq!(arrived, message(length));
        }
        all_taken(&sender).await;
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_leaves_no_place_and_a_closed_one_is_told() {
        let (ours, theirs) = duplex(1_000);
        let (sender, mut events) = sending(ours, Shortest::default());
        while sender.has_place() {
            sender.send(message(MAX_MESSAGE)).unwrap();
        }
        assert!(sender.outstanding().unwrap() < QUEUE + MAX_MESSAGE as u64);
        drop(theirs);
        assert!(matches!(events.next().await, LaneEvent::Closed));
        assert_eq!(sender.outstanding(), Err(Closed));
        sender.place().await;
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_has_its_messages() {
        let (mut buffer, mut earlier) = (BytesMut::with_capacity(BUFFER), VecDeque::new());
        let at = buffer.as_ptr();
        buffer.extend_from_slice(b"a message, and the next");
        let message = buffer.split_to(9).freeze();
        renew(&mut buffer, &mut earlier);
        assert_eq!(buffer, b", and the next".as_slice());
        renew(&mut buffer, &mut earlier);
        assert_ne!(buffer.as_ptr(), at, "the message is still there");
        assert_eq!(message, b"a message".as_slice());
        drop(message);
        renew(&mut buffer, &mut earlier);
        assert_eq!(buffer.as_ptr(), at);
        assert_eq!(buffer, b", and the next".as_slice());
    }

    async fn closes(write: &[u8]) {
        let (mut ours, theirs) = duplex(1_000);
        let mut receiver = receiving(theirs);
        ours.write_all(write).await.unwrap();
        assert!(matches!(receiver.next().await, LaneEvent::Closed));
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_closes_the_lane() {
        closes(&length(MAX_MESSAGE + 1)).await;
    }

    #[tokio::test]
    async fn a_peer_that_takes_what_was_not_sent_closes_the_lane() {
        let (ours, mut theirs): (DuplexStream, _) = duplex(1_000);
        let (_sender, mut events) = sending(ours, Shortest::default());
        theirs.write_u64(1).await.unwrap();
        assert!(matches!(events.next().await, LaneEvent::Closed));
    }
}
