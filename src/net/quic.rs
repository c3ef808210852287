//! QUIC (RFC 9000) between the two ends, on the socket and the path that ICE has found: so it goes
//! wherever data channels go without a relay. PROTOCOL.md, "Lanes of TLS and QUIC".

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::JoinSet,
    time::timeout,
};

use self::{control::Factory, socket::QuicSocket};
use super::{
    identity::{Identity, NAME},
    stream::{self, Arrivals, Shortest},
};
use crate::proto::binding::EXPORTER_LABEL;

mod control;
mod socket;

pub(super) use socket::Sharing;

/// Bytes that may be on their way, or wait for what was lost before them.
const WINDOW: u32 = 8 * 1024 * 1024;

/// What a connection takes at least, beyond what was acknowledged.
const LEAST_WINDOW: u64 = 512 * 1024;

/// What is assumed of the round trip before it is known.
const LIKELY_ROUND: Duration = Duration::from_millis(100);

/// Packets that are acknowledged together, or after so long: each acknowledgement costs both ends as
/// much as a packet does. What the [window](crate::net::flight) has beyond the line is worth more time
/// than this, without which it could not grow.
const TOGETHER: u32 = 5;
const ACK_DELAY: Duration = Duration::from_millis(1);

/// A NAT forgets a connection on which nothing is said; one of which nothing is heard has an end.
const KEEPALIVE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

/// How long a handshake may take, and what must follow it.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes with whoever speaks for the peer that are under way at once.
const MOST_STRANGERS: usize = 8;

/// A connection to the other end.
pub type Connection = stream::Connection<QuicStream>;

/// The one stream of a connection.
#[derive(Debug)]
pub struct QuicStream {
    connection: quinn::Connection,
    read: RecvStream,
    write: SendStream,
    /// What the connection takes beyond what was acknowledged, in bytes.
    window: u64,
}

/// The sockets of a PeerConnection, and where its peer is.
#[derive(Clone, Debug)]
pub struct UdpPath {
    pub(super) sharing: Sharing,
    pub(super) peer: SocketAddr,
}

/// This end of a lane that is to be.
#[derive(Debug)]
pub struct QuicEnd {
    identity: Identity,
    socket: Arc<QuicSocket>,
    peer: SocketAddr,
}

/// One that waits for the other.
#[derive(Debug)]
pub struct Waiting {
    endpoint: Endpoint,
    attempts: JoinSet<io::Result<Connection>>,
}

impl QuicEnd {
    /// Takes what comes over a path for QUIC.
    ///
    /// # Errors
    /// When the path has gone.
    pub fn open(identity: Identity, path: &UdpPath) -> io::Result<Self> {
        let socket = path.sharing.open(path.peer)?;
        Ok(Self { identity, socket, peer: path.peer })
    }

    /// SHA-256 of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.identity.fingerprint()
    }

    /// Connects to the other end, which has a certificate of this fingerprint.
    ///
    /// # Errors
    /// When it does not answer, or is not who it should be.
    pub async fn connect(self, fingerprint: [u8; 32]) -> io::Result<Connection> {
        let crypto = QuicClientConfig::try_from(self.identity.client(fingerprint));
        let mut config = ClientConfig::new(Arc::new(crypto.expect("AES-128 is among the ciphers")));
        let shortest = Shortest::default();
        config.transport_config(transport(&shortest));
        let endpoint = endpoint(self.socket, None)?;
        let connecting =
            endpoint.connect_with(config, self.peer, NAME).map_err(io::Error::other)?;
        let connection = connecting.await?;
        let (write, read) = connection.open_bi().await?;
        connected(connection, read, write, shortest)
    }

    /// Waits for the other end, which has a certificate of this fingerprint.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn listen(self, fingerprint: [u8; 32]) -> io::Result<Waiting> {
        let crypto = QuicServerConfig::try_from(self.identity.server(fingerprint));
        let crypto = Arc::new(crypto.expect("AES-128 is among the ciphers"));
        let mut config = ServerConfig::with_crypto(crypto);
        config
            .transport_config(transport(&Shortest::default()))
            .max_incoming(MOST_STRANGERS)
            .migration(false);
        let endpoint = endpoint(self.socket, Some(config))?;
        Ok(Waiting { endpoint, attempts: JoinSet::new() })
    }
}

impl Arrivals for Waiting {
    type Stream = QuicStream;

    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(incoming) = self.endpoint.accept(), if self.attempts.len() < MOST_STRANGERS => {
                    self.attempts.spawn(taken(incoming));
                }
                Some(attempt) = self.attempts.join_next() => match attempt {
                    Ok(Ok(connection)) => return connection,
                    Ok(Err(error)) => tracing::debug!(%error, "QUIC"),
                    Err(error) => tracing::debug!(%error, "QUIC"),
                },
                else => std::future::pending().await,
            }
        }
    }
}

async fn taken(incoming: Incoming) -> io::Result<Connection> {
    let connected = async {
        let connection = incoming.await?;
        let (write, read) = connection.accept_bi().await?;
        connected(connection, read, write, Shortest::default())
    };
    timeout(HANDSHAKE, connected).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn endpoint(socket: Arc<QuicSocket>, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    // The bit tells its datagrams from others.
    config.grease_quic_bit(false);
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}

fn transport(shortest: &Shortest) -> Arc<TransportConfig> {
    let window = VarInt::from_u32(WINDOW);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(TOGETHER - 1)).max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(LEAST_WINDOW)
        .initial_rtt(LIKELY_ROUND)
        .keep_alive_interval(Some(KEEPALIVE))
        .max_idle_timeout(Some(SILENCE.try_into().expect("it is not that long")))
        .congestion_controller_factory(Arc::new(Factory {
            most: WINDOW.into(),
            shortest: shortest.clone(),
        }));
    Arc::new(config)
}

fn connected(
    connection: quinn::Connection,
    read: RecvStream,
    write: SendStream,
    shortest: Shortest,
) -> io::Result<Connection> {
    let mut exporter = [0; 32];
    let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]);
    exported.map_err(|_| io::Error::other("nothing can be exported"))?;
    let stream = QuicStream { connection, read, write, window: LEAST_WINDOW };
    Ok(Connection { stream, exporter, shortest })
}

impl QuicStream {
    /// The connection takes as much as may be on its way and is to be ready behind it, but not more,
    /// which could be lost with it.
    fn fit_window(&mut self) {
        let fitting = (self.connection.stats().path.cwnd * 2).clamp(LEAST_WINDOW, WINDOW.into());
        if fitting.abs_diff(self.window) > self.window / 8 {
            self.window = fitting;
            self.connection.set_send_window(fitting);
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fit_window();
        AsyncWrite::poll_write(Pin::new(&mut self.write), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::IoSliceMut,
        net::UdpSocket,
        sync::atomic::{AtomicU64, Ordering},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime};

    use super::*;

    /// Something that is not QUIC's.
    const RECORD: &[u8] = &[22, 1, 2, 3];

    /// One end of a path, whose socket is read as the `webrtc` crate would.
    async fn path(socket: UdpSocket, peer: SocketAddr) -> UdpPath {
        let sharing = Sharing::default();
        let copy = socket.try_clone();
        let inner = webrtc::runtime::TokioRuntime.wrap_udp_socket(socket).unwrap();
        let socket = sharing.share(copy, 0, inner);
        receive(&*socket).await;
        tokio::spawn(async move {
            loop {
                receive(&*socket).await;
            }
        });
        UdpPath { sharing, peer }
    }

    async fn receive(socket: &dyn AsyncUdpSocket) {
        let mut buffer = vec![0; 65_536];
        let mut meta = [RecvMeta::default()];
        let count =
            poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        assert_eq!(count.await.unwrap(), 1);
        assert_eq!(&buffer[..meta[0].len], RECORD);
    }

    /// Two ends that have heard each other.
    async fn ends() -> [QuicEnd; 2] {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [first, second] = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        sockets[0].send_to(RECORD, second).unwrap();
        sockets[1].send_to(RECORD, first).unwrap();
        let [one, other] = sockets;
        let paths = tokio::join!(path(one, second), path(other, first));
        [paths.0, paths.1].map(|path| QuicEnd::open(Identity::new(), &path).unwrap())
    }

    #[tokio::test]
    async fn two_ends_meet_on_a_socket_that_is_not_theirs_alone() {
        let [ours, theirs] = ends().await;
        let [fingerprint, at_peer] = [&ours, &theirs].map(QuicEnd::fingerprint);
        let mut waiting = theirs.listen(fingerprint).unwrap();
        let ours = async {
            let mut ours = ours.connect(at_peer).await.unwrap();
            ours.stream.write_all(b"hello").await.unwrap();
            ours
        };
        let (mut ours, mut theirs) = tokio::join!(ours, waiting.next());
        assert_eq!(ours.exporter, theirs.exporter);
        assert!(ours.shortest.get().is_some());
        let mut heard = [0; 5];
        theirs.stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        let much: Vec<u8> = (0..3_000_000).map(|i: u32| i.to_le_bytes()[1]).collect();
        let write = async {
            theirs.stream.write_all(&much).await.unwrap();
            theirs.stream.shutdown().await.unwrap();
        };
        let mut arrived = Vec::new();
        let (read, ()) = tokio::join!(ours.stream.read_to_end(&mut arrived), write);
        assert_eq!(read.unwrap(), much.len());
        assert!(arrived == much);
        let asked = theirs.stream.connection.stats().frame_tx.ack_frequency;
        assert!(asked > 0, "to acknowledge packets together");
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_makes_nobody_hold_more_than_a_window_at_each_end() {
        let [ours, theirs] = ends().await;
        let [fingerprint, at_peer] = [&ours, &theirs].map(QuicEnd::fingerprint);
        let mut waiting = theirs.listen(fingerprint).unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let count = written.clone();
        tokio::spawn(async move {
            let mut ours = ours.connect(at_peer).await.unwrap();
            let much = vec![7; 65_536];
            loop {
                let bytes = ours.stream.write(&much).await.unwrap();
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
        let mut theirs = waiting.next().await;
        let (mut buffer, mut read, window) = (vec![0; 1 << 16], 0, u64::from(WINDOW));
        for part in 1..=4 {
            // It is read on only when most of what is taken unread is here.
            while written.load(Ordering::Relaxed) < read + window * 3 / 4 {
                tokio::task::yield_now().await;
            }
            while read < part * window / 2 {
                let held = written.load(Ordering::Relaxed) - read;
                assert!(held <= 2 * window, "{held}");
                read += theirs.stream.read(&mut buffer).await.unwrap() as u64;
            }
        }
    }

    #[tokio::test]
    async fn a_certificate_of_another_fingerprint_is_refused_on_both_sides() {
        for wrong_at_client in [true, false] {
            let [ours, theirs] = ends().await;
            let [fingerprint, at_peer] = [&ours, &theirs].map(QuicEnd::fingerprint);
            let (expects, is_expected) =
                if wrong_at_client { ([9; 32], fingerprint) } else { (at_peer, [9; 32]) };
            let mut waiting = theirs.listen(is_expected).unwrap();
            let refused = async {
                match ours.connect(expects).await {
                    Err(_) => {}
                    // The server has not checked the client's yet.
                    Ok(mut connection) => {
                        let _ = connection.stream.write_all(b"hello").await;
                        assert!(connection.stream.read_u8().await.is_err());
                    }
                }
            };
            tokio::select! {
                () = refused => {}
                _ = waiting.next() => panic!("it was taken"),
            }
        }
    }
}
