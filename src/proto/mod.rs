//! The protocol, pure: no sockets, files, clock or async. Time and randomness are arguments,
//! outputs are values. Nothing here knows of the layers above; `PROTOCOL.md` is its
//! specification and `tests/vectors` its proof.
//!
//! * [`code`] and [`words`]: what a person types
//! * [`pake`], [`pairing`], [`seal`], [`signal`]: from a code to sealed signalling
//! * [`binding`]: proof, on every lane, that the peer is the one who knew the code
//! * [`reunion`]: the same two ends, again, after a lost connection
//! * [`wire`], [`frame`]: bytes and messages
//! * [`lanes`]: one order over several lanes; [`limit`]: what a transfer waits for
//! * [`name`], [`manifest`], [`digest`]: what is sent, under which names, and its hashes
//! * [`offer`], `incoming`: an offer and its files as they arrive
//! * [`sender`], [`receiver`]: the two machines of a transfer

pub mod binding;
pub mod code;
pub mod digest;
pub mod frame;
mod incoming;
pub mod lanes;
pub mod limit;
pub mod manifest;
pub mod name;
pub mod offer;
pub mod pairing;
pub mod pake;
pub mod receiver;
pub mod reunion;
pub mod seal;
pub mod sender;
pub mod signal;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod vectors;
pub mod wire;
pub mod words;

/// Which end of a transfer this is. The sender offers, creates the channels and leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Offers files.
    Sender,
    /// Takes files.
    Receiver,
}

impl Role {
    /// The end on the other side.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }

    /// The name that goes into keys and tags.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}
