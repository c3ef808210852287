//! Receiving: from a code to files on stable storage under their names.

use std::{
    fmt,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    bench,
    connect::{self, Arrived, Link},
    event::{Answer, Complete, Event, Front, Question},
    limits::Watch,
    meet,
    progress::{Meter, Progress},
    reunion::{Heard, Meeting, Ties},
    send::{PROGRESS, answered, complete},
    summary::Offer,
};
use crate::{
    disk::{
        journal::Session,
        sink::{Destination, Item, SinkError, Survey},
        staging,
        tree::Patterns,
        writer::{Command, Report, Target, Writer},
    },
    error::Error,
    net::{
        network::Network,
        rendezvous::{RendezvousError, ServerUrl},
    },
    proto::{
        Role,
        code::Invitation,
        frame::{Frame, FrameError, MAX_FRAME, Reason},
        manifest::{Entry, EntryError, FileId, Kind},
        offer::Offer as Manifest,
        receiver::{Action, Conflict, Input, Receiver, Wait},
        reunion::Reunion,
        sender::{Failure, Outcome},
    },
};

/// How long the sender may be silent where [`Receiver::waits_for`] waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports of the disk that are taken together.
const REPORTS: usize = 256;

/// How long the sender of an interrupted session is looked for: before the code is tried anew,
/// and after that was in vain.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const SECOND_LOOK: Duration = Duration::from_secs(20);

/// What to receive, and where to.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// The code, and where it says to meet.
    pub invitation: Invitation,
    /// The server that codes without a place belong to.
    pub server: Option<ServerUrl>,
    /// Where everything goes.
    pub out: Out,
    /// Makes the pipe that [`Out::Pipe`] means.
    pub pipe: fn() -> Box<dyn Write + Send>,
    /// Who decides whether an offer is taken.
    pub consent: Consent,
    /// What is done about names that are taken; the user is asked without it, if at all.
    pub conflict: Option<Conflict>,
    /// Take only what one of these patterns fits; everything, when there is none.
    pub only: Vec<String>,
    /// Show verifier words, and have the sender's user compare them.
    pub verify: bool,
    /// How long a lost connection is waited for.
    pub patience: Duration,
    /// What of the network may be used.
    pub network: Network,
    /// The most bytes a second that are taken.
    pub bwlimit: Option<u64>,
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// Into the current folder.
    Here,
    /// Into a folder that exists, or under this name.
    Path(PathBuf),
    /// To the [pipe](ReceiveOptions::pipe).
    Pipe,
    /// Nowhere: it is the noise of a [measurement](super::bench), or nothing is taken.
    Nowhere,
}

/// Who decides whether an offer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The user, who is asked.
    Ask,
    /// Nobody: it is taken.
    Given,
    /// Nobody: it is only looked at.
    OnlyLook,
}

/// Receives what a sender offers.
///
/// # Errors
/// [`Error`] when not everything is here whole and safe; what is not bears no name of its own.
pub async fn receive(options: ReceiveOptions, front: Front) -> Result<Complete, Error> {
    let only = Patterns::new(&options.only)?;
    let met = front.unless_interrupted(find(&options, &front)).await?;
    Receiving::new(met, only, options, &front).run().await
}

/// Credit of one connection, under the user's limit.
struct Allowance {
    since: Instant,
    /// What the machine would grant.
    wanted: u64,
    granted: u64,
}

impl Allowance {
    fn new() -> Self {
        Self { since: Instant::now(), wanted: 0, granted: 0 }
    }

    /// What may be granted now, when that is more than before.
    fn due(&mut self, bwlimit: Option<u64>, now: Instant) -> Option<u64> {
        let allowed = bwlimit.map_or(u64::MAX, |rate| {
            let soon = (now + PROGRESS * 2).saturating_duration_since(self.since);
            let bytes = u128::from(rate) * soon.as_millis() / 1_000;
            u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(MAX_FRAME as u64)
        });
        let limit = self.wanted.min(allowed);
        let more = limit > self.granted;
        self.granted = self.granted.max(limit);
        more.then_some(limit)
    }
}

/// A sender that was found.
struct Met {
    link: Link,
    meeting: Meeting,
    /// Whether it is that of an interrupted session, which goes on.
    resumed: bool,
}

/// The sender: the one of an interrupted session with this code, or whoever has the code now.
async fn find(options: &ReceiveOptions, front: &Front) -> Result<Met, Error> {
    let former = former(options);
    if let Some(found) = again(former.as_ref(), FIRST_LOOK, front).await {
        return Ok(found);
    }
    let found = meet::find(&options.invitation, options.server.as_ref(), &options.network, front);
    let paired = match found.await {
        Ok(paired) => paired,
        Err(error) => {
            let gone = matches!(
                error,
                Error::NotOnLan | Error::Server(RendezvousError::Refused(_)) | Error::WrongCode
            );
            let former = former.filter(|_| gone);
            return again(former.as_ref(), SECOND_LOOK, front).await.ok_or(error);
        }
    };
    let words = paired.keys.verifier_words();
    let meeting = Meeting::of(Role::Receiver, &paired, options.network.clone());
    front.tell(Event::Connecting);
    let link =
        connect::connect(Role::Receiver, paired, &options.network, options.verify, front).await?;
    if options.verify || link.peer_wants_words {
        front.tell(Event::Verifier(words));
    }
    Ok(Met { link, meeting, resumed: false })
}

async fn again(former: Option<&Meeting>, patience: Duration, front: &Front) -> Option<Met> {
    let meeting = former?;
    front.tell(Event::Resuming);
    let link = meeting.meet(patience, false, front).await.ok()?;
    Some(Met { link, meeting: meeting.clone(), resumed: true })
}

/// How to meet the sender of an interrupted session with this code again.
fn former(options: &ReceiveOptions) -> Option<Meeting> {
    let nameplate = &options.invitation.code.nameplate;
    let folder = match &options.out {
        Out::Pipe | Out::Nowhere => return None,
        Out::Here => PathBuf::from("."),
        Out::Path(path) => Destination::of(Some(path), false).ok()?.folder().to_owned(),
    };
    let left = staging::left_in(&folder).ok()?;
    let mut sessions: Vec<_> = left.into_iter().filter_map(|left| left.session).collect();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.started));
    let session = sessions.iter().find(|session| session.nameplate == nameplate.as_str())?;
    let secret =
        |text: &str| -> Option<[u8; 32]> { HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok() };
    Some(Meeting {
        role: Role::Receiver,
        address: session.address.as_ref()?.parse().ok()?,
        embedded: nameplate.is_lan(),
        reunion: Reunion::of_bytes(secret(&session.room)?, secret(&session.key)?),
        network: options.network.clone(),
    })
}

/// A transfer, from open lanes to its end.
struct Receiving<'a> {
    machine: Receiver,
    ties: Ties,
    meeting: Meeting,
    only: Patterns,
    options: ReceiveOptions,
    writer: Writer,
    reports: mpsc::UnboundedReceiver<Report>,
    answer: Option<oneshot::Receiver<Answer>>,
    front: &'a Front,
    offer: Offer,
    meter: Meter,
    watch: Watch,
    allowance: Allowance,
    written: u64,
    paths: Vec<PathBuf>,
    finishing: bool,
    /// What made this end give up.
    cause: Option<Error>,
    /// The user only wanted to look.
    looked: bool,
}

impl<'a> Receiving<'a> {
    fn new(met: Met, only: Patterns, options: ReceiveOptions, front: &'a Front) -> Self {
        let Met { link, meeting, resumed } = met;
        // Bounded by credit: a report for each part that was let in.
        let (report, reports) = mpsc::unbounded_channel();
        // A name for a single item can be given only when it is known that there is one.
        let into_folder = match &options.out {
            Out::Here => true,
            Out::Path(path) => path.is_dir(),
            Out::Pipe | Out::Nowhere => false,
        };
        let eager = options.consent == Consent::Given && into_folder;
        Self {
            machine: if resumed { Receiver::resuming(eager) } else { Receiver::new(eager) },
            ties: Ties::new(link, meeting.clone(), options.patience, front.clone()),
            meeting,
            only,
            options,
            writer: Writer::start(report),
            reports,
            answer: None,
            front,
            offer: Offer::default(),
            meter: Meter::new(0, Instant::now()),
            watch: Watch::default(),
            allowance: Allowance::new(),
            written: 0,
            paths: Vec::new(),
            finishing: false,
            cause: None,
            looked: false,
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
            if self.machine.has_everything() {
                self.ties.be_patient_for(PATIENCE);
            }
            let waits = self.machine.waits_for().is_some();
            let mut reports = Vec::new();
            tokio::select! {
                heard = self.ties.next() => self.heard(heard).await,
                _ = self.reports.recv_many(&mut reports, REPORTS) => {
                    reports.into_iter().for_each(|report| self.reported(report));
                }
                answer = answered(&mut self.answer) => self.decided(answer),
                interrupt = self.front.interrupted(), if self.cause.is_none() => {
                    self.cause = Some(Error::Interrupted(interrupt));
                    self.machine.handle(Input::Failed(Reason::Interrupted));
                }
                () = sleep_until((last_input + PATIENCE).into()), if waits => {
                    self.machine.handle(Input::TimedOut);
                }
                _ = tick.tick() => {
                    if let Some(found) = self.watch.look_at_receiver(self.writer.spent()) {
                        self.ties.send(&found).await;
                    }
                    self.grant().await;
                    self.tell_progress();
                    continue;
                }
            }
            last_input = Instant::now();
        };
        self.end(ended).await
    }

    /// Does what the machine wants done, until it is over.
    async fn act(&mut self) -> Option<Result<Outcome, Failure>> {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Ask => self.open_target(),
                Action::Send(Frame::Credit { limit }) => {
                    self.allowance.wanted = limit;
                    self.grant().await;
                }
                Action::Send(frame) => self.ties.send(&frame).await,
                Action::Reconnect => {} // `Ties` does that by itself.
                Action::Open(file) => self.look_at(file),
                Action::Hash(file, chunk, origin) => {
                    self.writer.command(Command::Hash(file, chunk, origin));
                }
                Action::Write(part) => self.writer.command(Command::Write(part)),
                Action::Check(file, chunk) => self.writer.command(Command::Check(file, chunk)),
                Action::Copy(file, chunk) => self.writer.command(Command::Copy(file, chunk)),
                Action::Keep(file, chunk) => self.writer.command(Command::Keep(file, chunk)),
                Action::Finish(file) => self.writer.command(Command::Finish(file)),
                Action::Here(file) => self.writer.command(Command::Here(file)),
                Action::CopyFile(file) => self.writer.command(Command::CopyFile(file)),
                Action::Discard(file) => {
                    let path = self.path(file);
                    self.front.tell(Event::Withdrawn { path, why: None });
                    self.writer.command(Command::Discard(file));
                }
                Action::Commit(items) => self.commit(items),
                Action::Done(ended) => return Some(ended),
            }
        }
        None
    }

    /// Grants as much credit as the machine wants to, and the user's limit allows.
    async fn grant(&mut self) {
        if let Some(limit) = self.allowance.due(self.options.bwlimit, Instant::now()) {
            self.ties.send(&Frame::Credit { limit }).await;
        }
    }

    fn path(&self, file: FileId) -> String {
        let entry = self.machine.offer().entry(file);
        entry.map_or_else(String::new, |entry| entry.path.as_str().to_owned())
    }

    // From an offer to an answer.

    /// The offer is known well enough: looks what there is at the destination.
    fn open_target(&mut self) {
        let manifest = self.machine.offer();
        self.offer = Offer::of(manifest.entries());
        self.meter = Meter::new(self.offer.bytes, Instant::now());
        if self.options.consent == Consent::OnlyLook {
            let entries = manifest.entries().iter();
            let size = |entry: &Entry| (entry.kind == Kind::File).then_some(entry.size);
            let listing = entries.map(|entry| (entry.path.clone(), size(entry))).collect();
            self.front.tell(Event::Listing(listing));
        }
        match self.target() {
            Ok(target) => {
                let items = items(self.machine.offer());
                self.writer.command(Command::Open(target, items));
            }
            Err(error) => self.fail(error.into()),
        }
    }

    fn target(&self) -> Result<Target, SinkError> {
        let several = self.offer.items > 1;
        let path = match &self.options.out {
            Out::Pipe if self.offer.files == 1 && self.offer.folders == 0 => {
                return Ok(Target::Pipe((self.options.pipe)()));
            }
            Out::Pipe => return Err(SinkError::NotOneFile),
            Out::Nowhere if self.offer.names == [bench::NAME] && self.offer.is_stream => {
                return Ok(Target::Pipe(bench::nowhere()));
            }
            Out::Nowhere => return Err(SinkError::NotNoise),
            Out::Here if self.offer.is_text => return Ok(Target::Memory),
            Out::Here => None,
            Out::Path(path) => Some(path.as_path()),
        };
        Ok(Target::Folder(Destination::of(path, several)?, Some(self.session())))
    }

    /// What the journal is to hold of this session.
    fn session(&self) -> Session {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Session {
            nameplate: self.options.invitation.code.nameplate.to_string(),
            address: Some(self.meeting.address.to_string()),
            room: HEXLOWER.encode(self.meeting.reunion.room.as_bytes()),
            key: HEXLOWER.encode(self.meeting.reunion.key()),
            started: started.as_secs(),
        }
    }

    fn surveyed(&mut self, survey: Survey) {
        let Survey { free, held, existing } = survey;
        self.offer.free = free;
        self.offer.held = held;
        self.offer.existing = existing;
        match self.options.consent {
            Consent::Ask => {
                self.answer = Some(self.front.ask(Question::Accept(self.offer.clone())));
            }
            Consent::Given => {
                self.front.tell(Event::Offer(self.offer.clone()));
                self.decided(Answer::Yes);
            }
            Consent::OnlyLook => {
                self.front.tell(Event::Offer(self.offer.clone()));
                self.looked = true;
                self.machine.handle(Input::Answer(None));
            }
        }
    }

    fn decided(&mut self, answer: Answer) {
        let conflict = match answer {
            Answer::No => {
                self.cause = Some(Error::DeclinedHere);
                None
            }
            Answer::Yes => Some(self.options.conflict.unwrap_or_default()),
            Answer::With(conflict) => Some(conflict),
        };
        conflict.into_iter().for_each(|conflict| self.writer.command(Command::Decide(conflict)));
        // The user may have taken a while.
        self.meter = Meter::new(self.offer.bytes, Instant::now());
        self.machine.handle(Input::Answer(conflict));
    }

    fn look_at(&mut self, file: FileId) {
        let Some(entry) = self.machine.offer().entry(file) else { return };
        if self.only.fit(&entry.path, entry.kind == Kind::Directory) {
            self.writer.command(Command::Look(file, entry.clone()));
        } else {
            self.machine.handle(Input::Skipped(file, Reason::Declined));
        }
    }

    fn commit(&mut self, items: Vec<FileId>) {
        if self.machine.has_everything() && !self.finishing {
            self.tell_progress();
            self.finishing = true;
            self.front.tell(Event::Finishing);
        }
        let offer = self.machine.offer();
        let name = |file: FileId| Some((file, offer.entry(file)?.path.item().to_owned()));
        let items = items.into_iter().filter_map(name).collect();
        self.writer.command(Command::Commit(items));
    }

    // What happens.

    async fn heard(&mut self, heard: Heard) {
        let input = match heard {
            Heard::Control(arrived) => self.control(arrived),
            Heard::Data(arrived) => self.data(arrived),
            Heard::Lanes(_) => None,
            Heard::Limited(limit) => {
                self.watch.hear(limit);
                None
            }
            Heard::Cancel(reason) => Some(Input::Peer(Frame::Cancel(reason))),
            Heard::Closed => Some(Input::Closed),
            Heard::Left => self.has_parted().await.then_some(Input::Closed),
            Heard::Lost => Some(Input::PathLost),
            Heard::Reconnected => {
                self.allowance = Allowance::new();
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

    /// Whether a sender that left the room has nothing more to say: that it closed the connection
    /// may have been lost. The server, which tells of it, could only hasten the end.
    async fn has_parted(&self) -> bool {
        self.machine.waits_for() == Some(Wait::Farewell) && self.ties.is_drained().await
    }

    /// What arrived on the control channel, where no bulk may travel.
    fn control(&mut self, arrived: Arrived) -> Option<Input> {
        match self.frame(arrived) {
            Some(Input::Peer(Frame::Data(_) | Frame::Hashes(_))) => Some(Input::Malformed),
            other => other,
        }
    }

    /// What arrived on data lanes, where nothing else may travel.
    fn data(&mut self, arrived: Arrived) -> Option<Input> {
        match self.frame(arrived) {
            Some(Input::Peer(frame)) if !matches!(frame, Frame::Data(_) | Frame::Hashes(_)) => {
                Some(Input::Malformed)
            }
            other => other,
        }
    }

    fn frame(&mut self, arrived: Arrived) -> Option<Input> {
        match arrived {
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

    fn reported(&mut self, report: Report) {
        match report {
            Report::Opened(survey) => self.surveyed(survey),
            Report::Done(input) => {
                if let Input::Stored(bytes, _) = input {
                    self.written += bytes;
                }
                self.machine.handle(input);
            }
            Report::Committed(first, path) => {
                self.paths.extend(path);
                self.machine.handle(Input::Committed(first));
            }
            Report::Text(text) => self.front.tell(Event::Text(text)),
            Report::Failed(error) => self.fail(error.into()),
        }
    }

    /// The disk cannot go on.
    fn fail(&mut self, error: Error) {
        let reason = error.reason();
        self.cause = Some(error);
        self.machine.handle(Input::Failed(reason));
    }

    fn tell_progress(&mut self) {
        let begun = self.written > 0 || self.machine.spared() > 0;
        if begun && !self.finishing {
            let done = self.written + self.machine.spared();
            self.meter.expect(self.machine.offer().bytes());
            let progress = self.meter.measure(done, Instant::now());
            let limit = self.watch.told();
            let over = self.ties.over();
            self.front.tell(Event::Progress(Progress { limit, over, ..progress }));
        }
    }

    async fn end(self, ended: Result<Outcome, Failure>) -> Result<Complete, Error> {
        let took = self.meter.elapsed(Instant::now());
        self.ties.end(ended.as_ref().err().and_then(Failure::reason)).await;
        let writer = self.writer;
        // What was verified is of use to a later attempt, unless the sender lied.
        let keep = match &ended {
            Ok(_) | Err(Failure::Violation(_)) => false,
            Err(Failure::Here(reason)) => {
                !matches!(reason, Reason::Verification | Reason::Declined | Reason::UnsafeName)
            }
            Err(Failure::Peer(_) | Failure::PathLost) => true,
        };
        spawn_blocking(move || writer.close(keep)).await.expect("closing does not panic");
        if self.looked {
            return Ok(complete(Role::Receiver, self.offer, &Outcome::default(), took));
        }
        let outcome =
            ended.map_err(|failure| Error::of(&failure, self.cause.unwrap_or(Error::Corrupt)))?;
        let manifest = self.machine.offer();
        let offer = Offer { existing: self.offer.existing, ..Offer::of(manifest.entries()) };
        let bytes = if offer.is_stream { self.written } else { offer.bytes };
        let offer = Offer { bytes, ..offer };
        let complete = complete(Role::Receiver, offer, &outcome, took);
        let complete = Complete { paths: self.paths, ..complete };
        if outcome.withdrawn.is_empty() && outcome.delivered == 0 && outcome.existing > 0 {
            return Err(Error::Kept);
        }
        if outcome.delivered > 0 || outcome.withdrawn.is_empty() {
            self.front.tell(Event::Complete(complete.clone()));
        }
        match outcome.withdrawn.len() {
            0 => Ok(complete),
            1 if outcome.delivered == 0 => Err(Error::PeerGaveUp(Reason::SourceChanged)),
            count => Err(Error::SomeChanged(count)),
        }
    }
}

impl fmt::Debug for Receiving<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiving(..)")
    }
}

/// The items of an offer, with the bytes of everything in them.
fn items(manifest: &Manifest) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for entry in manifest.entries() {
        match items.last_mut().filter(|item| item.name == entry.path.item()) {
            Some(item) => item.bytes = item.bytes.saturating_add(entry.size),
            None => items.push(Item { name: entry.path.item().to_owned(), bytes: entry.size }),
        }
    }
    items
}
