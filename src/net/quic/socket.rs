//! One UDP socket for two: the `webrtc` crate, which reads from it, and QUIC, for which what is its
//! own is put aside. The first byte of a datagram says whose it is (RFC 9443), since QUIC's fixed
//! bit is always set here; what the `webrtc` crate gets from a TURN server looks the same, but comes
//! by other [ways](crate::net::relay).

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use quinn::{
    UdpPoller,
    udp::{self, UdpSockRef, UdpSocketState},
};
use tokio::time::{Sleep, sleep};
use webrtc::runtime::{self, AsyncUdpSocket};

use crate::net::{received::poll_kept, zoned::with_zone};

/// Bytes that may wait for QUIC, as in the socket itself; what comes beyond is lost.
const MOST_WAITING: usize = 4 * 1024 * 1024;

/// The same for what the peer sends before QUIC is open here.
const MOST_EARLY: usize = 16 * 1024;

/// Buffers that are kept to be used again, each of one batch.
const MOST_SPARE: usize = 16;

/// How soon it is tried again to send when the system had no place.
const AGAIN: Duration = Duration::from_millis(1);

/// The sockets of one connection that are shared.
#[derive(Clone, Debug, Default)]
pub(in crate::net) struct Sharing(Arc<Mutex<Vec<Arc<Shared>>>>);

/// One socket.
#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    zone: u32,
    /// Where DTLS came from last.
    peer: Mutex<Option<SocketAddr>>,
    /// Who takes datagrams of QUIC.
    taker: Mutex<Weak<Queue>>,
    /// What has come for who is yet to take them.
    early: Mutex<Option<Arc<Queue>>>,
}

/// Datagrams that have arrived for QUIC.
#[derive(Debug)]
struct Queue {
    peer: SocketAddr,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<Datagrams>,
    bytes: usize,
    /// Buffers to be used again: memory that is always new is cold.
    spare: Vec<Vec<u8>>,
    waker: Option<Waker>,
}

/// Some that arrived together, each so long, the last perhaps shorter.
#[derive(Debug)]
struct Datagrams {
    contents: Vec<u8>,
    stride: usize,
    ecn: Option<udp::EcnCodepoint>,
}

impl Sharing {
    /// Shares a socket in this zone, if the system can; it is used through this one.
    pub(in crate::net) fn share(
        &self,
        socket: io::Result<UdpSocket>,
        zone: u32,
        inner: Arc<dyn AsyncUdpSocket>,
    ) -> Arc<dyn AsyncUdpSocket> {
        let Ok(socket) = socket else { return inner };
        let (peer, taker, early) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { socket, zone, peer, taker, early });
        lock(&self.0).push(shared.clone());
        Arc::new(Sorted { inner, shared })
    }

    /// QUIC's part of the socket on which this peer was heard; what it had before is taken from it.
    pub(super) fn open(&self, peer: SocketAddr) -> io::Result<Arc<QuicSocket>> {
        let sockets = lock(&self.0);
        let heard = sockets.iter().find(|shared| *lock(&shared.peer) == Some(peer));
        let shared = heard.ok_or(io::ErrorKind::NotFound)?.clone();
        let state = UdpSocketState::new(UdpSockRef::from(&shared.socket))?;
        let early = lock(&shared.early).take().filter(|queue| queue.peer == peer);
        let queue = early.unwrap_or_else(|| Queue::new(peer));
        *lock(&shared.taker) = Arc::downgrade(&queue);
        Ok(Arc::new(QuicSocket { shared, state, queue, is_full: AtomicBool::new(false) }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_quic(first: u8) -> bool {
    matches!(first, 64..=127 | 192..=255)
}

fn is_dtls(first: u8) -> bool {
    matches!(first, 20..=63)
}

impl Shared {
    /// Puts aside what is QUIC's of some datagrams, and says how many bytes of others are left at
    /// the front of their buffer.
    fn sort(&self, buffer: &mut [u8], meta: &runtime::RecvMeta) -> usize {
        let (length, stride) = (meta.len.min(buffer.len()), meta.stride.max(1));
        let datagrams = (0..length).step_by(stride);
        let of_quic = datagrams.clone().filter(|start| is_quic(buffer[*start])).count();
        if of_quic == 0 {
            if buffer[..length].first().copied().is_some_and(is_dtls) {
                *lock(&self.peer) = Some(meta.addr);
            }
            return length;
        }
        let taker = self.taker(meta.addr);
        let ecn = meta.ecn.and_then(|ecn| udp::EcnCodepoint::from_bits(ecn as u8));
        let put = |contents: &[u8]| {
            if let Some((queue, most)) = &taker {
                queue.put(contents, stride, ecn, *most);
            }
        };
        if of_quic == datagrams.len() {
            put(&buffer[..length]);
            return 0;
        }
        let mut kept = 0;
        for start in datagrams {
            let end = (start + stride).min(length);
            if is_quic(buffer[start]) {
                put(&buffer[start..end]);
            } else {
                buffer.copy_within(start..end, kept);
                kept += end - start;
            }
        }
        kept
    }

    /// Who takes datagrams of QUIC from there, and how many bytes of them may wait: only the peer's
    /// are anybody's.
    fn taker(&self, from: SocketAddr) -> Option<(Arc<Queue>, usize)> {
        let open = lock(&self.taker).upgrade().map(|queue| (queue, MOST_WAITING));
        let taker = open.or_else(|| {
            let is_peers = *lock(&self.peer) == Some(from);
            let early = || lock(&self.early).get_or_insert_with(|| Queue::new(from)).clone();
            is_peers.then(|| (early(), MOST_EARLY))
        });
        taker.filter(|(queue, _)| queue.peer == from)
    }
}

impl Queue {
    fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self { peer, waiting: Mutex::default() })
    }

    /// Adds datagrams, if no more than so many bytes wait then.
    fn put(&self, datagrams: &[u8], stride: usize, ecn: Option<udp::EcnCodepoint>, most: usize) {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes + datagrams.len() > most {
            return;
        }
        let mut contents = waiting.spare.pop().unwrap_or_default();
        contents.clear();
        contents.extend_from_slice(datagrams);
        waiting.bytes += contents.len();
        waiting.datagrams.push_back(Datagrams { contents, stride, ecn });
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }
}

/// The socket as the `webrtc` crate sees it.
#[derive(Debug)]
struct Sorted {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
}

impl AsyncUdpSocket for Sorted {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        transmit: &runtime::Transmit<'_>,
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [runtime::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let sort = |buffer: &mut [u8], meta: &_| self.shared.sort(buffer, meta);
        poll_kept(&*self.inner, cx, bufs, meta, sort)
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

/// The socket as QUIC sees it.
pub(super) struct QuicSocket {
    shared: Arc<Shared>,
    state: UdpSocketState,
    queue: Arc<Queue>,
    /// The system had no place for what was sent last.
    is_full: AtomicBool,
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuicSocket").field(&self.shared.socket).finish()
    }
}

impl quinn::AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Later { socket: self, sleep: None })
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        let destination = with_zone(transmit.destination, self.shared.zone);
        let transmit = udp::Transmit { destination, ..transmit.clone() };
        let sent = self.state.send(UdpSockRef::from(&self.shared.socket), &transmit);
        let is_full = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.is_full.store(is_full, Ordering::Relaxed);
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = lock(&self.queue.waiting);
        let mut count = 0;
        while count < bufs.len().min(meta.len())
            && let Some(datagrams) = waiting.datagrams.pop_front()
        {
            let Datagrams { contents, stride, ecn } = datagrams;
            waiting.bytes -= contents.len();
            // They all fit: buffers have place for as many as come together.
            let len = contents.len().min(bufs[count].len());
            bufs[count][..len].copy_from_slice(&contents[..len]);
            meta[count] = udp::RecvMeta { addr: self.queue.peer, len, stride, ecn, dst_ip: None };
            if waiting.spare.len() < MOST_SPARE {
                waiting.spare.push(contents);
            }
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Has QUIC try again a little later: whether there is place is watched by the `webrtc` crate alone.
#[derive(Debug)]
struct Later {
    socket: Arc<QuicSocket>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for Later {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.is_full.load(Ordering::Relaxed) {
            let again = self.sleep.get_or_insert_with(|| Box::pin(sleep(AGAIN)));
            ready!(again.as_mut().poll(cx));
            self.sleep = None;
            self.socket.is_full.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use quinn::AsyncUdpSocket as _;

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

    /// A socket that is shared and has heard the peer, and QUIC's part of it.
    fn shared() -> (Sharing, Arc<Shared>, Arc<QuicSocket>) {
        let sharing = Sharing::default();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sharing.share(Ok(socket), 0, Arc::new(Unused));
        let shared = lock(&sharing.0)[0].clone();
        assert!(sharing.open(PEER).is_err(), "nothing was heard");
        assert_eq!(sorted(&shared, &[22], 1, PEER), [22]);
        let quic = sharing.open(PEER).unwrap();
        (sharing, shared, quic)
    }

    /// What is left of datagrams.
    fn sorted(shared: &Shared, datagrams: &[u8], stride: usize, addr: SocketAddr) -> Vec<u8> {
        let mut buffer = datagrams.to_vec();
        let mut meta = runtime::RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (addr, buffer.len(), stride);
        let kept = shared.sort(&mut buffer, &meta);
        buffer.truncate(kept);
        buffer
    }

    /// What QUIC is given, with the length of datagrams.
    fn given(socket: &QuicSocket) -> Vec<(Vec<u8>, usize)> {
        let (mut first, mut second) = ([0; 16], [0; 16]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut meta = [udp::RecvMeta::default(); 2];
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(count)) = socket.poll_recv(&mut cx, &mut bufs, &mut meta) else {
            return Vec::new();
        };
        let given = bufs.iter().zip(meta).take(count);
        given.map(|(buf, meta)| (buf[..meta.len].to_vec(), meta.stride)).collect()
    }

    #[test]
    fn the_first_byte_says_whose_a_datagram_is() {
        let (_sharing, shared, quic) = shared();
        for first in 0..=u8::MAX {
            let ours = is_quic(first);
            let left = sorted(&shared, &[first, 1, 2], 3, PEER);
            assert_eq!(left.is_empty(), ours, "{first}");
            assert_eq!(given(&quic).len(), usize::from(ours), "{first}");
        }
    }

    #[test]
    fn datagrams_that_came_together_are_told_apart() {
        let (_sharing, shared, quic) = shared();
        assert_eq!(sorted(&shared, &[64, 1, 22, 2, 65, 3, 23], 2, PEER), [22, 2, 23]);
        assert_eq!(given(&quic), [(vec![64, 1], 2), (vec![65, 3], 2)]);
        assert!(sorted(&shared, &[64, 1, 65, 2, 66], 2, PEER).is_empty());
        assert_eq!(given(&quic), [(vec![64, 1, 65, 2, 66], 2)]);
    }

    #[test]
    fn what_others_than_the_peer_send_is_lost_and_what_nobody_takes() {
        let (_sharing, shared, quic) = shared();
        let stranger = SocketAddr::new(PEER.ip(), 10);
        assert!(sorted(&shared, &[64], 1, stranger).is_empty());
        assert!(given(&quic).is_empty());
        let piece = vec![64; 60_000];
        for _ in 0..200 {
            assert!(sorted(&shared, &piece, 1_000, PEER).is_empty());
        }
        assert!(lock(&quic.queue.waiting).bytes <= MOST_WAITING);
    }

    #[test]
    fn a_little_of_what_the_peer_sends_too_early_is_kept_for_who_takes_it() {
        let (sharing, shared, quic) = shared();
        drop(quic);
        let stranger = SocketAddr::new(PEER.ip(), 10);
        for (sender, first) in [(stranger, 64), (PEER, 65)] {
            assert!(sorted(&shared, &[first], 1, sender).is_empty());
        }
        for _ in 0..200 {
            assert!(sorted(&shared, &[66; 1_000], 1_000, PEER).is_empty());
        }
        let quic = sharing.open(PEER).unwrap();
        assert!(lock(&quic.queue.waiting).bytes <= MOST_EARLY);
        assert_eq!(given(&quic)[0], (vec![65], 1));
    }

    /// What the `webrtc` crate's part is made of, here never asked.
    #[derive(Debug)]
    struct Unused;

    impl AsyncUdpSocket for Unused {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            unreachable!()
        }

        fn poll_send(
            &self,
            _: &mut Context<'_>,
            _: &runtime::Transmit<'_>,
        ) -> Poll<io::Result<usize>> {
            unreachable!()
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [runtime::RecvMeta],
        ) -> Poll<io::Result<usize>> {
            unreachable!()
        }
    }
}
