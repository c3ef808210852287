//! How two ends that were connected prove to each other that they are the same again, in a room
//! that only they can name: each greets with a new nonce, and from both follow new keys.

use sha2::{Digest, Sha256};

use super::{
    Role,
    pake::{Keys, Secret},
    wire::{CRITICAL, Fields, WireError, Writer, join},
};

/// What two ends that were connected find each other with again, in this session or, for a
/// receiver that was started anew, from its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reunion {
    /// Names the room where they meet.
    pub room: Secret,
    key: Secret,
}

/// The first thing that an end says there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// 128 random bits, new each time.
    pub nonce: [u8; 16],
    tag: [u8; 32],
}

const NONCE: u16 = CRITICAL | 1;
const GREETING_TAG: u16 = CRITICAL | 2;

impl Reunion {
    /// From what a journal holds: the room and the key.
    #[must_use]
    pub fn of_bytes(room: [u8; 32], key: [u8; 32]) -> Self {
        Self { room: room.into(), key: key.into() }
    }

    /// What a journal is to hold: the key, besides the room.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The greeting of an end.
    #[must_use]
    pub fn greeting(&self, role: Role, nonce: [u8; 16]) -> Greeting {
        Greeting { nonce, tag: self.key.tag(&greeted(role, nonce)) }
    }

    /// The keys that both derive from their greetings, when the peer's is from the peer.
    #[must_use]
    pub fn keys(&self, role: Role, ours: &Greeting, theirs: &Greeting) -> Option<Keys> {
        if !self.key.verifies(&greeted(role.peer(), theirs.nonce), &theirs.tag) {
            return None;
        }
        let (sender, receiver) = match role {
            Role::Sender => (ours, theirs),
            Role::Receiver => (theirs, ours),
        };
        let said: [&[u8]; 3] = [b"p2pshare/1 reunion", &sender.nonce, &receiver.nonce];
        let transcript = Sha256::digest(join(&said)).into();
        let keys = Keys::derive(self.key.as_bytes(), transcript);
        let (room, key) = (self.room.clone(), self.key.clone());
        Some(Keys { reconnect_room: room, reconnect_key: key, ..keys })
    }
}

impl Greeting {
    /// The bytes of the greeting.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        Writer::new().field(NONCE, &self.nonce).field(GREETING_TAG, &self.tag).finish()
    }

    /// Parses a greeting.
    ///
    /// # Errors
    /// [`WireError`] when it is none.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::parse(bytes)?;
        let greeting = Self { nonce: fields.required(NONCE)?, tag: fields.required(GREETING_TAG)? };
        fields.finish()?;
        Ok(greeting)
    }
}

fn greeted(role: Role, nonce: [u8; 16]) -> Vec<u8> {
    join(&[b"p2pshare/1 greeting", role.label().as_bytes(), &nonce])
}

impl Keys {
    /// What the two ends find each other with again.
    #[must_use]
    pub fn reunion(&self) -> Reunion {
        Reunion { room: self.reconnect_room.clone(), key: self.reconnect_key.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reunion(byte: u8) -> Reunion {
        Reunion::of_bytes([1; 32], [byte; 32])
    }

    #[test]
    fn both_ends_derive_new_keys_for_the_same_room() {
        let (sender, receiver) = (
            reunion(2).greeting(Role::Sender, [3; 16]),
            reunion(2).greeting(Role::Receiver, [4; 16]),
        );
        let ours = reunion(2).keys(Role::Sender, &sender, &receiver).unwrap();
        let theirs = reunion(2).keys(Role::Receiver, &receiver, &sender).unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(ours.reunion(), reunion(2));
        let again = reunion(2).greeting(Role::Sender, [5; 16]);
        let other = reunion(2).keys(Role::Sender, &again, &receiver).unwrap();
        assert_ne!(ours.binding, other.binding);
    }

    #[test]
    fn nobody_else_and_no_echo_is_greeted_back() {
        let ours = reunion(2).greeting(Role::Sender, [3; 16]);
        for greeting in [
            ours.clone(),
            reunion(9).greeting(Role::Receiver, [4; 16]),
            Greeting { nonce: [9; 16], ..reunion(2).greeting(Role::Receiver, [4; 16]) },
        ] {
            assert_eq!(reunion(2).keys(Role::Sender, &ours, &greeting), None);
        }
    }

    #[test]
    fn greetings_come_back_as_they_were() {
        let greeting = reunion(2).greeting(Role::Sender, [3; 16]);
        assert_eq!(Greeting::from_wire(&greeting.to_wire()), Ok(greeting));
        assert!(Greeting::from_wire(&[]).is_err());
    }
}
