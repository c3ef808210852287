//! What a session tells its user, what it asks, and how it is told to stop.

use std::{path::PathBuf, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::{progress::Progress, summary::Offer};
use crate::{
    error::Error,
    net::peer::Path,
    proto::{digest::Hash, name::RelPath, receiver::Conflict},
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
    /// A name is one that some systems cannot hold.
    Unportable {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// Something in a folder is not sent.
    LeftOut {
        /// What it is called on this machine.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file is not sent after all.
    Withdrawn {
        /// Its path in the offer.
        path: String,
        /// Why; the receiver does not know.
        why: Option<String>,
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
    /// The connection is lost, and looked for again, for so long.
    Reconnecting(Duration),
    /// A session that was interrupted before is taken up again.
    Resuming,
    /// These words must be the same on both ends.
    Verifier([&'static str; 4]),
    /// The answer decides how it goes on.
    Question(Question, oneshot::Sender<Answer>),
    /// What is sent or received.
    Offer(Offer),
    /// Everything that is offered, with sizes, when only that was wanted.
    Listing(Vec<(RelPath, Option<u64>)>),
    /// A text has arrived.
    Text(Vec<u8>),
    /// How far it is.
    Progress(Progress),
    /// Everything was sent; the receiver makes it safe.
    Finishing,
    /// Everything is safe.
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
    /// What makes a browser the receiver: the page of the server that is used, with the code.
    pub link: Option<Link>,
}

/// A link to a page; it holds the code, which is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The text.
    pub url: String,
    /// Whether other machines can open it.
    pub is_for_others: bool,
}

/// What the user is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether to take what is offered.
    Accept(Offer),
    /// Whether the other end shows the same words.
    SameWords,
}

/// What the user says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No.
    No,
    /// Yes.
    Yes,
    /// Yes, and this is to be done about names that are taken.
    With(Conflict),
}

/// What is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// What was offered.
    pub offer: Offer,
    /// Whether this end is the receiver.
    pub received: bool,
    /// Where the receiver has each item that it did not have before; empty on the sender.
    pub paths: Vec<PathBuf>,
    /// Files and folders that the receiver has now.
    pub delivered: u32,
    /// Those that it did not want.
    pub declined: u32,
    /// Those that it kept its own of.
    pub existing: u32,
    /// Bytes that did not need to be sent.
    pub spared: u64,
    /// The tree digest, of one file.
    pub digest: Option<Hash>,
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
    pub(super) fn ask(&self, question: Question) -> oneshot::Receiver<Answer> {
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
