//! Receiving: from a code to a file on stable storage under its name.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    connect::{self, Arrived, Link, arrived, next_event},
    event::{Complete, Event, Front, Offer, Question},
    meet,
    progress::Meter,
    send::{PROGRESS, answered},
    signalling::cancelled,
};
use crate::{
    disk::{
        sink::Destination,
        writer::{Command, Report, Writer},
    },
    error::Error,
    net::{lane::LaneEvent, peer::PeerEvent, rendezvous::ServerUrl},
    proto::{
        Role,
        code::Invitation,
        digest::Hash,
        frame::{Frame, FrameError, Reason},
        manifest::{Entry, EntryError},
        receiver::{Action, Input, Receiver},
        sender::Failure,
    },
};

/// How long the sender may be silent where [`Receiver::waits_for`] waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to receive, and where to.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// The code, and where it says to meet.
    pub invitation: Invitation,
    /// The server that codes without a place belong to.
    pub server: Option<ServerUrl>,
    /// A folder that exists, or the name that the file is to have.
    pub out: Option<PathBuf>,
    /// Take what is offered without asking.
    pub consent: Consent,
    /// Show verifier words, and have the sender's user compare them.
    pub verify: bool,
}

/// Who decides whether an offer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The user, who is asked.
    Ask,
    /// Nobody: it is taken.
    Given,
}

/// Receives a file.
///
/// # Errors
/// [`Error`] when it is not here whole and safe; nothing bears its name then.
pub async fn receive(options: ReceiveOptions, front: Front) -> Result<Complete, Error> {
    let ReceiveOptions { invitation, server, verify, .. } = &options;
    let finding = meet::find(invitation, server.as_ref(), &front);
    let paired = front.unless_interrupted(finding).await?;
    let words = paired.keys.verifier_words();
    let link = connect::connect(Role::Receiver, paired, *verify, &front).await?;
    if *verify || link.peer_wants_words {
        front.tell(Event::Verifier(words));
    }
    Receiving::new(link, options, &front).run().await
}

/// A transfer, from open lanes to its end.
struct Receiving<'a> {
    machine: Receiver,
    link: Link,
    options: ReceiveOptions,
    writer: Writer,
    reports: mpsc::UnboundedReceiver<Report>,
    answer: Option<oneshot::Receiver<bool>>,
    front: &'a Front,
    offer: Option<Offer>,
    meter: Meter,
    written: u64,
    path: Option<PathBuf>,
    /// What made this end give up.
    cause: Option<Error>,
}

impl<'a> Receiving<'a> {
    fn new(link: Link, options: ReceiveOptions, front: &'a Front) -> Self {
        // Bounded by credit: a report for each part that was let in.
        let (report, reports) = mpsc::unbounded_channel();
        Self {
            machine: Receiver::new(),
            link,
            options,
            writer: Writer::start(report),
            reports,
            answer: None,
            front,
            offer: None,
            meter: Meter::new(0, Instant::now()),
            written: 0,
            path: None,
            cause: None,
        }
    }

    async fn run(mut self) -> Result<Complete, Error> {
        let mut tick = interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_input = Instant::now();
        let ended = loop {
            if let Some(ended) = self.act().await {
                break ended;
            }
            let waits = self.machine.waits_for().is_some();
            let input = tokio::select! {
                event = self.link.control.1.next() => self.control(&event),
                event = self.link.data.1.next() => self.data(&event),
                Some(report) = self.reports.recv() => Some(self.reported(report)),
                event = next_event(&mut self.link.peer) => lost(&event),
                signalled = self.link.signalling.next() => cancelled(signalled).map(Input::Peer),
                wanted = answered(&mut self.answer) => Some(self.decided(wanted)),
                interrupt = self.front.interrupted(), if self.cause.is_none() => {
                    self.cause = Some(Error::Interrupted(interrupt));
                    Some(Input::Failed(Reason::Interrupted))
                }
                () = sleep_until((last_input + PATIENCE).into()), if waits => Some(Input::TimedOut),
                _ = tick.tick() => {
                    self.tell_progress();
                    None
                }
            };
            if let Some(input) = input {
                last_input = Instant::now();
                self.machine.handle(input);
            }
        };
        self.end(ended).await
    }

    /// Does what the machine wants done, until it is over.
    async fn act(&mut self) -> Option<Result<Hash, Failure>> {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Ask(entry) => self.ask(&entry),
                Action::Prepare(entry) => self.prepare(entry),
                Action::Send(frame) => self.link.send(&frame).await,
                Action::Write(part) => self.writer.command(Command::Write(part)),
                Action::Commit => {
                    self.tell_progress();
                    self.front.tell(Event::Finishing);
                    self.writer.command(Command::Commit);
                }
                Action::Done(ended) => return Some(ended),
            }
        }
        None
    }

    fn ask(&mut self, entry: &Entry) {
        let offer = Offer { name: entry.path.name().clone(), size: entry.size };
        self.offer = Some(offer.clone());
        self.answer = Some(match self.options.consent {
            Consent::Ask => self.front.ask(Question::Accept(offer)),
            Consent::Given => {
                self.front.tell(Event::Offer(offer));
                let (given, answer) = oneshot::channel();
                given.send(true).expect("the receiving end is right here");
                answer
            }
        });
    }

    fn decided(&mut self, wanted: bool) -> Input {
        if !wanted {
            self.cause = Some(Error::DeclinedHere);
        }
        Input::Answer(wanted)
    }

    fn prepare(&mut self, entry: Entry) {
        self.meter = Meter::new(entry.size, Instant::now());
        match Destination::of(entry.path.name(), self.options.out.as_deref()) {
            Ok(destination) => self.writer.command(Command::Prepare(destination, entry)),
            Err(error) => {
                self.cause = Some(error.into());
                self.machine.handle(Input::Failed(Reason::Disk));
            }
        }
    }

    /// What arrived on the control channel, where no bulk may travel.
    fn control(&mut self, event: &LaneEvent) -> Option<Input> {
        match self.frame(event) {
            Some(Input::Peer(Frame::Data(_) | Frame::Hashes(_))) => Some(Input::Malformed),
            other => other,
        }
    }

    /// What arrived on the data lane, where nothing else may travel.
    fn data(&mut self, event: &LaneEvent) -> Option<Input> {
        match self.frame(event) {
            Some(Input::Peer(frame)) if !matches!(frame, Frame::Data(_) | Frame::Hashes(_)) => {
                Some(Input::Malformed)
            }
            other => other,
        }
    }

    fn frame(&mut self, event: &LaneEvent) -> Option<Input> {
        match arrived(event) {
            Arrived::Frame(frame) => Some(Input::Peer(frame)),
            Arrived::Nothing => None,
            Arrived::Malformed(FrameError::Entry(EntryError::Name(why))) => {
                self.cause = Some(Error::UnsafeName(why));
                Some(Input::Failed(Reason::UnsafeName))
            }
            Arrived::Malformed(error) => {
                tracing::debug!(%error, "frame");
                Some(Input::Malformed)
            }
            Arrived::Closed => Some(Input::Closed),
        }
    }

    fn reported(&mut self, report: Report) -> Input {
        match report {
            Report::Prepared => Input::Prepared,
            Report::Stored(bytes) => {
                self.written += bytes;
                Input::Stored(bytes)
            }
            Report::ChunkStored(chunk) => Input::ChunkStored(chunk),
            Report::Committed(path) => {
                self.path = Some(path);
                Input::Committed
            }
            Report::Failed(error) => {
                self.cause = Some(error.into());
                Input::Failed(Reason::Disk)
            }
        }
    }

    fn tell_progress(&mut self) {
        if self.written > 0 && self.path.is_none() {
            let progress = self.meter.measure(self.written, Instant::now());
            self.front.tell(Event::Progress(progress));
        }
    }

    async fn end(self, ended: Result<Hash, Failure>) -> Result<Complete, Error> {
        let took = self.meter.elapsed(Instant::now());
        self.link.end(ended.as_ref().err().and_then(Failure::reason)).await;
        let writer = self.writer;
        spawn_blocking(|| writer.close()).await.expect("closing does not panic");
        let digest =
            ended.map_err(|failure| Error::of(&failure, self.cause.unwrap_or(Error::Corrupt)))?;
        let Offer { name, size } = self.offer.expect("a file that is done was offered");
        let complete = Complete { name, path: self.path, size, digest, took };
        self.front.tell(Event::Complete(complete.clone()));
        Ok(complete)
    }
}

fn lost(event: &PeerEvent) -> Option<Input> {
    matches!(event, PeerEvent::Lost).then_some(Input::PathLost)
}
