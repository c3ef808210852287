//! The real program on a free port, with real sockets.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use p2pshare_signal::Config;
use p2pshare_signal::protocol::{
    Body, MAX_BODY, MAX_MESSAGE, Nameplate, PATH, Presence, Refusal, Reply, Request, Role, RoomId,
    Token,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Far longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, killed when the test is over.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, Stdio::null())
    }

    fn start_with(arguments: &[&str], stderr: Stdio) -> Self {
        let mut child = program(&["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("p2pshare-signal listening on ");
        let address = address.expect(&line).parse().expect("an address");
        Self { child, address }
    }

    fn url(&self) -> String {
        format!("ws://{}{PATH}", self.address)
    }

    /// Sends one HTTP request and returns everything that comes back.
    async fn get(&self, path: &str) -> String {
        self.get_with(path, "Host: x\r\n").await
    }

    /// The same, with these headers.
    async fn get_with(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    async fn wait(mut self) -> ExitStatus {
        let waiting = tokio::task::spawn_blocking(move || self.child.wait());
        timeout(PATIENCE, waiting).await.expect("it ends").expect("no panic").expect("a status")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pshare-signal"));
    command.args(arguments).env_remove("P2PSHARE_LOG").stdin(Stdio::null());
    command
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.expect("a WebSocket");
        Self { socket }
    }

    async fn say(&mut self, request: &Request) {
        let text = serde_json::to_string(request).expect("JSON");
        self.socket.send(Message::text(text)).await.expect("sent");
    }

    async fn hear(&mut self) -> Reply {
        loop {
            match self.frame().await.expect("a frame") {
                Message::Text(text) => match serde_json::from_str(&text).expect("a reply") {
                    Reply::IceServers { .. } => {}
                    reply => return reply,
                },
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn frame(&mut self) -> Result<Message, Error> {
        timeout(PATIENCE, self.socket.next()).await.expect("in time").expect("not closed")
    }

    async fn ask(&mut self, request: &Request) -> Reply {
        self.say(request).await;
        self.hear().await
    }

    /// Every message until the one that says whether the peer is here.
    async fn hear_until_presence(&mut self) -> (Vec<Vec<u8>>, Presence) {
        let mut messages = Vec::new();
        loop {
            match self.hear().await {
                Reply::Message { body, .. } => messages.push(body.as_bytes().to_vec()),
                Reply::Peer { presence, .. } => return (messages, presence),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Two clients in a room.
struct Pair {
    sender: Client,
    receiver: Client,
    room: RoomId,
    receiver_token: Token,
}

async fn pair(url: &str) -> Pair {
    let (mut sender, mut receiver) = (Client::connect(url).await, Client::connect(url).await);
    let Reply::Allocated { nameplate, .. } = sender.ask(&allocate(1)).await else {
        panic!("no slot")
    };
    let Reply::Claimed { room, token, body, .. } =
        receiver.ask(&Request::Claim { nameplate }).await
    else {
        panic!("no claim")
    };
    assert_eq!(body.as_bytes(), b"first message");
    let Reply::Paired { room: same, .. } = sender.hear().await else { panic!("not paired") };
    assert_eq!(room, same);
    Pair { sender, receiver, room, receiver_token: token }
}

fn allocate(slot: u8) -> Request {
    Request::Allocate {
        room: RoomId::from_128_bits([slot; 16]),
        nameplate: Nameplate::number(u32::from(slot)),
        ttl: 60,
        claims: 1,
        body: body(b"first message"),
    }
}

fn body(bytes: &[u8]) -> Body {
    Body::new(bytes.to_vec()).expect("short enough")
}

fn send(room: &RoomId, number: u64, bytes: &[u8]) -> Request {
    Request::Send { room: room.clone(), number, body: body(bytes) }
}

fn refused(reason: Refusal) -> Reply {
    Reply::Refused { room: None, reason }
}

fn status_of(error: &Error) -> u16 {
    match error {
        Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn two_clients_meet_talk_lose_a_socket_and_go_on() {
    let server = Server::start(&[]);
    let Pair { mut sender, mut receiver, room, receiver_token } = pair(&server.url()).await;
    sender.say(&send(&room, 1, b"one")).await;
    let one = Reply::Message { room: room.clone(), number: 1, body: body(b"one") };
    assert_eq!(receiver.hear().await, one);
    receiver.say(&Request::Ack { room: room.clone(), number: 1 }).await;
    receiver.say(&send(&room, 1, b"up")).await;
    assert!(matches!(sender.hear().await, Reply::Message { number: 1, .. }));

    drop(receiver);
    let gone = Reply::Peer { room: room.clone(), presence: Presence::Gone };
    assert_eq!(sender.hear().await, gone);
    sender.say(&send(&room, 2, b"two")).await;
    sender.say(&send(&room, 3, b"three")).await;

    let mut receiver = Client::connect(&server.url()).await;
    let rejoin = Request::Rejoin { room: room.clone(), token: receiver_token, received: 1 };
    assert_eq!(receiver.ask(&rejoin).await, Reply::Rejoined { room: room.clone(), received: 1 });
    let here = Reply::Peer { room: room.clone(), presence: Presence::Here };
    assert_eq!(sender.hear().await, here);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match receiver.hear().await {
            Reply::Message { body, .. } => heard.push(body.as_bytes().to_vec()),
            other => assert_eq!(other, here),
        }
    }
    assert_eq!(heard, [b"two".to_vec(), b"three".to_vec()]);
}

#[tokio::test]
async fn a_second_claim_is_answered_like_an_unknown_code() {
    let server = Server::start(&[]);
    let url = server.url();
    let mut sender = Client::connect(&url).await;
    let Reply::Allocated { nameplate, .. } = sender.ask(&allocate(1)).await else {
        panic!("no slot")
    };
    let claim = Request::Claim { nameplate };
    let (mut first, mut second) = (Client::connect(&url).await, Client::connect(&url).await);
    assert!(matches!(first.ask(&claim).await, Reply::Claimed { .. }));
    let used = second.ask(&claim).await;
    let unknown = second.ask(&Request::Claim { nameplate: Nameplate::number(1_234_567) }).await;
    assert_eq!((&used, &unknown), (&refused(Refusal::NoSuchCode), &used));
}

#[tokio::test]
async fn two_that_know_a_name_meet_without_a_code() {
    let server = Server::start(&[]);
    let room = RoomId::from_256_bits([5; 32]);
    let join = |role| Request::Join { room: room.clone(), role };
    let mut sender = Client::connect(&server.url()).await;
    assert!(matches!(sender.ask(&join(Role::Sender)).await, Reply::Joined { .. }));
    let mut receiver = Client::connect(&server.url()).await;
    assert!(matches!(receiver.ask(&join(Role::Receiver)).await, Reply::Joined { .. }));
    assert_eq!(receiver.hear_until_presence().await, (Vec::new(), Presence::Here));
    assert_eq!(sender.hear_until_presence().await, (Vec::new(), Presence::Here));
    receiver.say(&Request::Leave { room: room.clone() }).await;
    assert_eq!(sender.hear_until_presence().await, (Vec::new(), Presence::Left));
}

#[tokio::test]
async fn the_longest_body_goes_through() {
    let server = Server::start(&[]);
    let Pair { mut sender, mut receiver, room, .. } = pair(&server.url()).await;
    sender.say(&send(&room, 1, &[7; MAX_BODY])).await;
    let Reply::Message { body, .. } = receiver.hear().await else { panic!("no message") };
    assert_eq!(body.as_bytes(), [7; MAX_BODY]);
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_ends_the_connection() {
    let server = Server::start(&[]);
    let too_long = "x".repeat(MAX_MESSAGE + 1);
    let unknown = r#"{"type":"evict","room":"ab"}"#;
    for message in [
        Message::text(too_long),
        Message::text(unknown),
        Message::text("{"),
        Message::binary(b"{}".to_vec()),
    ] {
        let mut client = Client::connect(&server.url()).await;
        client.socket.send(message).await.expect("sent");
        assert_eq!(client.hear().await, refused(Refusal::BadMessage));
        let Ok(Message::Close(Some(frame))) = client.frame().await else { panic!("not closed") };
        assert_eq!(frame.code, CloseCode::Policy);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_its_peer_is_told() {
    let server = Server::start(&[]);
    let Pair { mut sender, receiver, room, receiver_token } = pair(&server.url()).await;
    for number in 1..=5 {
        sender.say(&send(&room, number, &[7; MAX_BODY])).await;
    }
    // Each is answered with all five messages, which nobody reads.
    let rejoin = Request::Rejoin { room: room.clone(), token: receiver_token, received: 0 };
    let text = serde_json::to_string(&rejoin).expect("JSON");
    let (mut writer, _unread) = receiver.socket.split();
    let flood = async {
        // Ends with an error when the server hangs up.
        while writer.send(Message::text(text.clone())).await.is_ok() {}
    };
    timeout(PATIENCE, flood).await.expect("the server hangs up");
    assert_eq!(sender.hear_until_presence().await, (Vec::new(), Presence::Gone));
}

#[tokio::test]
async fn a_page_of_another_server_is_not_let_in() {
    let server = Server::start(&[]);
    let mut request = server.url().into_client_request().expect("a request");
    request.headers_mut().insert("Origin", "https://example.org".parse().expect("a header"));
    let error = connect_async(request).await.expect_err("refused");
    assert_eq!(status_of(&error), 403);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let server = Server::start(&["--max-connections-per-address", "1"]);
    let first = Client::connect(&server.url()).await;
    let error = connect_async(server.url()).await.expect_err("refused");
    assert_eq!(status_of(&error), 429);
    drop(first);
}

#[tokio::test]
async fn an_address_has_so_many_slots_and_no_more() {
    let server = Server::start(&["--max-rooms-per-address", "1"]);
    let mut client = Client::connect(&server.url()).await;
    assert!(matches!(client.ask(&allocate(1)).await, Reply::Allocated { .. }));
    let second = client.ask(&allocate(2)).await;
    assert!(matches!(second, Reply::Refused { reason: Refusal::TooManyRooms, .. }));
}

#[tokio::test]
async fn health_says_ok_and_other_paths_say_what_this_is() {
    let server = Server::start(&[]);
    let health = server.get("/health").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(health.contains(r#""status":"ok""#) && health.contains(r#""rooms":0"#), "{health}");
    let other = server.get("/nothing").await;
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    assert!(other.contains("this is a p2pshare server"), "{other}");
    let no_upgrade = server.get(PATH).await;
    assert!(no_upgrade.starts_with("HTTP/1.1 4"), "{no_upgrade}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[expect(clippy::print_stderr, reason = "the figure is worth seeing")]
async fn a_thousand_idle_connections_need_little_memory() {
    let server = Server::start(&["--max-connections-per-address", "2000"]);
    let before = resident_kilobytes(server.child.id());
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(Client::connect(&server.url()).await);
    }
    // Answered after all of them are open.
    clients[999].ask(&Request::Claim { nameplate: Nameplate::number(1) }).await;
    let after = resident_kilobytes(server.child.id());
    eprintln!("resident memory: {before} kB, with 1000 idle connections {after} kB");
    assert!(after < 100_000, "{after} kB");
}

#[cfg(target_os = "linux")]
fn resident_kilobytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_it_with_status_0_whatever_is_connected() {
    for name in ["-TERM", "-INT"] {
        let server = Server::start(&[]);
        let mut client = Client::connect(&server.url()).await;
        let mut half_a_request = TcpStream::connect(server.address).await.expect("a connection");
        half_a_request.write_all(b"GET / HT").await.expect("sent");
        client.ask(&allocate(1)).await;
        let start = Instant::now();
        server.signal(name);
        let Ok(Message::Close(Some(frame))) = client.frame().await else { panic!("not closed") };
        assert_eq!(frame.code, CloseCode::Away);
        assert_eq!(server.wait().await.code(), Some(0), "{name}");
        // One second is promised; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_log_shows_no_token_and_no_message_at_any_level() {
    let mut server = Server::start_with(&["--log", "trace"], Stdio::piped());
    let mut stderr = server.child.stderr.take().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).expect("text");
        log
    });
    let Pair { mut sender, mut receiver, room, receiver_token } = pair(&server.url()).await;
    sender.say(&send(&room, 1, b"secret words")).await;
    receiver.hear().await;
    server.signal("-TERM");
    server.wait().await;
    let log = reading.join().expect("no panic");
    let token = serde_json::to_string(&receiver_token).expect("JSON");
    let body = serde_json::to_string(&body(b"secret words")).expect("JSON");
    for secret in [token.trim_matches('"'), body.trim_matches('"'), room.as_str()] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("opened"), "{log}");
}

#[test]
fn a_port_in_use_is_one_sentence_a_hint_and_status_1() {
    let server = Server::start(&[]);
    let output = run(&["--listen", &server.address.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let expected = format!(
        "error: Port {} is in use by another program.\n\
         hint: choose another port, for example --listen [::]:9478; --listen [::]:0 takes any that \
         is free\n",
        server.address.port()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn a_wrong_command_line_is_status_2_and_help_and_version_are_status_0() {
    assert_eq!(run(&["--listen", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["--max-rooms", "0"]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["--listen", "9477", "P2PSHARE_LOG", "wss://", "/health", "SIGTERM"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program runs")
}

/// A server inside this process, as a sender has it.
async fn embedded() -> (String, impl FnOnce() -> Ending) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}{PATH}", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let running = tokio::spawn(p2pshare_signal::run(listener, Config::default(), shutdown));
    let end = move || {
        drop(stop);
        running
    };
    (url, end)
}

type Ending = tokio::task::JoinHandle<std::io::Result<()>>;

#[tokio::test]
async fn an_embedded_server_ends_with_its_sockets_and_frees_its_port() {
    let (url, end) = embedded().await;
    let Pair { mut sender, receiver, .. } = pair(&url).await;
    // This one never answers anything any more.
    let _deaf = receiver;
    timeout(PATIENCE, end()).await.expect("it ends").expect("no panic").expect("no error");
    assert!(matches!(sender.frame().await, Ok(Message::Close(_))));
    let error = connect_async(url).await.expect_err("nobody listens");
    assert!(matches!(error, Error::Io(_)), "{error}");
}

#[tokio::test]
async fn time_runs_for_slots_without_any_request() {
    let (url, _end) = embedded().await;
    let mut sender = Client::connect(&url).await;
    let request = Request::Allocate {
        room: RoomId::from_128_bits([1; 16]),
        nameplate: Nameplate::lan(42),
        ttl: 1,
        claims: 1,
        body: body(b""),
    };
    assert!(matches!(sender.ask(&request).await, Reply::Allocated { .. }));
    assert!(matches!(sender.hear().await, Reply::Expired { .. }));
}

#[tokio::test]
async fn the_page_comes_with_what_protects_it() {
    let server = Server::start(&[]);
    let page = server.get_with("/", "Host: share.example.org\r\n").await.to_ascii_lowercase();
    for header in [
        "http/1.1 200",
        "content-type: text/html; charset=utf-8",
        "script-src 'self'; style-src 'self'; connect-src 'self' ws://share.example.org wss://share",
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(!page.contains("<style") && !page.contains("onclick="));
    let tag = page.split("etag: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("one");
    let again = format!("Host: share.example.org\r\nIf-None-Match: {tag}\r\n");
    assert!(server.get_with("/", &again).await.starts_with("HTTP/1.1 304"));
    for path in ["/app.js", "/style.css", "/worker.js", "/app.webmanifest", "/icon.svg"] {
        assert!(server.get(path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(server.get("/../Cargo.toml").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_page_of_this_server_is_let_in() {
    let server = Server::start(&[]);
    let mut request = server.url().into_client_request().expect("a request");
    let host = request.headers()["Host"].to_str().expect("text").to_owned();
    request.headers_mut().insert("Origin", format!("http://{host}").parse().expect("a header"));
    connect_async(request).await.expect("let in");
}

#[test]
fn the_hash_of_the_page_is_that_of_its_files() {
    let output = Command::new(env!("CARGO_BIN_EXE_p2pshare-signal")).arg("--page-hash").output();
    let said = String::from_utf8(output.expect("it runs").stdout).expect("text");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist");
    let files = std::fs::read_dir(folder).expect("the page is there").count();
    assert_eq!(said.lines().count(), files);
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet"]).current_dir(folder).stdin(Stdio::piped());
    let Ok(mut child) = check.spawn() else { return };
    std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), said.as_bytes()).expect("all");
    assert!(child.wait().expect("it ends").success());
}
