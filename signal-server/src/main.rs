//! `p2pshare-signal`: the rendezvous server as a program. Reads the command line, listens, and
//! runs [`p2pshare_signal::run`] until it is told to end.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use p2pshare_signal::protocol::DEFAULT_PORT;
use p2pshare_signal::{
    BadCertificate, Config, Limits, Listeners, PublicAddress, Reach, RelayConfig, RelayLimits,
    Secrets, Tls,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Rendezvous, STUN and TURN server of p2pshare: senders and receivers that are not on the same
/// network meet here and find a path of their own, or are lent one.
///
/// It cannot read what the two sides tell each other, nor the files of those that need its relay. Everything
/// is kept in memory: nothing to install, nothing to back up. Ctrl-C or SIGTERM ends it.
#[derive(Parser)]
#[command(name = "p2pshare-signal", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Address and port to listen on; port 0 takes any that is free
    ///
    /// Without this, every IPv6 and IPv4 address of this machine, port 9477.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Most senders and pairs at one time, each with up to 130 KB of messages
    #[arg(long, value_name = "N", default_value_t = cap(Limits::default().max_rooms))]
    max_rooms: NonZeroUsize,

    /// Most places (waiting senders and ends of pairs) for one client address
    ///
    /// One address is an IPv4 address or an IPv6 /64. A transfer needs two at each end. Behind a
    /// proxy all clients have the proxy's address: raise this and the next one there.
    #[arg(long, value_name = "N", default_value_t = cap(Limits::default().max_rooms_per_source))]
    max_rooms_per_address: NonZeroUsize,

    /// Most open connections from one client address
    #[arg(
        long,
        value_name = "N",
        default_value_t = cap(Limits::default().max_connections_per_source)
    )]
    max_connections_per_address: NonZeroUsize,

    /// Another address and port for everything: page, WebSocket, STUN and TURN; may be repeated
    ///
    /// For example [::]:3478, the port that STUN and TURN usually have.
    #[arg(long, value_name = "ADDR:PORT")]
    turn_listen: Vec<SocketAddr>,

    /// Neither STUN nor TURN: transfers between networks may then find no path
    #[arg(long, conflicts_with_all = ["turn_listen", "turn_open", "second_address"])]
    no_turn: bool,

    /// Let the relay also reach public hosts, as TURN servers usually do, from this address of the
    /// machine
    ///
    /// Without it the relay passes data between the two ends of a transfer and to nobody else, and
    /// opens no ports. p2pshare never needs more.
    #[arg(long, value_name = "ADDR")]
    turn_open: Option<IpAddr>,

    /// Secret that TURN passwords are made with; a second one, after a comma, is accepted too
    ///
    /// At least 16 characters. Without it a new one is made at each start. Needed when several
    /// servers are to share a relay, or with --turn-server.
    #[arg(
        long,
        value_name = "SECRET[,OLD]",
        env = "P2PSHARE_TURN_SECRET",
        hide_env_values = true,
        value_delimiter = ','
    )]
    turn_secret: Vec<String>,

    /// Tell clients of another TURN server that has the same secret; may be repeated
    ///
    /// For example turn:relay.example.org:3478?transport=udp of a coturn with `use-auth-secret`.
    #[arg(long, value_name = "URL", requires = "turn_secret", value_parser = turn_url)]
    turn_server: Vec<String>,

    /// Most bytes that one transfer may have relayed
    #[arg(long, value_name = "BYTES", default_value_t = RelayLimits::default().max_bytes_per_room)]
    turn_max_bytes: u64,

    /// Most bytes per second that one transfer may have relayed
    #[arg(long, value_name = "BYTES", default_value_t = RelayLimits::default().max_rate_per_room)]
    turn_max_rate: u64,

    /// Most allocations of the relay at one time; a transfer makes up to six
    #[arg(
        long,
        value_name = "N",
        default_value_t = cap(RelayLimits::default().max_allocations)
    )]
    turn_max_allocations: NonZeroUsize,

    /// Host or address, and port, that clients are told for STUN and TURN
    ///
    /// Without it, those under which they reached this server. Needed behind a proxy on another
    /// machine, and for --turn-open behind a 1:1 NAT.
    #[arg(long, value_name = "HOST[:PORT]")]
    public_address: Option<PublicAddress>,

    /// Second address and port for STUN, with which clients find out what their NAT does (RFC
    /// 5780)
    ///
    /// Another IP address than that of --listen, and another port.
    #[arg(long, value_name = "ADDR:PORT", requires = "listen")]
    second_address: Option<SocketAddr>,

    /// Certificate for TLS, a PEM file, with those that vouch for it
    ///
    /// TLS and plain connections then come to the same port: --listen [::]:443 is all that strict
    /// networks let through.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Print the SHA-256 of each file of the page and end
    ///
    /// For who wants to know whether a server serves what this program holds:
    /// `curl -s https://HOST/app.js | sha256sum`.
    #[arg(long)]
    page_hash: bool,

    /// What to report on standard error; no level shows codes, tokens or messages
    #[arg(long, value_name = "LEVEL", env = "P2PSHARE_LOG", value_enum, default_value = "warn")]
    log: Level,
}

const AFTER_HELP: &str = "\
Examples:
  p2pshare-signal                            all addresses, port 9477
  p2pshare-signal --listen 127.0.0.1:9477    behind a proxy that adds TLS
  p2pshare-signal --listen 127.0.0.1:0       any free port, printed when ready
  p2pshare-signal --listen '[::]:443' --turn-listen '[::]:3478' \\
      --tls-cert fullchain.pem --tls-key privkey.pem

Clients:
  p2pshare --server ws://HOST:9477 send FILE
  p2pshare --server wss://HOST send FILE     with TLS, here or in a proxy

A browser is a client too: it gets the page at http://HOST:9477/ or https://HOST/. GET /health answers {\"status\":\"ok\",...} for monitoring. Each client is one open file: raise
`ulimit -n` (systemd: LimitNOFILE=) for more than about 1000 clients.";

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.page_hash {
        say(io::stdout(), p2pshare_signal::page_hash().trim_end());
        return ExitCode::SUCCESS;
    }
    log_to_stderr(arguments.log);
    match serve(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(io::stderr(), &format!("error: {failure}\nhint: {}", failure.hint()));
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let config = config(arguments)?;
    let mut listeners = Listeners::default();
    let address = listen(&mut listeners, arguments).await?;
    // Before the line that says "ready": whoever waits for it may send a signal at once.
    let signal = termination().map_err(Failure::Serve)?;
    say(io::stdout(), &format!("p2pshare-signal listening on {address}"));
    say(io::stderr(), &usage(address, config.tls.is_some()));
    p2pshare_signal::run(listeners, config, signal).await.map_err(Failure::Serve)
}

/// Listens on all addresses; the answer is the first one.
async fn listen(listeners: &mut Listeners, wish: &Arguments) -> Result<SocketAddr, Failure> {
    let address = wish.listen.unwrap_or((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into());
    let with_udp = !wish.no_turn;
    let failed = |address| move |error| Failure::Listen(address, error);
    let first = match listeners.add(address, with_udp).await {
        Err(error) if wish.listen.is_none() && !is_about_the_port(&error) => {
            // No IPv6 on this machine.
            let address = (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into();
            listeners.add(address, with_udp).await.map_err(failed(address))?
        }
        result => result.map_err(failed(address))?,
    };
    if let Some(second) = wish.second_address {
        listeners.add_second(second).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => Failure::SecondAddress,
            _ => Failure::Listen(second, error),
        })?;
    }
    for address in &wish.turn_listen {
        listeners.add(*address, with_udp).await.map_err(failed(*address))?;
    }
    Ok(first)
}

fn is_about_the_port(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

fn config(arguments: &Arguments) -> Result<Config, Failure> {
    let limits = Limits {
        max_rooms: arguments.max_rooms.get(),
        max_rooms_per_source: arguments.max_rooms_per_address.get(),
        max_connections_per_source: arguments.max_connections_per_address.get(),
        ..Limits::default()
    };
    let tls = arguments.tls_cert.as_deref().zip(arguments.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::read(certificate, key)).transpose()?;
    let public_address = arguments.public_address.clone();
    let relay = relay(arguments)?;
    Ok(Config { limits, tls, relay, public_address, ..Config::default() })
}

/// How to relay; `None` when neither this server nor another one does.
fn relay(arguments: &Arguments) -> Result<Option<RelayConfig>, Failure> {
    let reach = match arguments.turn_open {
        _ if arguments.no_turn => Reach::Nowhere,
        Some(address) => Reach::Everywhere(address),
        None => Reach::Rooms,
    };
    let others = arguments.turn_server.clone();
    if reach == Reach::Nowhere && others.is_empty() {
        return Ok(None);
    }
    let secrets = match &arguments.turn_secret[..] {
        [] => Secrets::of_process(random()?),
        secrets => Secrets::new(secrets.iter().map(String::as_str)).ok_or(Failure::WeakSecret)?,
    };
    let limits = RelayLimits {
        max_allocations: arguments.turn_max_allocations.get(),
        max_bytes_per_room: arguments.turn_max_bytes,
        max_rate_per_room: arguments.turn_max_rate,
        ..RelayLimits::default()
    };
    Ok(Some(RelayConfig { limits, secrets, reach, others }))
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Serve(io::Error::other(error)))?;
    Ok(bytes)
}

fn turn_url(url: &str) -> Result<String, &'static str> {
    let is_turn = url.starts_with("turn:") || url.starts_with("turns:");
    let problem = "not a TURN address, as in turn:relay.example.org:3478?transport=udp";
    is_turn.then(|| url.to_owned()).ok_or(problem)
}

/// Only what this program says itself gets the level that was asked for: at the lower levels the
/// libraries beneath it print what they send and receive.
fn log_to_stderr(level: Level) {
    let ours = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target("p2pshare_signal", ours);
    let printer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry().with(printer).with(filter).init();
}

fn usage(address: SocketAddr, has_tls: bool) -> String {
    let scheme = if has_tls { "wss" } else { "ws" };
    let port = address.port();
    let host =
        if address.ip().is_unspecified() { format!("HOST:{port}") } else { address.to_string() };
    format!("Clients use it with: p2pshare --server {scheme}://{host} send FILE")
}

/// Ready when the program is told to end.
#[cfg(unix)]
fn termination() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when the program is told to end.
#[cfg(windows)]
fn termination() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// The only thing that prints. A reader that went away is no reason to end.
fn say(mut stream: impl io::Write, line: &str) {
    let _ = writeln!(stream, "{line}");
}

fn cap(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", cannot_listen(*.0, .1))]
    Listen(SocketAddr, #[source] io::Error),
    #[error("The certificate cannot be used: {0}.")]
    Certificate(#[from] BadCertificate),
    #[error("A secret of --turn-secret is shorter than 16 characters.")]
    WeakSecret,
    #[error("--second-address does not fit --listen.")]
    SecondAddress,
    #[error("The server stopped: {0}.")]
    Serve(#[source] io::Error),
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("Port {} is in use by another program.", address.port())
        }
        ErrorKind::PermissionDenied => {
            format!("Port {} may not be opened by this user.", address.port())
        }
        ErrorKind::AddrNotAvailable => format!("{} is no address of this machine.", address.ip()),
        _ => format!("Cannot listen on {address}: {error}."),
    }
}

impl Failure {
    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self {
            Self::Listen(_, error) if is_about_the_port(error) => {
                "choose another port, for example --listen [::]:9478; --listen [::]:0 takes any \
                 that is free"
            }
            Self::Listen(..) => "choose another address with --listen, or leave it out for all",
            Self::Certificate(_) => {
                "give --tls-cert the certificate with those that vouch for it (fullchain.pem) and \
                 --tls-key its private key, both in PEM form"
            }
            Self::WeakSecret => "make one with: openssl rand -hex 32",
            Self::SecondAddress => {
                "both need an IP address of this machine, not the same one, of the same family, \
                 and different ports: --listen 203.0.113.1:3478 --second-address 203.0.113.2:3479"
            }
            Self::Serve(_) => "run it again with --log debug and see what comes before this",
        }
    }
}
