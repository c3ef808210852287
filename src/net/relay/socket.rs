//! What the `webrtc` crate takes for a UDP socket: two queues, with the relay at their other ends.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// A datagram, and whom it is from or for.
pub(super) type Datagram = (SocketAddr, Vec<u8>);

/// Datagrams on their way out. Few: what waits here waits in vain when the path is slow.
const OUTGOING: usize = 64;

/// Datagrams that came.
const INCOMING: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct RelaySocket {
    local: SocketAddr,
    outgoing: Mutex<PollSender<Datagram>>,
    incoming: Mutex<mpsc::Receiver<Datagram>>,
}

/// The other ends of the queues.
pub(super) struct Queues {
    pub(super) outgoing: mpsc::Receiver<Datagram>,
    pub(super) incoming: mpsc::Sender<Datagram>,
}

impl RelaySocket {
    pub(super) fn new(local: SocketAddr) -> (Self, Queues) {
        let (to_relay, outgoing) = mpsc::channel(OUTGOING);
        let (incoming, from_relay) = mpsc::channel(INCOMING);
        let outgoing_end = Mutex::new(PollSender::new(to_relay));
        let socket = Self { local, outgoing: outgoing_end, incoming: Mutex::new(from_relay) };
        (socket, Queues { outgoing, incoming })
    }
}

impl AsyncUdpSocket for RelaySocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let length = transmit.contents.len();
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a relay, datagrams are lost, as on any line that is down.
        if ready!(outgoing.poll_reserve(cx)).is_ok() {
            let datagram = (transmit.destination, transmit.contents.to_vec());
            // An error would be another sign that the relay is gone.
            let _ = outgoing.send_item(datagram);
        }
        Poll::Ready(Ok(length))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let (from, bytes) = match incoming.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => datagram,
                // Without a relay nothing comes any more.
                Poll::Ready(None) | Poll::Pending => break,
            };
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
            count += 1;
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn max_gso_segments(&self) -> usize {
        1
    }

    fn max_gro_segments(&self) -> usize {
        1
    }
}
