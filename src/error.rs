//! Every sentence that a user can read about a failure, what to do about it, and the exit code:
//! one table, [`Error::told`].

use std::{fmt, path::Path};

use p2pshare_signal::protocol::Refusal;

use crate::{
    disk::{sink::SinkError, source::SourceError},
    net::{dial::DialError, peer::PeerError, rendezvous::RendezvousError},
    proto::{
        code::CodeError,
        frame::Reason,
        name::{HostileName, shown},
        pairing::PairingError,
        sender::Failure,
    },
    session::event::Interrupt,
};

/// Why a transfer, or the way to one, came to nothing.
#[derive(Debug)]
pub enum Error {
    /// What was typed is not a code.
    Code(CodeError),
    /// Options that do not go together, or a configuration that makes no sense.
    Usage(String),
    /// The file cannot be sent.
    Source(SourceError),
    /// The file cannot be received.
    Sink(SinkError),
    /// No server to meet at.
    Server(RendezvousError),
    /// What the disk can do cannot be measured.
    Trial(std::io::Error),
    /// The sender's own server cannot be started.
    Embedded(std::io::Error),
    /// Nobody announces the code's nameplate on this LAN.
    NotOnLan,
    /// The server went away before the two ends had found each other.
    ServerLost,
    /// The other end vanished before the two ends had found each other.
    PeerVanished,
    /// The words are wrong, or somebody interferes.
    WrongCode,
    /// The third wrong code in one run of the sender.
    TooManyWrongCodes,
    /// The other end is of another version.
    Version,
    /// Something was changed on its way through the server.
    Tampered,
    /// The peer could not prove on a lane that it is the right one.
    Unbound,
    /// No PeerConnection can be made on this machine.
    Peer(PeerError),
    /// No path between the two ends was found.
    NoPath,
    /// The path broke.
    PathLost,
    /// The user said no, here.
    DeclinedHere,
    /// The user found the verifier words to differ.
    WordsDiffer,
    /// The other end gave up.
    PeerGaveUp(Reason),
    /// What arrived is not what was sent.
    Corrupt,
    /// The sender offers a name that could escape the folder.
    UnsafeName(HostileName),
    /// The other end broke the protocol.
    Violation(String),
    /// So many files changed, or could not be read, while they were sent; the others arrived.
    SomeChanged(usize),
    /// Everything that was offered is there already under its name, and was kept.
    Kept,
    /// What is left of a transfer cannot be removed.
    Discard(std::io::Error),
    /// Told to stop.
    Interrupted(Interrupt),
}

/// What a user reads of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened, in one sentence.
    pub sentence: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// The process's exit code.
    pub exit: u8,
}

const SEND_AGAIN: &str = "start the transfer again with a new code";
const NO_PATH: &str = "No path to the other end was found.";
const NO_PATH_HINT: &str = "a firewall or NAT is in the way: use a server with a relay, and not --transport direct; \
     `p2pshare doctor` says what this network lets through";

const GO_ON: &str = "start both again with a new code: only what is missing is sent";
const NEW_CODE: &str = "ask the sender for a new code; each works once";

impl Error {
    /// The error of a transfer that failed; `here` is what made this end give up, if it did.
    #[must_use]
    pub fn of(failure: &Failure, here: Self) -> Self {
        match failure {
            Failure::Here(_) => here,
            Failure::Peer(reason) => Self::PeerGaveUp(*reason),
            Failure::Violation(what) => Self::Violation((*what).to_owned()),
            Failure::PathLost => Self::PathLost,
        }
    }

    /// The sentence, the hint and the exit code.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is the table that this file is about")]
    pub fn told(&self) -> Told {
        let told = |sentence: &str, hint, exit| Told { sentence: sentence.to_owned(), hint, exit };
        match self {
            Self::Code(error) => told(
                &format!("This is not a code: {error}."),
                Some("a code looks like 7-croissant-clipboard-banana"),
                2,
            ),
            Self::Usage(what) => {
                told(&format!("{what}."), Some("p2pshare --help shows what can be said"), 2)
            }
            Self::Source(error) => source(error),
            Self::Sink(error) => sink(error),
            Self::Server(error) => server(error),
            Self::Embedded(error) => told(
                &format!("No rendezvous server can be started on this machine: {error}."),
                Some("use one elsewhere with --server"),
                3,
            ),
            Self::NotOnLan => told(
                "Nobody on this network waits with that code.",
                Some(
                    "is the sender running, and on the same network? If multicast is blocked, type the code with @host:port as the sender shows it",
                ),
                4,
            ),
            Self::ServerLost => told(
                "The rendezvous server went away before the connection was made.",
                Some(SEND_AGAIN),
                3,
            ),
            Self::PeerVanished => {
                told("The other end went away before the connection was made.", Some(SEND_AGAIN), 8)
            }
            Self::WrongCode => {
                told("The code is wrong, or somebody interfered.", Some(NEW_CODE), 5)
            }
            Self::TooManyWrongCodes => told(
                "Three receivers came with a wrong code; nothing was sent.",
                Some(
                    "somebody may be guessing: send again, and tell the code over another channel",
                ),
                5,
            ),
            Self::Version => told(
                "The other end speaks another version of the protocol.",
                Some("use the same release of p2pshare on both ends"),
                1,
            ),
            Self::Tampered => told(
                "What came through the rendezvous server was changed on its way; nothing was sent.",
                Some("do not trust that server or network; use another with --server"),
                9,
            ),
            Self::Unbound => told(
                "The other end could not prove that it knows the code; nothing was sent.",
                Some("somebody may stand between the two ends; try another network or server"),
                9,
            ),
            Self::Peer(PeerError::NoRelay) => told(
                "Only paths through a relay are wanted, and the server offers none.",
                Some("leave --transport out, or name a relay with --ice-server"),
                7,
            ),
            Self::Peer(error) => {
                told(&format!("No connection can be made on this machine: {error}."), None, 7)
            }
            Self::NoPath => told(NO_PATH, Some(NO_PATH_HINT), 7),
            Self::PathLost => told("The connection to the other end was lost.", Some(GO_ON), 8),
            Self::DeclinedHere => told("Declined; nothing was received.", None, 6),
            Self::WordsDiffer => told(
                "The verifier words differ; nothing was sent.",
                Some("somebody stands between the two ends: do not use this network or server"),
                9,
            ),
            Self::PeerGaveUp(reason) => peer(*reason),
            Self::Corrupt => {
                told("What arrived is not what was sent; it was thrown away.", Some(SEND_AGAIN), 9)
            }
            Self::UnsafeName(why) => told(
                &format!("The sender offers {why}; nothing was received."),
                Some("do not trust this sender"),
                12,
            ),
            Self::Violation(what) => told(
                &format!("The other end broke the protocol: {what}."),
                Some("use the same release of p2pshare on both ends"),
                1,
            ),
            Self::SomeChanged(count) => told(
                &format!(
                    "{count} files changed, or could not be read, while they were sent; the others arrived."
                ),
                Some("send those again when nothing writes to them any more"),
                11,
            ),
            Self::Kept => told(
                "Everything that was offered exists here, and was kept.",
                Some("--overwrite replaces it, --rename gives what arrives another name"),
                13,
            ),
            Self::Discard(error) => {
                told(&format!("What is left of a transfer cannot be removed: {error}."), None, 10)
            }
            Self::Trial(error) => told(
                &format!("This folder's disk cannot be measured: {error}."),
                Some("start the measurement in a folder that you can write to"),
                10,
            ),
            Self::Interrupted(Interrupt::Interrupted) => told("Interrupted.", None, 130),
            Self::Interrupted(Interrupt::Terminated) => told("Terminated.", None, 143),
        }
    }

    /// What the other end is told, where that is for this end to say.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Source(_) => Reason::SourceChanged,
            Self::DeclinedHere | Self::Sink(SinkError::NotOneFile | SinkError::NotNoise) => {
                Reason::Declined
            }
            Self::Sink(_) => Reason::Disk,
            Self::Interrupted(_) => Reason::Interrupted,
            Self::Corrupt | Self::Tampered | Self::Unbound | Self::WordsDiffer => {
                Reason::Verification
            }
            Self::UnsafeName(_) => Reason::UnsafeName,
            Self::Violation(_) => Reason::Protocol,
            Self::NoPath => Reason::NoPath,
            _ => Reason::Other,
        }
    }
}

fn source(error: &SourceError) -> Told {
    let (sentence, hint, exit) = match error {
        SourceError::Read { path, error } => {
            let hint = "check the path, and that you may read the file";
            (format!("Cannot read {}: {error}.", of(path)), Some(hint), 11)
        }
        SourceError::NotAFile(path) => (
            format!("{} is neither a file nor a folder.", of(path)),
            Some("send files and folders; for a pipe, use `p2pshare send -`"),
            2,
        ),
        SourceError::Name { path, why } => (
            format!("The name of {} cannot be sent: {why}.", of(path)),
            Some("give the file another name"),
            2,
        ),
        SourceError::NotUtf8(path) => (
            format!("The name of {} is not UTF-8.", of(path)),
            Some("give the file another name"),
            2,
        ),
        SourceError::Changed(path) => (
            format!("{} changed while it was sent; nothing was kept.", of(path)),
            Some("send it again when nothing writes to it any more"),
            11,
        ),
        SourceError::SameName(first, second) => (
            format!("{} and {} have the same name.", of(first), of(second)),
            Some("send them one after the other, or give one of them another name"),
            2,
        ),
        SourceError::Pattern { pattern, why } => (
            format!("{} is not a pattern: {}.", shown(pattern), shown(why)),
            Some("patterns are those of .gitignore, as in --exclude '*.tmp'"),
            2,
        ),
    };
    Told { sentence, hint, exit }
}

fn sink(error: &SinkError) -> Told {
    let (sentence, hint, exit) = match error {
        SinkError::Folder { path, error } => (
            format!("Cannot write into {}: {error}.", of(path)),
            Some("choose another folder with -o"),
            10,
        ),
        SinkError::Write { path, error } => (
            format!("Cannot write {}: {error}.", of(path)),
            Some("make room, or choose another folder with -o"),
            10,
        ),
        SinkError::NoRoom { needed, free } => (
            format!("{needed} bytes are needed and only {free} are free."),
            Some("make room, or choose another folder with -o"),
            10,
        ),
        SinkError::Pipe(error) => (
            format!("The standard output cannot be written to: {error}."),
            Some("its reader went away; nothing more can be done with this stream"),
            10,
        ),
        SinkError::NotOneFile => (
            "Only one file can go to the standard output.".to_owned(),
            Some("leave `-o -` out, or choose one file with the sender"),
            2,
        ),
        SinkError::NotNoise => (
            "The other end offers files, and does not measure; nothing was received.".to_owned(),
            Some("ask the sender for a new code, and say `p2pshare receive`"),
            2,
        ),
        SinkError::Target(path) => (
            format!("{} cannot be the name of a file.", of(path)),
            Some("-o takes a folder that exists, or the name that the file is to have"),
            2,
        ),
    };
    Told { sentence, hint, exit }
}

fn server(error: &RendezvousError) -> Told {
    let (sentence, hint, exit) = match error {
        RendezvousError::Unreachable { address, error } => (
            format!("The rendezvous server {address} cannot be reached: {error}."),
            error.downcast_ref::<DialError>().and_then(DialError::hint).or(Some(
                "check the address and the network, or leave --server out to meet on this LAN",
            )),
            3,
        ),
        RendezvousError::Refused(Refusal::NoSuchCode) => (
            "The server knows no such code: it never was, was used, or expired.".to_owned(),
            Some("check the number that it begins with, or ask the sender for a new code"),
            4,
        ),
        RendezvousError::Refused(Refusal::NameplateTaken) => (
            "The server has that number in use, or had it a short while ago.".to_owned(),
            Some("choose another number with --code, or leave --code out"),
            4,
        ),
        RendezvousError::Refused(Refusal::Full | Refusal::TooManyRooms) => (
            "The server takes no more transfers at the moment.".to_owned(),
            Some("try again later, or use another server"),
            3,
        ),
        RendezvousError::Refused(_) | RendezvousError::Nonsense => (
            "The server does not behave as a rendezvous server of this version does.".to_owned(),
            Some("check the address, and that both are of the same release"),
            3,
        ),
        RendezvousError::Expired => (
            "Nobody came before the code expired.".to_owned(),
            Some("send again; --ttl makes a code live longer"),
            4,
        ),
    };
    Told { sentence, hint, exit }
}

fn peer(reason: Reason) -> Told {
    let (sentence, hint, exit) = match reason {
        Reason::Interrupted => ("The other end was stopped by its user.", Some(GO_ON), 8),
        Reason::Declined => ("The receiver declined.", None, 6),
        Reason::Disk => (
            "The receiver cannot write what was sent.",
            Some("ask them to look at their screen"),
            8,
        ),
        Reason::SourceChanged => {
            ("What was sent changed, or could not be read, meanwhile.", Some(SEND_AGAIN), 11)
        }
        Reason::Verification => (
            "What arrived was not what was sent, or the verifier words differed.",
            Some(
                "start again; if the words differed, somebody stands in between: use another network or server",
            ),
            9,
        ),
        Reason::UnsafeName => (
            "The receiver does not take a file of that name.",
            Some("give the file another name"),
            12,
        ),
        Reason::TargetExists => {
            ("The receiver has everything of that name, and keeps its own.", None, 13)
        }
        Reason::Protocol => (
            "The other end did not understand this one.",
            Some("use the same release of p2pshare on both ends"),
            1,
        ),
        Reason::NoPath => (NO_PATH, Some(NO_PATH_HINT), 7),
        Reason::Other => ("The other end gave up.", Some("ask them to look at their screen"), 1),
    };
    Told { sentence: sentence.to_owned(), hint, exit }
}

/// A path as a terminal may see it.
fn of(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told().sentence)
    }
}

impl std::error::Error for Error {}

impl From<CodeError> for Error {
    fn from(error: CodeError) -> Self {
        Self::Code(error)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<SinkError> for Error {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<RendezvousError> for Error {
    fn from(error: RendezvousError) -> Self {
        Self::Server(error)
    }
}

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

impl From<PairingError> for Error {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Version => Self::Version,
            PairingError::WrongCode | PairingError::Malformed(_) | PairingError::OutOfTurn => {
                Self::WrongCode
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fmt::Write, io, net::SocketAddr};

    use super::*;
    use crate::net::{rendezvous::Address, sdp};

    /// One of each kind; a kind that is missing here is also missing in [`kind`], which then does
    /// not compile.
    fn all() -> Vec<Error> {
        let mut all = Vec::new();
        all.extend(codes().map(Error::Code));
        all.push(Error::Usage("Two options contradict each other".to_owned()));
        all.extend(sources().map(Error::Source));
        all.extend(sinks().map(Error::Sink));
        all.extend(servers().map(Error::Server));
        all.extend([
            Error::Embedded(denied()),
            Error::NotOnLan,
            Error::ServerLost,
            Error::PeerVanished,
            Error::WrongCode,
            Error::TooManyWrongCodes,
            Error::Version,
            Error::Tampered,
            Error::Unbound,
            Error::Peer(PeerError::Sdp(sdp::parse("").expect_err("nothing is no SDP"))),
            Error::Peer(PeerError::NoCertificate),
            Error::Peer(PeerError::NoRelay),
            Error::NoPath,
            Error::PathLost,
            Error::DeclinedHere,
            Error::WordsDiffer,
        ]);
        all.extend(reasons().map(Error::PeerGaveUp));
        all.push(Error::Corrupt);
        all.extend(names().map(Error::UnsafeName));
        all.push(Error::Violation("a message came out of turn".to_owned()));
        all.extend([
            Error::SomeChanged(3),
            Error::Kept,
            Error::Discard(denied()),
            Error::Trial(denied()),
        ]);
        all.extend([Interrupt::Interrupted, Interrupt::Terminated].map(Error::Interrupted));
        all
    }

    fn denied() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    fn codes() -> [CodeError; 7] {
        use CodeError as E;
        [
            E::Empty,
            E::TooLong,
            E::Nameplate,
            E::WordCount(2),
            E::UnknownWord(3),
            E::Host,
            E::LinkWithoutCode,
        ]
    }

    fn names() -> [HostileName; 7] {
        use HostileName as E;
        [E::Empty, E::Dots, E::Separator, E::Control, E::TooLong(300), E::Depth(65), {
            E::PathTooLong(5000)
        }]
    }

    fn sources() -> [SourceError; 7] {
        use SourceError as E;
        let path = || "folder/\u{202e}name".into();
        [
            E::Read { path: path(), error: denied() },
            E::NotAFile(path()),
            E::Name { path: path(), why: HostileName::Control },
            E::NotUtf8(path()),
            E::Changed(path()),
            E::SameName(path(), path()),
            E::Pattern { pattern: "[".to_owned(), why: "unclosed".to_owned() },
        ]
    }

    fn sinks() -> [SinkError; 7] {
        use SinkError as E;
        let path = || "folder/\u{202e}name".into();
        [
            E::Folder { path: path(), error: denied() },
            E::Write { path: path(), error: io::ErrorKind::StorageFull.into() },
            E::NoRoom { needed: 5_000_000_000, free: 1_000_000_000 },
            E::Target(path()),
            E::Pipe(io::ErrorKind::BrokenPipe.into()),
            E::NotOneFile,
            E::NotNoise,
        ]
    }

    fn servers() -> [RendezvousError; 12] {
        use {Refusal as R, RendezvousError as E};
        let address = Address::Socket(SocketAddr::from(([192, 0, 2, 1], 9477)));
        let error = Box::new(io::Error::from(io::ErrorKind::ConnectionRefused));
        [
            E::Unreachable { address, error },
            E::Refused(R::NoSuchCode),
            E::Refused(R::NoSuchRoom),
            E::Refused(R::NameplateTaken),
            E::Refused(R::PlaceTaken),
            E::Refused(R::Full),
            E::Refused(R::TooManyRooms),
            E::Refused(R::TooMuchWaiting),
            E::Refused(R::Gap),
            E::Refused(R::BadMessage),
            E::Expired,
            E::Nonsense,
        ]
    }

    fn reasons() -> [Reason; 10] {
        use Reason as E;
        [
            E::Other,
            E::Interrupted,
            E::Declined,
            E::Disk,
            E::SourceChanged,
            E::Verification,
            E::UnsafeName,
            E::Protocol,
            E::TargetExists,
            E::NoPath,
        ]
    }

    /// What an error is called here.
    fn kind(error: &Error) -> String {
        let name = match error {
            Error::Code(error) => return format!("Code {error:?}"),
            Error::Source(error) => return format!("Source {}", source_kind(error)),
            Error::Sink(error) => return format!("Sink {}", sink_kind(error)),
            Error::Server(error) => return format!("Server {}", server_kind(error)),
            Error::PeerGaveUp(reason) => return format!("PeerGaveUp {reason:?}"),
            Error::UnsafeName(why) => return format!("UnsafeName {why:?}"),
            Error::Interrupted(by) => return format!("Interrupted {by:?}"),
            Error::Peer(error) => return format!("Peer {error:?}"),
            Error::Usage(_) => "Usage",
            Error::Embedded(_) => "Embedded",
            Error::NotOnLan => "NotOnLan",
            Error::ServerLost => "ServerLost",
            Error::PeerVanished => "PeerVanished",
            Error::WrongCode => "WrongCode",
            Error::TooManyWrongCodes => "TooManyWrongCodes",
            Error::Version => "Version",
            Error::Tampered => "Tampered",
            Error::Unbound => "Unbound",
            Error::NoPath => "NoPath",
            Error::PathLost => "PathLost",
            Error::DeclinedHere => "DeclinedHere",
            Error::WordsDiffer => "WordsDiffer",
            Error::SomeChanged(_) => "SomeChanged",
            Error::Kept => "Kept",
            Error::Discard(_) => "Discard",
            Error::Trial(_) => "Trial",
            Error::Corrupt => "Corrupt",
            Error::Violation(_) => "Violation",
        };
        name.to_owned()
    }

    fn source_kind(error: &SourceError) -> &'static str {
        match error {
            SourceError::Read { .. } => "Read",
            SourceError::NotAFile(_) => "NotAFile",
            SourceError::Name { .. } => "Name",
            SourceError::NotUtf8(_) => "NotUtf8",
            SourceError::Changed(_) => "Changed",
            SourceError::SameName(..) => "SameName",
            SourceError::Pattern { .. } => "Pattern",
        }
    }

    fn sink_kind(error: &SinkError) -> &'static str {
        match error {
            SinkError::Folder { .. } => "Folder",
            SinkError::Write { .. } => "Write",
            SinkError::NoRoom { .. } => "NoRoom",
            SinkError::Target(_) => "Target",
            SinkError::Pipe(_) => "Pipe",
            SinkError::NotOneFile => "NotOneFile",
            SinkError::NotNoise => "NotNoise",
        }
    }

    fn server_kind(error: &RendezvousError) -> String {
        match error {
            RendezvousError::Unreachable { .. } => "Unreachable".to_owned(),
            RendezvousError::Refused(refusal) => format!("Refused {refusal:?}"),
            RendezvousError::Expired => "Expired".to_owned(),
            RendezvousError::Nonsense => "Nonsense".to_owned(),
        }
    }

    #[test]
    fn every_failure_is_told_like_this() {
        let mut page = String::new();
        for error in all() {
            let Told { sentence, hint, exit } = error.told();
            write!(page, "{}\n    {exit}  {sentence}\n", kind(&error)).unwrap();
            if let Some(hint) = hint {
                writeln!(page, "        hint: {hint}").unwrap();
            }
        }
        insta::assert_snapshot!(page);
    }

    #[test]
    fn no_kind_of_failure_is_listed_twice() {
        let kinds: HashSet<_> = all().iter().map(kind).collect();
        assert_eq!(kinds.len(), all().len());
    }

    #[test]
    fn a_failure_is_one_sentence_without_anything_that_deceives_a_terminal() {
        for error in all() {
            let Told { sentence, hint, exit } = error.told();
            assert!(sentence.ends_with('.') && !sentence.ends_with(".."), "{sentence}");
            assert!(!sentence.contains('\n') && !sentence.contains('\u{202e}'), "{sentence}");
            assert!(hint.is_none_or(|hint| !hint.ends_with('.')), "{hint:?}");
            assert!(matches!(exit, 1..=13 | 130 | 143), "{exit}");
        }
    }
}
