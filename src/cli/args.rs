//! What can be said on the command line: `clap` only, and how it becomes options.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use p2pshare::{
    Code, Connections, IceUrl, Invitation, Kinds, Name, Out, ProxyUrl, ServerUrl, Transport,
};

const ABOUT: &str = "Send files straight from one machine to another";

const LONG_ABOUT: &str = "\
Send files straight from one machine to another.

  p2pshare send film.mkv photos/  prints a code, and waits
  p2pshare receive CODE           on the other machine, gets the files

With no server configured, both ends must be on one network, or one machine. With
--server, any two networks will do; p2pshare-signal is such a server. The two ends
find each other there and then talk directly, end-to-end encrypted: the server sees
neither names nor bytes.";

const EXIT_CODES: &str = "\
Exit codes:
  0 done              5 wrong code            10 cannot write
  1 other failure     6 declined              11 source changed or unreadable
  2 usage             7 no path to the peer   12 unsafe name
  3 no server         8 interrupted           13 target exists
  4 unknown code      9 verification failed   130 Ctrl-C, 143 terminated";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "p2pshare", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXIT_CODES)]
#[command(infer_subcommands = false, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) general: General,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What goes with every command.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are flags")]
pub(crate) struct General {
    /// Rendezvous server to meet at, e.g. `wss://example.org` or `ws://box:9477`.
    ///
    /// Without one, the sender runs its own and both ends must be on one network. Also the line
    /// `server = "wss://..."` in the configuration file.
    #[arg(long, global = true, env = "P2PSHARE_SERVER", value_name = "URL")]
    #[arg(visible_alias = "rendezvous-server")]
    pub(crate) server: Option<ServerUrl>,

    /// Which paths to seek: all, only direct ones, or only those through a relay.
    ///
    /// `direct` shows sealed bytes to no third party; `relay` shows this machine's addresses to
    /// nobody but the server.
    #[arg(long, global = true, value_name = "KIND", value_enum, default_value = "auto")]
    pub(crate) transport: TransportKind,

    /// What carries files where both ends have a choice: what is fastest, data channels, TLS or QUIC.
    ///
    /// A lane of TLS is a TCP connection straight to the other end, and one of QUIC takes the path
    /// that data channels take; where none comes up, and with browsers, data channels carry.
    #[arg(long, global = true, value_name = "KIND", value_enum, default_value = "auto")]
    pub(crate) lanes: LaneKind,

    /// Another STUN or TURN server, e.g. `turn:user:password@host:3478`; may be said several
    /// times.
    #[arg(long, global = true, value_name = "URL", env = "P2PSHARE_ICE_SERVER")]
    #[arg(hide_env_values = true, value_delimiter = ' ')]
    pub(crate) ice_server: Vec<IceUrl>,

    /// Proxy to reach servers through: `http://host:3128`, `socks5h://host:1080`, or `none`.
    ///
    /// Without it those of `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, though never for this machine or
    /// private networks. Also `proxy = "..."` in the configuration file.
    #[arg(long, global = true, value_name = "URL", env = "P2PSHARE_PROXY", hide_env_values = true)]
    pub(crate) proxy: Option<ProxyUrl>,

    /// Trust the authority of this certificate (PEM), too, when a server uses TLS.
    ///
    /// Also `tls_ca = "..."` in the configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "P2PSHARE_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Print nothing but errors, and, when sending, the code on standard output.
    #[arg(short, long, global = true, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print one JSON object a line on standard output for everything that happens.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Show no progress bar.
    #[arg(long, global = true, visible_alias = "hide-progress")]
    pub(crate) no_progress: bool,

    /// Use at most so many bytes a second, e.g. 500K, 2.5M, or 20mbit.
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) bwlimit: Option<u64>,

    /// Show what the network does, too: lanes, bytes on their way, round trip.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Write diagnostics to standard error; codes and keys are not among them.
    #[arg(long, global = true, env = "P2PSHARE_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<LogLevel>,
}

/// Which paths are sought.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TransportKind {
    Auto,
    Direct,
    Relay,
}

/// What carries files.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LaneKind {
    Auto,
    DataChannel,
    Tls,
    Quic,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send files and folders: prints a code for the receiver, and waits for it.
    ///
    /// A transfer that was interrupted goes on where it was when both ends are started again.
    #[command(visible_alias = "tx")]
    Send(SendArgs),
    /// Receive with the code that the sender shows.
    ///
    /// `p2pshare CODE` means the same.
    #[command(visible_aliases = ["recv", "rx"])]
    Receive(ReceiveArgs),
    /// Print the tree digest of a file, as a transfer shows it.
    Hash(HashArgs),
    /// Find out what works from here: server, UDP, NAT, relay, IPv6, clock, discovery, space.
    Doctor,
    /// Measure the path to another machine, without files; or this machine, with --local.
    ///
    /// `p2pshare bench` prints a code, and `p2pshare bench CODE` on the other machine receives noise
    /// that nobody keeps: both ends then say how fast it went, and what limited it.
    Bench(BenchArgs),
    /// Show or throw away what interrupted transfers have left on this machine.
    #[command(subcommand)]
    Transfers(TransfersCommand),
}

/// What to do with what is left.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum TransfersCommand {
    /// Show what there is; receiving the same things again into the same folder goes on with it.
    List,
    /// Throw it away.
    Discard,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are flags")]
pub(crate) struct SendArgs {
    /// The files and folders to send; `-` is the standard input.
    #[arg(required_unless_present = "text", conflicts_with = "text")]
    pub(crate) paths: Vec<PathBuf>,

    /// Send a message instead of files.
    #[arg(long, value_name = "MESSAGE")]
    pub(crate) text: Option<String>,

    /// Under which name the standard input arrives.
    #[arg(long, default_value = "stream", value_parser = parse_name)]
    pub(crate) name: Name,

    /// Leave out what fits this pattern, as in a .gitignore; may be said several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,

    /// Leave out what git would ignore, and .git itself.
    #[arg(long)]
    pub(crate) git: bool,

    /// How many connections to send over, 1 to 16; `auto` takes more while that is faster.
    #[arg(long, default_value = "auto", value_parser = parse_connections, value_name = "N")]
    pub(crate) connections: Connections,

    /// How long to wait for a receiver whose connection is lost, or that went away, e.g. 10m.
    #[arg(long, default_value = "10m", value_parser = parse_patience, value_name = "TIME")]
    pub(crate) patience: Duration,

    /// Use this code instead of a random one; its words must be of p2pshare's list.
    ///
    /// A code that you think up yourself is easier to guess. Other users of this machine can see
    /// the command line: the variable keeps it from them.
    #[arg(long, env = "P2PSHARE_CODE", hide_env_values = true)]
    pub(crate) code: Option<Code>,

    /// Number of words in the code, 3 to 10. Three are 31 bits, for one guess.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(3..=10), value_name = "N")]
    #[arg(visible_alias = "code-length")]
    pub(crate) words: u8,

    /// How long the code may wait for its receiver, e.g. 90s, 30m, 8h; at most 24h.
    #[arg(long, default_value = "24h", value_parser = parse_ttl, value_name = "TIME")]
    pub(crate) ttl: Duration,

    /// Show four words on both ends, and send nothing before you say that they are the same.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Show the link as a QR code, too; without this, on a terminal and when others can open it.
    #[arg(long, overrides_with = "no_qr")]
    pub(crate) qr: bool,

    /// Show no QR code.
    #[arg(long, overrides_with = "qr")]
    pub(crate) no_qr: bool,
}

impl SendArgs {
    /// The user's wish for a QR code.
    pub(crate) fn draws_links(&self) -> Option<bool> {
        (self.qr || self.no_qr).then_some(self.qr)
    }
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are flags")]
pub(crate) struct ReceiveArgs {
    /// The code that the sender shows; CODE@HOST:PORT and links are codes, too.
    ///
    /// Without it you are asked. Other users of this machine can see the command line; a code
    /// works once, but if that worries you let yourself be asked, or use the variable.
    #[arg(env = "P2PSHARE_CODE", hide_env_values = true)]
    pub(crate) code: Option<Invitation>,

    /// Where to put what arrives: a folder that exists, or the name that it is to have; `-` is
    /// the standard output, for one file.
    #[arg(short, long, value_name = "PATH", value_parser = parse_out)]
    #[arg(visible_aliases = ["output", "output-file", "out-dir", "dir"])]
    pub(crate) out: Option<Out>,

    /// Replace what has the same name, once what arrives is whole; only what differs is fetched.
    #[arg(long, visible_alias = "update", group = "conflict")]
    pub(crate) overwrite: bool,

    /// Give what arrives another name, `name (1).ext`, when its own is taken.
    #[arg(long, group = "conflict")]
    pub(crate) rename: bool,

    /// Keep what has the same name, and leave out what would have arrived.
    #[arg(long, visible_alias = "skip-existing", group = "conflict")]
    pub(crate) skip: bool,

    /// Take only what fits this pattern, as in a .gitignore; may be said several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,

    /// Show what is offered, and take nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,

    /// How long to wait for a sender whose connection is lost, e.g. 10m.
    #[arg(long, default_value = "10m", value_parser = parse_patience, value_name = "TIME")]
    pub(crate) patience: Duration,

    /// Take what is offered without asking.
    #[arg(short, long, visible_aliases = ["noconfirm", "accept-file"])]
    pub(crate) yes: bool,

    /// Show four words on both ends; the sender's user must say that they are the same.
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) verify: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// The code that `p2pshare bench` shows on the other machine.
    #[arg(env = "P2PSHARE_CODE", hide_env_values = true, conflicts_with = "local")]
    pub(crate) code: Option<Invitation>,

    /// Measure what each stage does alone: writing and reading in this folder, hash, cipher.
    #[arg(long)]
    pub(crate) local: bool,

    /// How long to send.
    #[arg(long, default_value = "10s", value_parser = parse_patience, value_name = "TIME")]
    pub(crate) time: Duration,

    /// How many connections to send over, 1 to 16; `auto` takes more while that is faster.
    #[arg(long, default_value = "auto", value_parser = parse_connections, value_name = "N")]
    pub(crate) connections: Connections,
}

#[derive(Args, Debug)]
pub(crate) struct HashArgs {
    /// The file.
    pub(crate) path: PathBuf,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let most = Duration::from_secs(24 * 60 * 60);
    if ttl < Duration::from_secs(1) || ttl > most {
        return Err("a code waits between 1s and 24h".to_owned());
    }
    Ok(ttl)
}

fn parse_connections(text: &str) -> Result<Connections, String> {
    match text.parse() {
        Ok(count @ 1..=16) => Ok(Connections::Fixed(count)),
        Err(_) if text == "auto" => Ok(Connections::Auto),
        _ => Err("say auto, or a number from 1 to 16".to_owned()),
    }
}

/// Bytes a second: a number with K, M or G, or with kbit, mbit or gbit; each a thousand of the one
/// before.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit is a positive number, and need not be exact"
)]
fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || "a rate is a number with K, M or G (bytes), or kbit, mbit or gbit".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let factor = match unit.to_ascii_lowercase().trim_end_matches("/s") {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kbit" => 1e3 / 8.0,
        "mbit" => 1e6 / 8.0,
        "gbit" => 1e9 / 8.0,
        _ => return Err(wrong()),
    };
    let rate = number.parse::<f64>().map_err(|_| wrong())? * factor;
    if (1_000.0..1e15).contains(&rate) { Ok(rate as u64) } else { Err(wrong()) }
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn parse_name(text: &str) -> Result<Name, String> {
    Name::try_from(text).map_err(|error| error.to_string())
}

fn parse_out(text: &str) -> Result<Out, String> {
    match text {
        "-" => Ok(Out::Pipe),
        "" => Err("the name is empty".to_owned()),
        path => Ok(Out::Path(path.into())),
    }
}

impl From<TransportKind> for Transport {
    fn from(kind: TransportKind) -> Self {
        match kind {
            TransportKind::Auto => Self::Auto,
            TransportKind::Direct => Self::Direct,
            TransportKind::Relay => Self::Relay,
        }
    }
}

impl From<LaneKind> for Kinds {
    fn from(kind: LaneKind) -> Self {
        match kind {
            LaneKind::Auto => Self::Auto,
            LaneKind::DataChannel => Self::DataChannel,
            LaneKind::Tls => Self::Tls,
            LaneKind::Quic => Self::Quic,
        }
    }
}

impl Cli {
    /// Parses the process's arguments; ends it where they ask for help or make no sense.
    pub(crate) fn of_process() -> Self {
        Self::parse_from(with_receive(std::env::args_os().collect()))
    }
}

/// Options whose value is the next argument, and that go with a code that stands alone.
const WITH_VALUE: [&str; 17] = [
    "--bwlimit",
    "--proxy",
    "--tls-ca",
    "--server",
    "--rendezvous-server",
    "--transport",
    "--lanes",
    "--ice-server",
    "--log",
    "-o",
    "--out",
    "--output",
    "--output-file",
    "--out-dir",
    "--dir",
    "--only",
    "--patience",
];

/// Says `receive` where a code stands alone, before all options: they are that command's, too.
fn with_receive(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if first_word(&arguments).is_some_and(|word| word.parse::<Invitation>().is_ok()) {
        arguments.insert(1, "receive".into());
    }
    arguments
}

/// The first argument that is neither an option nor the value of one.
fn first_word(arguments: &[OsString]) -> Option<&str> {
    let mut texts = arguments.iter().skip(1).map(|argument| argument.to_str());
    loop {
        let text = texts.next()??;
        if WITH_VALUE.contains(&text) {
            texts.next()?;
        } else if !text.starts_with('-') {
            return Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let arguments = line.split(' ').map(OsString::from).collect();
        Cli::try_parse_from(with_receive(arguments))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_code_alone_means_receive() {
        let code = "7-aardvark-abandoned-abbreviate";
        for line in [
            format!("p2pshare {code}"),
            format!("p2pshare -q {code}"),
            format!("p2pshare rx -y {code}"),
            format!("p2pshare -y {code}"),
            format!("p2pshare --json -o /tmp {code} --yes"),
            format!("p2pshare --server ws://box {code}"),
            format!("p2pshare {code} -o /tmp"),
            format!("p2pshare {code}@10.0.0.1:9477"),
        ] {
            let Command::Receive(receive) = parse(&line).unwrap().command else { panic!("{line}") };
            assert!(receive.code.is_some(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "p2pshare",
            "p2pshare nonsense",
            "p2pshare send",
            "p2pshare send a --words 2",
            "p2pshare send a --ttl 25h",
            "p2pshare send a --code 7-a-b-c",
            "p2pshare receive 7-aardvark",
            "p2pshare send a --text b",
            "p2pshare receive --skip --rename",
            "p2pshare transfers",
            "p2pshare -q --json send a",
            "p2pshare --server box send a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_pages_are_these() {
        let mut command = Cli::command().term_width(100);
        insta::assert_snapshot!("help", command.render_long_help().to_string());
        for name in ["send", "receive", "bench", "hash"] {
            let page = command
                .find_subcommand_mut(name)
                .unwrap()
                .clone()
                .term_width(100)
                .render_long_help();
            insta::assert_snapshot!(format!("help_{name}"), page.to_string());
        }
    }
}
