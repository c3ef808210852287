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
pub(super) struct KeysShown {
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
    pub(super) reconnect_room: Hex,
    #[serde(rename = "reconnect key")]
    pub(super) reconnect_key: Hex,
    verifier: Hex,
}

impl KeysShown {
    /// The keys from the specification's formula.
    pub(super) fn derived(transcript: &Hex, ikm: &Hex) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(&transcript.bytes()), &ikm.bytes());
        let key = |purpose: &str| {
            let mut key = [0; 32];
            hkdf.expand(format!("p2pshare/1 {purpose}").as_bytes(), &mut key).unwrap();
            Hex::of(&key)
        };
        Self {
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
        let derived = KeysShown::derived(&self.transcript, &self.isk);
        assert_eq!(derived, self.keys, "{name}");
    }

    fn transcript_of(&self, names: [&str; 3]) -> Hex {
        let said =
            [&self.sender_hello, &self.receiver_hello, &self.sender_share, &self.receiver_share]
                .map(Hex::bytes);
        let mut parts = vec![&b"p2pshare/1 transcript"[..]];
        parts.extend(names.map(str::as_bytes));
        parts.extend(said.iter().map(Vec::as_slice));
        Hex::of(&Sha256::digest(join(&parts)))
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
