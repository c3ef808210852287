//! The sender's machine: offers what the walk of its tree finds, has read what the receiver
//! wants of it, and is done when the receiver says of every file that it is safe, or not wanted.
//!
//! Bytes do not pass through it: [`Action::Read`] has a chunk read and handed to a lane, as far
//! as [`Action::Grant`] allows, and its hash is reported here. All of it outlives a connection:
//! after a lost one the receiver says where it stands, and wants what it still lacks.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    ops::Range,
};

use super::{
    digest::{Hash, tree},
    frame::{ChunkHash, Finished, Frame, MAX_FRAME, Reason, TO_THE_END, Wanted},
    manifest::{Entry, FileId, Kind},
};

/// Chunks that are being read, or wait for it, at the same time.
const READ_AHEAD: usize = 256;

/// The most entries of a receiver's wishes that may wait.
const MOST_WISHES: usize = 256 * 1024;

/// The most claims that may wait to be checked.
const MOST_CLAIMS: usize = 4 * 1024;

/// Chunks of a stream that are kept until the receiver has them.
pub const STREAM_WINDOW: u32 = 8;

/// Files that one `Fin` frame tells at most.
const FINS: usize = 1_000;

/// Bytes of entries that one manifest frame holds at most; the longest entry is far shorter than
/// what is left.
const MANIFEST_FILL: usize = MAX_FRAME - 8 * 1024;

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// The user compared the verifier words: whether they were the same.
    Compared(bool),
    /// The walk found more to offer.
    Found(Vec<Entry>),
    /// There is nothing more to offer.
    WalkEnded,
    /// A frame arrived on the control channel.
    Peer(Frame),
    /// A chunk was read and handed to a lane.
    ChunkRead(ChunkHash),
    /// A stream has ended: it has so many bytes. The chunk that was to be read last is not there.
    StreamEnded(FileId, u64),
    /// What a claimed chunk's hash is here; `None` when it cannot be read.
    Checked(FileId, u32, Option<Hash>),
    /// A file that was read to its end is still what it was at the start.
    Unchanged(FileId),
    /// A chunk could not be read.
    Unreadable(FileId),
    /// A file that was read to its end has changed meanwhile.
    Changed(FileId),
    /// This end cannot go on.
    Failed(Reason),
    /// Something arrived that is no frame.
    Malformed,
    /// The peer cannot be reached any more on this connection.
    PathLost,
    /// There is a new connection.
    Reconnected,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the user compare the verifier words.
    Compare,
    /// Send a frame on the control channel.
    Send(Frame),
    /// Read a chunk, hand it to a lane, and its hash after it.
    Read(FileId, u32),
    /// Read a chunk for its hash alone.
    Check(FileId, u32),
    /// Hand a chunk's hash to a lane.
    Announce(ChunkHash),
    /// See whether a file is still what it was.
    Close(FileId),
    /// The lanes may carry this many payload bytes in all.
    Grant(u64),
    /// The first chunks of a stream need not be kept any longer.
    Forget(FileId, u32),
    /// Find a new connection to the same receiver.
    Reconnect,
    /// The transfer is over.
    Done(Result<Outcome, Failure>),
}

/// How a transfer ended that did not fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files and folders that the receiver has.
    pub delivered: u32,
    /// Those that the receiver did not want.
    pub declined: u32,
    /// Those that the receiver kept its own of.
    pub existing: u32,
    /// Those that could not be sent.
    pub withdrawn: Vec<FileId>,
    /// The tree digest, when one file was offered and the receiver has it.
    pub digest: Option<Hash>,
    /// Payload bytes that did not need to be sent, because the receiver had them.
    pub spared: u64,
}

/// Why a transfer ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This end gave up.
    Here(Reason),
    /// The peer gave up.
    Peer(Reason),
    /// The peer broke the protocol.
    Violation(&'static str),
    /// The peer cannot be reached any more.
    PathLost,
}

impl Failure {
    /// What the peer is to be told, when it does not know.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Here(reason) => Some(*reason),
            Self::Violation(_) => Some(Reason::Protocol),
            Self::Peer(_) | Self::PathLost => None,
        }
    }
}

const OUT_OF_TURN: Failure = Failure::Violation("a message came out of turn");
const NOT_OFFERED: Failure = Failure::Violation("it asked for what was not offered");
const TOO_MUCH: Failure = Failure::Violation("it asked for too much at once");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The user compares words; nothing is told yet.
    Comparing,
    /// The offer is told, as far as it is known.
    Offered,
    /// The receiver takes it.
    Accepted,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
    /// Up again; the receiver has not yet said where it stands.
    Fresh,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Offered,
    /// In [`Sender::open`].
    Open,
    /// `Fin` was told.
    Finished(Hash),
    Delivered(Hash),
    Declined,
    Existing,
    Withdrawn,
}

impl Stage {
    fn is_last(self) -> bool {
        !matches!(self, Self::Offered | Self::Open | Self::Finished(_))
    }
}

/// A file of which something was asked for, and not everything is told yet.
#[derive(Debug, Default)]
struct Open {
    /// What its chunks' hashes are, as far as they were read.
    hashes: BTreeMap<u32, Hash>,
    /// Its digest, when it was told before.
    digest: Option<Hash>,
    /// Wishes in the queue that name it.
    queued: u32,
    /// Chunks that are being read.
    reading: u32,
    /// Claims that are not answered.
    claims: u32,
    /// Whether it is being looked at for the last time.
    closing: bool,
    /// The number of its chunks; a stream's is known at its end.
    count: Option<u32>,
    /// Bytes; a stream's are known at its end.
    size: u64,
    /// Chunks of a stream that were to be read; whether they are may be heard after the receiver
    /// has them.
    asked: u32,
    /// Chunks of a stream that the receiver has.
    kept: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    state: State,
    link: Link,
    entries: Vec<Entry>,
    stages: Vec<Stage>,
    /// Files whose stage is not their last.
    unsettled: usize,
    open: HashMap<FileId, Open>,
    /// Whether everything to be offered is known.
    walked: bool,
    /// Files whose end was told.
    finished: usize,
    /// Entries that are told on this connection.
    told: usize,
    end_told: bool,
    /// Whether the receiver has accepted on this connection.
    taken: bool,
    wishes: VecDeque<Wanted>,
    claims: VecDeque<ChunkHash>,
    /// The claim that is being checked.
    checking: Option<ChunkHash>,
    reading: usize,
    fins: Vec<Finished>,
    limit: u64,
    outcome: Outcome,
    actions: VecDeque<Action>,
}

impl Sender {
    /// Offers at once, or after the user has compared words.
    #[must_use]
    pub fn new(compare: bool) -> Self {
        Self {
            state: if compare { State::Comparing } else { State::Offered },
            link: Link::Up,
            entries: Vec::new(),
            stages: Vec::new(),
            unsettled: 0,
            open: HashMap::new(),
            walked: false,
            finished: 0,
            told: 0,
            end_told: false,
            taken: false,
            wishes: VecDeque::new(),
            claims: VecDeque::new(),
            checking: None,
            reading: 0,
            fins: Vec::new(),
            limit: 0,
            outcome: Outcome::default(),
            actions: if compare { [Action::Compare].into() } else { VecDeque::new() },
        }
    }

    /// Everything that was found so far, by [`FileId`].
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An entry that was offered.
    #[must_use]
    pub fn entry(&self, file: FileId) -> Option<&Entry> {
        self.entries.get(index(file))
    }

    /// Whether a file was taken back.
    #[must_use]
    pub fn is_withdrawn(&self, file: FileId) -> bool {
        self.stage(file) == Stage::Withdrawn
    }

    /// Bytes that did not need to be sent, because the receiver had them.
    #[must_use]
    pub fn spared(&self) -> u64 {
        self.outcome.spared
    }

    /// Whether everything that was wanted so far was sent, and the receiver makes it safe.
    #[must_use]
    pub fn is_waiting_for_the_end(&self) -> bool {
        let idle = self.wishes.is_empty() && self.reading == 0 && self.claims.is_empty();
        self.state == State::Accepted && self.finished > 0 && idle && self.open.is_empty()
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Action> {
        if self.actions.is_empty() && self.state != State::Over {
            self.go_on();
        }
        self.actions.pop_front()
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) {
        if self.state == State::Over {
            return;
        }
        if let Err(failure) = self.step(input) {
            self.fail(failure);
        }
    }

    fn step(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Compared(true) if self.state == State::Comparing => self.state = State::Offered,
            Input::Compared(_) => return Err(Failure::Here(Reason::Verification)),
            Input::Found(entries) => self.found(entries),
            Input::WalkEnded => self.walked = true,
            Input::Peer(Frame::Cancel(reason)) => return Err(Failure::Peer(reason)),
            Input::Peer(frame) => return self.frame(frame),
            Input::ChunkRead(chunk) => self.chunk_read(chunk),
            Input::StreamEnded(file, size) => self.stream_ended(file, size),
            Input::Checked(file, chunk, hash) => self.checked(file, chunk, hash),
            Input::Unchanged(file) => self.unchanged(file),
            Input::Unreadable(file) => {
                self.reading = self.reading.saturating_sub(1);
                self.withdraw(file);
            }
            Input::Changed(file) => self.withdraw(file),
            Input::Failed(reason) => return Err(Failure::Here(reason)),
            Input::Malformed => return Err(Failure::Violation("a message makes no sense")),
            Input::PathLost => return self.path_lost(),
            Input::Reconnected if self.link == Link::Down => self.link = Link::Fresh,
            Input::Reconnected => {}
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Failure> {
        match (frame, self.state, self.link) {
            (_, _, Link::Down) => {}
            (Frame::Resume { entries }, State::Offered | State::Accepted, Link::Fresh) => {
                return self.resume(entries);
            }
            (Frame::Accept, State::Offered | State::Accepted, Link::Up) if !self.taken => {
                self.state = State::Accepted;
                self.taken = true;
            }
            (Frame::Credit { limit }, State::Accepted, Link::Up) if limit >= self.limit => {
                self.limit = limit;
                self.actions.push_back(Action::Grant(limit));
            }
            (Frame::Want(wanted), State::Accepted, Link::Up) => {
                return wanted.into_iter().try_for_each(|wanted| self.wanted(wanted));
            }
            (Frame::Claim(claims), State::Accepted, Link::Up) => {
                return claims.into_iter().try_for_each(|claim| self.claimed(claim));
            }
            (Frame::Skip { files, reason }, State::Accepted, Link::Up) => {
                return self.each(files, |sender, file| sender.skipped(file, reason));
            }
            (Frame::FinOk(files), State::Accepted, Link::Up) => {
                return self.each(files, Self::delivered);
            }
            (Frame::Kept { file, chunks }, State::Accepted, Link::Up) => {
                return self.kept(file, chunks);
            }
            _ => return Err(OUT_OF_TURN),
        }
        Ok(())
    }

    fn each(
        &mut self,
        ranges: Vec<Range<u32>>,
        mut take: impl FnMut(&mut Self, FileId) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if ranges.is_empty() {
            return Err(OUT_OF_TURN);
        }
        for range in ranges {
            self.check_told(&range)?;
            range.map(FileId).try_for_each(|file| take(self, file))?;
        }
        Ok(())
    }

    fn check_told(&self, files: &Range<u32>) -> Result<(), Failure> {
        let told = usize::try_from(files.end).is_ok_and(|end| end <= self.told);
        if told { Ok(()) } else { Err(NOT_OFFERED) }
    }

    fn found(&mut self, entries: Vec<Entry>) {
        self.stages.resize(self.stages.len() + entries.len(), Stage::Offered);
        self.unsettled += entries.len();
        self.entries.extend(entries);
    }

    /// The receiver says which chunks it wants.
    fn wanted(&mut self, wanted: Wanted) -> Result<(), Failure> {
        self.check_told(&wanted.files)?;
        if self.wishes.len() >= MOST_WISHES {
            return Err(TOO_MUCH);
        }
        if wanted.files.len() == 1 {
            let file = FileId(wanted.files.start);
            let open = match self.stage(file) {
                // The receiver may not have heard of it yet.
                Stage::Withdrawn => return Ok(()),
                Stage::Declined | Stage::Existing | Stage::Delivered(_) => return Err(NOT_OFFERED),
                _ => self.opened(file).ok_or(NOT_OFFERED)?,
            };
            let Range { start, end } = wanted.chunks;
            let beyond = end != TO_THE_END && open.count.is_some_and(|count| end > count);
            if beyond || (start < end && start < open.kept) {
                return Err(NOT_OFFERED);
            }
            open.queued += 1;
        }
        self.wishes.push_back(wanted);
        Ok(())
    }

    /// The state of a file of which something is wanted; `None` when it has no bytes.
    fn opened(&mut self, file: FileId) -> Option<&mut Open> {
        let entry = self.entries.get(index(file))?;
        if entry.kind == Kind::Directory {
            return None;
        }
        let stage = self.stages.get_mut(index(file))?;
        let digest = match *stage {
            Stage::Finished(digest) => Some(digest),
            Stage::Offered | Stage::Open => None,
            _ => return None,
        };
        *stage = Stage::Open;
        let (count, size) = (entry.chunk_count(), entry.size);
        Some(self.open.entry(file).or_insert_with(|| Open {
            digest,
            count,
            size,
            ..Open::default()
        }))
    }

    fn claimed(&mut self, claim: ChunkHash) -> Result<(), Failure> {
        self.check_told(&(claim.file.0..claim.file.0.saturating_add(1)))?;
        if self.claims.len() >= MOST_CLAIMS {
            return Err(TOO_MUCH);
        }
        if self.stage(claim.file) == Stage::Withdrawn {
            return Ok(());
        }
        let open = self.opened(claim.file).ok_or(NOT_OFFERED)?;
        if open.count.is_none_or(|count| claim.chunk >= count) {
            return Err(NOT_OFFERED);
        }
        open.claims += 1;
        self.claims.push_back(claim);
        Ok(())
    }

    fn skipped(&mut self, file: FileId, reason: Reason) -> Result<(), Failure> {
        match self.stage(file) {
            Stage::Delivered(_) => return Err(OUT_OF_TURN),
            Stage::Withdrawn => return Ok(()),
            _ => {}
        }
        self.open.remove(&file);
        let exists = reason == Reason::TargetExists;
        self.set(file, if exists { Stage::Existing } else { Stage::Declined });
        Ok(())
    }

    fn delivered(&mut self, file: FileId) -> Result<(), Failure> {
        let directory = self.entry(file).is_some_and(|entry| entry.kind == Kind::Directory);
        if self.stage(file) == Stage::Withdrawn {
            return Ok(()); // It was told the end on an earlier connection; here it changed since.
        }
        let digest = match self.stage(file) {
            Stage::Finished(digest) | Stage::Delivered(digest) => Some(digest),
            // It was told the digest on an earlier connection.
            Stage::Open => self.open.get(&file).and_then(|open| open.digest),
            Stage::Offered if directory => Some(tree(&[])),
            _ => None,
        };
        self.set(file, Stage::Delivered(digest.ok_or(OUT_OF_TURN)?));
        self.open.remove(&file);
        Ok(())
    }

    fn kept(&mut self, file: FileId, chunks: u32) -> Result<(), Failure> {
        // It may have ended meanwhile.
        let Some(open) = self.open.get_mut(&file) else { return Ok(()) };
        if chunks < open.kept || chunks > open.asked {
            return Err(OUT_OF_TURN);
        }
        open.kept = chunks;
        self.actions.push_back(Action::Forget(file, chunks));
        Ok(())
    }

    fn chunk_read(&mut self, ChunkHash { file, chunk, hash }: ChunkHash) {
        self.reading = self.reading.saturating_sub(1);
        if let Some(open) = self.open.get_mut(&file) {
            open.reading = open.reading.saturating_sub(1);
            open.hashes.insert(chunk, hash);
        }
        self.close_if_complete(file);
    }

    fn stream_ended(&mut self, file: FileId, size: u64) {
        self.reading = self.reading.saturating_sub(1);
        if let Some(open) = self.open.get_mut(&file) {
            open.reading = open.reading.saturating_sub(1);
            open.count = u32::try_from(open.hashes.len()).ok();
            open.size = size;
        }
        self.close_if_complete(file);
    }

    fn checked(&mut self, file: FileId, chunk: u32, hash: Option<Hash>) {
        let Some(claim) = self.checking.take_if(|c| c.file == file && c.chunk == chunk) else {
            return;
        };
        let Some(hash) = hash else { return self.withdraw(file) };
        let Some(open) = self.open.get_mut(&file) else { return };
        open.claims = open.claims.saturating_sub(1);
        if hash == claim.hash {
            open.hashes.insert(chunk, hash);
            let length = self.entry(file).and_then(|entry| entry.chunking().span(chunk));
            self.outcome.spared += length.map_or(0, |(_, length)| u64::from(length));
            self.actions.push_back(Action::Announce(claim));
            self.close_if_complete(file);
        } else {
            open.queued += 1;
            let files = file.0..file.0.saturating_add(1);
            self.wishes.push_back(Wanted { files, chunks: chunk..chunk.saturating_add(1) });
        }
    }

    /// Everything that was wanted of a file was read: it must not have changed meanwhile.
    fn close_if_complete(&mut self, file: FileId) {
        let Some(open) = self.open.get_mut(&file) else { return };
        let known = u32::try_from(open.hashes.len()).ok() == open.count;
        let idle = open.queued == 0 && open.reading == 0 && open.claims == 0;
        if idle && !open.closing && (known || open.digest.is_some()) {
            open.closing = true;
            self.actions.push_back(Action::Close(file));
        }
    }

    fn unchanged(&mut self, file: FileId) {
        let Some(open) = self.open.get_mut(&file) else { return };
        open.closing = false;
        if open.queued > 0 || open.reading > 0 || open.claims > 0 {
            return; // More was wanted meanwhile, so it is looked at again.
        }
        let digest =
            open.digest.unwrap_or_else(|| tree(&open.hashes.values().copied().collect::<Vec<_>>()));
        open.digest = Some(digest);
        self.finished += 1;
        self.fins.push(Finished { file, size: open.size, digest });
        // Nothing else knows how long a stream was.
        if self.entry(file).is_some_and(|entry| entry.kind != Kind::Stream) {
            self.open.remove(&file);
        }
        self.set(file, Stage::Finished(digest));
    }

    fn withdraw(&mut self, file: FileId) {
        self.open.remove(&file);
        if matches!(self.stage(file), Stage::Offered | Stage::Open | Stage::Finished(_)) {
            self.set(file, Stage::Withdrawn);
            self.tell(Frame::Withdraw(vec![file.0..file.0.saturating_add(1)]));
        }
    }

    fn path_lost(&mut self) -> Result<(), Failure> {
        if self.state == State::Comparing {
            return Err(Failure::PathLost);
        }
        if self.link != Link::Down {
            self.link = Link::Down;
            self.forget_work();
            self.actions.clear();
            self.actions.push_back(Action::Reconnect);
        }
        Ok(())
    }

    /// Everything under way on a lost connection is void: the receiver will say what it wants.
    fn forget_work(&mut self) {
        self.wishes.clear();
        self.claims.clear();
        self.checking = None;
        self.fins.clear();
        self.reading = 0;
        self.limit = 0;
        self.taken = false;
        for open in self.open.values_mut() {
            (open.queued, open.reading, open.claims, open.closing) = (0, 0, 0, false);
        }
    }

    /// The receiver says where it stands.
    fn resume(&mut self, entries: u32) -> Result<(), Failure> {
        let entries = usize::try_from(entries).ok().filter(|n| *n <= self.entries.len());
        let entries = entries.ok_or(NOT_OFFERED)?;
        self.link = Link::Up;
        self.told = entries;
        self.end_told = false;
        if entries == 0 {
            self.start_over()?;
        }
        let withdrawn = self.withdrawn().filter(|file| index(*file) < entries);
        let withdrawn: Vec<_> = withdrawn.map(|file| file.0..file.0.saturating_add(1)).collect();
        for files in withdrawn.chunks(FINS) {
            self.tell(Frame::Withdraw(files.to_vec()));
        }
        Ok(())
    }

    /// The receiver was started anew, and knows nothing.
    fn start_over(&mut self) -> Result<(), Failure> {
        if self.open.values().any(|open| open.kept > 0) {
            // What a stream has forgotten cannot be sent again.
            return Err(Failure::Here(Reason::SourceChanged));
        }
        self.state = State::Offered;
        self.open.clear();
        for stage in &mut self.stages {
            if *stage != Stage::Withdrawn {
                *stage = Stage::Offered;
            }
        }
        self.unsettled = self.stages.iter().filter(|stage| !stage.is_last()).count();
        Ok(())
    }

    fn withdrawn(&self) -> impl Iterator<Item = FileId> {
        let files = (0..).map(FileId).zip(&self.stages);
        files.filter(|(_, stage)| **stage == Stage::Withdrawn).map(|(file, _)| file)
    }

    /// Does what is due when nothing else is.
    fn go_on(&mut self) {
        if self.state == State::Comparing || self.link != Link::Up {
            return;
        }
        self.offer();
        if self.state == State::Accepted {
            self.read_ahead();
            self.check_next();
            self.finish();
            self.end();
        }
    }

    fn offer(&mut self) {
        if self.told < self.entries.len() {
            self.offer_rest();
        }
        if self.walked && !self.end_told {
            self.end_told = true;
            let entries = u32::try_from(self.told).unwrap_or(u32::MAX);
            let bytes = self.entries.iter().map(|entry| entry.size).sum();
            self.actions.push_back(Action::Send(Frame::ManifestEnd { entries, bytes }));
        }
    }

    fn offer_rest(&mut self) {
        let mut rest = self.entries.get(self.told..).unwrap_or_default();
        while !rest.is_empty() {
            let mut filled = 0;
            let fits = |entry: &&Entry| {
                filled += entry.to_wire().len() + 4;
                filled <= MANIFEST_FILL
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            self.actions.push_back(Action::Send(Frame::Manifest(now.to_vec())));
            rest = later;
        }
        // Those that were withdrawn before they were told must be told, too.
        let late = self.withdrawn().filter(|file| index(*file) >= self.told);
        let late: Vec<_> = late.map(|file| file.0..file.0.saturating_add(1)).collect();
        for files in late.chunks(FINS) {
            self.actions.push_back(Action::Send(Frame::Withdraw(files.to_vec())));
        }
        self.told = self.entries.len();
    }

    fn read_ahead(&mut self) {
        while self.reading < READ_AHEAD {
            let Some(wish) = self.wishes.front().cloned() else { return };
            let file = FileId(wish.files.start);
            if wish.files.len() > 1 {
                self.split(&wish);
            } else if !self.read_next(file, wish.chunks) {
                return;
            }
        }
    }

    /// Takes the first file off a wish for several.
    fn split(&mut self, wish: &Wanted) {
        let Range { start, end } = wish.files.clone();
        let rest = Wanted { files: start.saturating_add(1)..end, chunks: 0..TO_THE_END };
        let first = Wanted { files: start..start.saturating_add(1), chunks: 0..TO_THE_END };
        self.wishes.pop_front();
        // What the receiver will come to use of it.
        if rest.files.len() == 1
            && let Some(open) = self.opened(FileId(rest.files.start))
        {
            open.queued += 1;
        }
        self.wishes.push_front(rest);
        if let Some(open) = self.opened(FileId(start)) {
            open.queued += 1;
            self.wishes.push_front(first);
        }
    }

    /// Reads the next chunk of the wish in front; `false` when it has to wait.
    fn read_next(&mut self, file: FileId, chunks: Range<u32>) -> bool {
        let Some(open) = self.open.get_mut(&file) else {
            self.wishes.pop_front();
            return true;
        };
        let end = open.count.map_or(chunks.end, |count| chunks.end.min(count));
        if chunks.start >= end {
            open.queued -= 1;
            self.wishes.pop_front();
            self.close_if_complete(file);
            return true;
        }
        if open.count.is_none() && chunks.start >= open.kept.saturating_add(STREAM_WINDOW) {
            return false;
        }
        open.reading += 1;
        open.asked = open.asked.max(chunks.start.saturating_add(1));
        self.reading += 1;
        self.actions.push_back(Action::Read(file, chunks.start));
        if let Some(wish) = self.wishes.front_mut() {
            wish.chunks.start += 1;
        }
        true
    }

    fn check_next(&mut self) {
        while self.checking.is_none() {
            let Some(claim) = self.claims.pop_front() else { return };
            if self.open.contains_key(&claim.file) {
                self.checking = Some(claim);
                self.actions.push_back(Action::Check(claim.file, claim.chunk));
            }
        }
    }

    fn finish(&mut self) {
        let fins = mem::take(&mut self.fins);
        for fins in fins.chunks(FINS) {
            self.actions.push_back(Action::Send(Frame::Fin(fins.to_vec())));
        }
    }

    /// Whether everything that was offered has found its end.
    fn end(&mut self) {
        if !self.end_told || self.unsettled > 0 {
            return;
        }
        let count = |wanted: fn(&Stage) -> bool| {
            let count = self.stages.iter().filter(|stage| wanted(stage)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let outcome = Outcome {
            delivered: count(|stage| matches!(stage, Stage::Delivered(_))),
            declined: count(|stage| *stage == Stage::Declined),
            existing: count(|stage| *stage == Stage::Existing),
            withdrawn: self.withdrawn().collect(),
            digest: match self.stages[..] {
                [Stage::Delivered(digest)] => Some(digest),
                _ => None,
            },
            spared: self.outcome.spared,
        };
        self.state = State::Over;
        self.actions.push_back(Action::Done(Ok(outcome)));
    }

    fn stage(&self, file: FileId) -> Stage {
        self.stages.get(index(file)).copied().unwrap_or(Stage::Declined)
    }

    fn set(&mut self, file: FileId, stage: Stage) {
        if let Some(of_file) = self.stages.get_mut(index(file)) {
            self.unsettled -= usize::from(!of_file.is_last());
            self.unsettled += usize::from(!stage.is_last());
            *of_file = stage;
        }
    }

    /// Sends a frame, if there is a connection; without one, the receiver will ask.
    fn tell(&mut self, frame: Frame) {
        if self.link == Link::Up {
            self.actions.push_back(Action::Send(frame));
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Over;
        self.actions.extend(failure.reason().map(|reason| Action::Send(Frame::Cancel(reason))));
        self.actions.push_back(Action::Done(Err(failure)));
    }
}

/// A file's place in lists of all of them.
pub(super) fn index(file: FileId) -> usize {
    usize::try_from(file.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::{entry, file};

    const FILE: FileId = FileId(0);

    fn drain(sender: &mut Sender) -> Vec<Action> {
        std::iter::from_fn(|| sender.poll()).collect()
    }

    fn after(sender: &mut Sender, input: Input) -> Vec<Action> {
        sender.handle(input);
        drain(sender)
    }

    fn accepted(entries: &[Entry]) -> Sender {
        let mut sender = Sender::new(false);
        sender.handle(Input::Found(entries.to_vec()));
        sender.handle(Input::WalkEnded);
        drain(&mut sender);
        sender.handle(Input::Peer(Frame::Accept));
        drain(&mut sender);
        sender
    }

    fn want(files: Range<u32>, chunks: Range<u32>) -> Input {
        Input::Peer(Frame::Want(vec![Wanted { files, chunks }]))
    }

    fn hash(chunk: u32) -> ChunkHash {
        ChunkHash { file: FILE, chunk, hash: Hash([u8::try_from(chunk).unwrap(); 32]) }
    }

    fn violates(actions: &[Action]) -> bool {
        matches!(actions.last(), Some(Action::Done(Err(Failure::Violation(_)))))
    }

    #[test]
    fn a_file_is_offered_read_finished_and_done() {
        let mut sender = Sender::new(false);
        let told = after(&mut sender, Input::Found(vec![file(300_000)]));
        assert_eq!(told, [Action::Send(Frame::Manifest(vec![file(300_000)]))]);
        let end = Frame::ManifestEnd { entries: 1, bytes: 300_000 };
        assert_eq!(after(&mut sender, Input::WalkEnded), [Action::Send(end)]);
        assert_eq!(after(&mut sender, Input::Peer(Frame::Accept)), []);
        let read = after(&mut sender, want(0..1, 0..TO_THE_END));
        assert_eq!(read, [Action::Read(FILE, 0), Action::Read(FILE, 1)]);
        let grant = after(&mut sender, Input::Peer(Frame::Credit { limit: 9 }));
        assert_eq!(grant, [Action::Grant(9)]);
        assert_eq!(after(&mut sender, Input::ChunkRead(hash(0))), []);
        assert_eq!(after(&mut sender, Input::ChunkRead(hash(1))), [Action::Close(FILE)]);
        let digest = tree(&[hash(0).hash, hash(1).hash]);
        let fin = Frame::Fin(vec![Finished { file: FILE, size: 300_000, digest }]);
        assert_eq!(after(&mut sender, Input::Unchanged(FILE)), [Action::Send(fin)]);
        let done = after(&mut sender, Input::Peer(Frame::FinOk(vec![0..1])));
        let outcome = Outcome { delivered: 1, digest: Some(digest), ..Outcome::default() };
        assert_eq!(done, [Action::Done(Ok(outcome))]);
    }

    #[test]
    fn nothing_is_told_before_the_user_has_compared() {
        let mut sender = Sender::new(true);
        assert_eq!(after(&mut sender, Input::Found(vec![file(1)])), [Action::Compare]);
        assert!(matches!(
            after(&mut sender, Input::Compared(true))[0],
            Action::Send(Frame::Manifest(_))
        ));
        let mut sender = Sender::new(true);
        drain(&mut sender);
        assert_eq!(
            after(&mut sender, Input::Compared(false)),
            [
                Action::Send(Frame::Cancel(Reason::Verification)),
                Action::Done(Err(Failure::Here(Reason::Verification))),
            ]
        );
    }

    #[test]
    fn what_was_not_offered_is_not_sent() {
        let entries = [entry(Kind::Directory, "d", 0), entry(Kind::File, "d/a", 300_000)];
        let claim = |file, chunk| {
            Input::Peer(Frame::Claim(vec![ChunkHash { file: FileId(file), ..hash(chunk) }]))
        };
        for beyond in [
            want(0..3, 0..TO_THE_END),
            want(2..3, 0..TO_THE_END),
            want(u32::MAX - 1..u32::MAX, 0..1),
            want(1..2, 0..3),
            want(0..1, 0..1),
            claim(2, 0),
            claim(1, 2),
            claim(0, 0),
            Input::Peer(Frame::Skip { files: vec![1..3], reason: Reason::Declined }),
            Input::Peer(Frame::FinOk(vec![1..3])),
            Input::Peer(Frame::Kept { file: FileId(1), chunks: 1 }),
        ] {
            let mut sender = accepted(&entries);
            let told = format!("{beyond:?}");
            let actions = after(&mut sender, beyond);
            let nothing = actions.is_empty() && told.contains("Kept");
            assert!(violates(&actions) || nothing, "{told}: {actions:?}");
            assert!(!actions.iter().any(|action| matches!(action, Action::Read(..))), "{told}");
        }
    }

    #[test]
    fn frames_out_of_turn_end_the_transfer() {
        for frame in [
            Frame::ManifestEnd { entries: 0, bytes: 0 },
            Frame::Data(vec![]),
            Frame::Resume { entries: 0 },
            Frame::FinOk(vec![0..1]),
        ] {
            assert!(violates(&after(&mut accepted(&[file(1)]), Input::Peer(frame))));
        }
        let mut sender = accepted(&[file(1)]);
        sender.handle(Input::Peer(Frame::Credit { limit: 5 }));
        let end = after(&mut sender, Input::Peer(Frame::Credit { limit: 4 }));
        assert!(violates(&end), "credit that falls");
        let mut sender = Sender::new(false);
        sender.handle(Input::Found(vec![file(1)]));
        assert!(violates(&after(&mut sender, want(0..1, 0..1))), "before it accepted");
    }

    #[test]
    fn wishes_and_claims_that_wait_are_bounded() {
        let many = u64::from(u32::MAX) * 16 * 1024 * 1024;
        let mut sender = accepted(&[file(many)]);
        let wishes = (0..).map(|chunk| want(0..1, chunk * 2..chunk * 2 + 1));
        assert!(
            wishes
                .take(MOST_WISHES + READ_AHEAD + 1)
                .any(|wish| violates(&after(&mut sender, wish)))
        );
        let mut sender = accepted(&[file(many)]);
        let claims = (0..=MOST_CLAIMS + 1).map(|_| hash(0)).collect::<Vec<_>>();
        assert!(violates(&after(&mut sender, Input::Peer(Frame::Claim(claims)))));
    }

    #[test]
    fn a_claim_that_is_right_spares_the_chunk_and_another_is_answered_with_it() {
        let mut sender = accepted(&[file(300_000)]);
        let claims = Frame::Claim(vec![hash(0), hash(1)]);
        assert_eq!(after(&mut sender, Input::Peer(claims)), [Action::Check(FILE, 0)]);
        let right = after(&mut sender, Input::Checked(FILE, 0, Some(hash(0).hash)));
        assert_eq!(right, [Action::Announce(hash(0)), Action::Check(FILE, 1)]);
        let wrong = after(&mut sender, Input::Checked(FILE, 1, Some(Hash([9; 32]))));
        assert_eq!(wrong, [Action::Read(FILE, 1)]);
        let read = ChunkHash { hash: Hash([9; 32]), ..hash(1) };
        assert_eq!(after(&mut sender, Input::ChunkRead(read)), [Action::Close(FILE)]);
        assert_eq!(sender.spared(), 256 * 1024);
    }

    #[test]
    fn a_file_that_changed_is_taken_back_and_the_others_go_on() {
        let entries = [entry(Kind::File, "a", 1), entry(Kind::File, "b", 1)];
        let mut sender = accepted(&entries);
        let read = after(&mut sender, want(0..2, 0..TO_THE_END));
        assert_eq!(read, [Action::Read(FILE, 0), Action::Read(FileId(1), 0)]);
        let gone = after(&mut sender, Input::Unreadable(FILE));
        assert_eq!(gone, [Action::Send(Frame::Withdraw(vec![0..1]))]);
        sender.handle(Input::ChunkRead(ChunkHash { file: FileId(1), ..hash(0) }));
        sender.handle(Input::Unchanged(FileId(1)));
        drain(&mut sender);
        let done = after(&mut sender, Input::Peer(Frame::FinOk(vec![1..2])));
        let Some(Action::Done(Ok(outcome))) = done.last() else { panic!("{done:?}") };
        assert_eq!((outcome.delivered, &outcome.withdrawn[..]), (1, &[FILE][..]));
    }

    #[test]
    fn a_stream_is_read_only_so_far_ahead_of_what_the_receiver_has() {
        let mut sender = accepted(&[entry(Kind::Stream, "s", 0)]);
        let read = after(&mut sender, want(0..1, 0..TO_THE_END));
        assert_eq!(read.len(), STREAM_WINDOW as usize);
        for chunk in 0..STREAM_WINDOW {
            assert_eq!(after(&mut sender, Input::ChunkRead(hash(chunk))), []);
        }
        let on = after(&mut sender, Input::Peer(Frame::Kept { file: FILE, chunks: 2 }));
        let next = [STREAM_WINDOW, STREAM_WINDOW + 1].map(|chunk| Action::Read(FILE, chunk));
        assert_eq!(on[0], Action::Forget(FILE, 2));
        assert_eq!(on[1..], next);
    }

    #[test]
    fn a_receiver_that_comes_back_is_told_the_rest_and_sent_what_it_lacks() {
        let entries = [entry(Kind::File, "a", 1), entry(Kind::File, "b", 1)];
        let mut sender = accepted(&entries);
        after(&mut sender, want(0..2, 0..TO_THE_END));
        assert_eq!(after(&mut sender, Input::PathLost), [Action::Reconnect]);
        assert_eq!(after(&mut sender, Input::Reconnected), []);
        let told = after(&mut sender, Input::Peer(Frame::Resume { entries: 1 }));
        assert_eq!(told[0], Action::Send(Frame::Manifest(entries[1..].to_vec())));
        assert_eq!(after(&mut sender, want(1..2, 0..1)), [Action::Read(FileId(1), 0)]);
    }

    #[test]
    fn a_peer_that_gives_up_is_not_answered() {
        let mut sender = accepted(&[file(1)]);
        let end = after(&mut sender, Input::Peer(Frame::Cancel(Reason::Declined)));
        assert_eq!(end, [Action::Done(Err(Failure::Peer(Reason::Declined)))]);
        assert_eq!(after(&mut sender, Input::PathLost), []);
    }
}
