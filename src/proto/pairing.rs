//! From a slot to keys that both ends have proved: the first three messages of a room.
//!
//! ```text
//! sender                              receiver
//!   Share  (in the slot)   ------->     claims the slot
//!                          <-------   Reply: its share and its confirmation
//!   Confirmation           ------->
//! ```
//!
//! The receiver confirms first, so whoever guesses shows its hand before it learns anything.
//! After these, all that passes through the server is [`Message::Sealed`].

use rand_core::CryptoRng;

use super::{
    Role,
    code::Code,
    pake::{self, BadShare, Context, Initiator, Keys, SHARE},
    wire::{CRITICAL, Fields, Reader, WireError, Writer, join},
};

/// The version of everything in `PROTOCOL.md`.
pub const VERSION: u16 = 1;

const HELLO_VERSION: u16 = CRITICAL | 1;

const SHARE_TYPE: u16 = CRITICAL | 1;
const REPLY_TYPE: u16 = CRITICAL | 2;
const CONFIRMATION_TYPE: u16 = CRITICAL | 3;
const SEALED_TYPE: u16 = CRITICAL | 4;

const HELLO: u16 = CRITICAL | 1;
const ELEMENT: u16 = CRITICAL | 2;
const TAG: u16 = CRITICAL | 3;
const BOX: u16 = CRITICAL | 4;

/// What the two ends say to each other through the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The sender's share and what it says of itself.
    Share {
        /// Versions; see [`hello`].
        hello: Vec<u8>,
        /// A group element.
        share: [u8; SHARE],
    },
    /// The receiver's share, and proof that it derived the keys.
    Reply {
        /// Versions; see [`hello`].
        hello: Vec<u8>,
        /// A group element.
        share: [u8; SHARE],
        /// HMAC under the receiver's confirmation key.
        tag: [u8; 32],
    },
    /// The sender's proof.
    Confirmation {
        /// HMAC under the sender's confirmation key.
        tag: [u8; 32],
    },
    /// Sealed signals.
    Sealed(Vec<u8>),
}

impl Message {
    /// The bytes of the message.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::Share { hello, share } => {
                Writer::of_type(SHARE_TYPE).field(HELLO, hello).field(ELEMENT, share)
            }
            Self::Reply { hello, share, tag } => Writer::of_type(REPLY_TYPE)
                .field(HELLO, hello)
                .field(ELEMENT, share)
                .field(TAG, tag),
            Self::Confirmation { tag } => Writer::of_type(CONFIRMATION_TYPE).field(TAG, tag),
            Self::Sealed(bytes) => Writer::of_type(SEALED_TYPE).field(BOX, bytes),
        }
        .finish()
    }

    /// Parses a message.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not exactly one message that this version knows.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let (head, body) = bytes.split_at_checked(2).ok_or(WireError::Truncated)?;
        let kind = Reader::new(head).u16()?;
        let mut fields = Fields::parse(body)?;
        let message = match kind {
            SHARE_TYPE => Self::Share {
                hello: fields.required::<&[u8]>(HELLO)?.to_vec(),
                share: fields.required(ELEMENT)?,
            },
            REPLY_TYPE => Self::Reply {
                hello: fields.required::<&[u8]>(HELLO)?.to_vec(),
                share: fields.required(ELEMENT)?,
                tag: fields.required(TAG)?,
            },
            CONFIRMATION_TYPE => Self::Confirmation { tag: fields.required(TAG)? },
            SEALED_TYPE => Self::Sealed(fields.required::<&[u8]>(BOX)?.to_vec()),
            unknown => return Err(WireError::UnknownType(unknown)),
        };
        fields.finish()?;
        Ok(message)
    }
}

/// Why two ends do not come together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The other end does not know the words, or somebody stands between the ends.
    #[error("the code is wrong, or somebody interfered")]
    WrongCode,
    /// The other end speaks no version that this one knows.
    #[error("the other end speaks another version of the protocol")]
    Version,
    /// What arrived is not what an honest end sends at this point.
    #[error("what arrived makes no sense: {0}")]
    Malformed(#[from] WireError),
    /// A message of another kind was due.
    #[error("a message came out of turn")]
    OutOfTurn,
}

impl From<BadShare> for PairingError {
    fn from(_: BadShare) -> Self {
        Self::WrongCode
    }
}

/// What an end says of itself: the versions it speaks.
#[must_use]
pub fn hello() -> Vec<u8> {
    Writer::new().u16(HELLO_VERSION, VERSION).finish()
}

fn check_version(hello: &[u8]) -> Result<(), PairingError> {
    let mut fields = Fields::parse(hello)?;
    let versions = fields.all::<u16>(HELLO_VERSION)?;
    fields.finish()?;
    if versions.contains(&VERSION) { Ok(()) } else { Err(PairingError::Version) }
}

fn confirmation(keys: &Keys, role: Role) -> Vec<u8> {
    join(&[b"p2pshare/1 confirm", role.label().as_bytes(), &keys.transcript])
}

fn check(keys: &Keys, role: Role, tag: &[u8; 32]) -> Result<(), PairingError> {
    let proven = keys.confirm.of(role).verifies(&confirmation(keys, role), tag);
    if proven { Ok(()) } else { Err(PairingError::WrongCode) }
}

/// A sender waiting in its slot.
#[derive(Debug)]
pub struct Waiting {
    initiator: Initiator,
    nameplate: String,
    slot: String,
}

impl Waiting {
    /// Prepares a slot for a code.
    pub fn new(code: &Code, slot: String, random: &mut impl CryptoRng) -> Self {
        let initiator = Initiator::start(code, &slot, hello(), random);
        Self { initiator, nameplate: code.nameplate.to_string(), slot }
    }

    /// The first message, for whoever claims the slot.
    #[must_use]
    pub fn share(&self) -> Message {
        let share = self.initiator.share().try_into().expect("an encoded group element");
        Message::Share { hello: hello(), share }
    }

    /// Takes the receiver's reply: the sender's confirmation, to be sent, and the keys.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] uses the code up, and so must every other error.
    pub fn confirm(self, room: &str, reply: &Message) -> Result<(Message, Keys), PairingError> {
        let Message::Reply { hello, share, tag } = reply else {
            return Err(PairingError::OutOfTurn);
        };
        check_version(hello)?;
        let context = Context { nameplate: &self.nameplate, slot: &self.slot, room };
        let keys = self.initiator.finish(context, share, hello)?;
        check(&keys, Role::Receiver, tag)?;
        let tag = keys.confirm.of(Role::Sender).tag(&confirmation(&keys, Role::Sender));
        Ok((Message::Confirmation { tag }, keys))
    }
}

/// A receiver that has claimed a slot and shown its hand.
#[derive(Debug)]
pub struct Claiming {
    keys: Keys,
}

impl Claiming {
    /// Takes the sender's first message: the reply, to be sent, and what waits for the answer.
    ///
    /// # Errors
    /// When the share is not an honest one, or the sender speaks another version.
    pub fn reply(
        code: &Code,
        slot: &str,
        room: &str,
        share: &Message,
        random: &mut impl CryptoRng,
    ) -> Result<(Message, Self), PairingError> {
        let Message::Share { hello: sender_hello, share } = share else {
            return Err(PairingError::OutOfTurn);
        };
        check_version(sender_hello)?;
        let context = Context { nameplate: code.nameplate.as_str(), slot, room };
        let hello = hello();
        let (share, keys) = pake::respond(code, context, (share, sender_hello), &hello, random)?;
        let share = share.try_into().expect("an encoded group element");
        let tag = keys.confirm.of(Role::Receiver).tag(&confirmation(&keys, Role::Receiver));
        Ok((Message::Reply { hello, share, tag }, Self { keys }))
    }

    /// Takes the sender's confirmation.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] when it does not fit.
    pub fn confirmed(self, confirmation: &Message) -> Result<Keys, PairingError> {
        let Message::Confirmation { tag } = confirmation else {
            return Err(PairingError::OutOfTurn);
        };
        check(&self.keys, Role::Sender, tag)?;
        Ok(self.keys)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    const CODE: &str = "7-aardvark-abandoned-abbreviate";
    const OTHER: &str = "7-aardvark-abandoned-abdomen";

    fn random() -> impl CryptoRng {
        UnwrapErr(getrandom::SysRng)
    }

    fn waiting() -> Waiting {
        Waiting::new(&CODE.parse().unwrap(), "slot".to_owned(), &mut random())
    }

    fn reply(code: &str, share: &Message) -> Result<(Message, Claiming), PairingError> {
        Claiming::reply(&code.parse().unwrap(), "slot", "room", share, &mut random())
    }

    #[test]
    fn the_right_code_pairs() {
        let sender = waiting();
        let (answer, receiver) = reply(CODE, &sender.share()).unwrap();
        let (confirmation, ours) = sender.confirm("room", &answer).unwrap();
        assert_eq!(receiver.confirmed(&confirmation), Ok(ours));
    }

    #[test]
    fn a_wrong_word_shows_at_the_sender_before_it_says_anything() {
        let sender = waiting();
        let (answer, _) = reply(OTHER, &sender.share()).unwrap();
        assert_eq!(sender.confirm("room", &answer).err(), Some(PairingError::WrongCode));
    }

    #[test]
    fn a_sender_that_does_not_know_the_words_is_found_out() {
        let sender = waiting();
        let (_, receiver) = reply(OTHER, &sender.share()).unwrap();
        let (honest, _) = reply(CODE, &sender.share()).unwrap();
        let (confirmation, _) = sender.confirm("room", &honest).unwrap();
        assert_eq!(receiver.confirmed(&confirmation), Err(PairingError::WrongCode));
    }

    #[test]
    fn every_flipped_bit_of_every_message_keeps_the_ends_apart() {
        let flip = |message: &Message, bit: usize| {
            let mut bytes = message.to_wire();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Message::from_wire(&bytes)
        };
        let bits = |message: &Message| 0..message.to_wire().len() * 8;
        for bit in bits(&waiting().share()) {
            let sender = waiting();
            let paired = flip(&sender.share(), bit).map_err(PairingError::from).and_then(|share| {
                let (answer, _) = reply(CODE, &share)?;
                sender.confirm("room", &answer)
            });
            assert!(paired.is_err(), "share, bit {bit}");
        }
        let template = reply(CODE, &waiting().share()).unwrap().0;
        for bit in bits(&template) {
            let sender = waiting();
            let (answer, _) = reply(CODE, &sender.share()).unwrap();
            let paired = flip(&answer, bit)
                .map_err(PairingError::from)
                .and_then(|answer| sender.confirm("room", &answer));
            assert!(paired.is_err(), "reply, bit {bit}");
        }
        for bit in bits(&Message::Confirmation { tag: [0; 32] }) {
            let sender = waiting();
            let (answer, receiver) = reply(CODE, &sender.share()).unwrap();
            let (confirmation, _) = sender.confirm("room", &answer).unwrap();
            let paired = flip(&confirmation, bit)
                .map_err(PairingError::from)
                .and_then(|confirmation| receiver.confirmed(&confirmation));
            assert!(paired.is_err(), "confirmation, bit {bit}");
        }
    }

    #[test]
    fn a_message_sent_back_to_its_author_or_out_of_turn_is_refused() {
        let sender = waiting();
        let share = sender.share();
        assert_eq!(sender.confirm("room", &share).err(), Some(PairingError::OutOfTurn));
        let sender = waiting();
        let (answer, receiver) = reply(CODE, &sender.share()).unwrap();
        assert_eq!(reply(CODE, &answer).err(), Some(PairingError::OutOfTurn));
        assert_eq!(receiver.confirmed(&answer), Err(PairingError::OutOfTurn));
    }

    #[test]
    fn another_version_is_told_from_a_wrong_code() {
        let newer = Writer::new().u16(HELLO_VERSION, 2).finish();
        let Message::Share { share, .. } = waiting().share() else { unreachable!() };
        let share = Message::Share { hello: newer, share };
        assert_eq!(reply(CODE, &share).err(), Some(PairingError::Version));
    }
}
