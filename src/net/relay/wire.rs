//! The way to a TURN server: whole messages over UDP, TCP or TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use p2pshare_signal::framing::{Frames, pad};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{UdpSocket, lookup_host},
    sync::mpsc,
    time::timeout,
};

use crate::net::{
    dial::{DialError, Dialer, Stream},
    ice::{Carrier, HostPort, TurnServer},
};

/// How long a server may take to be there.
const CONNECTING: Duration = Duration::from_secs(10);

/// Bytes that the kernel may keep for a UDP socket.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// The longest datagram.
const DATAGRAM: usize = 2048;

/// Bytes read or written at once.
const CHUNK: usize = 64 * 1024;

/// Datagrams taken before anything else has its turn.
const BATCH: usize = 64;

/// Messages that may wait to be written.
const WAITING: usize = 128;

/// Both directions.
pub(super) struct Wire {
    pub(super) reader: Reader,
    pub(super) writer: mpsc::Sender<Vec<u8>>,
}

/// Where messages come from.
pub(super) enum Reader {
    Datagrams { socket: Arc<UdpSocket>, buffer: Vec<u8>, left: usize },
    Stream { half: ReadHalf<Stream>, frames: Frames, buffer: Vec<u8> },
}

impl Wire {
    /// Connects to a server.
    pub(super) async fn connect(server: &TurnServer, dialer: &Dialer) -> io::Result<Self> {
        timeout(CONNECTING, connect(server, dialer)).await?.map_err(io::Error::other)
    }
}

async fn connect(server: &TurnServer, dialer: &Dialer) -> Result<Wire, DialError> {
    let HostPort { host, port } = &server.at;
    let (writer, outgoing) = mpsc::channel(WAITING);
    let stream = match server.carrier {
        Carrier::Udp => {
            let socket = Arc::new(datagrams(host, *port).await?);
            tokio::spawn(send(outgoing, Arc::clone(&socket)));
            let reader = Reader::Datagrams { socket, buffer: vec![0; DATAGRAM], left: 0 };
            return Ok(Wire { reader, writer });
        }
        Carrier::Tcp => dialer.tcp(host, *port).await?,
        Carrier::Tls => dialer.tls(host, *port).await?,
    };
    let (half, writing) = split(stream);
    tokio::spawn(write(outgoing, writing));
    let reader = Reader::Stream { half, frames: Frames::default(), buffer: vec![0; CHUNK] };
    Ok(Wire { reader, writer })
}

async fn datagrams(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        let buffers = SockRef::from(&socket);
        // Less than that is no reason to give up.
        let _ = buffers.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = buffers.set_send_buffer_size(KERNEL_BUFFER);
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn send(mut outgoing: mpsc::Receiver<Vec<u8>>, socket: Arc<UdpSocket>) {
    while let Some(message) = outgoing.recv().await {
        if let Err(error) = socket.send(&message).await {
            tracing::trace!(%error, "to the relay");
        }
    }
}

async fn write(mut outgoing: mpsc::Receiver<Vec<u8>>, mut half: WriteHalf<Stream>) {
    let (mut messages, mut bytes) = (Vec::new(), Vec::with_capacity(CHUNK));
    while outgoing.recv_many(&mut messages, WAITING).await > 0 {
        bytes.clear();
        for mut message in messages.drain(..) {
            pad(&mut message);
            bytes.extend_from_slice(&message);
        }
        if half.write_all(&bytes).await.is_err() || half.flush().await.is_err() {
            return;
        }
    }
}

impl Reader {
    /// Waits until something has come. May be dropped half-way.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        match self {
            Self::Datagrams { socket, left, .. } => {
                *left = BATCH;
                socket.readable().await
            }
            Self::Stream { half, frames, buffer } => {
                let read = half.read(buffer).await?;
                frames.extend(&buffer[..read]);
                if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
            }
        }
    }

    /// The next message of those that have come.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match self {
            Self::Datagrams { left: 0, .. } => Ok(None),
            Self::Datagrams { socket, buffer, left } => match socket.try_recv(buffer) {
                Ok(length) => {
                    *left -= 1;
                    Ok(Some(&buffer[..length]))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                // The server's port was closed for a moment, or is.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
                Err(error) => Err(error),
            },
            Self::Stream { frames, .. } => frames.take().map_err(io::Error::other),
        }
    }
}
