//! What a session tells its user, what it asks, and how it is told to stop.

use std::{path::PathBuf, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::progress::Progress;
use crate::{
    error::Error,
    net::peer::Path,
    proto::{digest::Hash, name::Name},
};

/// Something that happened, for the user.
#[derive(Debug)]
pub enum Event {
    /// The configured server does not answer; the sender goes on with this LAN alone.
    ServerUnreachable {
        /// Its address.
        server: String,
        /// What happened.
        error: String,
    },
    /// The name of the file is one that some systems cannot hold.
    Unportable {
        /// The name.
        name: Name,
        /// Why.
        why: &'static str,
    },
    /// Nobody can find the sender by itself: multicast DNS does not work here.
    NoDiscovery(String),
    /// The sender waits for a receiver.
    Code(Shown),
    /// Somebody came with a wrong code, which is used up; another follows.
    WrongCode,
    /// The receiver looks for the sender on this LAN.
    Searching,
    /// It still does, and the sender was not found yet.
    StillSearching,
    /// The peer knows the code; a path is being sought.
    Connecting,
    /// Bytes can flow.
    Connected(Path),
    /// These words must be the same on both ends.
    Verifier([&'static str; 4]),
    /// The answer decides how it goes on.
    Question(Question, oneshot::Sender<bool>),
    /// What is sent or received.
    Offer(Offer),
    /// How far it is.
    Progress(Progress),
    /// Everything was sent; the receiver makes it safe.
    Finishing,
    /// The file is safe.
    Complete(Complete),
}

/// What the receiver must be told by its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The code; secret.
    pub code: String,
    /// Where the sender's own server listens, when it embeds one.
    pub at: Option<String>,
    /// The configured server, when it is used.
    pub server: Option<String>,
}

/// What the user is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether to take what is offered.
    Accept(Offer),
    /// Whether the other end shows the same words.
    SameWords,
}

/// A file that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub name: Name,
    /// Bytes.
    pub size: u64,
}

/// A file that is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Its name.
    pub name: Name,
    /// Where the receiver has it; `None` on the sender.
    pub path: Option<PathBuf>,
    /// Bytes.
    pub size: u64,
    /// Its tree digest.
    pub digest: Hash,
    /// From the first byte to the last word.
    pub took: Duration,
}

/// What ends a session from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM and its like.
    Terminated,
}

/// How a session talks to whoever runs it.
#[derive(Clone, Debug)]
pub struct Front {
    events: mpsc::UnboundedSender<Event>,
    interrupt: watch::Receiver<Option<Interrupt>>,
}

impl Front {
    /// A front that tells its events to a queue and ends when `interrupt` says so. The queue
    /// needs no bound: events are few, and progress comes ten times a second.
    #[must_use]
    pub fn new(
        events: mpsc::UnboundedSender<Event>,
        interrupt: watch::Receiver<Option<Interrupt>>,
    ) -> Self {
        Self { events, interrupt }
    }

    pub(super) fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody listens to the session");
        }
    }

    /// Asks; nobody to answer means no.
    pub(super) fn ask(&self, question: Question) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.tell(Event::Question(question, answer));
        answered
    }

    /// Does something that may be left off at any point when the session is to end.
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            interrupt = self.interrupted() => Err(Error::Interrupted(interrupt)),
        }
    }

    /// Waits until the session is to end.
    pub(super) async fn interrupted(&self) -> Interrupt {
        let mut interrupt = self.interrupt.clone();
        let said = interrupt.wait_for(Option::is_some).await.ok().and_then(|said| *said);
        match said {
            Some(said) => said,
            // Whoever could have said it is gone, and will not say it any more.
            None => std::future::pending().await,
        }
    }
}
