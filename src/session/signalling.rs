//! Sealed signalling over a room: what the two ends say before, and beside, their lanes.

use p2pshare_signal::protocol::Presence;

use crate::{
    error::Error,
    net::rendezvous::{Room, RoomEvent},
    proto::{
        Role,
        frame::{Frame, Reason},
        pairing::Message,
        pake::Keys,
        seal::{self, Opener, Sealer},
        signal::Signal,
    },
};

/// What comes from the room.
#[derive(Debug)]
pub enum Signalled {
    /// The peer said these things.
    Signals(Vec<Signal>),
    /// The peer's socket came or went.
    Peer(Presence),
    /// The server is gone.
    Lost,
}

/// A room whose words are sealed.
#[derive(Debug)]
pub struct Signalling {
    room: Room,
    sealer: Sealer,
    opener: Opener,
    lost: bool,
}

impl Signalling {
    /// Seals what is said in a room from here on.
    #[must_use]
    pub fn new(room: Room, keys: &Keys, role: Role) -> Self {
        let (sealer, opener) = seal::directions(keys, role);
        Self { room, sealer, opener, lost: false }
    }

    /// Says something to the peer.
    pub fn say(&mut self, signals: &[Signal]) {
        let sealed = self.sealer.seal(&Signal::to_wire(signals));
        self.room.say(Message::Sealed(sealed).to_wire());
    }

    /// The next thing that comes; nothing more after [`Signalled::Lost`].
    ///
    /// # Errors
    /// [`Error::Tampered`] when something was changed, lost or added on its way.
    pub async fn next(&mut self) -> Result<Signalled, Error> {
        if self.lost {
            return std::future::pending().await;
        }
        match self.room.next().await {
            RoomEvent::Message(bytes) => self.open(&bytes).map(Signalled::Signals),
            RoomEvent::Peer(presence) => Ok(Signalled::Peer(presence)),
            RoomEvent::Lost => {
                self.lost = true;
                Ok(Signalled::Lost)
            }
        }
    }

    fn open(&mut self, bytes: &[u8]) -> Result<Vec<Signal>, Error> {
        let Ok(Message::Sealed(sealed)) = Message::from_wire(bytes) else {
            return Err(Error::Tampered);
        };
        let payload = self.opener.open(&sealed).map_err(|_| Error::Tampered)?;
        Signal::from_wire(&payload).map_err(|_| Error::Tampered)
    }

    /// Says why this end gives up, if it does, and leaves the room.
    pub async fn leave(mut self, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.say(&[Signal::Cancel(reason)]);
        }
        self.room.leave().await;
    }
}

/// The peer's wish to stop, if that is what came. Once lanes are open nothing else matters here:
/// a server that goes away or tampers cannot touch them.
pub(super) fn cancelled(signalled: Result<Signalled, Error>) -> Option<Frame> {
    match signalled {
        Ok(Signalled::Signals(signals)) => signals.iter().find_map(|signal| match signal {
            Signal::Cancel(reason) => Some(Frame::Cancel(*reason)),
            _ => None,
        }),
        Ok(Signalled::Peer(_) | Signalled::Lost) => None,
        Err(error) => {
            tracing::warn!(%error, "signalling");
            None
        }
    }
}
