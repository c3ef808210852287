//! The receiver's machine: takes an offer apart, asks, wants what it lacks, checks every byte's
//! place and every chunk's hash, and only then has files put under their names.
//!
//! It believes nothing: sizes, places, hashes and the order of messages are the sender's word
//! until they fit. What the disk has from before is a hint, too: it is hashed, and the sender
//! says whether that is right. All of it outlives a connection.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    ops::Range,
};

use bytes::Bytes;

use self::{credit::Credit, unsaid::Unsaid};
pub use super::incoming::{Found, Origin};
use super::{
    digest::Hash,
    frame::{ChunkHash, Finished, Frame, Reason, Record},
    incoming::{Announced, End, Incoming, Stored},
    manifest::{Entry, FileId, Kind},
    offer::Offer,
    sender::{Failure, Outcome, index},
};

mod credit;
mod unsaid;

/// Payload bytes that may be on their way or waiting for the disk.
pub const WINDOW: u64 = 16 * 1024 * 1024;

/// The most chunks that may be under way at once; there are fewer lanes than that.
const MAX_OPEN_CHUNKS: usize = 64;

/// Files that are looked at, wanted or on their way at the same time.
const MAX_UNDER_WAY: usize = 32 * 1024;

/// Files that the disk looks at ahead.
const LOOK_AHEAD: usize = 1024;

/// Claims that wait for an answer.
const MAX_CLAIMS: usize = 256;

/// Ranges of one file's chunks from before that are looked at; the rest is fetched again.
const MAX_RANGES: usize = 4 * 1024;

/// With consent given, an offer is taken when it has so many entries, even if more follow.
const ENOUGH: usize = 10_000;

/// Items that are complete are put under their names together, when there are so many, or so
/// many bytes have come since, or nothing else is under way.
const COMMIT_ITEMS: usize = 1024;
const COMMIT_BYTES: u64 = 64 * 1024 * 1024;

/// What is done about a file whose name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// What arrives gets another name: `name (1).ext`.
    #[default]
    Rename,
    /// It is replaced once what arrives is whole; only what differs is fetched.
    Replace,
    /// It is kept, and what would have arrived is left out.
    Skip,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// A frame arrived on the control channel or a lane.
    Peer(Frame),
    /// Whether the user wants what is offered, and what is done about names that are taken.
    Answer(Option<Conflict>),
    /// A file is taken, and this is what there is of it.
    Opened(FileId, Found),
    /// A file is not taken.
    Skipped(FileId, Reason),
    /// The hash of a chunk that is here from before; `None` when it cannot be read.
    Hashed(FileId, u32, Origin, Option<Hash>),
    /// Bytes were written, in so many parts.
    Stored(u64, u32),
    /// A chunk was written or copied; its hash, taken on the way to the disk.
    ChunkStored(ChunkHash),
    /// A whole file was copied; its digest.
    FileCopied(FileId, Option<Hash>),
    /// The item with this first entry is on stable storage under its final name.
    Committed(FileId),
    /// This end cannot go on.
    Failed(Reason),
    /// Something arrived that is no frame.
    Malformed,
    /// The peer has closed the connection.
    Closed,
    /// The peer cannot be reached any more on this connection.
    PathLost,
    /// There is a new connection.
    Reconnected,
    /// What [`Receiver::waits_for`] said did not happen in time.
    TimedOut,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the user, who sees [`Receiver::offer`].
    Ask,
    /// Look whether a file is to be taken, and what there is of it.
    Open(FileId),
    /// Hash a chunk that is here from before.
    Hash(FileId, u32, Origin),
    /// Send a frame on the control channel.
    Send(Frame),
    /// Write a part of a chunk.
    Write(Part),
    /// Say what the hash of everything written of a chunk is.
    Check(FileId, u32),
    /// Copy a chunk from the file of that name.
    Copy(FileId, u32),
    /// A chunk is right.
    Keep(FileId, u32),
    /// A file has everything.
    Finish(FileId),
    /// The file of that name is the same.
    Here(FileId),
    /// Copy a file or folder that is the same as the one of that name.
    CopyFile(FileId),
    /// A file will not come; what there is of it is of no use.
    Discard(FileId),
    /// Flush items, named by their first entries, and put them under their final names.
    Commit(Vec<FileId>),
    /// Find a new connection to the same sender.
    Reconnect,
    /// The transfer is over.
    Done(Result<Outcome, Failure>),
}

/// A part of a chunk whose place was checked. The parts of one chunk come in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub file: FileId,
    /// The chunk.
    pub chunk: u32,
    /// Where in the chunk, in bytes.
    pub offset: u32,
    /// Where in the file, in bytes.
    pub position: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// What may not take for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Bytes that the sender says it has sent.
    Missing,
    /// The sender's farewell, after it was told that everything is safe.
    Farewell,
}

const OUT_OF_TURN: Failure = Failure::Violation("a message came out of turn");
const TOO_MANY: Failure = Failure::Violation("it sent more than there was room for");
const NOT_OFFERED: Failure = Failure::Violation("it sent more than it offered");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The offer comes in, or the user thinks about it.
    Offered,
    Accepted,
    /// Everything is safe, and the sender knows.
    Delivered,
    Over,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Offered, and nothing more.
    Told,
    /// The disk looks at it.
    Opening,
    /// Wanted as a whole, and nothing of it is here.
    Wanted,
    /// In [`Receiver::active`].
    Active,
    /// In the staging folder, or the same as the one of that name.
    Complete,
    /// Under its final name, and the sender knows.
    Delivered,
    Declined,
    Existing,
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Receiving,
    /// What is the same as in the folder of that name is copied, since something differs.
    Copying,
    Committing,
    Done,
}

/// A file or folder that was named to the sender.
#[derive(Debug)]
struct Item {
    phase: Phase,
    /// Files of it that have not found their end.
    unresolved: usize,
    /// Whether the staging folder has something of it.
    staged: bool,
    /// What is the same as in the folder of that name.
    here: Vec<(FileId, Hash)>,
    /// How many of those are copied.
    copied: usize,
}

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an event that has happened or not")]
pub struct Receiver {
    /// What is offered is taken without asking, and so before all of it is known.
    eager: bool,
    conflict: Conflict,
    state: State,
    up: bool,
    /// Nobody is there any more to be told that everything is safe.
    alone: bool,
    asked: bool,
    offer: Offer,
    stages: Vec<Stage>,
    items: Vec<Item>,
    active: HashMap<FileId, Incoming>,
    next_to_open: u32,
    opening: usize,
    /// Files that are opening, wanted or active.
    under_way: usize,
    /// Files that have not found their end.
    unresolved: usize,
    /// Chunks that are here from before and not yet claimed.
    to_claim: VecDeque<(FileId, Origin, Range<u32>)>,
    /// Those that the disk is hashing.
    hashing: Vec<(FileId, u32)>,
    /// Claims that wait for an answer.
    claimed: usize,
    ready: Vec<usize>,
    stored_since_ready: u64,
    committing: usize,
    /// Files that the sender has finished, and that are not complete.
    finished: usize,
    credit: Credit,
    /// Chunks of which some bytes are here, and others not.
    arriving: usize,
    /// Chunks that the disk checks or copies.
    checks: usize,
    /// Files that the disk copies for an item that gets another name.
    copies: usize,
    unsaid: Unsaid,
    outcome: Outcome,
    digest: Option<Hash>,
    actions: VecDeque<Action>,
}

impl Receiver {
    /// Waits for an offer. An eager receiver asks whether to take it before it knows all of it,
    /// when there is much.
    #[must_use]
    pub fn new(eager: bool) -> Self {
        Self {
            eager,
            conflict: Conflict::default(),
            state: State::Offered,
            up: true,
            alone: false,
            asked: false,
            offer: Offer::default(),
            stages: Vec::new(),
            items: Vec::new(),
            active: HashMap::new(),
            next_to_open: 0,
            opening: 0,
            under_way: 0,
            unresolved: 0,
            to_claim: VecDeque::new(),
            hashing: Vec::new(),
            claimed: 0,
            ready: Vec::new(),
            stored_since_ready: 0,
            committing: 0,
            finished: 0,
            credit: Credit::default(),
            arriving: 0,
            checks: 0,
            copies: 0,
            unsaid: Unsaid::default(),
            outcome: Outcome::default(),
            digest: None,
            actions: VecDeque::new(),
        }
    }

    /// Waits for the offer of a session that another receiver began: the sender goes on with it,
    /// and is told first that this one knows nothing.
    #[must_use]
    pub fn resuming(eager: bool) -> Self {
        let mut receiver = Self { up: false, ..Self::new(eager) };
        receiver.reconnected();
        receiver
    }

    /// What is offered, as far as it is known.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Bytes that did not need to be sent, because they were here.
    #[must_use]
    pub fn spared(&self) -> u64 {
        self.outcome.spared
    }

    /// Whether everything is here, and at most the disk is still busy.
    #[must_use]
    pub fn has_everything(&self) -> bool {
        self.state == State::Delivered
            || (self.state == State::Accepted && self.offer.is_complete() && self.unresolved == 0)
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Action> {
        if self.actions.is_empty() && self.state != State::Over {
            self.go_on();
        }
        self.actions.pop_front()
    }

    /// What the next input must not take for ever to be, if anything.
    #[must_use]
    pub fn waits_for(&self) -> Option<Wait> {
        let busy =
            self.credit.is_waiting() || self.checks + self.copies > 0 || !self.hashing.is_empty();
        match self.state {
            State::Delivered => Some(Wait::Farewell),
            State::Accepted if self.up && self.finished > 0 && !busy => Some(Wait::Missing),
            _ => None,
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) {
        let handled = match self.state {
            State::Over => Ok(()),
            State::Delivered => {
                self.farewell(&input);
                Ok(())
            }
            _ => self.step(input),
        };
        if let Err(failure) = handled {
            self.fail(failure);
        }
    }

    fn step(&mut self, input: Input) -> Result<(), Failure> {
        if self.has_everything() {
            return self.finishing(input);
        }
        match input {
            Input::Peer(Frame::Cancel(reason)) => Err(Failure::Peer(reason)),
            Input::Peer(_) if !self.up => Ok(()),
            Input::Peer(frame) => self.frame(frame),
            Input::Failed(reason) => Err(Failure::Here(reason)),
            Input::Malformed => Err(Failure::Violation("a message makes no sense")),
            Input::TimedOut => Err(Failure::Here(Reason::Verification)),
            Input::Closed | Input::PathLost => {
                self.path_lost();
                Ok(())
            }
            Input::Reconnected => {
                self.reconnected();
                Ok(())
            }
            Input::Answer(answer) => self.answered(answer),
            disk => self.disk(disk),
        }
    }

    /// Everything is here and verified, and the disk is at work: only the disk can fail it now.
    fn finishing(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Failed(Reason::Interrupted | Reason::Other)
            | Input::Malformed
            | Input::TimedOut
            | Input::Peer(Frame::Cancel(_)) => self.alone = true,
            Input::Failed(reason) => return Err(Failure::Here(reason)),
            Input::Closed | Input::PathLost => self.path_lost(),
            Input::Reconnected => self.reconnected(),
            Input::Peer(_) | Input::Answer(_) => {}
            disk => return self.disk(disk),
        }
        Ok(())
    }

    /// Everything is safe: whatever happens now, the transfer has succeeded.
    fn farewell(&mut self, input: &Input) {
        match input {
            Input::Closed | Input::TimedOut | Input::Failed(_) => self.done(),
            Input::PathLost => {
                // The sender may not have heard that everything is safe.
                self.state = State::Accepted;
                self.path_lost();
            }
            _ => {}
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Failure> {
        match (frame, self.state) {
            (Frame::Manifest(entries), _) => self.offered(entries),
            (Frame::ManifestEnd { entries, bytes }, _) => {
                self.offer.end(entries, bytes).map_err(Failure::Violation)?;
                self.check_last_item();
                Ok(())
            }
            (Frame::Withdraw(files), _) => self.withdrawn(files),
            (Frame::Data(records), State::Accepted) => {
                records.into_iter().try_for_each(|record| self.place(record))
            }
            (Frame::Hashes(hashes), State::Accepted) => {
                hashes.into_iter().try_for_each(|hash| self.announced(hash))
            }
            (Frame::Fin(finished), State::Accepted) => {
                finished.into_iter().try_for_each(|finished| self.fin(finished))
            }
            _ => Err(OUT_OF_TURN),
        }
    }

    fn disk(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Opened(file, found) => self.opened(file, &found),
            Input::Skipped(file, reason) => self.skipped(file, reason),
            Input::Hashed(file, chunk, origin, hash) => self.hashed(file, chunk, origin, hash),
            Input::Stored(bytes, parts) => self.stored(bytes, parts),
            Input::ChunkStored(chunk) => return self.chunk_stored(chunk),
            Input::FileCopied(file, digest) => return self.file_copied(file, digest),
            Input::Committed(first) => self.committed(first),
            _ => return Err(OUT_OF_TURN),
        }
        Ok(())
    }

    // The offer.

    fn offered(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let count = entries.len();
        self.offer.add(entries).map_err(Failure::Violation)?;
        self.unresolved += count;
        for file in self.stages.len()..self.stages.len() + count {
            let file = FileId(number(file));
            self.stages.push(Stage::Told);
            let item = self.offer.item_of(file);
            if item == self.items.len() {
                self.items.push(Item {
                    phase: Phase::Receiving,
                    unresolved: 0,
                    staged: false,
                    here: Vec::new(),
                    copied: 0,
                });
                // The one before has ended with this.
                item.checked_sub(1).into_iter().for_each(|before| self.check_item(before));
            }
            if let Some(item) = self.items.get_mut(item) {
                item.unresolved += 1;
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Option<Conflict>) -> Result<(), Failure> {
        self.conflict = answer.ok_or(Failure::Here(Reason::Declined))?;
        if self.state == State::Offered {
            self.state = State::Accepted;
            self.tell(Frame::Accept);
            self.grant();
        }
        Ok(())
    }

    fn opened(&mut self, file: FileId, found: &Found) {
        self.opening = self.opening.saturating_sub(1);
        if self.stage(file) != Stage::Opening {
            return; // Withdrawn meanwhile.
        }
        let Some(entry) = self.offer.entry(file).cloned() else { return };
        if entry.kind == Kind::Directory {
            self.directory(file, found);
        } else if found.part.is_empty() && found.base.is_none() {
            self.set(file, Stage::Wanted);
            self.unsaid.want_file(file);
        } else {
            self.found(file, &entry, found);
        }
    }

    fn directory(&mut self, file: FileId, found: &Found) {
        let item = self.offer.item_of(file);
        if let Some(item) = self.items.get_mut(item) {
            if found.base.is_some() {
                item.here.push((file, Hash::of(&[])));
            } else {
                item.staged = true;
            }
        }
        self.resolve(file, Stage::Complete);
    }

    /// There is something of a file from before: it is claimed, and what is missing is wanted.
    fn found(&mut self, file: FileId, entry: &Entry, found: &Found) {
        let incoming = Incoming::new(entry, found);
        let count = entry.chunk_count().unwrap_or_default();
        let part = found.part.iter().map(|range| range.start..range.end.min(count));
        let part: Vec<_> = part.filter(|range| !range.is_empty()).take(MAX_RANGES).collect();
        let base = found.base.map_or_else(Vec::new, |base| incoming.covered(base, &part));
        let here: Vec<_> = part.iter().chain(&base).cloned().collect();
        self.want_missing(file, &incoming, &here);
        let claims = part.into_iter().map(|range| (file, Origin::Part, range));
        self.to_claim.extend(claims.chain(base.into_iter().map(|r| (file, Origin::Base, r))));
        self.active.insert(file, incoming);
        self.set(file, Stage::Active);
    }

    /// Wants what is not here; when nothing is missing, only to hear that it is all.
    fn want_missing(&mut self, file: FileId, incoming: &Incoming, except: &[Range<u32>]) {
        let mut missing = incoming.missing(except);
        if missing.is_empty() && except.is_empty() {
            missing.push(0..0);
        }
        missing.into_iter().for_each(|chunks| self.unsaid.want(file, chunks));
    }

    /// A file is kept as it is, since what is offered differs.
    fn skip(&mut self, file: FileId) {
        self.drop_active(file);
        self.unsaid.skip(file, Reason::TargetExists);
        self.resolve(file, Stage::Existing);
    }

    fn skipped(&mut self, file: FileId, reason: Reason) {
        self.opening = self.opening.saturating_sub(1);
        if self.stage(file) == Stage::Opening {
            let exists = reason == Reason::TargetExists;
            self.unsaid.skip(file, reason);
            self.resolve(file, if exists { Stage::Existing } else { Stage::Declined });
        }
    }

    fn withdrawn(&mut self, ranges: Vec<Range<u32>>) -> Result<(), Failure> {
        for file in ranges.into_iter().flatten().map(FileId) {
            match self.stage(file) {
                // What is complete was so when the sender said that it was all.
                Stage::Withdrawn
                | Stage::Declined
                | Stage::Existing
                | Stage::Complete
                | Stage::Delivered => continue,
                _ if index(file) >= self.stages.len() => return Err(NOT_OFFERED),
                Stage::Active | Stage::Wanted => self.actions.push_back(Action::Discard(file)),
                Stage::Told | Stage::Opening => {}
            }
            self.drop_active(file);
            self.resolve(file, Stage::Withdrawn);
        }
        Ok(())
    }

    // Bytes.

    /// Checks where a record belongs and that it may come now.
    fn place(&mut self, record: Record) -> Result<(), Failure> {
        let Record { file, chunk, offset, bytes } = record;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.credit.take(u64::from(length))?;
        if index(file) >= self.stages.len() {
            return Err(NOT_OFFERED);
        }
        if matches!(self.stage(file), Stage::Withdrawn | Stage::Existing) {
            // It was on its way when the sender took it back, or this end did.
            self.stored(u64::from(length), 1);
            return Ok(());
        }
        if self.stage(file) == Stage::Wanted {
            let entry = self.offer.entry(file).ok_or(NOT_OFFERED)?;
            self.active.insert(file, Incoming::new(entry, &Found::default()));
            self.set(file, Stage::Active);
        }
        let disorder = Failure::Violation("it sent parts of a file out of order");
        let incoming = self.active.get_mut(&file).ok_or(OUT_OF_TURN)?;
        if !incoming.holds(chunk, offset, length) {
            return Err(NOT_OFFERED);
        }
        let claim = incoming.claim_of(chunk);
        let placed = incoming.place(chunk, offset, length).ok_or(disorder.clone())?;
        self.claimed = self.claimed.saturating_sub(usize::from(claim.is_some()));
        self.arriving += usize::from(placed.first);
        self.arriving = self.arriving.saturating_sub(usize::from(placed.last));
        if claim == Some(Origin::Base) {
            self.differ(file);
            if self.stage(file) == Stage::Existing {
                self.stored(u64::from(length), 1);
                return Ok(());
            }
        }
        if self.arriving > MAX_OPEN_CHUNKS {
            return Err(disorder);
        }
        let position = placed.position;
        self.actions.push_back(Action::Write(Part { file, chunk, offset, position, bytes }));
        Ok(())
    }

    /// A file differs from the one of its name.
    fn differ(&mut self, file: FileId) {
        let Some(incoming) = self.active.get_mut(&file) else { return };
        let copied = incoming.differ();
        self.checks += copied.len();
        self.actions.extend(copied.into_iter().map(|chunk| Action::Copy(file, chunk)));
        if self.conflict == Conflict::Replace {
            return;
        }
        if self.conflict == Conflict::Skip {
            return self.skip(file);
        }
        // It is not the file that is here already: there is no use in asking for more of it.
        let base =
            |claim: &(FileId, Origin, Range<u32>)| claim.0 == file && claim.1 == Origin::Base;
        let (asked, kept) = mem::take(&mut self.to_claim).into_iter().partition(base);
        self.to_claim = kept;
        let asked: VecDeque<_> = asked;
        asked.into_iter().for_each(|(_, _, chunks)| self.unsaid.want(file, chunks));
    }

    /// The sender says what a chunk's hash is; all its bytes must have come before.
    fn announced(&mut self, ChunkHash { file, chunk, hash }: ChunkHash) -> Result<(), Failure> {
        if matches!(self.stage(file), Stage::Withdrawn | Stage::Existing) {
            return Ok(());
        }
        let nonsense = Failure::Violation("it sent a hash out of order");
        let incoming = self.active.get_mut(&file).ok_or(nonsense.clone())?;
        let (announced, arriving) = incoming.announced(chunk, hash);
        self.arriving = self.arriving.saturating_sub(usize::from(arriving));
        match announced {
            Announced::Nonsense => return Err(nonsense),
            Announced::Check => {
                self.checks += 1;
                self.actions.push_back(Action::Check(file, chunk));
                return Ok(());
            }
            Announced::Right => self.actions.push_back(Action::Keep(file, chunk)),
            Announced::RightInBase(copy) => {
                self.checks += usize::from(copy);
                self.actions.extend(copy.then_some(Action::Copy(file, chunk)));
            }
        }
        self.claimed = self.claimed.saturating_sub(1);
        self.spare(file, chunk);
        self.conclude(file)
    }

    fn spare(&mut self, file: FileId, chunk: u32) {
        let span = self.offer.entry(file).and_then(|entry| entry.chunking().span(chunk));
        self.outcome.spared += span.map_or(0, |(_, length)| u64::from(length));
    }

    /// The hash of a chunk that is here from before.
    fn hashed(&mut self, file: FileId, chunk: u32, origin: Origin, hash: Option<Hash>) {
        self.hashing.retain(|hashed| *hashed != (file, chunk));
        let Some(incoming) = self.active.get_mut(&file) else { return };
        match hash {
            Some(hash) if incoming.claim(chunk, origin, hash) => {
                self.claimed += 1;
                self.unsaid.claim(ChunkHash { file, chunk, hash });
            }
            Some(_) => {}
            None => {
                self.unsaid.want_chunk(file, chunk);
                if origin == Origin::Base {
                    self.differ(file);
                }
            }
        }
    }

    fn stored(&mut self, bytes: u64, parts: u32) {
        self.credit.store(bytes, parts);
        self.stored_since_ready = self.stored_since_ready.saturating_add(bytes);
        self.grant();
    }

    /// The disk says what a chunk's hash is.
    fn chunk_stored(&mut self, ChunkHash { file, chunk, hash }: ChunkHash) -> Result<(), Failure> {
        self.checks = self.checks.saturating_sub(1);
        let Some(incoming) = self.active.get_mut(&file) else { return Ok(()) };
        match incoming.stored(chunk, hash) {
            Stored::Right => {
                self.actions.push_back(Action::Keep(file, chunk));
                if let Some(chunks) = incoming.prefix() {
                    self.tell(Frame::Kept { file, chunks });
                }
            }
            Stored::Wrong => return Err(Failure::Here(Reason::Verification)),
            Stored::Lost => self.unsaid.want_chunk(file, chunk),
            Stored::Nothing => {}
        }
        self.conclude(file)
    }

    /// The sender says that it has sent everything of a file. It may say so again.
    fn fin(&mut self, finished: Finished) -> Result<(), Failure> {
        let file = finished.file;
        let entry = self.offer.entry(file).ok_or(NOT_OFFERED)?;
        match self.stage(file) {
            Stage::Wanted => {
                self.active.insert(file, Incoming::new(entry, &Found::default()));
                self.set(file, Stage::Active);
            }
            Stage::Active => {}
            Stage::Complete | Stage::Delivered | Stage::Existing => return Ok(()),
            _ => return Err(OUT_OF_TURN),
        }
        let size = self.offer.entry(file).map_or(0, |entry| entry.size);
        let incoming = self.active.get_mut(&file).ok_or(OUT_OF_TURN)?;
        self.finished += usize::from(!incoming.is_finished());
        if !incoming.finished(finished, size) {
            return Err(Failure::Violation("it finished a file in two ways"));
        }
        self.conclude(file)
    }

    /// Sees whether a file is complete.
    fn conclude(&mut self, file: FileId) -> Result<(), Failure> {
        let Some(incoming) = self.active.get(&file) else { return Ok(()) };
        let (digest, here) = match incoming.end() {
            End::Open => return Ok(()),
            End::Wrong => return Err(Failure::Here(Reason::Verification)),
            End::Complete(digest) => (digest, false),
            End::Here(digest) => (digest, true),
        };
        self.drop_active(file);
        self.digest = Some(digest);
        let item = self.offer.item_of(file);
        if let Some(item) = self.items.get_mut(item) {
            if here {
                item.here.push((file, digest));
            } else {
                item.staged = true;
            }
        }
        self.actions.push_back(if here { Action::Here(file) } else { Action::Finish(file) });
        self.resolve(file, Stage::Complete);
        Ok(())
    }

    fn drop_active(&mut self, file: FileId) {
        if let Some(incoming) = self.active.remove(&file) {
            self.finished = self.finished.saturating_sub(usize::from(incoming.is_finished()));
            self.arriving = self.arriving.saturating_sub(incoming.arriving());
            self.claimed = self.claimed.saturating_sub(incoming.claimed());
            self.to_claim.retain(|claim| claim.0 != file);
        }
    }

    // Items.

    /// A file has found its end, here.
    fn resolve(&mut self, file: FileId, stage: Stage) {
        if matches!(self.stage(file), Stage::Opening | Stage::Wanted | Stage::Active) {
            self.under_way = self.under_way.saturating_sub(1);
        }
        self.set(file, stage);
        self.unresolved = self.unresolved.saturating_sub(1);
        let item = self.offer.item_of(file);
        if let Some(of_file) = self.items.get_mut(item) {
            of_file.unresolved = of_file.unresolved.saturating_sub(1);
        }
        self.check_item(item);
    }

    fn check_last_item(&mut self) {
        if let Some(last) = self.items.len().checked_sub(1) {
            self.check_item(last);
        }
    }

    /// Sees whether everything of an item is here.
    fn check_item(&mut self, number: usize) {
        let closed = self.offer.item(number).is_some();
        let Some(item) = self.items.get_mut(number) else { return };
        if !closed || item.unresolved > 0 || item.phase != Phase::Receiving {
            return;
        }
        if item.staged && !item.here.is_empty() && self.conflict == Conflict::Rename {
            item.phase = Phase::Copying;
            self.copies += item.here.len();
            self.actions.extend(item.here.iter().map(|(file, _)| Action::CopyFile(*file)));
        } else if item.staged {
            self.make_ready(number);
        } else {
            self.deliver(number);
        }
    }

    fn file_copied(&mut self, file: FileId, digest: Option<Hash>) -> Result<(), Failure> {
        self.copies = self.copies.saturating_sub(1);
        let number = self.offer.item_of(file);
        let Some(item) = self.items.get_mut(number) else { return Ok(()) };
        let expected = item.here.get(item.copied).copied();
        if expected != digest.map(|digest| (file, digest)) {
            return Err(Failure::Here(Reason::Disk)); // It changed here, meanwhile.
        }
        item.copied += 1;
        if item.copied == item.here.len() {
            self.make_ready(number);
        }
        Ok(())
    }

    fn make_ready(&mut self, number: usize) {
        if let Some(item) = self.items.get_mut(number) {
            item.phase = Phase::Committing;
        }
        if self.ready.is_empty() {
            self.stored_since_ready = 0;
        }
        self.ready.push(number);
    }

    fn committed(&mut self, first: FileId) {
        self.committing = self.committing.saturating_sub(1);
        self.deliver(self.offer.item_of(first));
    }

    /// An item is safe: the sender is to know.
    fn deliver(&mut self, number: usize) {
        if let Some(item) = self.items.get_mut(number) {
            item.phase = Phase::Done;
            item.here = Vec::new();
        }
        for file in self.offer.item(number).unwrap_or_default() {
            if self.stage(FileId(file)) == Stage::Complete {
                self.set(FileId(file), Stage::Delivered);
                self.unsaid.deliver(FileId(file));
            }
        }
    }

    // The connection.

    fn path_lost(&mut self) {
        if mem::replace(&mut self.up, false) {
            self.actions.retain(|action| !matches!(action, Action::Send(_)));
            self.actions.push_back(Action::Reconnect);
        }
    }

    /// Says where this end stands, and wants what it still lacks.
    fn reconnected(&mut self) {
        if mem::replace(&mut self.up, true) {
            return;
        }
        self.unsaid = Unsaid::default();
        self.credit.restart();
        (self.arriving, self.claimed, self.finished) = (0, 0, 0);
        self.tell(Frame::Resume { entries: number(self.stages.len()) });
        if self.state == State::Accepted {
            self.tell(Frame::Accept);
            self.grant();
            (0..number(self.stages.len())).map(FileId).for_each(|file| self.ask_again(file));
        }
    }

    fn ask_again(&mut self, file: FileId) {
        match self.stage(file) {
            Stage::Told | Stage::Opening | Stage::Complete | Stage::Withdrawn => {}
            Stage::Wanted => self.unsaid.want_file(file),
            Stage::Active => self.continue_with(file),
            Stage::Delivered => self.unsaid.deliver(file),
            Stage::Declined => self.unsaid.skip(file, Reason::Declined),
            Stage::Existing => self.unsaid.skip(file, Reason::TargetExists),
        }
    }

    fn continue_with(&mut self, file: FileId) {
        let Some(mut incoming) = self.active.remove(&file) else { return };
        let claims = incoming.interrupted();
        if let Some(chunks) = incoming.kept() {
            self.tell(Frame::Kept { file, chunks });
        }
        self.claimed += claims.len();
        let claims = claims.into_iter().map(|(chunk, hash)| ChunkHash { file, chunk, hash });
        claims.for_each(|claim| self.unsaid.claim(claim));
        let to_claim = self.to_claim.iter().filter(|(of, ..)| *of == file);
        let mut except: Vec<_> = to_claim.map(|(_, _, chunks)| chunks.clone()).collect();
        let hashing = self.hashing.iter().filter(|(of, _)| *of == file);
        except.extend(hashing.map(|(_, chunk)| *chunk..chunk.saturating_add(1)));
        self.want_missing(file, &incoming, &except);
        self.active.insert(file, incoming);
    }

    fn grant(&mut self) {
        if let Some(limit) = self.credit.grant() {
            self.tell(Frame::Credit { limit });
        }
    }

    /// Sends a frame, if there is a connection; what matters is said again on the next.
    fn tell(&mut self, frame: Frame) {
        if self.up {
            self.actions.push_back(Action::Send(frame));
        }
    }

    // What is due when nothing else is.

    fn go_on(&mut self) {
        match self.state {
            State::Offered => self.ask(),
            State::Accepted => {
                self.open_next();
                self.claim_next();
                self.commit();
                if self.up {
                    self.actions.extend(self.unsaid.say().map(Action::Send));
                }
                self.end();
            }
            State::Delivered | State::Over => {}
        }
    }

    fn ask(&mut self) {
        let enough = self.eager && self.offer.entries().len() >= ENOUGH;
        if !self.asked && (self.offer.is_complete() || enough) {
            self.asked = true;
            self.actions.push_back(Action::Ask);
        }
    }

    fn open_next(&mut self) {
        while self.opening < LOOK_AHEAD
            && self.under_way < MAX_UNDER_WAY
            && self.next_to_open < number(self.stages.len())
        {
            let file = FileId(self.next_to_open);
            self.next_to_open += 1;
            if self.stage(file) == Stage::Told {
                self.set(file, Stage::Opening);
                self.opening += 1;
                self.under_way += 1;
                self.actions.push_back(Action::Open(file));
            }
        }
    }

    fn claim_next(&mut self) {
        while self.hashing.len() + self.claimed < MAX_CLAIMS {
            let Some((file, origin, chunks)) = self.to_claim.front_mut() else { return };
            match chunks.next() {
                Some(chunk) => {
                    self.hashing.push((*file, chunk));
                    self.actions.push_back(Action::Hash(*file, chunk, *origin));
                }
                None => drop(self.to_claim.pop_front()),
            }
        }
    }

    fn commit(&mut self) {
        let due = self.unresolved == 0
            || self.ready.len() >= COMMIT_ITEMS
            || self.stored_since_ready >= COMMIT_BYTES
            || !self.up;
        if due && !self.ready.is_empty() {
            let items = mem::take(&mut self.ready);
            self.committing += items.len();
            let first = |item: usize| Some(FileId(self.offer.item(item)?.start));
            let items = items.into_iter().filter_map(first).collect();
            self.actions.push_back(Action::Commit(items));
        }
    }

    fn end(&mut self) {
        // Checks that are still under way are of files that were withdrawn.
        let idle = self.ready.is_empty() && self.committing == 0 && self.copies == 0;
        if !self.has_everything() || !idle {
            return;
        }
        if self.alone {
            self.done();
        } else if self.up {
            self.state = State::Delivered;
        }
    }

    fn done(&mut self) {
        let count =
            |wanted: Stage| number(self.stages.iter().filter(|stage| **stage == wanted).count());
        let withdrawn = (0..).map(FileId).zip(&self.stages);
        let withdrawn = withdrawn.filter(|(_, stage)| **stage == Stage::Withdrawn);
        let outcome = Outcome {
            delivered: count(Stage::Delivered),
            declined: count(Stage::Declined),
            existing: count(Stage::Existing),
            withdrawn: withdrawn.map(|(file, _)| file).collect(),
            digest: self.digest.filter(|_| self.stages == [Stage::Delivered]),
            spared: self.outcome.spared,
        };
        self.state = State::Over;
        self.actions.push_back(Action::Done(Ok(outcome)));
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Over;
        self.actions.extend(failure.reason().map(|reason| Action::Send(Frame::Cancel(reason))));
        self.actions.push_back(Action::Done(Err(failure)));
    }

    fn stage(&self, file: FileId) -> Stage {
        self.stages.get(index(file)).copied().unwrap_or(Stage::Told)
    }

    fn set(&mut self, file: FileId, stage: Stage) {
        if let Some(of_file) = self.stages.get_mut(index(file)) {
            *of_file = stage;
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        credit::{MAX_WAITING_PARTS, STEP},
        *,
    };
    use crate::proto::{
        digest::tree,
        frame::{TO_THE_END, Wanted},
        manifest::tests::{entry, file},
    };

    const CHUNK: usize = 256 * 1024;
    const FILE: FileId = FileId(0);

    fn drain(receiver: &mut Receiver) -> Vec<Action> {
        std::iter::from_fn(|| receiver.poll()).collect()
    }

    fn after(receiver: &mut Receiver, input: Input) -> Vec<Action> {
        receiver.handle(input);
        drain(receiver)
    }

    fn failure(actions: &[Action]) -> Option<&Failure> {
        actions.iter().find_map(|action| match action {
            Action::Done(Err(failure)) => Some(failure),
            _ => None,
        })
    }

    fn offered(entries: &[Entry]) -> (Receiver, Vec<Action>) {
        let mut receiver = Receiver::new(false);
        let bytes = entries.iter().map(|entry| entry.size).sum();
        receiver.handle(Input::Peer(Frame::Manifest(entries.to_vec())));
        let end = Frame::ManifestEnd { entries: number(entries.len()), bytes };
        let actions = after(&mut receiver, Input::Peer(end));
        (receiver, actions)
    }

    /// A receiver that has taken an offer of which it has nothing.
    fn receiving(entries: &[Entry]) -> Receiver {
        let (mut receiver, _) = offered(entries);
        receiver.handle(Input::Answer(Some(Conflict::Rename)));
        drain(&mut receiver);
        for file in 0..number(entries.len()) {
            receiver.handle(Input::Opened(FileId(file), Found::default()));
        }
        drain(&mut receiver);
        receiver
    }

    /// One that has something of the one file offered.
    fn finding(size: u64, conflict: Conflict, found: Found) -> (Receiver, Vec<Action>) {
        let (mut receiver, _) = offered(&[file(size)]);
        receiver.handle(Input::Answer(Some(conflict)));
        drain(&mut receiver);
        let actions = after(&mut receiver, Input::Opened(FILE, found));
        (receiver, actions)
    }

    fn data_of(file: FileId, chunk: u32, offset: u32, bytes: &[u8]) -> Input {
        let bytes = Bytes::copy_from_slice(bytes);
        Input::Peer(Frame::Data(vec![Record { file, chunk, offset, bytes }]))
    }

    fn data(chunk: u32, offset: u32, bytes: &[u8]) -> Input {
        data_of(FILE, chunk, offset, bytes)
    }

    fn hash(chunk: u32, bytes: &[u8]) -> ChunkHash {
        ChunkHash { file: FILE, chunk, hash: Hash::of(bytes) }
    }

    fn hashes(chunk: u32, bytes: &[u8]) -> Input {
        Input::Peer(Frame::Hashes(vec![hash(chunk, bytes)]))
    }

    fn of(FileId(file): FileId, chunks: Range<u32>) -> Wanted {
        Wanted { files: file..file + 1, chunks }
    }

    fn finished(file: FileId, chunks: &[&[u8]]) -> Finished {
        let leaves: Vec<_> = chunks.iter().map(|chunk| Hash::of(chunk)).collect();
        let size = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Finished { file, size, digest: tree(&leaves) }
    }

    fn fin(chunks: &[&[u8]]) -> Input {
        Input::Peer(Frame::Fin(vec![finished(FILE, chunks)]))
    }

    #[test]
    fn a_file_is_asked_for_wanted_written_verified_committed_and_confirmed() {
        let (mut receiver, asked) = offered(&[file(5)]);
        assert_eq!(asked, [Action::Ask]);
        assert_eq!(
            after(&mut receiver, Input::Answer(Some(Conflict::Rename))),
            [
                Action::Send(Frame::Accept),
                Action::Send(Frame::Credit { limit: WINDOW }),
                Action::Open(FILE)
            ]
        );
        let wanted = after(&mut receiver, Input::Opened(FILE, Found::default()));
        assert_eq!(wanted, [Action::Send(Frame::Want(vec![of(FILE, 0..TO_THE_END)]))]);
        let bytes = Bytes::from_static(b"hello");
        let part = Part { file: FILE, chunk: 0, offset: 0, position: 0, bytes };
        assert_eq!(after(&mut receiver, data(0, 0, b"hello")), [Action::Write(part)]);
        assert_eq!(after(&mut receiver, hashes(0, b"hello")), [Action::Check(FILE, 0)]);
        let kept = after(&mut receiver, Input::ChunkStored(hash(0, b"hello")));
        assert_eq!(kept, [Action::Keep(FILE, 0)]);
        let complete = after(&mut receiver, fin(&[b"hello"]));
        assert_eq!(complete, [Action::Finish(FILE), Action::Commit(vec![FILE])]);
        let confirmed = after(&mut receiver, Input::Committed(FILE));
        let ranges = vec![0..1];
        assert_eq!(confirmed, [Action::Send(Frame::FinOk(ranges))]);
        assert_eq!(receiver.waits_for(), Some(Wait::Farewell));
        assert!(matches!(after(&mut receiver, Input::Closed)[..], [Action::Done(Ok(_))]));
    }

    #[test]
    fn files_that_follow_each_other_are_wanted_in_one_range() {
        let entries: Vec<_> = (0..50).map(|i| entry(Kind::File, &format!("{i}"), 9)).collect();
        let (mut receiver, _) = offered(&entries);
        receiver.handle(Input::Answer(Some(Conflict::Rename)));
        drain(&mut receiver);
        for file in 0..50 {
            receiver.handle(Input::Opened(FileId(file), Found::default()));
        }
        let all = Wanted { files: 0..50, chunks: 0..TO_THE_END };
        assert_eq!(drain(&mut receiver), [Action::Send(Frame::Want(vec![all]))]);
    }

    #[test]
    fn an_eager_receiver_takes_a_large_offer_before_it_knows_all_of_it() {
        let mut receiver = Receiver::new(true);
        let entries: Vec<_> = (0..ENOUGH).map(|i| entry(Kind::File, &format!("{i}"), 9)).collect();
        assert_eq!(after(&mut receiver, Input::Peer(Frame::Manifest(entries))), [Action::Ask]);
    }

    #[test]
    fn a_folder_is_committed_when_everything_in_it_is_here() {
        let entries = [
            entry(Kind::Directory, "d", 0),
            entry(Kind::File, "d/a", 0),
            entry(Kind::File, "d/b", 0),
        ];
        let mut receiver = receiving(&entries);
        let first = Input::Peer(Frame::Fin(vec![finished(FileId(1), &[])]));
        assert_eq!(after(&mut receiver, first), [Action::Finish(FileId(1))]);
        let second = Input::Peer(Frame::Fin(vec![finished(FileId(2), &[])]));
        let complete = after(&mut receiver, second);
        assert_eq!(complete, [Action::Finish(FileId(2)), Action::Commit(vec![FILE])]);
        let confirmed = after(&mut receiver, Input::Committed(FILE));
        assert_eq!(confirmed, [Action::Send(Frame::FinOk(vec![0..3]))]);
    }

    #[test]
    fn fin_may_overtake_data_but_what_never_comes_fails() {
        let mut receiver = receiving(&[file(5)]);
        assert_eq!(after(&mut receiver, fin(&[b"hello"])), []);
        assert_eq!(receiver.waits_for(), Some(Wait::Missing));
        receiver.handle(data(0, 0, b"hello"));
        receiver.handle(hashes(0, b"hello"));
        drain(&mut receiver);
        let stored = after(&mut receiver, Input::ChunkStored(hash(0, b"hello")));
        assert!(stored.contains(&Action::Commit(vec![FILE])));

        let mut receiver = receiving(&[file(5)]);
        receiver.handle(fin(&[b"hello"]));
        let end = after(&mut receiver, Input::TimedOut);
        assert_eq!(failure(&end), Some(&Failure::Here(Reason::Verification)));
    }

    #[test]
    fn a_lie_about_a_hash_or_the_digest_fails_verification() {
        for (announced, digest) in
            [(&b"hellO"[..], &b"hellO"[..]), (b"hellO", b"hello"), (b"hello", b"hellO")]
        {
            let mut receiver = receiving(&[file(5)]);
            receiver.handle(data(0, 0, b"hello"));
            receiver.handle(hashes(0, announced));
            receiver.handle(Input::ChunkStored(hash(0, b"hello")));
            receiver.handle(fin(&[digest]));
            let end = drain(&mut receiver);
            assert_eq!(failure(&end), Some(&Failure::Here(Reason::Verification)));
            assert!(!end.iter().any(|action| matches!(action, Action::Commit(_))));
            assert!(end.contains(&Action::Send(Frame::Cancel(Reason::Verification))));
        }
    }

    #[test]
    fn bytes_outside_the_offer_are_refused() {
        for bad in [
            data(1, 0, b"x"),
            data(u32::MAX, 0, b"x"),
            data(0, 5, b"x"),
            data(0, 0, b"hello!"),
            data(0, u32::MAX, b"x"),
            data_of(FileId(1), 0, 0, b"x"),
        ] {
            let mut receiver = receiving(&[file(5)]);
            let end = after(&mut receiver, bad);
            assert!(matches!(failure(&end), Some(Failure::Violation(_))), "{end:?}");
            assert!(!end.iter().any(|action| matches!(action, Action::Write(_))));
        }
    }

    #[test]
    fn parts_of_a_chunk_come_in_order_and_once() {
        for bad in [&[(0, 1)][..], &[(0, 0), (0, 0)], &[(0, 0), (0, 2)], &[(0, 0), (0, 1), (0, 0)]]
        {
            let mut receiver = receiving(&[file(2)]);
            let end: Vec<_> = bad
                .iter()
                .flat_map(|(chunk, at)| after(&mut receiver, data(*chunk, *at, b"x")))
                .collect();
            assert!(matches!(failure(&end), Some(Failure::Violation(_))), "{bad:?}");
        }
        let mut receiver = receiving(&[file(2)]);
        assert_eq!(
            failure(&after(&mut receiver, hashes(0, b"xx"))),
            Some(&Failure::Violation("it sent a hash out of order"))
        );
    }

    #[test]
    fn more_than_was_granted_is_refused_and_writing_grants_more() {
        let mut receiver = receiving(&[file(WINDOW * 2)]);
        let chunk = vec![0; CHUNK];
        let chunks = u32::try_from(WINDOW).unwrap() / u32::try_from(CHUNK).unwrap();
        for index in 0..chunks {
            assert!(failure(&after(&mut receiver, data(index, 0, &chunk))).is_none());
        }
        assert!(after(&mut receiver, Input::Stored(STEP - 1, 1)).is_empty());
        let limit = WINDOW + STEP;
        let granted = after(&mut receiver, Input::Stored(1, 1));
        assert_eq!(granted, [Action::Send(Frame::Credit { limit })]);
        assert!(failure(&after(&mut receiver, data(chunks, 0, &chunk))).is_none());
        assert!(failure(&after(&mut receiver, data(chunks + 1, 0, &chunk))).is_none());
        assert!(failure(&after(&mut receiver, data(chunks + 2, 0, &chunk))).is_some());
    }

    #[test]
    fn data_before_consent_is_refused() {
        let (mut receiver, _) = offered(&[file(5)]);
        let end = after(&mut receiver, data(0, 0, b"hello"));
        assert!(matches!(failure(&end), Some(Failure::Violation(_))));
    }

    #[test]
    fn declining_tells_the_sender() {
        let (mut receiver, _) = offered(&[file(5)]);
        assert_eq!(
            after(&mut receiver, Input::Answer(None)),
            [
                Action::Send(Frame::Cancel(Reason::Declined)),
                Action::Done(Err(Failure::Here(Reason::Declined))),
            ]
        );
    }

    #[test]
    fn what_is_here_from_before_is_claimed_while_the_rest_is_wanted() {
        let part = vec![0..1];
        let (mut receiver, actions) =
            finding(300_000, Conflict::Rename, Found { part, base: None });
        let want = Action::Send(Frame::Want(vec![of(FILE, 1..2)]));
        assert_eq!(actions, [Action::Hash(FILE, 0, Origin::Part), want]);
        let first = vec![1; CHUNK];
        let hashed = Input::Hashed(FILE, 0, Origin::Part, Some(Hash::of(&first)));
        let claim = Action::Send(Frame::Claim(vec![hash(0, &first)]));
        assert_eq!(after(&mut receiver, hashed), [claim]);
        assert_eq!(after(&mut receiver, hashes(0, &first)), [Action::Keep(FILE, 0)]);
        assert_eq!(receiver.spared(), CHUNK as u64);
    }

    #[test]
    fn a_claim_that_is_wrong_is_answered_with_the_chunk() {
        let part = vec![0..1];
        let (mut receiver, _) = finding(5, Conflict::Rename, Found { part, base: None });
        receiver.handle(Input::Hashed(FILE, 0, Origin::Part, Some(Hash::of(b"hellO"))));
        receiver.handle(data(0, 0, b"hello"));
        drain(&mut receiver);
        assert_eq!(after(&mut receiver, hashes(0, b"hello")), [Action::Check(FILE, 0)]);
        assert_eq!(receiver.spared(), 0);
    }

    #[test]
    fn an_identical_file_is_here_already_in_every_mode() {
        for conflict in [Conflict::Rename, Conflict::Replace, Conflict::Skip] {
            let found = Found { part: Vec::new(), base: Some(5) };
            let (mut receiver, actions) = finding(5, conflict, found);
            assert_eq!(actions, [Action::Hash(FILE, 0, Origin::Base)]);
            receiver.handle(Input::Hashed(FILE, 0, Origin::Base, Some(Hash::of(b"hello"))));
            receiver.handle(hashes(0, b"hello"));
            drain(&mut receiver);
            let end = after(&mut receiver, fin(&[b"hello"]));
            let told = Frame::FinOk(vec![0..1]);
            assert_eq!(end, [Action::Here(FILE), Action::Send(told)], "{conflict:?}");
        }
    }

    #[test]
    fn what_is_right_in_an_older_file_is_copied_once_it_is_known_to_differ() {
        let found = Found { part: Vec::new(), base: Some(300_000) };
        let (mut receiver, _) = finding(300_000, Conflict::Replace, found);
        let first = vec![1; CHUNK];
        for (chunk, bytes) in [(0, &first[..]), (1, b"old")] {
            receiver.handle(Input::Hashed(FILE, chunk, Origin::Base, Some(Hash::of(bytes))));
        }
        receiver.handle(hashes(0, &first));
        drain(&mut receiver);
        let second = vec![2; 300_000 - CHUNK];
        let copied = after(&mut receiver, data(1, 0, &second));
        assert_eq!(copied[0], Action::Copy(FILE, 0));
        assert!(matches!(copied[1], Action::Write(_)));
    }

    #[test]
    fn a_file_that_differs_is_kept_if_that_is_wanted() {
        let found = Found { part: Vec::new(), base: Some(5) };
        let (mut receiver, _) = finding(5, Conflict::Skip, found);
        receiver.handle(Input::Hashed(FILE, 0, Origin::Base, Some(Hash::of(b"mine!"))));
        drain(&mut receiver);
        let kept = after(&mut receiver, data(0, 0, b"hello"));
        let files = vec![0..1];
        assert_eq!(kept, [Action::Send(Frame::Skip { files, reason: Reason::TargetExists })]);
        assert_eq!(after(&mut receiver, hashes(0, b"hello")), [], "on its way already");
    }

    #[test]
    fn a_file_that_the_sender_takes_back_is_thrown_away_and_the_others_stay() {
        let entries = [entry(Kind::File, "a", 5), entry(Kind::File, "b", 0)];
        let mut receiver = receiving(&entries);
        receiver.handle(data(0, 0, b"hel"));
        drain(&mut receiver);
        let withdrawn = Input::Peer(Frame::Withdraw(vec![0..1]));
        assert_eq!(after(&mut receiver, withdrawn), [Action::Discard(FILE)]);
        assert_eq!(failure(&after(&mut receiver, data(0, 3, b"lo"))), None, "on its way already");
        let other = Input::Peer(Frame::Fin(vec![finished(FileId(1), &[])]));
        assert!(after(&mut receiver, other).contains(&Action::Commit(vec![FileId(1)])));
    }

    #[test]
    fn a_file_that_is_withdrawn_while_it_is_checked_is_waited_for_no_longer() {
        let mut receiver = receiving(&[file(5)]);
        receiver.handle(data(0, 0, b"hello"));
        assert_eq!(after(&mut receiver, hashes(0, b"hello"))[1..], [Action::Check(FILE, 0)]);
        let withdrawn = after(&mut receiver, Input::Peer(Frame::Withdraw(vec![0..1])));
        assert_eq!(withdrawn, [Action::Discard(FILE)]);
        assert_eq!(receiver.waits_for(), Some(Wait::Farewell));
        assert_eq!(after(&mut receiver, Input::ChunkStored(hash(0, b"hello"))), []);
        assert!(matches!(after(&mut receiver, Input::Closed)[..], [Action::Done(Ok(_))]));
    }

    #[test]
    fn after_a_lost_connection_only_what_is_missing_is_wanted() {
        let mut receiver = receiving(&[file(2 * CHUNK as u64)]);
        let first = vec![1; CHUNK];
        receiver.handle(data(0, 0, &first));
        receiver.handle(hashes(0, &first));
        receiver.handle(Input::ChunkStored(hash(0, &first)));
        receiver.handle(data(1, 0, b"begun"));
        drain(&mut receiver);
        assert_eq!(after(&mut receiver, Input::PathLost), [Action::Reconnect]);
        let said = after(&mut receiver, Input::Reconnected);
        let sent = said.into_iter().map(|action| match action {
            Action::Send(frame) => frame,
            other => panic!("{other:?}"),
        });
        let sent: Vec<_> = sent.collect();
        assert_eq!(sent[..2], [Frame::Resume { entries: 1 }, Frame::Accept]);
        assert_eq!(sent.last(), Some(&Frame::Want(vec![of(FILE, 1..2)])));
        assert!(matches!(sent[2], Frame::Credit { limit } if limit < WINDOW), "{sent:?}");
        assert_eq!(failure(&after(&mut receiver, data(1, 0, b"again"))), None);
    }

    #[test]
    fn once_everything_is_verified_only_the_disk_can_fail_it() {
        let cancel = Input::Peer(Frame::Cancel(Reason::Interrupted));
        for late in [Input::Failed(Reason::Interrupted), Input::TimedOut, cancel] {
            let mut receiver = receiving(&[file(0)]);
            receiver.handle(fin(&[]));
            drain(&mut receiver);
            assert_eq!(after(&mut receiver, late), []);
            let end = after(&mut receiver, Input::Committed(FILE));
            assert!(matches!(end.last(), Some(Action::Done(Ok(_)))), "{end:?}");
        }
        let mut receiver = receiving(&[file(0)]);
        receiver.handle(fin(&[]));
        let end = after(&mut receiver, Input::Failed(Reason::Disk));
        assert_eq!(failure(&end), Some(&Failure::Here(Reason::Disk)));
    }

    #[test]
    fn a_path_that_is_lost_at_the_end_is_looked_for_to_tell_that_all_is_safe() {
        let mut receiver = receiving(&[file(0)]);
        receiver.handle(fin(&[]));
        drain(&mut receiver);
        receiver.handle(Input::Committed(FILE));
        drain(&mut receiver);
        assert_eq!(after(&mut receiver, Input::PathLost), [Action::Reconnect]);
        let said = after(&mut receiver, Input::Reconnected);
        let told = Frame::FinOk(vec![0..1]);
        assert_eq!(said.last(), Some(&Action::Send(told)));

        after(&mut receiver, Input::PathLost);
        let end = after(&mut receiver, Input::Failed(Reason::Other));
        assert!(matches!(end.last(), Some(Action::Done(Ok(_)))), "{end:?}");
    }

    #[test]
    fn a_huge_offer_takes_no_memory_before_its_bytes_come() {
        let mut receiver = receiving(&[file((1 << 53) - 1)]);
        assert!(failure(&after(&mut receiver, data(5, 0, b"x"))).is_none());
    }

    #[test]
    fn crumbs_that_wait_for_the_disk_are_bounded() {
        let mut receiver = receiving(&[file(10_000_000)]);
        let crumb = |at: u32| data(at / 200_000, at % 200_000, b"x");
        for at in 0..MAX_WAITING_PARTS {
            assert_eq!(failure(&after(&mut receiver, crumb(at))), None);
        }
        receiver.handle(Input::Stored(1, 1));
        assert_eq!(failure(&after(&mut receiver, crumb(MAX_WAITING_PARTS))), None);
        let end = after(&mut receiver, crumb(MAX_WAITING_PARTS + 1));
        assert_eq!(failure(&end), Some(&TOO_MANY));
    }
}
