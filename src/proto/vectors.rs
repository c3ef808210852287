//! Runs `tests/vectors`, which every implementation shares, and holds `PROTOCOL.md` against the
//! code.
//!
//! A case has what goes in and what comes out, or the kind of its refusal. After a change of the
//! wire that is meant, `UPDATE_VECTORS=1 cargo test --lib vectors -- --test-threads=1` writes what
//! comes out. It never writes a refusal, nor `cpace.json`, whose numbers are the draft's.

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

mod cpace {
    use pakery_cpace::{
        CpaceError, CpaceMode, CpaceOutput, CpaceResponder,
        generator::generator_string,
        transcript::{derive_isk, transcript_ir, transcript_oc},
    };
    use sha2::{Digest, Sha512};

    use super::*;

    type Suite = CpaceRistretto255;

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "what", rename_all = "kebab-case")]
    enum Case {
        Exchange(Box<Exchange>),
        Multiplication { scalar: Hex, point: Hex, product: Hex },
        Refused { point: Hex, refused: String },
    }

    #[derive(Deserialize, Serialize)]
    struct Exchange {
        password: Hex,
        channel_identifier: Hex,
        session_id: Hex,
        generator_string: Hex,
        generator_hash: Hex,
        generator: Hex,
        initiator_scalar: Hex,
        initiator_data: Hex,
        initiator_share: Hex,
        responder_scalar: Hex,
        responder_data: Hex,
        responder_share: Hex,
        shared_point: Hex,
        transcript_ir: Hex,
        isk_ir: Hex,
        session_id_output_ir: Hex,
        transcript_oc: Hex,
        isk_sy: Hex,
        session_id_output_oc: Hex,
    }

    impl Exchange {
        fn check(&self) {
            let inputs = [&self.password, &self.channel_identifier, &self.session_id];
            let [password, ci, sid] = inputs.map(Hex::bytes);
            let string = generator_string::<Suite>(&password, &ci, &sid);
            assert_eq!(Hex::of(&string), self.generator_string);
            assert_eq!(Hex::of(&Sha512::digest(string)), self.generator_hash);
            let inputs = [&password[..], &ci, &sid];
            assert_eq!(cpace_generator(inputs), self.generator);
            assert_eq!(cpace_share(inputs, &self.initiator_scalar), self.initiator_share);
            check_product(&self.initiator_scalar, &self.responder_share, &self.shared_point);
            check_product(&self.responder_scalar, &self.initiator_share, &self.shared_point);
            self.check_transcripts();
            let ir = (CpaceMode::InitiatorResponder, &self.isk_ir, &self.session_id_output_ir);
            let oc = (CpaceMode::Symmetric, &self.isk_sy, &self.session_id_output_oc);
            for (mode, isk, session_id) in [ir, oc] {
                for output in [self.initiate(mode), self.respond(mode)] {
                    assert_eq!(Hex::of(output.isk.as_bytes()), *isk, "{mode:?}");
                    assert_eq!(Hex::of(&output.session_id), *session_id, "{mode:?}");
                }
            }
        }

        fn check_transcripts(&self) {
            let said = [
                &self.initiator_share,
                &self.initiator_data,
                &self.responder_share,
                &self.responder_data,
            ];
            let [ya, ad_a, yb, ad_b] = said.map(Hex::bytes);
            assert_eq!(Hex::of(&transcript_ir(&ya, &ad_a, &yb, &ad_b)), self.transcript_ir);
            assert_eq!(Hex::of(&transcript_oc(&ya, &ad_a, &yb, &ad_b)), self.transcript_oc);
        }

        fn initiate(&self, mode: CpaceMode) -> CpaceOutput {
            let (share, state) = CpaceInitiator::<Suite>::start(
                &self.password.bytes(),
                &self.channel_identifier.bytes(),
                &self.session_id.bytes(),
                &self.initiator_data.bytes(),
                &mut Given(wide(&self.initiator_scalar)),
            )
            .unwrap();
            assert_eq!(Hex::of(&share), self.initiator_share);
            let share = self.responder_share.bytes();
            state.finish(&share, &self.responder_data.bytes(), mode).unwrap()
        }

        fn respond(&self, mode: CpaceMode) -> CpaceOutput {
            let (share, output) = CpaceResponder::<Suite>::respond(
                &self.initiator_share.bytes(),
                &self.password.bytes(),
                &self.channel_identifier.bytes(),
                &self.session_id.bytes(),
                &self.initiator_data.bytes(),
                &self.responder_data.bytes(),
                mode,
                &mut Given(wide(&self.responder_scalar)),
            )
            .unwrap();
            assert_eq!(Hex::of(&share), self.responder_share);
            output
        }
    }

    impl Refusal for CpaceError {
        fn kind(&self) -> &'static str {
            match self {
                Self::InvalidPoint => "invalid-point",
                Self::IdentityPoint => "neutral-point",
            }
        }
    }

    /// Checks scalar times point by the key that a responder with this scalar gets from it.
    fn check_product(scalar: &Hex, point: &Hex, product: &Hex) {
        let (mode, mut random) = (CpaceMode::InitiatorResponder, Given(wide(scalar)));
        let point = point.bytes();
        let reply =
            CpaceResponder::<Suite>::respond(&point, b"p", b"", b"s", b"", b"", mode, &mut random);
        let (share, output) = reply.unwrap();
        let isk = derive_isk::<Suite>(b"s", &product.bytes(), &point, b"", &share, b"", mode);
        assert_eq!(Hex::of(output.isk.as_bytes()), Hex::of(isk.as_bytes()));
    }

    /// Both ends are given a point that no honest peer sends.
    fn check_refusals(name: &str, point: &[u8], kind: &str) {
        let mode = CpaceMode::InitiatorResponder;
        let random = || Given(vec![7; 64]);
        let (_, state) =
            CpaceInitiator::<Suite>::start(b"p", b"", b"", b"", &mut random()).unwrap();
        refused(name, state.finish(point, b"", mode).map(|_| ()), kind);
        let reply =
            CpaceResponder::<Suite>::respond(point, b"p", b"", b"", b"", b"", mode, &mut random());
        refused(name, reply.map(|_| ()), kind);
    }

    #[test]
    fn the_crates_that_pair_run_the_vectors_of_the_draft() {
        let mut seen = BTreeSet::new();
        each("cpace.json", |name, case: &mut Case| match case {
            Case::Exchange(exchange) => {
                exchange.check();
                seen.insert("exchange");
            }
            Case::Multiplication { scalar, point, product } => {
                check_product(scalar, point, product);
                seen.insert("multiplication");
            }
            Case::Refused { point, refused } => {
                check_refusals(name, &point.bytes(), refused);
                seen.insert("refused");
            }
        });
        assert_eq!(seen.len(), 3);
    }
}

mod pake {
    use hkdf::Hkdf;
    use pakery_cpace::CpaceMode;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::proto::{pairing::hello, wire::join};

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "what", rename_all = "kebab-case")]
    pub(super) enum Case {
        Run(Box<Run>),
        WrongCode(Box<WrongCode>),
        Refused { inputs: Box<Inputs>, after: After, message: Hex, refused: String },
    }

    /// A run that succeeds.
    #[derive(Deserialize, Serialize)]
    pub(super) struct Run {
        pub(super) inputs: Inputs,
        channel_identifier: Hex,
        generator: Hex,
        sender_hello: Hex,
        sender_scalar: Hex,
        sender_share: Hex,
        receiver_hello: Hex,
        receiver_scalar: Hex,
        receiver_share: Hex,
        isk: Hex,
        transcript: Hex,
        keys: KeysShown,
        receiver_tag: Hex,
        sender_tag: Hex,
        verifier_words: Vec<String>,
        share_message: Hex,
        reply_message: Hex,
        confirmation_message: Hex,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct KeysShown {
        #[serde(rename = "confirm sender")]
        confirm_sender: Hex,
        #[serde(rename = "confirm receiver")]
        confirm_receiver: Hex,
        #[serde(rename = "seal sender")]
        seal_sender: Hex,
        #[serde(rename = "seal receiver")]
        seal_receiver: Hex,
        #[serde(rename = "channel binding")]
        channel_binding: Hex,
        #[serde(rename = "reconnect room")]
        reconnect_room: Hex,
        #[serde(rename = "reconnect key")]
        reconnect_key: Hex,
        verifier: Hex,
    }

    impl From<&Keys> for KeysShown {
        fn from(keys: &Keys) -> Self {
            let [confirm_sender, confirm_receiver, seal_sender, seal_receiver] = [
                keys.confirm.of(Role::Sender),
                keys.confirm.of(Role::Receiver),
                keys.seal.of(Role::Sender),
                keys.seal.of(Role::Receiver),
            ]
            .map(|key| Hex::of(key.as_bytes()));
            Self {
                confirm_sender,
                confirm_receiver,
                seal_sender,
                seal_receiver,
                channel_binding: Hex::of(keys.binding.as_bytes()),
                reconnect_room: Hex::of(keys.reconnect_room.as_bytes()),
                reconnect_key: Hex::of(keys.reconnect_key.as_bytes()),
                verifier: Hex::of(keys.verifier.as_bytes()),
            }
        }
    }

    /// Two ends with different codes.
    #[derive(Deserialize, Serialize)]
    pub(super) struct WrongCode {
        sender: Inputs,
        receiver: Inputs,
        share_message: Hex,
        reply_message: Hex,
        honest_confirmation_message: Hex,
        refused: String,
    }

    /// What went before the message that is refused.
    #[derive(Clone, Copy, Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) enum After {
        /// Nothing: the receiver awaits the share.
        Claim,
        /// The share: the sender awaits the reply.
        Share,
        /// The reply: the receiver awaits the confirmation.
        Reply,
    }

    impl Run {
        fn check(&mut self, name: &str) {
            let ([share, reply, confirmation], keys) = self.inputs.run();
            let Message::Reply { hello: theirs, share: their_share, tag } = &reply else {
                unreachable!("`run` gives a share, a reply and a confirmation")
            };
            let Message::Share { hello: ours, share: our_share } = &share else { unreachable!() };
            let Message::Confirmation { tag: our_tag } = &confirmation else { unreachable!() };
            same(name, &mut self.sender_hello, Hex::of(ours));
            same(name, &mut self.sender_share, Hex::of(our_share));
            same(name, &mut self.receiver_hello, Hex::of(theirs));
            same(name, &mut self.receiver_share, Hex::of(their_share));
            same(name, &mut self.receiver_tag, Hex::of(tag));
            same(name, &mut self.sender_tag, Hex::of(our_tag));
            same(name, &mut self.transcript, Hex::of(&keys.transcript));
            same(name, &mut self.keys, KeysShown::from(&keys));
            same(name, &mut self.verifier_words, keys.verifier_words().map(str::to_owned).into());
            for (written, message) in [
                (&mut self.share_message, &share),
                (&mut self.reply_message, &reply),
                (&mut self.confirmation_message, &confirmation),
            ] {
                same(name, written, Hex::of(&message.to_wire()));
                assert_eq!(Message::from_wire(&written.bytes()).as_ref(), Ok(message), "{name}");
            }
            self.check_steps(name);
        }

        /// The numbers in between, from the specification's formulas.
        fn check_steps(&mut self, name: &str) {
            type Suite = CpaceRistretto255;
            let Inputs { slot, room, .. } = self.inputs.clone();
            let code = self.inputs.code();
            let (nameplate, password) = (code.nameplate.as_str(), code.password.as_bytes());
            let ci = join(&[b"p2pshare/1", b"sender", b"receiver", nameplate.as_bytes()]);
            same(name, &mut self.channel_identifier, Hex::of(&ci));
            let inputs = [password, &ci, slot.as_bytes()];
            same(name, &mut self.generator, cpace_generator(inputs));
            // The scalars are not to be had from the crate; what they give is.
            assert_eq!(cpace_share(inputs, &self.sender_scalar), self.sender_share, "{name}");
            assert_eq!(cpace_share(inputs, &self.receiver_scalar), self.receiver_share, "{name}");
            let hello = self.sender_hello.bytes();
            let start = CpaceInitiator::<Suite>::start(
                password,
                &ci,
                slot.as_bytes(),
                &hello,
                &mut Given(wide(&self.sender_scalar)),
            );
            let (theirs, hello) = (self.receiver_share.bytes(), self.receiver_hello.bytes());
            let mode = CpaceMode::InitiatorResponder;
            let isk = start.unwrap().1.finish(&theirs, &hello, mode).unwrap().isk;
            same(name, &mut self.isk, Hex::of(isk.as_bytes()));
            assert_eq!(self.transcript_of([nameplate, &slot, &room]), self.transcript, "{name}");
            assert_eq!(self.derived(), self.keys, "{name}");
        }

        fn transcript_of(&self, names: [&str; 3]) -> Hex {
            let said = [
                &self.sender_hello,
                &self.receiver_hello,
                &self.sender_share,
                &self.receiver_share,
            ]
            .map(Hex::bytes);
            let mut parts = vec![&b"p2pshare/1 transcript"[..]];
            parts.extend(names.map(str::as_bytes));
            parts.extend(said.iter().map(Vec::as_slice));
            Hex::of(&Sha256::digest(join(&parts)))
        }

        fn derived(&self) -> KeysShown {
            let hkdf = Hkdf::<Sha256>::new(Some(&self.transcript.bytes()), &self.isk.bytes());
            let key = |purpose: &str| {
                let mut key = [0; 32];
                hkdf.expand(format!("p2pshare/1 {purpose}").as_bytes(), &mut key).unwrap();
                Hex::of(&key)
            };
            KeysShown {
                confirm_sender: key("confirm sender"),
                confirm_receiver: key("confirm receiver"),
                seal_sender: key("seal sender"),
                seal_receiver: key("seal receiver"),
                channel_binding: key("channel binding"),
                reconnect_room: key("reconnect room"),
                reconnect_key: key("reconnect key"),
                verifier: key("verifier"),
            }
        }
    }

    impl WrongCode {
        fn check(&mut self, name: &str) {
            let waiting = self.sender.waiting();
            let share = waiting.share();
            same(name, &mut self.share_message, Hex::of(&share.to_wire()));
            let (reply, claiming) = self.receiver.reply(&share).unwrap();
            same(name, &mut self.reply_message, Hex::of(&reply.to_wire()));
            refused(name, waiting.confirm(&self.sender.room, &reply), &self.refused);
            // Nor does the receiver take the confirmation that fits the sender's code.
            let ([_, _, confirmation], _) = self.sender.run();
            let confirmation_bytes = Hex::of(&confirmation.to_wire());
            same(name, &mut self.honest_confirmation_message, confirmation_bytes);
            refused(name, claiming.confirmed(&confirmation), &self.refused);
        }
    }

    fn hear(inputs: &Inputs, after: After, message: &[u8]) -> Result<(), PairingError> {
        let message = Message::from_wire(message)?;
        match after {
            After::Claim => inputs.reply(&message).map(|_| ()),
            After::Share => inputs.waiting().confirm(&inputs.room, &message).map(|_| ()),
            After::Reply => {
                let (_, claiming) = inputs.reply(&inputs.waiting().share()).unwrap();
                claiming.confirmed(&message).map(|_| ())
            }
        }
    }

    #[test]
    fn runs_of_the_pake_give_the_messages_and_keys_that_are_written() {
        let mut seen = BTreeMap::new();
        each("pake.json", |name, case: &mut Case| {
            let what = match case {
                Case::Run(run) => {
                    run.check(name);
                    "run"
                }
                Case::WrongCode(run) => {
                    run.check(name);
                    "wrong code"
                }
                Case::Refused { inputs, after, message, refused: kind } => {
                    refused(name, hear(inputs, *after, &message.bytes()), kind);
                    "refused"
                }
            };
            *seen.entry(what).or_insert(0) += 1;
        });
        assert!(seen.len() == 3 && seen["run"] >= 2, "{seen:?}");
    }

    #[test]
    fn what_an_end_says_of_itself_is_its_version() {
        assert_eq!(hello(), HEXLOWER.decode(b"800100020001").unwrap());
    }
}

mod seal {
    use chacha20poly1305::{
        ChaCha20Poly1305, KeyInit,
        aead::{Aead, Payload},
    };

    use super::*;
    use crate::proto::seal::{Opener, STEP, Sealer, directions};

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "what", rename_all = "kebab-case")]
    enum Case {
        Message(Box<Said>),
        Refused(Change),
    }

    /// A message; the cases of one author are in the order in which it sealed them.
    #[derive(Deserialize, Serialize)]
    struct Said {
        from: RoleName,
        counter: u64,
        key: Hex,
        payload: Hex,
        nonce: Hex,
        associated: Hex,
        sealed: Hex,
    }

    /// A message that does not open.
    #[derive(Deserialize, Serialize)]
    struct Change {
        /// Who opens.
        opens: RoleName,
        /// How many messages of the peer it has opened before.
        opened: usize,
        /// Whose message it is then given, and which.
        from: RoleName,
        counter: usize,
        /// This bit of it is turned over: bit 0 is the lowest of the first byte.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<usize>,
        /// Only so many bytes of it are left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<usize>,
        /// These bytes are added.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append: Option<Hex>,
        refused: String,
    }

    /// The two ends, and what they have sealed so far.
    struct Ends {
        keys: Keys,
        sealers: BTreeMap<&'static str, Sealer>,
        openers: BTreeMap<&'static str, Opener>,
        sealed: BTreeMap<&'static str, Vec<Vec<u8>>>,
    }

    impl Ends {
        fn new() -> Self {
            let keys = keys();
            let mut ends = Self {
                keys,
                sealers: BTreeMap::new(),
                openers: BTreeMap::new(),
                sealed: BTreeMap::new(),
            };
            for role in [Role::Sender, Role::Receiver] {
                let (sealer, opener) = directions(&ends.keys, role);
                ends.sealers.insert(role.label(), sealer);
                ends.openers.insert(role.label(), opener);
                ends.sealed.insert(role.label(), Vec::new());
            }
            ends
        }

        fn check(&mut self, name: &str, case: &mut Said) {
            let role = case.from.role();
            let (author, reader) = (role.label(), role.peer().label());
            same(name, &mut case.key, Hex::of(self.keys.seal.of(role).as_bytes()));
            let sealed = self.sealers.get_mut(author).unwrap().seal(&case.payload.bytes());
            same(name, &mut case.sealed, Hex::of(&sealed));
            let opened = self.openers.get_mut(reader).unwrap().open(&case.sealed.bytes()).unwrap();
            assert_eq!(Hex::of(&opened), case.payload, "{name}");
            let before = self.sealed.get_mut(author).unwrap();
            assert_eq!(usize::try_from(case.counter).unwrap(), before.len(), "{name}");
            before.push(sealed);
            case.check_by_hand(name);
        }

        fn check_refusal(&self, name: &str, change: &Change) {
            let role = change.opens.role();
            let (_, mut opener) = directions(&self.keys, role);
            for sealed in self.sealed[role.peer().label()].iter().take(change.opened) {
                opener.open(sealed).unwrap();
            }
            let message = self.sealed[change.from.role().label()].get(change.counter).unwrap();
            refused(name, opener.open(&change.apply(message)), &change.refused);
        }
    }

    impl Said {
        /// Opens the message from the specification's formulas.
        fn check_by_hand(&mut self, name: &str) {
            let counter = self.counter.to_be_bytes();
            same(name, &mut self.nonce, Hex::of(&[&[0; 4], &counter[..]].concat()));
            let role = self.from.role().label().as_bytes();
            let associated = crate::proto::wire::join(&[b"p2pshare/1 signal", role, &counter]);
            same(name, &mut self.associated, Hex::of(&associated));
            let cipher = ChaCha20Poly1305::new(&self.key.array().into());
            let (sealed, aad) = (self.sealed.bytes(), self.associated.bytes());
            let payload = Payload { msg: &sealed, aad: &aad };
            let padded = cipher.decrypt(&self.nonce.array().into(), payload).unwrap();
            let payload = self.payload.bytes();
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            let mut expected = [&length[..], &payload].concat();
            expected.resize(expected.len().next_multiple_of(STEP), 0);
            assert_eq!(padded, expected, "{name}");
        }
    }

    impl Change {
        fn apply(&self, message: &[u8]) -> Vec<u8> {
            let mut message = message.to_vec();
            if let Some(bit) = self.flip {
                *message.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            }
            message.truncate(self.keep.unwrap_or(usize::MAX));
            message.extend(self.append.iter().flat_map(Hex::bytes));
            message
        }
    }

    #[test]
    fn sealed_messages_are_the_written_bytes_and_no_others_open() {
        let mut ends = Ends::new();
        let mut refusals = 0;
        each("seal.json", |name, case: &mut Case| match case {
            Case::Message(message) => ends.check(name, message),
            Case::Refused(change) => {
                ends.check_refusal(name, change);
                refusals += 1;
            }
        });
        assert!(ends.sealed.values().all(|sealed| sealed.len() >= 3) && refusals >= 8);
    }
}

mod signal {
    use super::*;
    use crate::proto::signal::{Candidate, CandidateKind, Description as Sdp, Setup, Signal};

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "type", rename_all = "kebab-case")]
    enum Shown {
        Description {
            ufrag: String,
            password: String,
            fingerprint: Hex,
            setup: String,
            max_message_size: u32,
            sctp_port: u16,
            lanes: Vec<u16>,
        },
        Candidate {
            foundation: String,
            priority: u32,
            host: String,
            port: u16,
            kind: String,
        },
        EndOfCandidates,
        Cancel {
            reason: ReasonName,
        },
    }

    impl Description for Vec<Shown> {
        type Message = Vec<Signal>;

        fn message(&self) -> Vec<Signal> {
            self.iter().map(signal).collect()
        }
    }

    fn signal(shown: &Shown) -> Signal {
        match shown {
            Shown::Description {
                ufrag,
                password,
                fingerprint,
                setup,
                max_message_size,
                sctp_port,
                lanes,
            } => Signal::Description(Sdp {
                ufrag: ufrag.as_str().try_into().unwrap(),
                password: password.as_str().try_into().unwrap(),
                fingerprint: fingerprint.array(),
                setup: self::setup(setup),
                max_message_size: *max_message_size,
                sctp_port: *sctp_port,
                lanes: lanes.clone(),
            }),
            Shown::Candidate { foundation, priority, host, port, kind } => {
                Signal::Candidate(Candidate {
                    foundation: foundation.as_str().try_into().unwrap(),
                    priority: *priority,
                    host: host.as_str().try_into().unwrap(),
                    port: *port,
                    kind: candidate_kind(kind),
                })
            }
            Shown::EndOfCandidates => Signal::EndOfCandidates,
            Shown::Cancel { reason } => Signal::Cancel(reason.reason()),
        }
    }

    /// The tags of descriptions and candidates, which hold fields.
    const NESTED: [u16; 2] = [0x8001, 0x0002];

    fn setup(name: &str) -> Setup {
        match name {
            "actpass" => Setup::ActPass,
            "active" => Setup::Active,
            "passive" => Setup::Passive,
            _ => panic!("{name} is no DTLS role"),
        }
    }

    fn candidate_kind(name: &str) -> CandidateKind {
        match name {
            "host" => CandidateKind::Host,
            "srflx" => CandidateKind::ServerReflexive,
            "prflx" => CandidateKind::PeerReflexive,
            "relay" => CandidateKind::Relay,
            _ => panic!("{name} is no kind of candidate"),
        }
    }

    #[test]
    fn signals_are_the_written_bytes_and_bad_ones_are_refused_by_kind() {
        let mut types = BTreeSet::new();
        let mut fields = BTreeMap::<u16, BTreeSet<u16>>::new();
        each("signal.json", |name, case: &mut Bytes<Vec<Shown>>| {
            case.check(
                name,
                |signals| Signal::to_wire(signals),
                |bytes| Signal::from_wire(bytes).map(Some),
            );
            if let Outcome::Means(_) = &case.outcome {
                let bytes = case.bytes.bytes();
                types.extend(document::tags(&bytes));
                let signals = document::fields(&bytes).into_iter();
                let nested = signals.filter(|(tag, _)| NESTED.contains(tag));
                nested.for_each(|(tag, value)| {
                    fields.entry(tag).or_default().extend(document::tags(value));
                });
            }
        });
        assert_eq!(types, document::tags_of("Signals"));
        assert_eq!(fields[&NESTED[0]], document::tags_of("Descriptions"));
        assert_eq!(fields[&NESTED[1]], document::tags_of("Candidates"));
    }
}

mod frame {
    use super::*;
    use crate::proto::{
        binding::Hello,
        digest::Hash,
        frame::{ChunkHash, Frame, Record},
        manifest::{Entry, FileId, Kind, Modified},
        name::RelPath,
    };

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "type", rename_all = "kebab-case")]
    enum Shown {
        Hello { lane: u32, generation: u32, nonce: Hex, tag: Hex, verify: bool },
        Data { records: Vec<RecordShown> },
        Hashes { hashes: Vec<HashShown> },
        Manifest { entries: Vec<EntryShown> },
        ManifestEnd { entries: u32, bytes: u64 },
        Accept,
        Credit { limit: u64 },
        Fin { file: u32, digest: Hex },
        FinOk { files: Vec<u32> },
        Cancel { reason: ReasonName },
    }

    #[derive(Deserialize, Serialize)]
    struct RecordShown {
        file: u32,
        chunk: u32,
        offset: u32,
        bytes: Hex,
    }

    #[derive(Deserialize, Serialize)]
    struct HashShown {
        file: u32,
        chunk: u32,
        hash: Hex,
    }

    #[derive(Deserialize, Serialize)]
    struct EntryShown {
        kind: String,
        path: Vec<String>,
        size: u64,
        modified: Option<ModifiedShown>,
        executable: bool,
    }

    #[derive(Clone, Copy, Deserialize, Serialize)]
    struct ModifiedShown {
        seconds: u64,
        nanoseconds: u32,
    }

    impl Description for Shown {
        type Message = Frame;

        fn message(&self) -> Frame {
            match self {
                Self::Hello { lane, generation, nonce, tag, verify } => Frame::Hello(Hello {
                    lane: *lane,
                    generation: *generation,
                    nonce: nonce.array(),
                    tag: tag.array(),
                    verify: *verify,
                }),
                Self::Data { records } => Frame::Data(records.iter().map(record).collect()),
                Self::Hashes { hashes } => Frame::Hashes(hashes.iter().map(chunk_hash).collect()),
                Self::Manifest { entries } => Frame::Manifest(entries.iter().map(entry).collect()),
                Self::ManifestEnd { entries, bytes } => {
                    Frame::ManifestEnd { entries: *entries, bytes: *bytes }
                }
                Self::Accept => Frame::Accept,
                Self::Credit { limit } => Frame::Credit { limit: *limit },
                Self::Fin { file, digest } => {
                    Frame::Fin { file: FileId(*file), digest: Hash(digest.array()) }
                }
                Self::FinOk { files } => Frame::FinOk(files.iter().copied().map(FileId).collect()),
                Self::Cancel { reason } => Frame::Cancel(reason.reason()),
            }
        }
    }

    fn record(shown: &RecordShown) -> Record {
        let RecordShown { file, chunk, offset, bytes } = shown;
        let bytes = bytes.bytes().into();
        Record { file: FileId(*file), chunk: *chunk, offset: *offset, bytes }
    }

    fn chunk_hash(shown: &HashShown) -> ChunkHash {
        let HashShown { file, chunk, hash } = shown;
        ChunkHash { file: FileId(*file), chunk: *chunk, hash: Hash(hash.array()) }
    }

    fn entry(shown: &EntryShown) -> Entry {
        let modified = shown
            .modified
            .map(|ModifiedShown { seconds, nanoseconds }| Modified { seconds, nanoseconds });
        Entry {
            kind: kind(&shown.kind),
            path: RelPath::parse(shown.path.iter().map(String::as_str)).unwrap(),
            size: shown.size,
            modified,
            executable: shown.executable,
        }
    }

    fn kind(name: &str) -> Kind {
        match name {
            "file" => Kind::File,
            "directory" => Kind::Directory,
            "text" => Kind::Text,
            "stream" => Kind::Stream,
            "symlink" => Kind::Symlink,
            _ => panic!("{name} is no kind of entry"),
        }
    }

    fn type_of(bytes: &[u8]) -> u16 {
        u16::from_be_bytes(*bytes.first_chunk().unwrap())
    }

    #[test]
    fn frames_are_the_written_bytes_and_bad_ones_are_refused_by_kind() {
        let mut types = BTreeSet::new();
        let mut refusals = BTreeSet::new();
        each("frame.json", |name, case: &mut Bytes<Shown>| {
            case.check(name, Frame::to_wire, |bytes| Frame::from_wire(&bytes.to_vec().into()));
            match &case.outcome {
                Outcome::Means(_) => _ = types.insert(type_of(&case.bytes.bytes())),
                Outcome::Refused(kind) => _ = refusals.insert(kind.clone()),
                Outcome::ReadAs(_) | Outcome::PassedOver(_) => {}
            }
        });
        assert_eq!(types, document::tags_of("Frames"));
        assert!(refusals.len() >= 14, "every kind of refusal: {refusals:?}");
    }

    #[test]
    fn the_fields_of_frames_are_those_of_the_specification() {
        let mut used = BTreeMap::<u16, BTreeSet<u16>>::new();
        let mut in_entries = BTreeSet::new();
        each("frame.json", |_, case: &mut Bytes<Shown>| {
            if let Outcome::Means(shown) = &case.outcome
                && !matches!(shown, Shown::Data { .. } | Shown::Hashes { .. })
            {
                let bytes = case.bytes.bytes();
                let body = bytes.get(2..).unwrap();
                used.entry(type_of(&bytes)).or_default().extend(document::tags(body));
                if let Shown::Manifest { .. } = shown {
                    let entries = document::fields(body).into_iter();
                    in_entries.extend(entries.flat_map(|(_, entry)| document::tags(entry)));
                }
            }
        });
        for (section, kind) in [
            ("Hello", 0x8001),
            ("Manifest", 0x8004),
            ("ManifestEnd", 0x8005),
            ("Credit", 0x8007),
            ("Fin", 0x8008),
            ("FinOk", 0x8009),
            ("Cancel", 0x800a),
        ] {
            assert_eq!(used[&kind], document::tags_of(section), "{section}");
        }
        assert!(used[&0x8006].is_empty(), "Accept has no fields");
        assert_eq!(in_entries, document::tags_of("Entries"));
    }
}

mod code {
    use super::*;
    use crate::proto::code::{Invitation, Place};

    #[derive(Deserialize, Serialize)]
    struct Case {
        typed: String,
        #[serde(flatten)]
        outcome: Outcome,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Outcome {
        Means(Shown),
        Refused(String),
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Shown {
        code: String,
        nameplate: String,
        lan: bool,
        password: String,
        place: PlaceShown,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum PlaceShown {
        Unsaid,
        Host { host: String, port: Option<u16> },
        Link(String),
    }

    impl From<Invitation> for Shown {
        fn from(Invitation { code, place }: Invitation) -> Self {
            Self {
                code: code.reveal(),
                nameplate: code.nameplate.to_string(),
                lan: code.nameplate.is_lan(),
                password: String::from_utf8(code.password.as_bytes().to_vec()).unwrap(),
                place: match place {
                    Place::Unsaid => PlaceShown::Unsaid,
                    Place::Host { host, port } => PlaceShown::Host { host, port },
                    Place::Link(link) => PlaceShown::Link(link),
                },
            }
        }
    }

    #[test]
    fn codes_are_read_as_written_and_bad_ones_are_refused_by_kind() {
        let mut refusals = BTreeSet::new();
        each("code.json", |name, case: &mut Case| {
            let read = case.typed.parse::<Invitation>();
            match &mut case.outcome {
                Outcome::Means(shown) => {
                    same(name, shown, read.unwrap().into());
                    assert_eq!(shown.code.parse::<Code>().unwrap().reveal(), shown.code, "{name}");
                }
                Outcome::Refused(kind) => {
                    refused(name, read, kind);
                    refusals.insert(kind.clone());
                }
            }
        });
        assert_eq!(refusals.len(), 7, "every kind of refusal: {refusals:?}");
    }
}

mod digest {
    use super::*;
    use crate::proto::digest::{Chunking, Hash, tree};

    #[derive(Deserialize, Serialize)]
    #[serde(tag = "what", rename_all = "kebab-case")]
    enum Case {
        Cut { size: u64, chunk_size: u32, chunks: u32, last_chunk: u32 },
        Tree { chunk_hashes: Vec<Hex>, digest: Hex },
        Content { length: u64, chunk_hashes: Vec<Hex>, digest: Hex },
    }

    fn tree_of(leaves: &[Hex]) -> Hex {
        let leaves: Vec<_> = leaves.iter().map(|leaf| Hash(leaf.array())).collect();
        Hex::of(&tree(&leaves).0)
    }

    /// The file of this length whose byte at position i is i modulo 251.
    fn chunk_hashes(length: u64) -> Vec<Hex> {
        let chunking = Chunking::of(length);
        let hash = |(start, length): (u64, u32)| {
            let bytes = (start..start + u64::from(length)).map(|i| u8::try_from(i % 251).unwrap());
            Hex::of(&Hash::of(&bytes.collect::<Vec<_>>()).0)
        };
        (0..chunking.count()).map(|i| hash(chunking.span(i).unwrap())).collect()
    }

    #[test]
    fn files_are_cut_and_digested_as_written() {
        let mut leaves = BTreeSet::new();
        let mut files = 0;
        each("digest.json", |name, case: &mut Case| match case {
            Case::Cut { size, chunk_size, chunks, last_chunk } => {
                let cut = Chunking::of(*size);
                let count = cut.count();
                let last = count.checked_sub(1).map_or(0, |last| cut.span(last).unwrap().1);
                same(name, chunk_size, cut.chunk_size());
                same(name, chunks, count);
                same(name, last_chunk, last);
                assert_eq!(cut.span(count), None, "{name}");
            }
            Case::Tree { chunk_hashes, digest } => {
                same(name, digest, tree_of(chunk_hashes));
                leaves.insert(chunk_hashes.len());
            }
            Case::Content { length, chunk_hashes: hashes, digest } => {
                same(name, hashes, chunk_hashes(*length));
                same(name, digest, tree_of(hashes));
                files += 1;
            }
        });
        assert!((0..10).all(|count| leaves.contains(&count)) && files >= 3);
    }
}

mod binding {
    use super::*;
    use crate::proto::{
        binding::{Binding, Fingerprints},
        frame::Frame,
    };

    #[derive(Deserialize, Serialize)]
    struct Case {
        binding_key: Hex,
        transcript: Hex,
        made: Made,
        covered: Hex,
        tag: Hex,
        frame: Hex,
        #[serde(flatten)]
        outcome: Outcome,
    }

    /// What a HELLO is made for.
    #[derive(Deserialize, Serialize)]
    struct Made {
        role: RoleName,
        lane: u32,
        generation: u32,
        nonce: Hex,
        verify: bool,
        sender_fingerprint: Hex,
        receiver_fingerprint: Hex,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Outcome {
        /// It fits where it was made for.
        Accepted(bool),
        /// It does not fit where it is heard.
        Refused(Box<Heard>),
    }

    /// Where a HELLO is heard, and what became of it on the way.
    #[derive(Deserialize, Serialize)]
    struct Heard {
        #[serde(rename = "as")]
        kind: String,
        /// The role that the listener's peer has.
        role: RoleName,
        lane: u32,
        generation: u32,
        sender_fingerprint: Hex,
        receiver_fingerprint: Hex,
        /// This bit of the frame is turned over: bit 0 is the lowest of the first byte.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<usize>,
        /// These bytes are added to the frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append: Option<Hex>,
    }

    fn binding(sender: &Hex, receiver: &Hex, generation: u32) -> Binding {
        let fingerprints = Fingerprints { sender: sender.array(), receiver: receiver.array() };
        Binding::new(keys(), fingerprints, generation)
    }

    impl Made {
        fn binding(&self) -> Binding {
            binding(&self.sender_fingerprint, &self.receiver_fingerprint, self.generation)
        }
    }

    impl Case {
        fn check(&mut self, name: &str) {
            let keys = keys();
            same(name, &mut self.binding_key, Hex::of(keys.binding.as_bytes()));
            same(name, &mut self.transcript, Hex::of(&keys.transcript));
            let made = &self.made;
            let role = made.role.role();
            let hello = made.binding().hello(role, made.lane, made.nonce.array(), made.verify);
            same(name, &mut self.tag, Hex::of(&hello.tag));
            same(name, &mut self.frame, Hex::of(&Frame::Hello(hello).to_wire()));
            same(name, &mut self.covered, Hex::of(&covered(made, &self.transcript)));
            let tag = keys.binding.tag(&self.covered.bytes());
            assert_eq!(Hex::of(&tag), self.tag, "{name}");
            let hello = hello_in(self.frame.bytes());
            assert_eq!(made.binding().check(role, made.lane, &hello), Ok(()), "{name}");
            match &self.outcome {
                Outcome::Accepted(yes) => assert!(yes, "{name}"),
                Outcome::Refused(heard) => heard.check(name, self.frame.bytes()),
            }
        }
    }

    /// What the tag is over, from the specification's formula.
    fn covered(made: &Made, transcript: &Hex) -> Vec<u8> {
        crate::proto::wire::join(&[
            b"p2pshare/1 channel binding",
            made.role.role().label().as_bytes(),
            &made.lane.to_be_bytes(),
            &made.generation.to_be_bytes(),
            &made.nonce.bytes(),
            &[u8::from(made.verify)],
            &made.sender_fingerprint.bytes(),
            &made.receiver_fingerprint.bytes(),
            &transcript.bytes(),
        ])
    }

    impl Heard {
        fn check(&self, name: &str, mut frame: Vec<u8>) {
            if let Some(bit) = self.flip {
                *frame.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            }
            frame.extend(self.append.iter().flat_map(Hex::bytes));
            let (sender, receiver) = (&self.sender_fingerprint, &self.receiver_fingerprint);
            let binding = binding(sender, receiver, self.generation);
            let checked = binding.check(self.role.role(), self.lane, &hello_in(frame));
            refused(name, checked, &self.kind);
        }
    }

    fn hello_in(frame: Vec<u8>) -> crate::proto::binding::Hello {
        match Frame::from_wire(&frame.into()) {
            Ok(Some(Frame::Hello(hello))) => hello,
            other => panic!("{other:?} is no hello"),
        }
    }

    #[test]
    fn the_first_frame_of_a_lane_has_the_written_tag_and_fits_nowhere_else() {
        let mut refusals = 0;
        each("binding.json", |name, case: &mut Case| {
            case.check(name);
            refusals += usize::from(matches!(case.outcome, Outcome::Refused(_)));
        });
        assert!(refusals >= 8);
    }
}

mod rendezvous {
    use p2pshare_signal::protocol::{
        Body, IceServer, Nameplate, Presence, Refusal as Reason, Reply, Request, Role, RoomId,
        Token,
    };

    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Case {
        direction: Direction,
        text: String,
        /// The text that this version writes for the same message, when it is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read_as: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    }

    #[derive(Clone, Copy, Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Direction {
        Request,
        Reply,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(untagged)]
    enum Said {
        Request(Request),
        Reply(Reply),
    }

    fn room() -> RoomId {
        RoomId::from_128_bits([0xab; 16])
    }

    fn slot() -> RoomId {
        RoomId::from_128_bits([0x51; 16])
    }

    fn token() -> Token {
        Token::new([0x0f; 16])
    }

    fn body(bytes: &[u8]) -> Body {
        Body::new(bytes.to_vec()).unwrap()
    }

    fn requests() -> Vec<(&'static str, Request)> {
        let allocate = |nameplate, body| Request::Allocate {
            room: slot(),
            nameplate,
            ttl: 86_400,
            claims: 1,
            body,
        };
        let join = |role| Request::Join { room: RoomId::from_256_bits([0xcd; 32]), role };
        vec![
            ("allocate", allocate(Nameplate::number(7), body(b"hello"))),
            ("allocate on a LAN", allocate(Nameplate::lan(42), body(&[0, 255]))),
            ("claim", Request::Claim { nameplate: Nameplate::number(7) }),
            ("join as sender", join(Role::Sender)),
            ("join as receiver", join(Role::Receiver)),
            ("rejoin", Request::Rejoin { room: room(), token: token(), received: 0 }),
            ("send", Request::Send { room: room(), number: 1, body: body(&[0xfb, 0xff, 1, 2]) }),
            ("ack", Request::Ack { room: room(), number: (1 << 53) - 1 }),
            ("leave", Request::Leave { room: room() }),
        ]
    }

    fn replies() -> Vec<(String, Reply)> {
        let servers = vec![
            IceServer {
                urls: vec!["stun:stun.example.org:3478".to_owned()],
                username: None,
                credential: None,
            },
            IceServer {
                urls: vec!["turn:turn.example.org:3478?transport=udp".to_owned()],
                username: Some("1790000000:a".to_owned()),
                credential: Some("c2VjcmV0".to_owned()),
            },
        ];
        let claimed = |ice_servers| Reply::Claimed {
            nameplate: Nameplate::number(7),
            slot: slot(),
            room: room(),
            token: token(),
            body: body(b"hello"),
            ice_servers,
        };
        let paired =
            |ice_servers| Reply::Paired { slot: slot(), room: room(), token: token(), ice_servers };
        let nameplate = Nameplate::lan(42);
        let mut replies = vec![
            (
                "allocated",
                Reply::Allocated { room: slot(), nameplate, token: token(), ttl: 86_400 },
            ),
            ("paired", paired(Vec::new())),
            ("paired with servers for ICE", paired(servers.clone())),
            ("claimed", claimed(Vec::new())),
            ("claimed with servers for ICE", claimed(servers)),
            ("joined", Reply::Joined { room: RoomId::from_256_bits([0xcd; 32]), token: token() }),
            ("rejoined", Reply::Rejoined { room: room(), received: 3 }),
            ("message", Reply::Message { room: room(), number: 2, body: body(b"hello") }),
            ("peer here", Reply::Peer { room: room(), presence: Presence::Here }),
            ("peer gone", Reply::Peer { room: room(), presence: Presence::Gone }),
            ("peer left", Reply::Peer { room: room(), presence: Presence::Left }),
            ("expired", Reply::Expired { room: slot() }),
        ]
        .into_iter()
        .map(|(name, reply)| (name.to_owned(), reply))
        .collect::<Vec<_>>();
        for (name, reason) in [
            ("no-such-code", Reason::NoSuchCode),
            ("no-such-room", Reason::NoSuchRoom),
            ("nameplate-taken", Reason::NameplateTaken),
            ("place-taken", Reason::PlaceTaken),
            ("full", Reason::Full),
            ("too-many-rooms", Reason::TooManyRooms),
            ("too-much-waiting", Reason::TooMuchWaiting),
            ("gap", Reason::Gap),
            ("bad-message", Reason::BadMessage),
        ] {
            let named = ![Reason::NoSuchCode, Reason::BadMessage].contains(&reason);
            let reply = Reply::Refused { room: named.then(room), reason };
            replies.push((format!("refused: {name}"), reply));
        }
        replies
    }

    /// Every message that a case must be there for.
    fn known() -> BTreeMap<String, Said> {
        let requests = requests().into_iter();
        let requests = requests.map(|(name, said)| (name.to_owned(), Said::Request(said)));
        let replies = replies().into_iter().map(|(name, said)| (name, Said::Reply(said)));
        requests.chain(replies).collect()
    }

    fn read(direction: Direction, text: &str) -> Result<Said, serde_json::Error> {
        match direction {
            Direction::Request => serde_json::from_str(text).map(Said::Request),
            Direction::Reply => serde_json::from_str(text).map(Said::Reply),
        }
    }

    #[test]
    fn rendezvous_messages_are_the_written_text_and_bad_ones_are_refused() {
        let mut known = known();
        let mut refusals = 0;
        each("rendezvous.json", |name, case: &mut Case| {
            if let Some(kind) = &case.refused {
                refusals += 1;
                return refused(name, read(case.direction, &case.text), kind);
            }
            if let Some(plain) = &mut case.read_as {
                let read = read(case.direction, &case.text).unwrap();
                return same(name, plain, serde_json::to_string(&read).unwrap());
            }
            let said = known.remove(name).unwrap_or_else(|| panic!("{name} is no message"));
            same(name, &mut case.text, serde_json::to_string(&said).unwrap());
            assert_eq!(read(case.direction, &case.text).unwrap(), said, "{name}");
        });
        assert!(known.is_empty(), "without a case: {:?}", known.keys());
        assert!(refusals >= 15);
    }
}

/// What `PROTOCOL.md` says, for comparison with what the code does.
mod document {
    use super::*;
    use crate::proto::{
        binding,
        code::{Invitation, WORDS},
        digest, frame, manifest, name, pairing, pake, receiver, seal, signal, wire, words,
    };
    use p2pshare_signal::protocol;

    const TEXT: &str = include_str!("../../PROTOCOL.md");

    /// The lines from a heading to the next.
    fn section(title: &str) -> Vec<&'static str> {
        let is_title =
            |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == title;
        let mut lines = TEXT.lines().skip_while(|line| !is_title(line));
        assert!(lines.next().is_some(), "PROTOCOL.md has no section {title}");
        lines.take_while(|line| !line.starts_with('#')).collect()
    }

    /// The cells of the first two columns of a section's tables.
    fn rows(title: &str) -> Vec<(&'static str, &'static str)> {
        let cells = |line: &'static str| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            Some((cells.next()?, cells.next()?))
        };
        section(title).into_iter().filter_map(cells).collect()
    }

    fn hexadecimal(text: &str) -> Option<u16> {
        u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    }

    /// The tags and types in the first column of a section's tables.
    pub(super) fn tags_of(title: &str) -> BTreeSet<u16> {
        rows(title).into_iter().filter_map(|(first, _)| hexadecimal(first)).collect()
    }

    /// The fields in bytes.
    pub(super) fn fields(bytes: &[u8]) -> Vec<(u16, &[u8])> {
        let mut reader = wire::Reader::new(bytes);
        let mut fields = Vec::new();
        while !reader.is_empty() {
            let (tag, length) = (reader.u16().unwrap(), reader.u16().unwrap());
            fields.push((tag, reader.take(length.into()).unwrap()));
        }
        fields
    }

    /// The tags of the fields in bytes.
    pub(super) fn tags(bytes: &[u8]) -> BTreeSet<u16> {
        fields(bytes).into_iter().map(|(tag, _)| tag).collect()
    }

    fn number(value: impl TryInto<u64>) -> u64 {
        value.try_into().ok().unwrap()
    }

    /// The largest number below a bound for which something holds; it must hold below that.
    fn largest(bound: u64, holds: impl Fn(u64) -> bool) -> u64 {
        (0..bound).take_while(|n| holds(*n)).last().unwrap()
    }

    fn takes_text_of(length: u64) -> bool {
        let text = format!("{}7-aar-aba-abb", " ".repeat(usize::try_from(length).unwrap() - 13));
        text.parse::<Invitation>().is_ok()
    }

    fn constants() -> BTreeMap<&'static str, u64> {
        let chunk = |size| u64::from(digest::Chunking::of(size).chunk_size());
        let smallest = chunk(0);
        BTreeMap::from([
            ("VERSION", pairing::VERSION.into()),
            ("WORD_LIST", number(words::count())),
            ("MIN_WORDS", number(*WORDS.start())),
            ("MAX_WORDS", number(*WORDS.end())),
            ("MAX_CODE_TEXT", 13 + largest(2000, |more| takes_text_of(13 + more))),
            ("DEFAULT_PORT", protocol::DEFAULT_PORT.into()),
            ("MAX_MESSAGE", number(protocol::MAX_MESSAGE)),
            ("MAX_BODY", number(protocol::MAX_BODY)),
            ("MAX_UNACKNOWLEDGED", number(protocol::MAX_UNACKNOWLEDGED)),
            ("MAX_UNACKNOWLEDGED_BYTES", number(protocol::MAX_UNACKNOWLEDGED_BYTES)),
            ("MAX_TTL", protocol::MAX_TTL),
            ("CRITICAL", wire::CRITICAL.into()),
            ("MAX_NUMBER", wire::MAX_NUMBER),
            ("SHARE", number(pake::SHARE)),
            ("STEP", number(seal::STEP)),
            ("MAX_SEALED_PAYLOAD", number(seal::MAX_PAYLOAD)),
            ("MAX_CANDIDATES", number(signal::MAX_CANDIDATES)),
            ("LANE_DATA_CHANNEL", signal::LANE_DATA_CHANNEL.into()),
            ("CONTROL", binding::CONTROL.into()),
            ("FIRST_DATA", binding::FIRST_DATA.into()),
            ("MAX_FRAME", number(frame::MAX_FRAME)),
            ("DATA_HEADER", number(frame::DATA_HEADER)),
            ("MAX_PAYLOAD", number(frame::MAX_PAYLOAD)),
            ("MAX_ENTRIES", number(manifest::MAX_ENTRIES)),
            ("MAX_COMPONENT", number(name::MAX_COMPONENT)),
            ("MAX_DEPTH", number(name::MAX_DEPTH)),
            ("MAX_PATH", number(name::MAX_PATH)),
            ("SMALLEST_CHUNK", smallest),
            ("LARGEST_CHUNK", digest::LARGEST.into()),
            ("MANY_CHUNKS", 1 + largest(5000, |n| chunk(n * smallest) == smallest)),
            ("WINDOW", receiver::WINDOW),
        ])
    }

    #[test]
    fn the_constants_of_the_specification_are_those_of_the_code() {
        let value = |text: &str| {
            hexadecimal(text).map_or_else(|| text.parse().unwrap_or(u64::MAX), u64::from)
        };
        let is_constant = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let rows = rows("Constants").into_iter().filter(|(name, _)| is_constant(name));
        let written: Vec<_> = rows.map(|(name, text)| (name, value(text))).collect();
        assert_eq!(written.iter().copied().collect::<BTreeMap<_, _>>(), constants());
        assert_eq!(written.len(), constants().len(), "a constant is there twice");
    }

    #[test]
    fn the_reasons_of_the_specification_are_those_of_the_code() {
        let reasons = rows("Cancel");
        let written: BTreeMap<u16, String> = reasons
            .into_iter()
            .filter_map(|(code, name)| Some((code.parse().ok()?, name.to_owned())))
            .collect();
        let name = |text: &String| -> ReasonName {
            serde_json::from_value(Value::String(text.clone())).unwrap()
        };
        assert_eq!(written.len(), 9);
        for (code, text) in &written {
            let reason = name(text).reason();
            assert_eq!((reason.code(), Reason::of_code(*code)), (*code, reason), "{text}");
        }
    }

    /// The kinds of refusal that a file expects.
    fn kinds(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| kinds(value, found)),
            Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                Value::String(kind) if name == "refused" || name == "as" => {
                    found.insert(kind.clone());
                }
                value => kinds(value, found),
            }),
            _ => {}
        }
    }

    #[test]
    fn the_refusals_of_the_specification_are_those_of_the_vectors() {
        let mut used = BTreeSet::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            kinds(&serde_json::from_str(&text).unwrap(), &mut used);
        }
        let written = rows("Refusals").into_iter().map(|(kind, _)| kind.to_owned());
        let is_kind = |kind: &String| !kind.starts_with("--") && kind != "Kind";
        assert_eq!(written.filter(is_kind).collect::<BTreeSet<_>>(), used);
    }

    #[test]
    fn the_paths_and_hashes_in_the_specification_are_those_of_the_code() {
        assert!(TEXT.contains(&format!("`{}`", protocol::PATH)));
        assert!(TEXT.contains("f6a587145fd0d7aaeff9849e5168d63ef795b03c2e0ce7efe7b2546c1c975e9f"));
    }
}
