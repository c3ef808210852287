//! One UDP socket of the server: it takes and gives many datagrams in one system call, and knows
//! which of the machine's addresses each came to. Used by `listeners` and `turn`.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes that the kernel may keep in each direction while the server is busy: at 1 Gbit/s, 30 ms.
/// It grants what its own limits allow.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Buffers for one call, each for as many datagrams as the kernel joins (64 KiB).
const BUFFERS: usize = 8;
const BUFFER_BYTES: usize = 64 * 1024;

/// The most bytes that leave in one call.
const MOST_BYTES: usize = 60_000;

/// A bound socket of one address family.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Where datagrams are received to.
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BUFFERS],
    filled: usize,
}

/// A datagram that came.
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddr,
    /// The address of the server that it came to.
    pub(crate) at: SocketAddr,
    pub(crate) bytes: &'a [u8],
}

impl Udp {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Less than that is no reason not to serve.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        socket.bind(&address.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local })
    }

    /// What it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it can send from that address of the server.
    pub(crate) fn serves(&self, at: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && self.local.is_ipv4() == at.is_ipv4();
        self.local.port() == at.port() && (any || self.local.ip() == at.ip())
    }

    /// Waits for datagrams.
    pub(crate) async fn receive(&self, buffers: &mut Buffers) -> io::Result<()> {
        let Buffers { bytes, metas, filled } = buffers;
        *filled = 0;
        let take = || {
            let mut chunks = bytes.chunks_mut(BUFFER_BYTES).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BUFFERS] =
                std::array::from_fn(|_| chunks.next().expect("so many buffers were made"));
            self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas)
        };
        *filled = self.socket.async_io(Interest::READABLE, take).await?;
        Ok(())
    }

    /// The datagrams of the last [`Udp::receive`].
    pub(crate) fn datagrams<'a>(&self, buffers: &'a Buffers) -> impl Iterator<Item = Datagram<'a>> {
        let local = self.local;
        let filled = buffers.metas[..buffers.filled].iter().zip(buffers.bytes.chunks(BUFFER_BYTES));
        filled.flat_map(move |(meta, bytes)| {
            let at = SocketAddr::new(meta.dst_ip.unwrap_or(local.ip()), local.port());
            let from = meta.addr;
            let datagrams = bytes[..meta.len].chunks(meta.stride.max(1));
            datagrams.map(move |bytes| Datagram { from, at, bytes })
        })
    }

    /// Sends datagrams of one length, except that the last may be shorter, from one address of the
    /// server to one client. One that cannot be sent is lost, as on any line.
    pub(crate) async fn send(&self, at: SocketAddr, to: SocketAddr, length: usize, bytes: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: (length < bytes.len()).then_some(length),
            src_ip: self.local.ip().is_unspecified().then_some(at.ip()),
        };
        let give = || self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        if let Err(error) = self.socket.async_io(Interest::WRITABLE, give).await {
            tracing::trace!(%error, "a datagram was not sent");
        }
    }

    /// Which of these datagrams can leave in one call, from `start` on.
    pub(crate) fn run_of(&self, lengths: &[usize], start: usize) -> Range<usize> {
        let first = lengths[start];
        let most = self.state.max_gso_segments().min(MOST_BYTES / first.max(1)).max(1);
        let mut end = start + 1;
        while end < lengths.len() && end - start < most && lengths[end - 1] == first {
            if lengths[end] > first {
                break;
            }
            end += 1;
        }
        start..end
    }
}

impl Default for Buffers {
    fn default() -> Self {
        let metas = [RecvMeta::default(); BUFFERS];
        Self { bytes: vec![0; BUFFERS * BUFFER_BYTES], metas, filled: 0 }
    }
}

/// The addresses that UDP is served on for an address of TCP, which may be for both families.
pub(crate) fn families(address: SocketAddr) -> Vec<SocketAddr> {
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        return vec![address, (Ipv4Addr::UNSPECIFIED, address.port()).into()];
    }
    vec![address]
}
