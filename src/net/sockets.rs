//! The `webrtc` crate's runtime, with things of ours: large socket buffers, without which the
//! kernel drops packets, packets that leave together however large they are and are counted, sockets
//! that do not give `repeats`, are on [link-local addresses](super::zoned) or [shared](super::quic)
//! with QUIC, paths through `relay`s, and a driver that hurries while a connection is being made.
//!
//! The crate's driver queues the SCTP INIT after it has polled its writes and then sleeps until
//! the next ICE timer, up to 200 ms. Its sleeps are therefore kept short until the channels are
//! open, which brings set-up on loopback from 600 ms to about 20.

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::{
    packet::{Meter, packets_at_once},
    quic::Sharing,
    received::poll_kept,
    relay::Relays,
    repeats::Repeats,
    zoned::{NO_ZONE, Zoned, ZonedSocket},
};

/// The socket buffers asked for, in bytes; many systems grant less.
const BUFFER: usize = 4 * 1024 * 1024;

/// The longest sleep of a driver that hurries.
const HURRY: Duration = Duration::from_millis(2);

/// The largest SCTP receive window, in bytes.
const MAX_WINDOW: u32 = 2 * 1024 * 1024;

/// The smallest: no message may be longer.
const MIN_WINDOW: u32 = 128 * 1024;

/// The SCTP receive window that fits the socket buffers which this system grants: a window that
/// is larger than what the kernel can hold loses packets in bursts.
#[must_use]
pub fn fitting_window() -> u32 {
    let granted = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        let socket = SockRef::from(&socket);
        socket.set_recv_buffer_size(BUFFER)?;
        socket.recv_buffer_size()
    });
    // What the kernel reports counts its own overhead, about half: hence 60 %.
    let fitting = granted.unwrap_or_default() / 10 * 6;
    u32::try_from(fitting).unwrap_or(MAX_WINDOW).clamp(MIN_WINDOW, MAX_WINDOW)
}

/// Tells a driver when it need not hurry any more.
#[derive(Clone, Debug)]
pub struct Hurry(Arc<AtomicBool>);

impl Hurry {
    /// The connection is made.
    pub fn over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct TunedRuntime {
    inner: TokioRuntime,
    zoned: Zoned,
    relays: Relays,
    sharing: Sharing,
    packets_at_once: usize,
    meter: Meter,
    hurry: Arc<AtomicBool>,
}

impl TunedRuntime {
    /// A runtime for one connection, on a path with this MTU.
    #[must_use]
    pub(super) fn new(
        zoned: Zoned,
        relays: Relays,
        sharing: Sharing,
        mtu: u32,
        meter: Meter,
    ) -> (Arc<Self>, Hurry) {
        let hurry = Arc::new(AtomicBool::new(true));
        let runtime = Self {
            inner: TokioRuntime,
            zoned,
            relays,
            sharing,
            packets_at_once: packets_at_once(mtu),
            meter,
            hurry: hurry.clone(),
        };
        (Arc::new(runtime), Hurry(hurry))
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for TunedRuntime {
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let (most, meter) = (self.packets_at_once, self.meter.clone());
        if let Some(relay) = self.relays.take(&socket) {
            return Ok(Arc::new(Tuned { inner: relay, most, meter, repeats: Repeats::default() }));
        }
        let (socket, zone) = match self.zoned.take(&socket) {
            Some((socket, zone)) => (socket, zone),
            None => (socket, NO_ZONE),
        };
        let buffers = SockRef::from(&socket);
        // Less than asked for is granted silently; a refusal leaves the default.
        let _ = buffers.set_recv_buffer_size(BUFFER);
        let _ = buffers.set_send_buffer_size(BUFFER);
        let copy = socket.try_clone();
        let inner = self.inner.wrap_udp_socket(socket)?;
        let inner = match zone {
            NO_ZONE => inner,
            zone => Arc::new(ZonedSocket { inner, zone }),
        };
        let inner = self.sharing.share(copy, zone, inner);
        Ok(Arc::new(Tuned { inner, most, meter, repeats: Repeats::default() }))
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        let hurry = self.hurry.load(Ordering::Relaxed);
        self.inner.sleep(if hurry { duration.min(HURRY) } else { duration })
    }

    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    fn connect_tcp(
        &self,
        remote_addr: SocketAddr,
    ) -> Boxed<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.inner.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve_host(host)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }

    fn name(&self) -> &'static str {
        "p2pshare"
    }
}

/// A socket whose packets are counted, that takes so many of them at once, and gives no
/// [repetitions](Repeats). The crate sends packets one by one unless there are 16, or as many as the
/// socket takes: of large ones there are never 16.
#[derive(Debug)]
struct Tuned {
    inner: Arc<dyn AsyncUdpSocket>,
    most: usize,
    meter: Meter,
    repeats: Repeats,
}

impl Tuned {
    /// Whether all the datagrams in a buffer are repetitions.
    fn has_repeats_alone(&self, buffer: &[u8], meta: &RecvMeta) -> bool {
        let datagrams = buffer.get(..meta.len).unwrap_or_default().chunks(meta.stride.max(1));
        // Each is to be remembered.
        let others = datagrams.filter(|datagram| !self.repeats.is_one(datagram, meta.addr)).count();
        others == 0
    }
}

impl AsyncUdpSocket for Tuned {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.inner.poll_send(cx, transmit);
        if let Poll::Ready(Ok(length)) = sent {
            self.meter.leave(length, transmit.segment_size.unwrap_or(length));
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let keep = |buffer: &mut [u8], meta: &RecvMeta| {
            if self.has_repeats_alone(buffer, meta) { 0 } else { meta.len }
        };
        poll_kept(&*self.inner, cx, bufs, meta, keep)
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments().min(self.most)
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_fits_what_the_kernel_grants() {
        assert!((MIN_WINDOW..=MAX_WINDOW).contains(&fitting_window()));
    }
}
