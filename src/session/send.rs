//! Sending: from paths to a receiver that has everything on stable storage.

use std::{
    io::Read,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    carrier::{Change, Need, Wishes},
    connect::{self, Arrived, Link},
    event::{Answer, Complete, Event, Front, Question},
    feed::{Checker, Fed, Feed, Job},
    figures::Figures,
    limits::Watch,
    meet::{Host, Wish},
    progress::{Lanes, Meter, Progress},
    reunion::{Heard, Meeting, Ties},
    summary::Offer,
};
use crate::{
    disk::{
        source::{Source, SourceError},
        tree::{Found, Selection, Tree},
    },
    error::Error,
    net::{network::Network, rendezvous::ServerUrl},
    proto::{
        Role,
        frame::{Frame, Reason},
        manifest::{Entry, FileId},
        name::{Name, unportable},
        sender::{Action, Failure, Input, Outcome, Sender},
    },
};

/// How often progress is told.
pub(super) const PROGRESS: Duration = Duration::from_millis(100);

/// Codes of one run: each that is used up by a wrong guess gives an attacker one more.
const MOST_CODES: usize = 3;

/// Entries that the walk hands over together.
const BATCH: usize = 256;

/// What to send.
pub enum What {
    /// Files and folders.
    Paths(Selection),
    /// Whatever comes from a reader, under a name.
    Stream(Name, Box<dyn Read + Send>),
    /// A text.
    Text(String),
}

/// What to send, and how.
pub struct SendOptions {
    /// The files, the stream or the text.
    pub what: What,
    /// The server to meet at; without one, or when it does not answer, this LAN.
    pub server: Option<ServerUrl>,
    /// The code.
    pub wish: Wish,
    /// Have the user compare verifier words before anything is told.
    pub verify: bool,
    /// How long a lost connection, or a receiver that went away, is waited for.
    pub patience: Duration,
    /// What of the network may be used.
    pub network: Network,
    /// How many lanes there are, and how fast they may be.
    pub wishes: Wishes,
}

/// Sends to one receiver.
///
/// # Errors
/// [`Error`] when not everything that the receiver wanted arrived whole and safe.
pub async fn send(options: SendOptions, front: Front) -> Result<Complete, Error> {
    let SendOptions { what, server, wish, verify, patience, network, wishes } = options;
    warn_of_names(&what, &front);
    let opened = spawn_blocking(move || open(what)).await.expect("opening does not panic");
    let (source, name) = opened?;
    let host =
        front.unless_interrupted(Host::choose(server.as_ref(), &network.dialer, &front)).await?;
    let sent = match meet(&host, wish, verify, &network, &front).await {
        Ok((link, meeting, words)) => {
            let ties = Ties::new(link, meeting, patience, front.clone());
            Sending::new(ties, source, name, words, wishes, &front).run().await
        }
        Err(error) => Err(error),
    };
    host.close().await;
    sent
}

/// Tells at once which items have names that some systems cannot hold; what is in folders is told
/// when it is found.
fn warn_of_names(what: &What, front: &Front) {
    let What::Paths(selection) = what else { return };
    let names = selection.paths.iter().filter_map(|path| path.file_name()?.to_str());
    names.for_each(|name| warn_of_name(name, front));
}

fn warn_of_name(name: &str, front: &Front) {
    if let Some(why) = unportable(name) {
        front.tell(Event::Unportable { name: name.to_owned(), why });
    }
}

fn open(what: What) -> Result<(Source, Name), Error> {
    let plain = |name: &str| Name::try_from(name).expect("a plain name");
    Ok(match what {
        What::Paths(selection) => {
            let tree = Tree::new(&selection)?;
            if tree.is_empty() {
                return Err(Error::Usage("Nothing is left to send".to_owned()));
            }
            (Source::of_tree(tree), plain("-"))
        }
        What::Stream(name, from) => (Source::of_stream(from), name),
        What::Text(text) => (Source::of_text(text), plain("message.txt")),
    })
}

/// Waits for a receiver that knows the code, with a fresh one after each wrong guess.
async fn meet(
    host: &Host,
    mut wish: Wish,
    verify: bool,
    network: &Network,
    front: &Front,
) -> Result<(Link, Meeting, Option<[&'static str; 4]>), Error> {
    for _ in 0..MOST_CODES {
        match host.pair(&wish, network, front).await {
            Ok(paired) => {
                let words = paired.keys.verifier_words();
                let meeting = Meeting::of(Role::Sender, &paired, network.clone());
                front.tell(Event::Connecting);
                let link = connect::connect(Role::Sender, paired, network, verify, front).await?;
                let wanted = verify || link.peer_wants_words;
                return Ok((link, meeting, wanted.then_some(words)));
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
    ties: Ties,
    source: Arc<Source>,
    walk: mpsc::Receiver<Walked>,
    wishes: Wishes,
    feed: Option<Feed>,
    checker: Checker,
    words: Option<[&'static str; 4]>,
    answer: Option<oneshot::Receiver<Answer>>,
    front: &'a Front,
    offer: Offer,
    /// Whether the user knows that everything was sent.
    finishing: bool,
    meter: Meter,
    watch: Watch,
    /// Bytes that left on earlier connections.
    earlier: u64,
    /// Why files were withdrawn: the first reason.
    changed: Option<SourceError>,
    /// What made this end give up.
    cause: Option<Error>,
}

/// What the walk of the tree comes across.
enum Walked {
    Entries(Vec<Entry>),
    LeftOut(Box<Event>),
    End,
}

impl<'a> Sending<'a> {
    fn new(
        ties: Ties,
        source: Source,
        name: Name,
        words: Option<[&'static str; 4]>,
        wishes: Wishes,
        front: &'a Front,
    ) -> Self {
        let source = Arc::new(source);
        Self {
            machine: Sender::new(words.is_some()),
            ties,
            walk: walk(source.clone(), name),
            checker: Checker::start(source.clone()),
            source,
            wishes,
            feed: None,
            words,
            answer: None,
            front,
            offer: Offer::default(),
            finishing: false,
            meter: Meter::new(0, Instant::now()),
            watch: Watch::default(),
            earlier: 0,
            changed: None,
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
            tokio::select! {
                heard = self.ties.next() => self.heard(heard),
                Some(walked) = self.walk.recv() => self.walked(walked),
                fed = next_fed(&mut self.feed) => fed.into_iter().for_each(|fed| self.fed(fed)),
                (file, chunk, hash) = self.checker.next() => {
                    let hash = hash.map_err(|error| self.note(file, error)).ok();
                    self.machine.handle(Input::Checked(file, chunk, hash));
                }
                answer = answered(&mut self.answer) => {
                    self.machine.handle(Input::Compared(answer != Answer::No));
                }
                interrupt = self.front.interrupted(), if self.cause.is_none() => {
                    self.cause = Some(Error::Interrupted(interrupt));
                    self.machine.handle(Input::Failed(Reason::Interrupted));
                }
                _ = tick.tick() => {
                    self.look_for_limit().await;
                    self.tell_progress(false);
                }
            }
        };
        self.end(ended).await
    }

    /// Does what the machine wants done, until it is over.
    async fn act(&mut self) -> Option<Result<Outcome, Failure>> {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Compare => {
                    self.words
                        .into_iter()
                        .for_each(|words| self.front.tell(Event::Verifier(words)));
                    self.answer = Some(self.front.ask(Question::SameWords));
                }
                Action::Send(frame) => {
                    self.ties.send(&frame).await;
                    if matches!(frame, Frame::Manifest(_)) {
                        // Faster lanes are opened while the receiver's user is asked.
                        self.feed();
                    }
                }
                Action::Read(file, chunk) => {
                    self.job(file, |entry| Job::Read(file, entry, chunk));
                }
                Action::Close(file) => self.job(file, |entry| Job::Close(file, entry)),
                Action::Announce(chunk) => self.job(chunk.file, |_| Job::Announce(chunk)),
                Action::Check(file, chunk) => {
                    if let Some(entry) = self.machine.entry(file) {
                        self.checker.queue(file, entry.clone(), chunk);
                    }
                }
                Action::Grant(limit) => {
                    if self.sent() == 0 {
                        self.meter = Meter::new(self.offer.bytes, Instant::now());
                    }
                    if let Some(feed) = self.feed() {
                        feed.grant(limit);
                    }
                }
                Action::Forget(_, chunks) => self.source.forget(chunks),
                Action::Reconnect => {} // `Ties` does that by itself.
                Action::Done(ended) => return Some(ended),
            }
        }
        None
    }

    /// Payload bytes handed to lanes, on all connections.
    fn sent(&self) -> u64 {
        self.earlier + self.feed.as_ref().map_or(0, Feed::sent)
    }

    /// The feed of this connection, while there is one.
    fn feed(&mut self) -> Option<&mut Feed> {
        let link = self.ties.link()?;
        if self.feed.is_none() {
            let (first, longest) = (link.first.clone(), link.max_frame);
            let (source, faster, round) = (self.source.clone(), link.faster, link.round);
            self.feed = Some(Feed::start(source, first, longest, self.wishes, faster, round));
        }
        self.feed.as_mut()
    }

    fn job(&mut self, file: FileId, job: impl FnOnce(Entry) -> Job) {
        if let Some(entry) = self.machine.entry(file).cloned()
            && let Some(feed) = self.feed()
        {
            feed.queue(job(entry));
        }
    }

    fn heard(&mut self, heard: Heard) {
        let input = match heard {
            Heard::Control(arrived) => arrived_input(arrived),
            // Nothing comes back on data lanes.
            Heard::Data(_) => Some(Input::Malformed),
            Heard::Lanes(change) => {
                self.change_lanes(change);
                None
            }
            Heard::Limited(limit) => {
                self.watch.hear(limit);
                None
            }
            // It is heard on the connection when that is so.
            Heard::Left => None,
            Heard::Cancel(reason) => Some(Input::Peer(Frame::Cancel(reason))),
            Heard::Closed | Heard::Lost => {
                self.drop_feed();
                Some(Input::PathLost)
            }
            Heard::Reconnected => {
                self.drop_feed();
                self.machine.handle(Input::PathLost);
                Some(Input::Reconnected)
            }
            Heard::Alone(error) => {
                self.cause.get_or_insert(error);
                Some(Input::Failed(Reason::Other))
            }
        };
        input.into_iter().for_each(|input| self.machine.handle(input));
    }

    fn change_lanes(&mut self, change: Change) {
        if let Some(feed) = self.feed() {
            feed.change(change);
        }
    }

    fn drop_feed(&mut self) {
        if let Some(feed) = self.feed.take() {
            self.earlier += feed.sent();
            feed.rest().into_iter().for_each(|fed| self.fed(fed));
        }
    }

    fn walked(&mut self, walked: Walked) {
        match walked {
            Walked::Entries(entries) => {
                for entry in &entries {
                    self.offer.add(entry);
                    if entry.path.parent().is_some() {
                        warn_of_name(entry.path.name().as_str(), self.front);
                    }
                }
                self.meter.expect(self.offer.bytes);
                self.machine.handle(Input::Found(entries));
            }
            Walked::LeftOut(event) => self.front.tell(*event),
            Walked::End => {
                self.front.tell(Event::Offer(self.offer.clone()));
                self.machine.handle(Input::WalkEnded);
            }
        }
    }

    fn fed(&mut self, fed: Fed) {
        let input = match fed {
            Fed::Read(chunk) => Input::ChunkRead(chunk),
            Fed::Ended(file, size) => Input::StreamEnded(file, size),
            Fed::Unchanged(file) => {
                self.machine.handle(Input::Unchanged(file));
                if self.machine.is_waiting_for_the_end()
                    && !std::mem::replace(&mut self.finishing, true)
                {
                    self.front.tell(Event::Finishing);
                }
                return;
            }
            Fed::Unreadable(file, error) => {
                self.note(file, error);
                Input::Unreadable(file)
            }
            Fed::Changed(file, error) => {
                self.note(file, error);
                Input::Changed(file)
            }
            Fed::Need(Need::Lanes(count)) => return self.ties.want_lanes(count),
            Fed::Need(Need::Stream(kind)) => return self.ties.want_stream(kind),
            Fed::Need(Need::Close(lane)) => {
                self.ties.close_lane(lane);
                return self.change_lanes(Change::Gone(lane));
            }
        };
        self.machine.handle(input);
    }

    /// A file cannot be sent: its user is told, once.
    fn note(&mut self, file: FileId, error: SourceError) {
        if self.machine.is_withdrawn(file) {
            return;
        }
        if let Some(entry) = self.machine.entry(file) {
            let (path, why) = (entry.path.as_str().to_owned(), Some(error.to_string()));
            self.front.tell(Event::Withdrawn { path, why });
        }
        self.changed.get_or_insert(error);
    }

    /// What the peer has acknowledged is what has left for good; in the end that is everything.
    fn tell_progress(&mut self, is_over: bool) {
        let Some(feed) = &self.feed else { return };
        let figures = feed.figures();
        let Figures { sent, under_way, lanes: count, window, round, again, repaired, mtu, .. } =
            figures;
        let under_way = if is_over { 0 } else { under_way };
        let done = (self.earlier + sent).saturating_sub(under_way) + self.machine.spared();
        if done > 0 {
            let over = figures.over;
            let lanes = Some(Lanes { count, under_way, window, round, again, repaired, mtu });
            let progress = self.meter.measure(done, Instant::now());
            self.front.tell(Event::Progress(Progress {
                limit: self.watch.limit,
                over,
                lanes,
                ..progress
            }));
        }
    }

    /// Sees what the transfer waits for, and tells the receiver.
    async fn look_for_limit(&mut self) {
        let feed = self.feed.as_ref().filter(|feed| feed.sent() > 0);
        let (Some(feed), Some(link)) = (feed, self.ties.link()) else { return };
        let found = self.watch.look_at_sender(feed.figures(), feed.spent(), link.path);
        if let Some(found) = found {
            self.ties.send(&found).await;
        }
    }

    async fn end(mut self, ended: Result<Outcome, Failure>) -> Result<Complete, Error> {
        if ended.is_ok() {
            self.tell_progress(true);
        }
        let (sent, took) = (self.sent(), self.meter.elapsed(Instant::now()));
        self.ties.end(ended.as_ref().err().and_then(Failure::reason)).await;
        let outcome = ended
            .map_err(|failure| Error::of(&failure, self.cause.unwrap_or(Error::WordsDiffer)))?;
        if self.offer.is_stream {
            self.offer.bytes = sent;
        }
        let complete = complete(Role::Sender, self.offer, &outcome, took);
        if outcome.withdrawn.is_empty() && outcome.delivered == 0 && outcome.existing > 0 {
            return Err(Error::PeerGaveUp(Reason::TargetExists));
        }
        if outcome.delivered > 0 || outcome.withdrawn.is_empty() {
            self.front.tell(Event::Complete(complete.clone()));
        }
        match (outcome.withdrawn.len(), self.changed) {
            (0, _) => Ok(complete),
            (1, Some(error)) => Err(error.into()),
            (count, _) => Err(Error::SomeChanged(count)),
        }
    }
}

/// What to tell of a transfer that has ended.
pub(super) fn complete(role: Role, offer: Offer, outcome: &Outcome, took: Duration) -> Complete {
    let Outcome { delivered, declined, existing, spared, digest, .. } = *outcome;
    let (received, paths) = (role == Role::Receiver, Vec::new());
    Complete { offer, received, paths, delivered, declined, existing, spared, digest, took }
}

/// Walks on a thread of its own, as fast as what it finds is taken.
fn walk(source: Arc<Source>, name: Name) -> mpsc::Receiver<Walked> {
    let (tell, walked) = mpsc::channel(4);
    let work = move || {
        let mut batch = Vec::new();
        let mut give = |found| match found {
            Found::Entry(entry) => {
                batch.push(entry);
                batch.len() < BATCH
                    || tell.blocking_send(Walked::Entries(std::mem::take(&mut batch))).is_ok()
            }
            Found::LeftOut { path, why } => {
                let why = why.to_string();
                tell.blocking_send(Walked::LeftOut(Box::new(Event::LeftOut { path, why }))).is_ok()
            }
        };
        source.walk(&name, &mut give);
        // Nobody listens when the session has ended.
        let _ = tell.blocking_send(Walked::Entries(batch));
        let _ = tell.blocking_send(Walked::End);
    };
    let thread = thread::Builder::new().name("walk".to_owned()).spawn(work);
    thread.expect("the system has a thread to give");
    walked
}

/// What arrived on the control channel, as far as the machine cares.
fn arrived_input(arrived: Arrived) -> Option<Input> {
    match arrived {
        Arrived::Frame(frame) => Some(Input::Peer(frame)),
        Arrived::Nothing => None,
        Arrived::Malformed(_) => Some(Input::Malformed),
        Arrived::Closed => Some(Input::PathLost),
    }
}

async fn next_fed(feed: &mut Option<Feed>) -> Vec<Fed> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// The user's answer to the question that was asked, once; nobody to answer means no.
pub(super) async fn answered(answer: &mut Option<oneshot::Receiver<Answer>>) -> Answer {
    let answered = match answer {
        Some(waiting) => waiting.await.unwrap_or(Answer::No),
        None => std::future::pending().await,
    };
    *answer = None;
    answered
}
