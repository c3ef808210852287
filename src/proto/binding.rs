//! Proof, in the first message of every lane, that its other end is the one who knew the code.
//!
//! A library checks certificates against the fingerprints it was given; should it ever fail to,
//! this turns a leak into a failed transfer. The tag covers the lane, the end that speaks, a
//! nonce, both fingerprints and, through the transcript, all that was said before.

use super::{
    Role,
    pake::Keys,
    wire::{CRITICAL, Fields, WireError, Writer, join},
};

/// Number of the control channel among the lanes.
pub const CONTROL: u32 = 0;

/// Number of the first data lane.
pub const FIRST_DATA: u32 = 1;

/// Number of the lane of QUIC whose certificates are told in descriptions.
pub const FIRST_QUIC: u32 = 2;

/// Under this label TLS, also that of QUIC, exports 32 bytes, without a context, that a lane is bound to (RFC 9266 does
/// the same for others).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-p2pshare-channel-binding";

/// One end's certificate fingerprints, as both ends know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// SHA-256 of the sender's certificate.
    pub sender: [u8; 32],
    /// SHA-256 of the receiver's certificate.
    pub receiver: [u8; 32],
}

impl Fingerprints {
    /// Those of an end in this role and of its peer.
    #[must_use]
    pub fn of(role: Role, ours: [u8; 32], theirs: [u8; 32]) -> Self {
        match role {
            Role::Sender => Self { sender: ours, receiver: theirs },
            Role::Receiver => Self { sender: theirs, receiver: ours },
        }
    }
}

/// The first message on a lane, from each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which lane, by number; the same on both ends.
    pub lane: u32,
    /// 0 for the first connection of a session, one more for each reconnect.
    pub generation: u32,
    /// 128 random bits.
    pub nonce: [u8; 16],
    /// HMAC-SHA-256 under the binding key.
    pub tag: [u8; 32],
    /// This end's user wants to compare verifier words before anything is told.
    pub verify: bool,
}

const LANE: u16 = CRITICAL | 1;
const GENERATION: u16 = CRITICAL | 2;
const NONCE: u16 = CRITICAL | 3;
const TAG: u16 = CRITICAL | 4;
const VERIFY: u16 = CRITICAL | 5;

/// The peer's first message on a lane does not prove what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer could not prove that it is the one who knows the code")]
pub struct Unbound;

/// What a lane's first messages are made and checked with.
#[derive(Clone, Debug)]
pub struct Binding {
    keys: Keys,
    fingerprints: Fingerprints,
    generation: u32,
    exporter: Option<[u8; 32]>,
}

impl Binding {
    /// Binds lanes to a session's keys and certificates.
    #[must_use]
    pub fn new(keys: Keys, fingerprints: Fingerprints, generation: u32) -> Self {
        Self { keys, fingerprints, generation, exporter: None }
    }

    /// The same for a lane of TLS or QUIC: bound, too, to what its connection exports under
    /// [`EXPORTER_LABEL`].
    #[must_use]
    pub fn under(self, exporter: [u8; 32]) -> Self {
        Self { exporter: Some(exporter), ..self }
    }

    /// The first message of this end.
    #[must_use]
    pub fn hello(&self, role: Role, lane: u32, nonce: [u8; 16], verify: bool) -> Hello {
        let hello = Hello { lane, generation: self.generation, nonce, tag: [0; 32], verify };
        let tag = self.keys.binding.tag(&self.covered(role, &hello));
        Hello { tag, ..hello }
    }

    /// Checks the first message of the other end, whose role is given.
    ///
    /// # Errors
    /// [`Unbound`] when it is for another lane or session, or not from the peer.
    pub fn check(&self, role: Role, lane: u32, hello: &Hello) -> Result<(), Unbound> {
        let placed = hello.lane == lane && hello.generation == self.generation;
        let proven = self.keys.binding.verifies(&self.covered(role, hello), &hello.tag);
        if placed && proven { Ok(()) } else { Err(Unbound) }
    }

    fn covered(&self, role: Role, hello: &Hello) -> Vec<u8> {
        let (lane, generation) = (hello.lane.to_be_bytes(), hello.generation.to_be_bytes());
        let verify = [u8::from(hello.verify)];
        let mut parts: Vec<&[u8]> = vec![
            b"p2pshare/1 channel binding",
            role.label().as_bytes(),
            &lane,
            &generation,
            &hello.nonce,
            &verify,
            &self.fingerprints.sender,
            &self.fingerprints.receiver,
            &self.keys.transcript,
        ];
        parts.extend(self.exporter.as_ref().map(<[u8; 32]>::as_slice));
        join(&parts)
    }
}

impl Hello {
    /// Adds the fields to a frame.
    #[must_use]
    pub(super) fn to_wire(&self, writer: Writer) -> Writer {
        let writer = writer
            .u32(LANE, self.lane)
            .u32(GENERATION, self.generation)
            .field(NONCE, &self.nonce)
            .field(TAG, &self.tag);
        if self.verify { writer.field(VERIFY, &[]) } else { writer }
    }

    /// Takes the fields of a frame.
    pub(super) fn from_wire(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        Ok(Self {
            lane: fields.required(LANE)?,
            generation: fields.required(GENERATION)?,
            nonce: fields.required(NONCE)?,
            tag: fields.required(TAG)?,
            verify: fields.optional::<[u8; 0]>(VERIFY)?.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::pake::tests_support::keys;

    const FINGERPRINTS: Fingerprints = Fingerprints { sender: [1; 32], receiver: [2; 32] };

    fn binding() -> Binding {
        Binding::new(keys(), FINGERPRINTS, 0)
    }

    #[test]
    fn the_peer_proves_itself() {
        let hello = binding().hello(Role::Sender, CONTROL, [3; 16], false);
        assert_eq!(binding().check(Role::Sender, CONTROL, &hello), Ok(()));
    }

    #[test]
    fn a_tag_fits_one_lane_end_generation_wish_exporter_and_pair_of_certificates_only() {
        let hello = binding().hello(Role::Sender, CONTROL, [3; 16], false);
        let swapped = Fingerprints { sender: [9; 32], ..FINGERPRINTS };
        let check = |binding: Binding, role, lane, hello: &Hello| binding.check(role, lane, hello);
        assert_eq!(check(binding(), Role::Receiver, CONTROL, &hello), Err(Unbound), "reflected");
        assert_eq!(check(binding(), Role::Sender, FIRST_DATA, &hello), Err(Unbound), "moved");
        let moved = Hello { lane: FIRST_DATA, ..hello.clone() };
        assert_eq!(check(binding(), Role::Sender, FIRST_DATA, &moved), Err(Unbound), "renumbered");
        let other = Binding::new(keys(), swapped, 0);
        assert_eq!(check(other, Role::Sender, CONTROL, &hello), Err(Unbound), "fingerprint");
        let later = Binding::new(keys(), FINGERPRINTS, 1);
        assert_eq!(check(later, Role::Sender, CONTROL, &hello), Err(Unbound), "replayed");
        let wish = Hello { verify: true, ..hello.clone() };
        assert_eq!(check(binding(), Role::Sender, CONTROL, &wish), Err(Unbound), "wish");
        let nonce = Hello { nonce: [4; 16], ..hello };
        assert_eq!(check(binding(), Role::Sender, CONTROL, &nonce), Err(Unbound), "nonce");
        let under = |exporter| binding().under([exporter; 32]);
        assert_eq!(check(under(5), Role::Sender, CONTROL, &hello), Err(Unbound), "not exported");
        let hello = under(5).hello(Role::Sender, CONTROL, [3; 16], false);
        assert_eq!(check(under(5), Role::Sender, CONTROL, &hello), Ok(()));
        assert_eq!(check(under(6), Role::Sender, CONTROL, &hello), Err(Unbound), "exporter");
        assert_eq!(check(binding(), Role::Sender, CONTROL, &hello), Err(Unbound), "exported");
    }
}
