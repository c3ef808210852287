//! `p2pshare-signal`: the rendezvous server as a program. Reads the command line, listens, and
//! runs [`p2pshare_signal::run`] until it is told to end.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use p2pshare_signal::protocol::DEFAULT_PORT;
use p2pshare_signal::{Config, Limits};
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Rendezvous server of p2pshare: senders and receivers that are not on the same network meet
/// here and agree on a path of their own.
///
/// Files never pass through it, and it cannot read what the two sides tell each other. Everything
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

    /// What to report on standard error; no level shows codes, tokens or messages
    #[arg(long, value_name = "LEVEL", env = "P2PSHARE_LOG", value_enum, default_value = "warn")]
    log: Level,
}

const AFTER_HELP: &str = "\
Examples:
  p2pshare-signal                            all addresses, port 9477
  p2pshare-signal --listen 127.0.0.1:9477    behind a proxy that adds TLS
  p2pshare-signal --listen 127.0.0.1:0       any free port, printed when ready

Clients:
  p2pshare --server ws://HOST:9477 send FILE
  p2pshare --server wss://HOST send FILE     through a proxy that adds TLS

GET /health answers {\"status\":\"ok\",...} for monitoring. Each client is one open file: raise
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
    let listener = listen(arguments.listen).await?;
    let address = listener.local_addr().map_err(Failure::Serve)?;
    // Before the line that says "ready": whoever waits for it may send a signal at once.
    let signal = termination().map_err(Failure::Serve)?;
    say(io::stdout(), &format!("p2pshare-signal listening on {address}"));
    say(io::stderr(), &usage(address));
    p2pshare_signal::run(listener, config(arguments), signal).await.map_err(Failure::Serve)
}

async fn listen(wish: Option<SocketAddr>) -> Result<TcpListener, Failure> {
    let address = wish.unwrap_or((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into());
    match TcpListener::bind(address).await {
        Err(error) if wish.is_none() && !is_about_the_port(&error) => {
            // No IPv6 on this machine.
            let address = (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into();
            TcpListener::bind(address).await.map_err(|error| Failure::Listen(address, error))
        }
        result => result.map_err(|error| Failure::Listen(address, error)),
    }
}

fn is_about_the_port(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

fn config(arguments: &Arguments) -> Config {
    let limits = Limits {
        max_rooms: arguments.max_rooms.get(),
        max_rooms_per_source: arguments.max_rooms_per_address.get(),
        max_connections_per_source: arguments.max_connections_per_address.get(),
        ..Limits::default()
    };
    Config { limits }
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

fn usage(address: SocketAddr) -> String {
    let port = address.port();
    let host =
        if address.ip().is_unspecified() { format!("HOST:{port}") } else { address.to_string() };
    format!("Clients use it with: p2pshare --server ws://{host} send FILE")
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
            Self::Serve(_) => "run it again with --log debug and see what comes before this",
        }
    }
}
