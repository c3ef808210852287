//! TLS 1.3 over TCP straight between the two ends: both listen and connect at once, and each takes
//! only the certificate whose fingerprint the other has told it. PROTOCOL.md, "Lanes of TLS and QUIC".

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use rustls::{ServerConfig, pki_types::ServerName};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{
    identity::{Identity, NAME},
    interfaces,
    stream::{self, Arrivals, Shortest},
};
use crate::proto::{
    binding::EXPORTER_LABEL,
    signal::{Listener, MAX_ADDRESSES},
};

/// Bytes of records that are read or written at once; one has 16 KiB.
const AT_ONCE: usize = 128 * 1024;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes with whoever has connected that are under way at once; the oldest makes place.
const MOST_STRANGERS: usize = 32;

/// This end of a lane that is to be: it listens, until it is dropped or meets the other.
#[derive(Debug)]
pub struct Endpoint {
    identity: Identity,
    listeners: Vec<TcpListener>,
}

/// What carries the records.
pub type Stream = BufReader<TcpStream>;

/// A connection to the other end.
pub type Connection = stream::Connection<TlsStream<Stream>>;

/// Two ends that look for each other. What comes late is closed when it is dropped.
#[derive(Debug)]
pub struct Meeting {
    listeners: Vec<TcpListener>,
    server: Arc<ServerConfig>,
    attempts: JoinSet<io::Result<Connection>>,
    strangers: VecDeque<AbortHandle>,
}

impl Endpoint {
    /// Makes a certificate, and listens on this machine's addresses as far as that works.
    #[must_use]
    pub fn open() -> Self {
        let listeners = interfaces::gather().into_iter().filter_map(|at| listen(at).ok());
        Self { identity: Identity::new(), listeners: listeners.take(MAX_ADDRESSES).collect() }
    }

    /// What the other end must be told.
    #[must_use]
    pub fn listener(&self) -> Listener {
        let addresses = self.listeners.iter().filter_map(|listener| listener.local_addr().ok());
        Listener { fingerprint: self.identity.fingerprint(), addresses: addresses.collect() }
    }

    /// Looks for the other end, where it listens and here.
    #[must_use]
    pub fn meet(self, peer: &Listener) -> Meeting {
        let Self { identity, listeners } = self;
        let server = Arc::new(identity.server(peer.fingerprint));
        let client = Arc::new(identity.client(peer.fingerprint));
        let mut attempts = JoinSet::new();
        for address in peer.addresses.iter().take(MAX_ADDRESSES).flat_map(|at| behind(*at)) {
            let client = client.clone();
            attempts.spawn(in_time(async move {
                let name = ServerName::try_from(NAME).expect("a name");
                let stream = TcpStream::connect(address).await?;
                TlsConnector::from(client)
                    .connect(name, buffered(stream))
                    .await
                    .map(TlsStream::from)
            }));
        }
        Meeting { listeners, server, attempts, strangers: VecDeque::new() }
    }
}

impl Arrivals for Meeting {
    type Stream = TlsStream<Stream>;

    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                stream = accepted(&mut self.listeners) => self.accept(stream),
                Some(attempt) = self.attempts.join_next() => match attempt {
                    Ok(Ok(connection)) => return connection,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS"),
                    Err(_) => tracing::debug!("too many strangers"),
                },
                else => std::future::pending().await,
            }
        }
    }
}

impl Meeting {
    fn accept(&mut self, stream: TcpStream) {
        self.strangers.retain(|stranger| !stranger.is_finished());
        if self.strangers.len() == MOST_STRANGERS {
            self.strangers.pop_front().into_iter().for_each(|stranger| stranger.abort());
        }
        let acceptor = TlsAcceptor::from(self.server.clone());
        let handshake = async move { acceptor.accept(buffered(stream)).await.map(TlsStream::from) };
        self.strangers.push_back(self.attempts.spawn(in_time(handshake)));
    }
}

/// Has the kernel fill a line that loses packets, if it knows how to and lets this user.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), expect(unused_variables))]
pub fn expect_loss(connection: &Connection) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let (socket, _) = connection.stream.get_ref();
        let set = rustix::net::sockopt::set_tcp_congestion(socket.get_ref(), "bbr");
        tracing::debug!(?set, "BBR");
    }
}

fn buffered(stream: TcpStream) -> Stream {
    BufReader::with_capacity(AT_ONCE, stream)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Whoever connects next; a listener that fails is given up.
async fn accepted(listeners: &mut Vec<TcpListener>) -> TcpStream {
    poll_fn(|cx| {
        let mut accepted = None;
        listeners.retain(|listener| match listener.poll_accept(cx) {
            _ if accepted.is_some() => true,
            Poll::Ready(Ok((stream, _))) => {
                accepted = Some(stream);
                true
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a listener");
                false
            }
            Poll::Pending => true,
        });
        accepted.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The same address behind each interface that it may lie behind.
fn behind(address: SocketAddr) -> Vec<SocketAddr> {
    match address.ip() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let zones = interfaces::zones().into_iter();
            zones.map(|zone| SocketAddrV6::new(v6, address.port(), 0, zone).into()).collect()
        }
        _ => vec![address],
    }
}

async fn in_time(
    handshake: impl Future<Output = io::Result<TlsStream<Stream>>>,
) -> io::Result<Connection> {
    let mut stream = timeout(HANDSHAKE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (socket, _) = stream.get_ref();
    socket.get_ref().set_nodelay(true)?;
    match &mut stream {
        TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(AT_ONCE)),
        TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(AT_ONCE)),
    }
    let exporter = match &stream {
        TlsStream::Client(stream) => {
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None)
        }
        TlsStream::Server(stream) => {
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None)
        }
    };
    let exporter = exporter.map_err(io::Error::other)?;
    Ok(Connection { stream, exporter, shortest: Shortest::default() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn met(ours: Endpoint, theirs: Endpoint) -> (Connection, Connection) {
        let (our_listener, their_listener) = (ours.listener(), theirs.listener());
        let (mut ours, mut theirs) = (ours.meet(&their_listener), theirs.meet(&our_listener));
        tokio::join!(ours.next(), theirs.next())
    }

    /// An end that only connects.
    fn quiet() -> Endpoint {
        Endpoint { listeners: Vec::new(), ..Endpoint::open() }
    }

    #[tokio::test]
    async fn two_ends_meet_and_export_the_same() {
        let (mut ours, mut theirs) = met(Endpoint::open(), quiet()).await;
        assert_eq!(ours.exporter, theirs.exporter);
        ours.stream.write_all(b"hello").await.unwrap();
        ours.stream.flush().await.unwrap();
        let mut heard = [0; 5];
        theirs.stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        let (others, _) = met(quiet(), Endpoint::open()).await;
        assert_ne!(others.exporter, ours.exporter);
    }

    /// Whether an end that listens takes one that connects, when each expects this fingerprint of the
    /// other, or the right one.
    async fn takes(of_client: Option<[u8; 32]>, of_server: Option<[u8; 32]>) -> bool {
        let (server, client) = (Endpoint::open(), quiet());
        let [mut at_server, mut at_client] = [&server, &client].map(Endpoint::listener);
        at_client.fingerprint = of_client.unwrap_or(at_client.fingerprint);
        at_server.fingerprint = of_server.unwrap_or(at_server.fingerprint);
        let (mut server, mut client) = (server.meet(&at_client), client.meet(&at_server));
        let served = async {
            let stream = accepted(&mut server.listeners).await;
            server.accept(stream);
            server.attempts.join_next().await.unwrap().unwrap()
        };
        let (served, _) = tokio::join!(served, client.attempts.join_next());
        served.is_ok()
    }

    #[tokio::test]
    async fn a_certificate_of_another_fingerprint_is_refused_on_both_sides() {
        assert!(takes(None, None).await);
        assert!(!takes(Some([9; 32]), None).await, "the client's");
        assert!(!takes(None, Some([9; 32])).await, "the server's");
    }

    #[tokio::test]
    async fn strangers_that_say_nothing_make_place_for_the_other_end() {
        let (ours, theirs) = (Endpoint::open(), quiet());
        let [our_listener, their_listener] = [&ours, &theirs].map(Endpoint::listener);
        let at = our_listener.addresses[0];
        let mut ours = ours.meet(&their_listener);
        let mut strangers = VecDeque::new();
        for _ in 0..1000 {
            let (stranger, ()) = tokio::join!(TcpStream::connect(at), async {
                let stream = accepted(&mut ours.listeners).await;
                ours.accept(stream);
            });
            strangers.push_back(stranger.unwrap());
            // One process has not so many sockets.
            if strangers.len() > 10 * MOST_STRANGERS {
                strangers.pop_front();
            }
            assert!(ours.strangers.len() <= MOST_STRANGERS);
        }
        let mut theirs = theirs.meet(&our_listener);
        let (ours, theirs) = tokio::join!(ours.next(), theirs.next());
        assert_eq!(ours.exporter, theirs.exporter);
    }
}
