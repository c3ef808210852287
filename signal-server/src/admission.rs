//! Who is let in: the count of connections, and sockets that do not wait for ever.
//!
//! `axum::serve` bounds neither how many connections there are nor how long one may take over its
//! request. Both are done here, below HTTP: [`Guests`] counts who comes and turns away what is too
//! much; a [`Socket`] that has not become a WebSocket in time fails. Knows nothing of rooms. Used
//! by `run`, `reception` and `http`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::limits::{Limits, Source};

/// How long a connection may take until it is a WebSocket. Every honest one takes two round trips;
/// the rest of the time is for lines that lose packets.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How many sockets of a source above its cap are still told why they are turned away. The ones
/// after those are closed unheard.
const TOLD_WHY: usize = 8;

/// Becomes true when the server ends.
pub(crate) type Stopping = watch::Receiver<bool>;

/// A byte stream, plain or under TLS.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// The listener that HTTP is served on: takes what `reception` found to speak it.
pub(crate) struct Door {
    pub(crate) visitors: mpsc::Receiver<(Socket, SocketAddr)>,
}

impl Listener for Door {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        match self.visitors.recv().await {
            Some(visitor) => visitor,
            // Nobody lets anybody in any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What a request handler knows of the connection that a request came by.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// Where it comes from.
    pub(crate) address: SocketAddr,
    /// Whether it may open a WebSocket.
    pub(crate) welcome: Welcome,
    stays: Arc<AtomicBool>,
}

impl Visitor {
    /// The connection became a WebSocket: from now on `connection` decides how long it lives.
    pub(crate) fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Door>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        let socket = stream.io();
        Self {
            address: socket.guest.address,
            welcome: socket.guest.welcome,
            stays: Arc::clone(&socket.stays),
        }
    }
}

/// Whether there is place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// There is.
    Come,
    /// Its source has as many as it may.
    TooMany,
}

/// Every open socket, counted.
pub(crate) struct Guests {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_source: HashMap<Source, usize>,
}

impl Guests {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Lets somebody in; none when the connection is to be closed unheard.
    pub(crate) fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Guest> {
        let source = address.ip().into();
        let welcome = self.enter(source)?;
        Some(Guest { address, welcome, _counted: Counted { guests: Arc::clone(self), source } })
    }

    /// Counts a socket.
    fn enter(&self, source: Source) -> Option<Welcome> {
        let mut counts = self.counts();
        let here = counts.by_source.get(&source).copied().unwrap_or(0);
        let most = self.limits.max_connections_per_source;
        if counts.total >= self.limits.max_connections || here >= most.saturating_add(TOLD_WHY) {
            return None;
        }
        counts.total += 1;
        counts.by_source.insert(source, here + 1);
        Some(if here < most { Welcome::Come } else { Welcome::TooMany })
    }

    fn leave(&self, source: Source) {
        let mut counts = self.counts();
        counts.total -= 1;
        if let Some(here) = counts.by_source.get_mut(&source) {
            *here -= 1;
            if *here == 0 {
                counts.by_source.remove(&source);
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who was let in, and is counted until this is dropped.
pub(crate) struct Guest {
    pub(crate) address: SocketAddr,
    pub(crate) welcome: Welcome,
    _counted: Counted,
}

/// One socket's part in the count.
struct Counted {
    guests: Arc<Guests>,
    source: Source,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.guests.leave(self.source);
    }
}

type Patience = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends when a socket that is still plain HTTP has had its time, or when the server ends.
fn patience(mut stopping: Stopping) -> Patience {
    Box::pin(async move {
        // Whichever comes first; which one does not matter.
        let _ = timeout(REQUEST_TIME, stopping.wait_for(|stop| *stop)).await;
    })
}

/// A connection that fails unless it becomes a WebSocket in time.
pub(crate) struct Socket {
    stream: Box<dyn Bytes>,
    patience: Option<Patience>,
    guest: Guest,
    /// It became a WebSocket.
    stays: Arc<AtomicBool>,
}

impl Socket {
    pub(crate) fn new(stream: Box<dyn Bytes>, guest: Guest, stopping: Stopping) -> Self {
        Self { stream, patience: Some(patience(stopping)), guest, stays: Arc::default() }
    }

    fn stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut dyn Bytes>> {
        if self.stays.load(Ordering::Relaxed) {
            self.patience = None;
        }
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut *self.stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream(context)?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    fn limits(max_connections: usize, max_connections_per_source: usize) -> Limits {
        Limits { max_connections, max_connections_per_source, ..Limits::default() }
    }

    fn source(last: u8) -> Source {
        std::net::IpAddr::from([192, 0, 2, last]).into()
    }

    /// A socket, its other end, and what keeps the server going.
    fn let_in() -> (Socket, DuplexStream, watch::Sender<bool>) {
        let (stop, stopping) = watch::channel(false);
        let (client, stream) = duplex(64);
        let guest = Guests::new(Limits::default()).admit("192.0.2.1:1".parse().unwrap()).unwrap();
        (Socket::new(Box::new(stream), guest, stopping), client, stop)
    }

    #[test]
    fn a_source_over_its_cap_is_told_why_and_then_not_heard() {
        let guests = Guests::new(limits(100, 2));
        let answers: Vec<_> = (0..2 + TOLD_WHY).map(|_| guests.enter(source(1))).collect();
        assert_eq!(answers[..2], [Some(Welcome::Come); 2]);
        assert_eq!(answers[2..], [Some(Welcome::TooMany); TOLD_WHY]);
        assert_eq!(guests.enter(source(1)), None);
        assert_eq!(guests.enter(source(2)), Some(Welcome::Come));
    }

    #[test]
    fn a_full_server_hears_nobody_until_somebody_leaves() {
        let guests = Guests::new(limits(2, 2));
        guests.enter(source(1));
        guests.enter(source(2));
        assert_eq!(guests.enter(source(3)), None);
        guests.leave(source(1));
        assert_eq!(guests.enter(source(3)), Some(Welcome::Come));
        assert_eq!(guests.counts().by_source.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_cut() {
        let (mut socket, _client, _stop) = let_in();
        let start = tokio::time::Instant::now();
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= REQUEST_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_became_a_websocket_is_not_cut() {
        let (mut socket, _client, _stop) = let_in();
        socket.stays.store(true, Ordering::Relaxed);
        assert!(timeout(REQUEST_TIME * 10, socket.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_cut_when_the_server_ends() {
        let (mut socket, _client, stop) = let_in();
        stop.send_replace(true);
        assert!(socket.read_u8().await.is_err());
    }
}
