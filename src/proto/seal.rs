//! Sealed signalling: ChaCha20-Poly1305 with one key and one counter per direction.
//!
//! Messages are opened strictly in the order in which they were sealed: one that was changed,
//! repeated, dropped, reordered, sent back to its author or taken from another session does not
//! open. Plaintexts are padded, so that the server learns little from their lengths.

use std::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce,
    aead::{Aead, Payload},
};

use super::{
    Role,
    pake::{Keys, Secret},
    wire::join,
};

/// Plaintexts are padded to multiples of this, in bytes.
pub const STEP: usize = 1024;

/// The longest payload, in bytes: sealed it fits into what the server carries.
pub const MAX_PAYLOAD: usize = 10 * STEP - LENGTH;

/// The payload's length stands before it in 16 bits.
const LENGTH: usize = 2;

/// A sealed message does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed message was changed, repeated, lost or moved on its way")]
pub struct Broken;

/// Seals what this end says.
pub struct Sealer(Direction);

/// Opens what the other end says.
pub struct Opener(Direction);

struct Direction {
    cipher: ChaCha20Poly1305,
    role: Role,
    counter: u64,
}

/// The two directions as this end sees them.
#[must_use]
pub fn directions(keys: &Keys, role: Role) -> (Sealer, Opener) {
    let direction = |role| Direction::new(keys.seal.of(role), role);
    (Sealer(direction(role)), Opener(direction(role.peer())))
}

impl Direction {
    fn new(key: &Secret, role: Role) -> Self {
        Self { cipher: ChaCha20Poly1305::new(key.as_bytes().into()), role, counter: 0 }
    }

    /// The nonce and the associated data of the next message.
    fn next(&mut self) -> (Nonce, Vec<u8>) {
        let counter = self.counter.to_be_bytes();
        self.counter = self.counter.saturating_add(1);
        let mut nonce = Nonce::default();
        nonce.iter_mut().rev().zip(counter.iter().rev()).for_each(|(to, from)| *to = *from);
        (nonce, join(&[b"p2pshare/1 signal", self.role.label().as_bytes(), &counter]))
    }
}

impl Sealer {
    /// Pads and seals a payload.
    ///
    /// # Panics
    /// When the payload is longer than [`MAX_PAYLOAD`]; callers send less.
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= MAX_PAYLOAD, "signals are bounded by their caps");
        let length = u16::try_from(payload.len()).expect("MAX_PAYLOAD fits into 16 bits");
        let mut padded = length.to_be_bytes().to_vec();
        padded.extend_from_slice(payload);
        padded.resize(padded.len().next_multiple_of(STEP), 0);
        let (nonce, aad) = self.0.next();
        self.0
            .cipher
            .encrypt(&nonce, Payload { msg: &padded, aad: &aad })
            .expect("ChaCha20-Poly1305 takes plaintexts of this length")
    }
}

impl Opener {
    /// Opens the next message.
    ///
    /// # Errors
    /// [`Broken`] when it is not exactly the one that was sealed next; nothing that follows can
    /// be trusted then.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (nonce, aad) = self.0.next();
        let mut padded = self
            .0
            .cipher
            .decrypt(&nonce, Payload { msg: sealed, aad: &aad })
            .map_err(|_| Broken)?;
        let length = *padded.first_chunk::<LENGTH>().ok_or(Broken)?;
        let payload = padded.split_off(LENGTH);
        payload.get(..usize::from(u16::from_be_bytes(length))).map(<[u8]>::to_vec).ok_or(Broken)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, {} sealed)", self.0.role, self.0.counter)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({:?}, {} opened)", self.0.role, self.0.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> ((Sealer, Opener), (Sealer, Opener)) {
        let keys = crate::proto::pake::tests_support::keys();
        (directions(&keys, Role::Sender), directions(&keys, Role::Receiver))
    }

    #[test]
    fn what_is_sealed_opens_in_order_at_the_other_end() {
        let ((mut seal, mut back), (mut reply, mut open)) = pair();
        for payload in [&b"one"[..], b"", &[7; MAX_PAYLOAD]] {
            let sealed = seal.seal(payload);
            assert_eq!(sealed.len() % STEP, 16);
            assert_eq!(open.open(&sealed).as_deref(), Ok(payload));
            assert_eq!(back.open(&reply.seal(payload)).as_deref(), Ok(payload));
        }
    }

    #[test]
    fn no_flipped_bit_opens() {
        let ((mut seal, _), _) = pair();
        let sealed = seal.seal(b"candidate");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (_, (_, mut open)) = pair();
            assert_eq!(open.open(&changed), Err(Broken), "bit {bit}");
        }
    }

    #[test]
    fn repeated_lost_reordered_and_reflected_messages_do_not_open() {
        let ((mut seal, mut own), (_, mut open)) = pair();
        let (one, two) = (seal.seal(b"1"), seal.seal(b"2"));
        assert_eq!(own.open(&one), Err(Broken), "reflected");
        assert_eq!(pair().1.1.open(&two), Err(Broken), "lost or reordered");
        assert_eq!(open.open(&one).as_deref(), Ok(&b"1"[..]));
        assert_eq!(open.open(&one), Err(Broken), "repeated");
    }

    #[test]
    fn cut_off_messages_do_not_open() {
        let ((mut seal, _), _) = pair();
        let sealed = seal.seal(b"x");
        for length in [0, 1, 16, sealed.len() - 1] {
            assert_eq!(pair().1.1.open(&sealed[..length]), Err(Broken));
        }
    }
}
