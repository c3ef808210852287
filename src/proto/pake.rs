//! From a password to keys: CPace (draft-irtf-cfrg-cpace-21, ristretto255 and SHA-512) and the
//! key schedule after it.
//!
//! The sender is the initiator. The channel identifier holds the protocol, the roles and the
//! nameplate; the session id is the slot's name; what each side says of itself rides as
//! associated data. Nothing here talks to anybody: [`super::pairing`] does.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use pakery_cpace::{CpaceInitiator, CpaceMode, CpaceResponder, InitiatorState};
use pakery_crypto::CpaceRistretto255;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Role, code::Code, wire::join, words};

/// The protocol's name, in every hash and key.
const PROTOCOL: &[u8] = b"p2pshare/1";

/// Length of a share: an encoded group element, in bytes.
pub const SHARE: usize = 32;

/// 32 secret bytes, which do not show themselves and do not outlive their use.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The HMAC-SHA-256 of a message under this key.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).finalize().into_bytes().into()
    }

    /// Whether a tag fits a message, in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], tag: &[u8; 32]) -> bool {
        self.mac(message).verify(tag.into()).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(message);
        mac
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The peer's share is not a group element, or the neutral one: somebody interferes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's share is not one that an honest peer sends")]
pub struct BadShare;

/// What each side says of itself, in the clear but covered by the transcript.
pub type Hello = Vec<u8>;

/// The public values of one run, all of which the keys depend on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The public part of the code.
    pub nameplate: &'a str,
    /// The slot's name, chosen by the sender: the session id.
    pub slot: &'a str,
    /// The room for two, named by the server.
    pub room: &'a str,
}

/// The sender's half of a run, between its share and the receiver's.
pub struct Initiator {
    state: InitiatorState<CpaceRistretto255>,
    share: Vec<u8>,
    hello: Hello,
}

impl Initiator {
    /// Begins a run; the share is public.
    ///
    /// # Panics
    /// Never for a [`Code`]: only an over-long password could fail.
    pub fn start(code: &Code, slot: &str, hello: Hello, random: &mut impl CryptoRng) -> Self {
        let (share, state) = CpaceInitiator::start(
            code.password.as_bytes(),
            &channel_identifier(code.nameplate.as_str()),
            slot.as_bytes(),
            &hello,
            random,
        )
        .expect("a code's words and a nameplate are within CPace's lengths");
        Self { state, share, hello }
    }

    /// The group element for the receiver.
    #[must_use]
    pub fn share(&self) -> &[u8] {
        &self.share
    }

    /// Ends the run with the receiver's share.
    ///
    /// # Errors
    /// [`BadShare`] when the share is not a valid group element.
    pub fn finish(
        self,
        context: Context<'_>,
        share: &[u8],
        hello: &[u8],
    ) -> Result<Keys, BadShare> {
        let output =
            self.state.finish(share, hello, CpaceMode::InitiatorResponder).map_err(|_| BadShare)?;
        let transcript = transcript(context, [&self.hello, hello], [&self.share, share]);
        Ok(Keys::derive(output.isk.as_bytes(), transcript))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator(..)")
    }
}

/// The receiver's whole run: the sender's share in, the own share and the keys out.
///
/// # Errors
/// [`BadShare`] when the share is not a valid group element.
pub fn respond(
    code: &Code,
    context: Context<'_>,
    sender: (&[u8], &[u8]),
    hello: &[u8],
    random: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Keys), BadShare> {
    let (sender_share, sender_hello) = sender;
    let (share, output) = CpaceResponder::<CpaceRistretto255>::respond(
        sender_share,
        code.password.as_bytes(),
        &channel_identifier(context.nameplate),
        context.slot.as_bytes(),
        sender_hello,
        hello,
        CpaceMode::InitiatorResponder,
        random,
    )
    .map_err(|_| BadShare)?;
    let transcript = transcript(context, [sender_hello, hello], [sender_share, &share]);
    Ok((share, Keys::derive(output.isk.as_bytes(), transcript)))
}

fn channel_identifier(nameplate: &str) -> Vec<u8> {
    let roles = [Role::Sender, Role::Receiver].map(|role| role.label().as_bytes());
    join(&[PROTOCOL, roles[0], roles[1], nameplate.as_bytes()])
}

fn transcript(context: Context<'_>, hellos: [&[u8]; 2], shares: [&[u8]; 2]) -> [u8; 32] {
    let Context { nameplate, slot, room } = context;
    let [sender_hello, receiver_hello] = hellos;
    let [sender_share, receiver_share] = shares;
    Sha256::digest(join(&[
        b"p2pshare/1 transcript",
        nameplate.as_bytes(),
        slot.as_bytes(),
        room.as_bytes(),
        sender_hello,
        receiver_hello,
        sender_share,
        receiver_share,
    ]))
    .into()
}

/// A key for each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerRole {
    sender: Secret,
    receiver: Secret,
}

impl PerRole {
    /// The key that this end uses.
    #[must_use]
    pub fn of(&self, role: Role) -> &Secret {
        match role {
            Role::Sender => &self.sender,
            Role::Receiver => &self.receiver,
        }
    }
}

/// Everything that a session derives from one PAKE run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// SHA-256 over everything both ends said before there were keys. Not secret.
    pub transcript: [u8; 32],
    /// Proves that an end derived these keys.
    pub confirm: PerRole,
    /// Seals what an end says through the server.
    pub seal: PerRole,
    /// Binds every lane to this session.
    pub binding: Secret,
    /// Names the room where both meet again.
    pub reconnect_room: Secret,
    /// Authenticates them there.
    pub reconnect_key: Secret,
    /// What two people compare with `--verify`.
    pub verifier: Secret,
}

impl Keys {
    /// HKDF-SHA-256 (RFC 5869): extracted with the transcript as salt, expanded per purpose.
    pub(super) fn derive(secret: &[u8], transcript: [u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(&transcript), secret);
        let key = |purpose: &str| {
            let mut bytes = [0; 32];
            hkdf.expand_multi_info(&[PROTOCOL, b" ", purpose.as_bytes()], &mut bytes)
                .expect("32 bytes are within what HKDF-SHA-256 gives");
            Secret(bytes)
        };
        let per_role = |purpose: &str| PerRole {
            sender: key(&format!("{purpose} {}", Role::Sender.label())),
            receiver: key(&format!("{purpose} {}", Role::Receiver.label())),
        };
        Self {
            transcript,
            confirm: per_role("confirm"),
            seal: per_role("seal"),
            binding: key("channel binding"),
            reconnect_room: key("reconnect room"),
            reconnect_key: key("reconnect key"),
            verifier: key("verifier"),
        }
    }
}

impl Keys {
    /// Four words that are the same on both ends unless somebody stands between them: 41 bits
    /// of the verifier, each pair of bytes taken modulo the list's length.
    #[must_use]
    pub fn verifier_words(&self) -> [&'static str; 4] {
        let bytes = self.verifier.as_bytes();
        let (pairs, _) = bytes.as_chunks::<2>();
        std::array::from_fn(|i| {
            let pair = pairs.get(i).copied().unwrap_or_default();
            let index = usize::from(u16::from_be_bytes(pair)).checked_rem(words::count());
            index.and_then(words::nth).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    const CONTEXT: Context<'_> = Context { nameplate: "7", slot: "slot", room: "room" };

    fn run(sender: &str, receiver: &str, receiver_context: Context<'_>) -> (Keys, Keys) {
        let mut random = UnwrapErr(getrandom::SysRng);
        let (sender, receiver) = (sender.parse().unwrap(), receiver.parse().unwrap());
        let initiator = Initiator::start(&sender, CONTEXT.slot, b"S".to_vec(), &mut random);
        let said = (initiator.share(), &b"S"[..]);
        let (share, theirs) =
            respond(&receiver, receiver_context, said, b"R", &mut random).unwrap();
        (initiator.finish(CONTEXT, &share, b"R").unwrap(), theirs)
    }

    #[test]
    fn both_ends_of_one_code_get_the_same_keys() {
        let code = "7-aardvark-abandoned-abbreviate";
        let (ours, theirs) = run(code, code, CONTEXT);
        assert_eq!(ours, theirs);
        assert_eq!(ours.verifier_words(), theirs.verifier_words());
        assert_ne!(ours.seal.sender, ours.seal.receiver);
    }

    #[test]
    fn another_word_slot_room_or_nameplate_gives_other_keys() {
        let code = "7-aardvark-abandoned-abbreviate";
        let other = "7-aardvark-abandoned-abdomen";
        for (receiver, context) in [
            (other, CONTEXT),
            (code, Context { nameplate: "8", ..CONTEXT }),
            (code, Context { slot: "tols", ..CONTEXT }),
            (code, Context { room: "moor", ..CONTEXT }),
        ] {
            let (ours, theirs) = run(code, receiver, context);
            assert_ne!(ours.confirm, theirs.confirm, "{context:?}");
            assert_ne!(ours.seal, theirs.seal, "{context:?}");
        }
    }

    #[test]
    fn shares_that_are_no_group_element_or_the_neutral_one_are_refused() {
        let code: Code = "7-aardvark-abandoned-abbreviate".parse().unwrap();
        let mut random = UnwrapErr(getrandom::SysRng);
        for bad in [&[0; 32][..], &[0xff; 32], b"short", b""] {
            let refused = respond(&code, CONTEXT, (bad, b""), b"", &mut random);
            assert!(matches!(refused, Err(BadShare)), "{bad:?}");
            let initiator = Initiator::start(&code, CONTEXT.slot, Vec::new(), &mut random);
            assert_eq!(initiator.finish(CONTEXT, bad, b"").err(), Some(BadShare));
        }
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let code = "7-aardvark-abandoned-abbreviate";
        let shown = format!("{:?}", run(code, code, CONTEXT).0);
        assert!(shown.contains("Secret(..)") && !shown.contains("Secret(["), "{shown}");
    }
}

/// Keys for tests of the layers above.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// The same keys each time.
    pub(crate) fn keys() -> Keys {
        Keys::derive(b"a shared secret", [7; 32])
    }
}
