//! Runs `tests/vectors`, which every implementation shares, and holds `PROTOCOL.md` against the
//! code.
//!
//! A case has what goes in and what comes out, or the kind of its refusal. After a change of the
//! wire that is meant, `UPDATE_VECTORS=1 cargo test --lib vectors -- --test-threads=1` writes what
//! comes out. It never writes a refusal, nor `cpace.json`, whose numbers are the draft's.

mod binding;
mod code;
mod cpace;
mod digest;
mod document;
mod frame;
mod pake;
mod rendezvous;
mod reunion;
mod seal;
mod signal;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    env, fmt, fs,
    path::Path,
};

use data_encoding::HEXLOWER;
use pakery_cpace::CpaceInitiator;
use pakery_crypto::CpaceRistretto255;
use rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Role,
    binding::Unbound,
    code::{Code, CodeError},
    frame::{FrameError, Reason},
    manifest::EntryError,
    name::HostileName,
    pairing::{Claiming, Message, PairingError, Waiting},
    pake::Keys,
    seal::Broken,
    wire::WireError,
};

/// One file of vectors.
#[derive(Deserialize, Serialize)]
struct File<C> {
    comment: String,
    source: String,
    cases: Vec<Named<C>>,
}

#[derive(Deserialize, Serialize)]
struct Named<C> {
    name: String,
    #[serde(flatten)]
    case: C,
}

/// Runs every case of a file; writes the file when that was asked for.
fn each<C: DeserializeOwned + Serialize>(file: &str, mut run: impl FnMut(&str, &mut C)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let mut vectors: File<C> = serde_json::from_str(&text).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&vectors).unwrap(), written, "{file}: a field is not read");
    let names: BTreeSet<_> = vectors.cases.iter().map(|case| case.name.clone()).collect();
    assert!(names.len() == vectors.cases.len() && !names.is_empty(), "{file}: names repeat");
    vectors.cases.iter_mut().for_each(|Named { name, case }| run(name, case));
    if updating() {
        fs::write(path, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
}

fn updating() -> bool {
    env::var_os("UPDATE_VECTORS").is_some()
}

/// Compares what is written with what came out, or writes it.
#[track_caller]
fn same<T: PartialEq + fmt::Debug>(name: &str, written: &mut T, came_out: T) {
    if updating() && *written != came_out {
        *written = came_out;
    } else {
        assert_eq!(*written, came_out, "{name}");
    }
}

/// Bytes as lower-case hexadecimal; long and dull ones as a start and a repetition.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Hex {
    Plain(Digits),
    Repeated { start: Digits, repeat: Digits, times: usize },
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Digits(Vec<u8>);

impl TryFrom<String> for Digits {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        HEXLOWER.decode(text.as_bytes()).map(Self)
    }
}

impl From<Digits> for String {
    fn from(digits: Digits) -> Self {
        HEXLOWER.encode(&digits.0)
    }
}

impl Hex {
    fn of(bytes: &[u8]) -> Self {
        Self::Plain(Digits(bytes.to_vec()))
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(digits) => digits.0.clone(),
            Self::Repeated { start, repeat, times } => {
                [start.0.clone(), repeat.0.repeat(*times)].concat()
            }
        }
    }

    fn array<const N: usize>(&self) -> [u8; N] {
        self.bytes().try_into().unwrap()
    }
}

impl PartialEq for Hex {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.bytes()))
    }
}

/// A message as the files describe it.
trait Description {
    type Message: PartialEq + fmt::Debug;

    /// The message that is described.
    fn message(&self) -> Self::Message;
}

/// Bytes and what they are.
#[derive(Deserialize, Serialize)]
struct Bytes<D> {
    bytes: Hex,
    #[serde(flatten)]
    outcome: Outcome<D>,
}

/// What comes of bytes.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome<D> {
    /// They are this, and this is these bytes.
    Means(D),
    /// They are taken for this, though nobody of this version writes them so.
    ReadAs(D),
    /// They are taken for nothing.
    PassedOver(bool),
    /// They are refused.
    Refused(String),
}

impl<D: Description> Bytes<D> {
    /// Checks both directions.
    fn check<E: Refusal>(
        &mut self,
        name: &str,
        to_wire: impl Fn(&D::Message) -> Vec<u8>,
        from_wire: impl Fn(&[u8]) -> Result<Option<D::Message>, E>,
    ) {
        if let Outcome::Means(description) = &self.outcome {
            same(name, &mut self.bytes, Hex::of(&to_wire(&description.message())));
        }
        let read = from_wire(&self.bytes.bytes());
        match &self.outcome {
            Outcome::Means(description) | Outcome::ReadAs(description) => {
                assert_eq!(read.unwrap(), Some(description.message()), "{name}");
            }
            Outcome::PassedOver(over) => assert_eq!(read.unwrap().is_none(), *over, "{name}"),
            Outcome::Refused(kind) => refused(name, read, kind),
        }
    }
}

#[track_caller]
fn refused<T: fmt::Debug, E: Refusal>(name: &str, result: Result<T, E>, kind: &str) {
    assert_eq!(result.unwrap_err().kind(), kind, "{name}");
}

/// An error that the files know by a kind; PROTOCOL.md, "Refusals", lists them.
trait Refusal: fmt::Debug {
    fn kind(&self) -> &'static str;
}

impl Refusal for WireError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::UnknownField(_) => "unknown-critical-field",
            Self::UnknownType(_) => "unknown-critical-type",
            Self::Missing(_) => "missing-field",
            Self::Repeated(_) => "repeated-field",
            Self::Range(_) => "out-of-range",
            Self::TooLong(_) => "too-long",
        }
    }
}

impl Refusal for HostileName {
    fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "name-empty",
            Self::Dots => "name-dots",
            Self::Separator => "name-separator",
            Self::Control => "name-control",
            Self::TooLong(_) => "name-too-long",
            Self::Depth(_) => "path-depth",
            Self::PathTooLong(_) => "path-too-long",
        }
    }
}

impl Refusal for FrameError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Wire(error) | Self::Entry(EntryError::Wire(error)) => error.kind(),
            Self::Entry(EntryError::Name(error)) => error.kind(),
            Self::Number(_) => "frame-number",
        }
    }
}

impl Refusal for CodeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "code-empty",
            Self::TooLong => "code-too-long",
            Self::Nameplate => "code-nameplate",
            Self::WordCount(_) => "code-word-count",
            Self::UnknownWord(_) => "code-unknown-word",
            Self::Host => "code-host",
            Self::LinkWithoutCode => "code-missing-in-link",
        }
    }
}

impl Refusal for PairingError {
    fn kind(&self) -> &'static str {
        match self {
            Self::WrongCode => "wrong-code",
            Self::Version => "version",
            Self::Malformed(error) => error.kind(),
            Self::OutOfTurn => "out-of-turn",
        }
    }
}

impl Refusal for Broken {
    fn kind(&self) -> &'static str {
        "not-opened"
    }
}

impl Refusal for Unbound {
    fn kind(&self) -> &'static str {
        "not-bound"
    }
}

impl Refusal for serde_json::Error {
    fn kind(&self) -> &'static str {
        "bad-message"
    }
}

/// A role as the files name it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum RoleName {
    Sender,
    Receiver,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::Sender => Role::Sender,
            Self::Receiver => Role::Receiver,
        }
    }
}

/// A reason as the files name it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ReasonName {
    Other,
    Interrupted,
    Declined,
    Disk,
    SourceChanged,
    Verification,
    UnsafeName,
    Protocol,
    TargetExists,
    NoPath,
}

impl ReasonName {
    fn reason(self) -> Reason {
        match self {
            Self::Other => Reason::Other,
            Self::Interrupted => Reason::Interrupted,
            Self::Declined => Reason::Declined,
            Self::Disk => Reason::Disk,
            Self::SourceChanged => Reason::SourceChanged,
            Self::Verification => Reason::Verification,
            Self::UnsafeName => Reason::UnsafeName,
            Self::Protocol => Reason::Protocol,
            Self::TargetExists => Reason::TargetExists,
            Self::NoPath => Reason::NoPath,
        }
    }
}

/// A generator that gives the bytes it was made of, and no more.
struct Given(Vec<u8>);

impl Given {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.0.drain(..N).collect::<Vec<_>>().try_into().unwrap()
    }
}

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let bytes: Vec<_> = self.0.drain(..to.len()).collect();
        to.copy_from_slice(&bytes);
        Ok(())
    }
}

impl TryCryptoRng for Given {}

/// 64 bytes whose scalar is the one that is given.
fn wide(scalar: &Hex) -> Vec<u8> {
    [scalar.bytes(), vec![0; 32]].concat()
}

/// The share of an initiator with a scalar.
fn cpace_share([password, ci, sid]: [&[u8]; 3], scalar: &Hex) -> Hex {
    let mut random = Given(wide(scalar));
    let start = CpaceInitiator::<CpaceRistretto255>::start(password, ci, sid, b"", &mut random);
    Hex::of(&start.unwrap().0)
}

/// The generator: the share of an initiator whose scalar is 1.
fn cpace_generator(inputs: [&[u8]; 3]) -> Hex {
    let mut one = [0; 32];
    one[0] = 1;
    cpace_share(inputs, &Hex::of(&one))
}

/// What the ends of a run are given.
#[derive(Clone, Deserialize, Serialize)]
struct Inputs {
    code: String,
    slot: String,
    room: String,
    sender_random: Hex,
    receiver_random: Hex,
}

impl Inputs {
    fn code(&self) -> Code {
        self.code.parse().unwrap()
    }

    fn waiting(&self) -> Waiting {
        Waiting::new(&self.code(), self.slot.clone(), &mut Given(self.sender_random.bytes()))
    }

    fn reply(&self, share: &Message) -> Result<(Message, Claiming), PairingError> {
        let mut random = Given(self.receiver_random.bytes());
        Claiming::reply(&self.code(), &self.slot, &self.room, share, &mut random)
    }

    /// All of a run that succeeds: the three messages and the keys.
    fn run(&self) -> ([Message; 3], Keys) {
        let waiting = self.waiting();
        let share = waiting.share();
        let (reply, claiming) = self.reply(&share).unwrap();
        let (confirmation, keys) = waiting.confirm(&self.room, &reply).unwrap();
        assert_eq!(claiming.confirmed(&confirmation).as_ref(), Ok(&keys));
        ([share, reply, confirmation], keys)
    }
}

/// The keys of the first run of `pake.json`, which the other files use.
fn keys() -> Keys {
    let mut runs = Vec::new();
    each("pake.json", |_, case: &mut pake::Case| {
        if let pake::Case::Run(run) = case {
            runs.push(run.inputs.clone());
        }
    });
    runs.first().unwrap().run().1
}
