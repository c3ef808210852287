//! The client of a rendezvous server: a slot that waits, a claim, and the room for two that
//! comes of both.
//!
//! A lost socket is opened again and the place taken up where it was left, so that neither a
//! waiting sender nor a message on its way depends on one TCP connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use p2pshare_signal::protocol::{
    self, Body, DEFAULT_PORT, IceServer, MAX_MESSAGE, Nameplate, PATH, Presence, Refusal, Reply,
    Request, RoomId, Token,
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        http::{Uri, uri},
        protocol::WebSocketConfig,
    },
};

use super::dial::{Dialer, Stream};

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a lost socket is opened anew before its place is given up: the server keeps a place
/// without a socket for two minutes.
const REJOIN_FOR: Duration = Duration::from_secs(110);

/// Pauses between tries: the first, and how it grows.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the last message may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// Events that may wait for the session.
const QUEUE: usize = 64;

/// Why there is no rendezvous.
#[derive(Debug, thiserror::Error)]
pub enum RendezvousError {
    /// The server does not answer, or not as one.
    #[error("{address}: {error}")]
    Unreachable {
        /// Where.
        address: Address,
        /// What happened.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server said no.
    #[error("the server refused: {0:?}")]
    Refused(Refusal),
    /// Nobody came while the slot was open.
    #[error("nobody came in time")]
    Expired,
    /// The server said something that makes no sense here.
    #[error("the server said something that makes no sense")]
    Nonsense,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A configured server.
    Server(ServerUrl),
    /// A host by name, as after the `@` of a code.
    Host {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// An address that was found, perhaps with a zone.
    Socket(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(url) => f.write_str(&url.0),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = BadServerUrl;

    /// Reads what [`Address`] shows.
    fn from_str(text: &str) -> Result<Self, BadServerUrl> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        if let Ok(url) = text.parse() {
            return Ok(Self::Server(url));
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadServerUrl)?;
        let port = port.parse().map_err(|_| BadServerUrl)?;
        Ok(Self::Host { host: host.to_owned(), port })
    }
}

/// The address of a server: `ws://` or `wss://`; `http://` and `https://` mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

/// Not the address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server's address looks like wss://host or ws://host:port")]
pub struct BadServerUrl;

impl FromStr for ServerUrl {
    type Err = BadServerUrl;

    fn from_str(text: &str) -> Result<Self, BadServerUrl> {
        let parts = text.parse::<Uri>().map_err(|_| BadServerUrl)?.into_parts();
        let (scheme, default_port) = match parts.scheme.as_ref().map(uri::Scheme::as_str) {
            Some("ws") => ("ws", Some(DEFAULT_PORT)),
            Some("http") => ("ws", Some(80)),
            Some("wss" | "https") => ("wss", None),
            _ => return Err(BadServerUrl),
        };
        let authority = parts.authority.ok_or(BadServerUrl)?;
        let (host, port) = (authority.host(), authority.port_u16());
        let written = |port: Option<u16>| port.map(|port| format!(":{port}")).unwrap_or_default();
        // `Uri` passes over what it does not understand: a user, a colon without a port or with
        // one over 65,535, letters before a bracket.
        if host.is_empty() || authority.as_str() != format!("{host}{}", written(port)) {
            return Err(BadServerUrl);
        }
        Ok(Self(format!("{scheme}://{host}{}", written(port.or(default_port)))))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerUrl {
    /// The address of its page.
    #[must_use]
    pub fn page(&self) -> String {
        self.0.replacen("ws", "http", 1)
    }

    /// Whether it is on this machine, and called by a name that means another machine elsewhere.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let uri = self.0.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        host.eq_ignore_ascii_case("localhost") || is_loopback(host)
    }

    /// A stream to the server, and the URL without the path.
    async fn open(&self, dialer: &Dialer) -> Result<(Stream, String), BoxedError> {
        let uri: Uri = self.0.parse()?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream = match (uri.scheme_str(), uri.port_u16()) {
            (Some("wss"), port) => dialer.tls(host, port.unwrap_or(443)).await?,
            (_, port) => dialer.tcp(host, port.unwrap_or(DEFAULT_PORT)).await?,
        };
        Ok((stream, self.0.clone()))
    }
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

type Socket = WebSocketStream<Stream>;

/// A socket to a server that answers.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    dialer: Dialer,
    socket: Socket,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    /// [`RendezvousError::Unreachable`] when there is none within ten seconds.
    pub async fn open(address: Address, dialer: &Dialer) -> Result<Self, RendezvousError> {
        let opened = timeout(ANSWER, open(&address, dialer)).await;
        match opened {
            Ok(Ok(socket)) => Ok(Self { address, dialer: dialer.clone(), socket }),
            Ok(Err(error)) => Err(RendezvousError::Unreachable { address, error }),
            Err(elapsed) => Err(unreachable(&address, elapsed)),
        }
    }

    async fn say(&mut self, request: &Request) -> Result<(), RendezvousError> {
        let text = serde_json::to_string(request).expect("requests are plain data");
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|error| unreachable(&self.address, error))
    }

    /// Gives a slot or a place in a room up, and closes.
    async fn leave(mut self, room: RoomId) {
        let left = self.say(&Request::Leave { room }).await;
        let closed = self.socket.close(None).await;
        tracing::debug!(?left, ?closed, "left");
    }

    /// The next thing that the server says.
    async fn hear(&mut self) -> Result<Reply, RendezvousError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|_| RendezvousError::Nonsense);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) | None => {
                    return Err(unreachable(&self.address, tungstenite::Error::ConnectionClosed));
                }
                Some(Err(error)) => return Err(unreachable(&self.address, error)),
            }
        }
    }

    /// The answer to what was asked last.
    async fn answer(&mut self) -> Result<Reply, RendezvousError> {
        match timeout(ANSWER, self.hear()).await {
            Ok(Ok(Reply::Refused { reason, .. })) => Err(RendezvousError::Refused(reason)),
            Ok(reply) => reply,
            Err(elapsed) => Err(unreachable(&self.address, elapsed)),
        }
    }

    /// Opens a slot behind a nameplate, with the message for whoever claims it.
    ///
    /// # Errors
    /// When the server refuses, for example because the nameplate is taken, or is lost.
    pub async fn allocate(
        mut self,
        slot: RoomId,
        nameplate: Nameplate,
        ttl: Duration,
        share: Vec<u8>,
    ) -> Result<Slot, RendezvousError> {
        let body = Body::new(share).map_err(|_| RendezvousError::Nonsense)?;
        let ttl = ttl.as_secs().max(1);
        let request = Request::Allocate { room: slot.clone(), nameplate, ttl, claims: 1, body };
        self.say(&request).await?;
        match self.answer().await? {
            Reply::Allocated { room, token, .. } if room == slot => {
                Ok(Slot { connection: self, name: slot, token })
            }
            _ => Err(RendezvousError::Nonsense),
        }
    }

    /// Joins a room that exists by being joined.
    ///
    /// # Errors
    /// When the server refuses or is lost.
    pub async fn join(
        mut self,
        room: RoomId,
        role: protocol::Role,
    ) -> Result<Room, RendezvousError> {
        self.say(&Request::Join { room: room.clone(), role }).await?;
        match self.answer().await? {
            Reply::Joined { room: joined, token } if joined == room => {
                Ok(Room::enter(self, Seat { room, token, ice_servers: Vec::new() }))
            }
            _ => Err(RendezvousError::Nonsense),
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Claims a nameplate.
    ///
    /// # Errors
    /// When the server refuses or is lost.
    pub async fn claim(mut self, nameplate: &Nameplate) -> Result<Claimed, RendezvousError> {
        self.say(&Request::Claim { nameplate: nameplate.clone() }).await?;
        match self.answer().await? {
            Reply::Claimed { nameplate: claimed, slot, room, token, body, ice_servers }
                if claimed == *nameplate =>
            {
                let share = body.as_bytes().to_vec();
                let seat = Seat { room, token, ice_servers };
                Ok(Claimed { slot, share, room: Room::enter(self, seat) })
            }
            _ => Err(RendezvousError::Nonsense),
        }
    }
}

async fn open(address: &Address, dialer: &Dialer) -> Result<Socket, BoxedError> {
    let (stream, url) = match address {
        Address::Server(url) => url.open(dialer).await?,
        Address::Host { host, port } => {
            (dialer.tcp(host, *port).await?, format!("ws://{}", authority(host, *port)))
        }
        Address::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // Without its zone, which no URL may hold.
            let url = format!("ws://{}", SocketAddr::from((address.ip(), address.port())));
            (Box::new(stream) as Stream, url)
        }
    };
    // Small buffers: the messages are.
    let config = WebSocketConfig::default()
        .read_buffer_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let (socket, _) =
        client_async_with_config(format!("{url}{PATH}"), stream, Some(config)).await?;
    Ok(socket)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn unreachable(
    address: &Address,
    error: impl std::error::Error + Send + Sync + 'static,
) -> RendezvousError {
    RendezvousError::Unreachable { address: address.clone(), error: Box::new(error) }
}

/// Tries again with growing pauses until something works, is refused, or took too long; gives
/// the server's first answer along.
async fn rejoin(
    (address, dialer): (&Address, &Dialer),
    room: &RoomId,
    token: &Token,
    received: u64,
) -> Result<(Connection, Reply), RendezvousError> {
    let deadline = Instant::now() + REJOIN_FOR;
    let mut pause = FIRST_PAUSE;
    loop {
        match rejoin_once((address, dialer), room, token, received).await {
            Err(RendezvousError::Unreachable { error, .. }) if Instant::now() < deadline => {
                tracing::debug!(%error, "rejoin");
            }
            other => return other,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn rejoin_once(
    (address, dialer): (&Address, &Dialer),
    room: &RoomId,
    token: &Token,
    received: u64,
) -> Result<(Connection, Reply), RendezvousError> {
    let mut connection = Connection::open(address.clone(), dialer).await?;
    let (room, token) = (room.clone(), token.clone());
    connection.say(&Request::Rejoin { room, token, received }).await?;
    let answer = connection.answer().await?;
    Ok((connection, answer))
}

/// A slot that waits for its receiver.
#[derive(Debug)]
pub struct Slot {
    connection: Connection,
    name: RoomId,
    token: Token,
}

impl Slot {
    /// Waits until somebody claims the slot; gives the place in the room for two.
    ///
    /// # Errors
    /// [`RendezvousError::Expired`] when nobody came, or when the server is lost for good.
    pub async fn claimed(&mut self) -> Result<Seat, RendezvousError> {
        let mut reply = self.connection.hear().await;
        loop {
            reply = match reply {
                Ok(Reply::Paired { slot, room, token, ice_servers }) if slot == self.name => {
                    return Ok(Seat { room, token, ice_servers });
                }
                Ok(Reply::Expired { .. }) => return Err(RendezvousError::Expired),
                Ok(Reply::Refused { reason, .. }) => return Err(RendezvousError::Refused(reason)),
                Ok(_) => self.connection.hear().await,
                Err(RendezvousError::Unreachable { address, .. }) => {
                    let way = (&address, &self.connection.dialer);
                    let (connection, answer) = rejoin(way, &self.name, &self.token, 0).await?;
                    self.connection = connection;
                    Ok(answer)
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Enters the room for two.
    #[must_use]
    pub fn enter(self, seat: Seat) -> Room {
        Room::enter(self.connection, seat)
    }

    /// Gives the slot up, so that nobody claims it any more.
    pub async fn leave(self) {
        if timeout(FAREWELL, self.connection.leave(self.name)).await.is_err() {
            tracing::debug!("the server takes no farewell");
        }
    }
}

/// A place in a room for two.
#[derive(Debug)]
pub struct Seat {
    room: RoomId,
    token: Token,
    ice_servers: Vec<IceServer>,
}

/// A slot that was claimed.
#[derive(Debug)]
pub struct Claimed {
    /// The slot's name.
    pub slot: RoomId,
    /// The sender's first message.
    pub share: Vec<u8>,
    /// The room for two.
    pub room: Room,
}

/// What happens in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// The other end said something.
    Message(Vec<u8>),
    /// The other end's socket came or went.
    Peer(Presence),
    /// The server is lost for good; nothing follows.
    Lost,
}

/// What the keeper of a room has for its owner.
#[derive(Debug)]
enum News {
    Event(RoomEvent),
    IceServers(Vec<IceServer>),
}

/// A place in a room, kept by a task of its own.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    ice_servers: Vec<IceServer>,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    news: mpsc::Receiver<News>,
    task: JoinHandle<()>,
}

impl Room {
    fn enter(connection: Connection, seat: Seat) -> Self {
        let Seat { room: id, token, ice_servers } = seat;
        // A session says a few dozen things; the server takes no more than that unacknowledged.
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::channel(QUEUE);
        let keeper = Keeper { connection, id: id.clone(), token, said: Vec::new(), received: 0 };
        let task = tokio::spawn(keeper.keep(queue, tell));
        Self { id, ice_servers, outgoing, news, task }
    }

    /// The room's name.
    #[must_use]
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Says something to the other end.
    pub fn say(&self, message: Vec<u8>) {
        if self.outgoing.send(message).is_err() {
            tracing::debug!("the room is lost");
        }
    }

    /// The next thing that happens; [`RoomEvent::Lost`] again and again at the end.
    pub async fn next(&mut self) -> RoomEvent {
        loop {
            match self.news.recv().await {
                Some(News::Event(event)) => return event,
                Some(News::IceServers(servers)) => self.ice_servers = servers,
                None => return RoomEvent::Lost,
            }
        }
    }

    /// The STUN and TURN servers that the server has named last, for this room.
    #[must_use]
    pub fn ice_servers(&self) -> &[IceServer] {
        &self.ice_servers
    }

    /// Leaves for good, after what was said last has left the machine.
    pub async fn leave(self) {
        drop((self.outgoing, self.news));
        if timeout(FAREWELL, self.task).await.is_err() {
            tracing::debug!("the server takes no farewell");
        }
    }
}

/// Keeps a place: numbers what is said, acknowledges what is heard, and rejoins.
struct Keeper {
    connection: Connection,
    id: RoomId,
    token: Token,
    /// Everything said so far, to say it again to a server that lost it.
    said: Vec<Body>,
    received: u64,
}

impl Keeper {
    async fn keep(mut self, mut queue: mpsc::UnboundedReceiver<Vec<u8>>, tell: mpsc::Sender<News>) {
        loop {
            let kept = tokio::select! {
                message = queue.recv() => match message {
                    Some(message) => self.say(message).await,
                    None => return self.connection.leave(self.id).await,
                },
                reply = self.connection.hear() => match reply {
                    Ok(reply) => self.heard(reply, &tell).await,
                    Err(error) => Err(error),
                },
            };
            let kept = match kept {
                Err(RendezvousError::Unreachable { .. }) => tokio::select! {
                    rejoined = self.rejoin() => rejoined,
                    () = tell.closed() => return,
                },
                other => other,
            };
            if let Err(error) = kept {
                tracing::debug!(%error, "room");
                // The session may have ended already.
                let _ = tell.send(News::Event(RoomEvent::Lost)).await;
                return;
            }
        }
    }

    async fn say(&mut self, message: Vec<u8>) -> Result<(), RendezvousError> {
        self.said.push(Body::new(message).map_err(|_| RendezvousError::Nonsense)?);
        self.say_from(self.said.len() - 1).await
    }

    async fn say_from(&mut self, first: usize) -> Result<(), RendezvousError> {
        for (number, body) in (1..).zip(&self.said).skip(first) {
            let (room, body) = (self.id.clone(), body.clone());
            self.connection.say(&Request::Send { room, number, body }).await?;
        }
        Ok(())
    }

    async fn heard(
        &mut self,
        reply: Reply,
        tell: &mpsc::Sender<News>,
    ) -> Result<(), RendezvousError> {
        let news = match reply {
            Reply::Message { room, number, body } if room == self.id => {
                if number <= self.received {
                    return Ok(());
                }
                if number != self.received + 1 {
                    return Err(RendezvousError::Nonsense);
                }
                self.received = number;
                self.connection.say(&Request::Ack { room, number }).await?;
                News::Event(RoomEvent::Message(body.as_bytes().to_vec()))
            }
            Reply::Peer { room, presence } if room == self.id => {
                News::Event(RoomEvent::Peer(presence))
            }
            Reply::IceServers { room, ice_servers } if room == self.id => {
                News::IceServers(ice_servers)
            }
            Reply::Refused { reason, .. } => return Err(RendezvousError::Refused(reason)),
            _ => return Ok(()),
        };
        // The session may have ended already; then the queue says so too.
        let _ = tell.send(news).await;
        Ok(())
    }

    async fn rejoin(&mut self) -> Result<(), RendezvousError> {
        let way = (&self.connection.address, &self.connection.dialer);
        let (connection, answer) = rejoin(way, &self.id, &self.token, self.received).await?;
        let Reply::Rejoined { received: heard, .. } = answer else {
            return Err(RendezvousError::Nonsense);
        };
        self.connection = connection;
        self.say_from(usize::try_from(heard).unwrap_or(usize::MAX)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_are_read_as_people_write_them() {
        let url = |text: &str| text.parse::<ServerUrl>().map(|url| url.0);
        assert_eq!(url("ws://box"), Ok("ws://box:9477".to_owned()));
        assert_eq!(url("ws://box:80/"), Ok("ws://box:80".to_owned()));
        assert_eq!(url("wss://example.org"), Ok("wss://example.org".to_owned()));
        assert_eq!(url("https://example.org/"), Ok("wss://example.org".to_owned()));
        assert_eq!(url("http://192.0.2.1:9477/"), Ok("ws://192.0.2.1:9477".to_owned()));
        assert_eq!(url("ws://[::1]:9477"), Ok("ws://[::1]:9477".to_owned()));
        for bad in [
            "",
            "box",
            "box:9477",
            "ftp://box",
            "ws://",
            "ws://u:p@box",
            "ws:// box",
            "ws://box:",
            "ws://box:99999",
            "ws://b[::1]:9477",
        ] {
            assert_eq!(url(bad), Err(BadServerUrl), "{bad}");
        }
    }

    #[test]
    fn the_page_of_a_server_is_where_the_server_is() {
        for (server, page, is_here) in [
            ("wss://share.example.org", "https://share.example.org", false),
            ("ws://ws.example.org", "http://ws.example.org:9477", false),
            ("ws://127.0.0.1:5", "http://127.0.0.1:5", true),
            ("ws://[::1]:9477", "http://[::1]:9477", true),
            ("ws://localhost", "http://localhost:9477", true),
        ] {
            let url: ServerUrl = server.parse().unwrap();
            assert_eq!((url.page().as_str(), url.is_here()), (page, is_here));
        }
    }

    #[test]
    fn a_server_address_means_the_same_when_it_is_read_again() {
        let url = |text: &str| text.parse::<ServerUrl>().map(|url| url.0);
        for typed in ["http://box", "https://box", "ws://box", "wss://box", "ws://box:80"] {
            let shown = url(typed).unwrap();
            assert_eq!(url(&shown).as_ref(), Ok(&shown), "{typed}");
        }
        assert_eq!(url("http://box"), Ok("ws://box:80".to_owned()));
    }
}
