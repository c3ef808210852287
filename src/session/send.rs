//! Sending: from a path to a receiver that has the file on stable storage.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    connect::{self, Arrived, Link, arrived, next_event},
    event::{Complete, Event, Front, Offer, Question},
    feed::{Fed, Feed},
    meet::{Host, Wish},
    progress::Meter,
    signalling::cancelled,
};
use crate::{
    disk::source::Source,
    error::Error,
    net::{lane::LaneEvent, peer::PeerEvent, rendezvous::ServerUrl},
    proto::{
        Role,
        digest::Hash,
        frame::{Frame, Reason},
        sender::{Action, Failure, Input, ONLY, Sender},
    },
};

/// How often progress is told.
pub(super) const PROGRESS: Duration = Duration::from_millis(100);

/// Codes of one run: each that is used up by a wrong guess gives an attacker one more.
const MOST_CODES: usize = 3;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// The file.
    pub path: PathBuf,
    /// The server to meet at; without one, or when it does not answer, this LAN.
    pub server: Option<ServerUrl>,
    /// The code.
    pub wish: Wish,
    /// Have the user compare verifier words before anything is told.
    pub verify: bool,
}

/// Sends a file to one receiver.
///
/// # Errors
/// [`Error`] when it did not arrive whole and safe.
pub async fn send(options: SendOptions, front: Front) -> Result<Complete, Error> {
    let SendOptions { path, server, wish, verify } = options;
    let source =
        spawn_blocking(move || Source::open(&path)).await.expect("opening does not panic")?;
    warn_of_name(&source, &front);
    let host = front.unless_interrupted(Host::choose(server.as_ref(), &front)).await?;
    let sent = match meet(&host, wish, verify, &front).await {
        Ok((link, words)) => Sending::new(link, source, words, &front).run().await,
        Err(error) => Err(error),
    };
    host.close().await;
    sent
}

fn warn_of_name(source: &Source, front: &Front) {
    let names = source.entry().path.components();
    for (name, why) in names.iter().filter_map(|name| Some((name, name.unportable()?))) {
        front.tell(Event::Unportable { name: name.clone(), why });
    }
}

/// Waits for a receiver that knows the code, with a fresh one after each wrong guess.
async fn meet(
    host: &Host,
    mut wish: Wish,
    verify: bool,
    front: &Front,
) -> Result<(Link, Option<[&'static str; 4]>), Error> {
    for _ in 0..MOST_CODES {
        match host.pair(&wish, front).await {
            Ok(paired) => {
                let words = paired.keys.verifier_words();
                let link = connect::connect(Role::Sender, paired, verify, front).await?;
                let wanted = verify || link.peer_wants_words;
                return Ok((link, wanted.then_some(words)));
            }
            Err(Error::WrongCode) => {
                front.tell(Event::WrongCode);
                wish.code = None;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::TooManyWrongCodes)
}

/// A transfer, from open lanes to its end.
struct Sending<'a> {
    machine: Sender,
    link: Link,
    source: Arc<Source>,
    feed: Option<Feed>,
    words: Option<[&'static str; 4]>,
    answer: Option<oneshot::Receiver<bool>>,
    front: &'a Front,
    meter: Meter,
    /// What made this end give up.
    cause: Option<Error>,
}

impl<'a> Sending<'a> {
    fn new(link: Link, source: Source, words: Option<[&'static str; 4]>, front: &'a Front) -> Self {
        let entry = source.entry().clone();
        let meter = Meter::new(entry.size, Instant::now());
        Self {
            machine: Sender::new(entry, words.is_some()),
            link,
            source: Arc::new(source),
            feed: None,
            words,
            answer: None,
            front,
            meter,
            cause: None,
        }
    }

    async fn run(mut self) -> Result<Complete, Error> {
        let mut tick = interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            if let Some(ended) = self.act().await {
                break ended;
            }
            let input = tokio::select! {
                arrived = self.link.control.1.next() => arrived_input(&arrived),
                arrived = self.link.data.1.next() => data_input(&arrived),
                event = next_event(&mut self.link.peer) => lost(&event),
                signalled = self.link.signalling.next() => cancelled(signalled).map(Input::Peer),
                fed = next_fed(&mut self.feed) => self.fed(fed),
                same = answered(&mut self.answer) => Some(Input::Compared(same)),
                interrupt = self.front.interrupted(), if self.cause.is_none() => {
                    self.cause = Some(Error::Interrupted(interrupt));
                    Some(Input::Failed(Reason::Interrupted))
                }
                _ = tick.tick() => {
                    self.tell_progress().await;
                    None
                }
            };
            if let Some(input) = input {
                self.machine.handle(input);
            }
        };
        self.end(ended).await
    }

    /// Does what the machine wants done, until it is over.
    async fn act(&mut self) -> Option<Result<Hash, Failure>> {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Compare => {
                    self.words
                        .into_iter()
                        .for_each(|words| self.front.tell(Event::Verifier(words)));
                    self.answer = Some(self.front.ask(Question::SameWords));
                }
                Action::Send(frame) => self.send(frame).await,
                Action::Read { file, .. } => {
                    self.meter = Meter::new(self.source.entry().size, Instant::now());
                    let lane = self.link.data.0.clone();
                    self.feed =
                        Some(Feed::start(self.source.clone(), file, lane, self.link.max_frame));
                }
                Action::Grant(limit) => self.feed.iter().for_each(|feed| feed.grant(limit)),
                Action::Done(ended) => return Some(ended),
            }
        }
        None
    }

    async fn send(&mut self, frame: Frame) {
        match &frame {
            Frame::Manifest(_) => self.front.tell(Event::Offer(self.offer())),
            Frame::Fin { .. } => {
                self.tell_progress().await;
                self.front.tell(Event::Finishing);
            }
            _ => {}
        }
        self.link.send(&frame).await;
    }

    fn fed(&mut self, fed: Fed) -> Option<Input> {
        match fed {
            Fed::Chunk(chunk) => Some(Input::ChunkRead(chunk)),
            Fed::All => Some(Input::SourceRead(ONLY)),
            Fed::Failed(error) => {
                self.cause = Some(error.into());
                Some(Input::Failed(Reason::SourceChanged))
            }
            Fed::Closed => None,
        }
    }

    /// What the peer has acknowledged is what has left for good.
    async fn tell_progress(&mut self) {
        let Some(feed) = &self.feed else { return };
        let outstanding = u64::try_from(self.link.data.0.outstanding().await).unwrap_or_default();
        let done = feed.sent().saturating_sub(outstanding);
        self.front.tell(Event::Progress(self.meter.measure(done, Instant::now())));
    }

    fn offer(&self) -> Offer {
        let entry = self.source.entry();
        Offer { name: entry.path.name().clone(), size: entry.size }
    }

    async fn end(self, ended: Result<Hash, Failure>) -> Result<Complete, Error> {
        let (Offer { name, size }, took) = (self.offer(), self.meter.elapsed(Instant::now()));
        self.link.end(ended.as_ref().err().and_then(Failure::reason)).await;
        let digest = ended
            .map_err(|failure| Error::of(&failure, self.cause.unwrap_or(Error::WordsDiffer)))?;
        let complete = Complete { name, path: None, size, digest, took };
        self.front.tell(Event::Complete(complete.clone()));
        Ok(complete)
    }
}

/// Nothing comes back on the data lane.
fn data_input(event: &LaneEvent) -> Option<Input> {
    match arrived_input(event) {
        Some(Input::Peer(_)) => Some(Input::Malformed),
        other => other,
    }
}

/// What arrived on the control channel, as far as the machine cares.
fn arrived_input(event: &LaneEvent) -> Option<Input> {
    match arrived(event) {
        Arrived::Frame(frame) => Some(Input::Peer(frame)),
        Arrived::Nothing => None,
        Arrived::Malformed(_) => Some(Input::Malformed),
        Arrived::Closed => Some(Input::PathLost),
    }
}

fn lost(event: &PeerEvent) -> Option<Input> {
    matches!(event, PeerEvent::Lost).then_some(Input::PathLost)
}

async fn next_fed(feed: &mut Option<Feed>) -> Fed {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// The user's answer to the question that was asked, once; nobody to answer means no.
pub(super) async fn answered(answer: &mut Option<oneshot::Receiver<bool>>) -> bool {
    let answered = match answer {
        Some(waiting) => waiting.await.unwrap_or_default(),
        None => std::future::pending().await,
    };
    *answer = None;
    answered
}
