//! The receiver's machine: takes an offer apart, asks, checks every byte's place and every
//! chunk's hash, and only then has the file put under its name.
//!
//! It believes nothing: sizes, places, hashes and the order of messages are the sender's word
//! until they fit.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use super::{
    digest::{Chunking, Hash, tree},
    frame::{ChunkHash, Frame, Reason, Record},
    manifest::{Entry, Kind},
    sender::{Failure, ONLY},
};

/// Payload bytes that may be on their way or waiting for the disk.
pub const WINDOW: u64 = 16 * 1024 * 1024;

/// Credit is granted anew after this many bytes were written.
const CREDIT_STEP: u64 = 512 * 1024;

/// The most chunks that may be under way at once; there are fewer lanes than that.
const MAX_OPEN_CHUNKS: usize = 64;

/// The most parts that may wait for the disk: each takes some hundred bytes of memory besides its
/// own, so credit alone does not bound what crumbs take. A whole window in parts of 1 KiB is half
/// of this.
const MAX_WAITING_PARTS: u32 = 32 * 1024;

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// A frame arrived on the control channel or a lane.
    Peer(Frame),
    /// Whether the user wants what is offered.
    Answer(bool),
    /// The part file is open.
    Prepared,
    /// Bytes were written.
    Stored(u64),
    /// All of a chunk was written; its hash, taken on the way to the disk.
    ChunkStored(ChunkHash),
    /// The file is on stable storage under its final name.
    Committed,
    /// This end cannot go on.
    Failed(Reason),
    /// Something arrived that is no frame.
    Malformed,
    /// The peer has closed the connection.
    Closed,
    /// The peer cannot be reached any more.
    PathLost,
    /// What [`Receiver::waits_for`] said did not happen in time.
    TimedOut,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the user.
    Ask(Entry),
    /// Make room and open a part file.
    Prepare(Entry),
    /// Send a frame on the control channel.
    Send(Frame),
    /// Write a part of a chunk.
    Write(Part),
    /// Flush the file and put it under its final name.
    Commit,
    /// The transfer is over.
    Done(Result<Hash, Failure>),
}

/// A part of a chunk whose place was checked. The parts of one chunk come in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The chunk.
    pub chunk: u32,
    /// Where in the file, in bytes.
    pub position: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// Whether the chunk ends with this part.
    pub last: bool,
}

/// What may not take for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Bytes that the sender says it has sent.
    Missing,
    /// The sender's farewell, after it was told that the file is safe.
    Farewell,
}

#[derive(Debug)]
enum State {
    Waiting { entry: Option<Entry> },
    Deciding { entry: Entry },
    Preparing { entry: Entry },
    Receiving(Incoming),
    Committing { digest: Hash, peer: Peer },
    Delivered { digest: Hash },
    Over,
}

/// Whether there is still somebody to be told that the file is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    There,
    Gone,
}

/// A file on its way. Nothing here is as large as the sender says, only as what has arrived.
#[derive(Debug)]
struct Incoming {
    chunking: Chunking,
    /// The hashes of verified chunks.
    verified: BTreeMap<u32, Hash>,
    /// Chunks under way: the next offset expected.
    open: HashMap<u32, u32>,
    /// Chunks whose bytes have all arrived: the hash that was announced, the hash that was taken.
    complete: HashMap<u32, (Option<Hash>, Option<Hash>)>,
    digest: Option<Hash>,
    received: u64,
    stored: u64,
    granted: u64,
    /// Parts that are not written yet.
    waiting: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Receiver {
    state: State,
    actions: VecDeque<Action>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// Waits for an offer.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Waiting { entry: None }, actions: VecDeque::new() }
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the next input must not take for ever to be, if anything.
    #[must_use]
    pub fn waits_for(&self) -> Option<Wait> {
        match &self.state {
            State::Receiving(incoming) if incoming.digest.is_some() => Some(Wait::Missing),
            State::Delivered { .. } => Some(Wait::Farewell),
            _ => None,
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) {
        let state = std::mem::replace(&mut self.state, State::Over);
        match self.step(state, input) {
            Ok(state) => self.state = state,
            Err(failure) => self.fail(failure),
        }
    }

    fn step(&mut self, state: State, input: Input) -> Result<State, Failure> {
        match (state, input) {
            (State::Over, _) => Ok(State::Over),
            (State::Delivered { digest }, input) => Ok(self.delivered(digest, &input)),
            (State::Committing { digest, peer }, input) => self.committing(digest, peer, &input),
            (_, Input::Peer(Frame::Cancel(reason))) => Err(Failure::Peer(reason)),
            (_, Input::Failed(reason)) => Err(Failure::Here(reason)),
            (_, Input::Closed | Input::PathLost) => Err(Failure::PathLost),
            (_, Input::Malformed) => Err(Failure::Violation("a message makes no sense")),
            (_, Input::TimedOut) => Err(Failure::Here(Reason::Verification)),
            (State::Waiting { entry }, Input::Peer(frame)) => self.offered(entry, frame),
            (State::Deciding { entry }, Input::Answer(wanted)) => self.answered(entry, wanted),
            (State::Preparing { entry }, Input::Prepared) => Ok(self.prepared(&entry)),
            (State::Receiving(incoming), input) => self.receive(incoming, input),
            _ => Err(Failure::Violation("a message came out of turn")),
        }
    }

    fn offered(&mut self, entry: Option<Entry>, frame: Frame) -> Result<State, Failure> {
        match (frame, entry) {
            (Frame::Manifest(mut entries), None) if entries.len() == 1 => {
                Ok(State::Waiting { entry: entries.pop() })
            }
            (Frame::ManifestEnd { entries: 1, bytes }, Some(entry)) if bytes == entry.size => {
                if entry.kind != Kind::File || entry.path.components().len() != 1 {
                    return Err(Failure::Violation("it offers what this version cannot take"));
                }
                self.actions.push_back(Action::Ask(entry.clone()));
                Ok(State::Deciding { entry })
            }
            (Frame::Manifest(_) | Frame::ManifestEnd { .. }, _) => {
                Err(Failure::Violation("it offers what this version cannot take"))
            }
            _ => Err(Failure::Violation("a message came out of turn")),
        }
    }

    fn answered(&mut self, entry: Entry, wanted: bool) -> Result<State, Failure> {
        if !wanted {
            return Err(Failure::Here(Reason::Declined));
        }
        self.actions.push_back(Action::Prepare(entry.clone()));
        Ok(State::Preparing { entry })
    }

    fn prepared(&mut self, entry: &Entry) -> State {
        self.actions.push_back(Action::Send(Frame::Accept));
        let mut incoming = Incoming::new(entry.chunking());
        self.actions.extend(incoming.grant().map(Action::Send));
        State::Receiving(incoming)
    }

    fn receive(&mut self, mut incoming: Incoming, input: Input) -> Result<State, Failure> {
        match input {
            Input::Peer(Frame::Data(records)) => {
                for record in records {
                    self.actions.push_back(Action::Write(incoming.place(record)?));
                }
            }
            Input::Peer(Frame::Hashes(hashes)) => {
                hashes.into_iter().try_for_each(|announced| incoming.announced(announced))?;
            }
            Input::Peer(Frame::Fin { file: ONLY, digest }) if incoming.digest.is_none() => {
                incoming.digest = Some(digest);
            }
            Input::ChunkStored(taken) => incoming.taken(taken)?,
            Input::Stored(bytes) => {
                incoming.stored = incoming.stored.saturating_add(bytes);
                incoming.waiting = incoming.waiting.saturating_sub(1);
                self.actions.extend(incoming.grant().map(Action::Send));
            }
            _ => return Err(Failure::Violation("a message came out of turn")),
        }
        match incoming.end()? {
            Some(digest) => {
                self.actions.push_back(Action::Commit);
                Ok(State::Committing { digest, peer: Peer::There })
            }
            None => Ok(State::Receiving(incoming)),
        }
    }

    /// Everything is here and verified, and the disk is at work: only the disk can fail now.
    fn committing(&mut self, digest: Hash, peer: Peer, input: &Input) -> Result<State, Failure> {
        match (input, peer) {
            (Input::Committed, Peer::There) => {
                self.actions.push_back(Action::Send(Frame::FinOk(vec![ONLY])));
                Ok(State::Delivered { digest })
            }
            (Input::Committed, Peer::Gone) => {
                self.actions.push_back(Action::Done(Ok(digest)));
                Ok(State::Over)
            }
            (Input::Failed(reason), _) if *reason != Reason::Interrupted => {
                Err(Failure::Here(*reason))
            }
            (Input::Stored(_), peer) => Ok(State::Committing { digest, peer }),
            _ => Ok(State::Committing { digest, peer: Peer::Gone }),
        }
    }

    /// The file is safe: whatever happens now, the transfer has succeeded.
    fn delivered(&mut self, digest: Hash, input: &Input) -> State {
        match input {
            Input::Closed | Input::PathLost | Input::TimedOut | Input::Failed(_) => {
                self.actions.push_back(Action::Done(Ok(digest)));
                State::Over
            }
            _ => State::Delivered { digest },
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.actions.extend(failure.reason().map(|reason| Action::Send(Frame::Cancel(reason))));
        self.actions.push_back(Action::Done(Err(failure)));
    }
}

impl Incoming {
    fn new(chunking: Chunking) -> Self {
        Self {
            chunking,
            verified: BTreeMap::new(),
            open: HashMap::new(),
            complete: HashMap::new(),
            digest: None,
            received: 0,
            stored: 0,
            granted: 0,
            waiting: 0,
        }
    }

    /// More credit, when enough was written since the last.
    fn grant(&mut self) -> Option<Frame> {
        let limit = self.stored.saturating_add(WINDOW);
        if limit < self.granted.saturating_add(CREDIT_STEP) {
            return None;
        }
        self.granted = limit;
        Some(Frame::Credit { limit })
    }

    /// Checks where a record belongs and that it may come now.
    fn place(&mut self, record: Record) -> Result<Part, Failure> {
        let Record { file, chunk, offset, bytes } = record;
        let (start, length) = self
            .chunking
            .span(chunk)
            .filter(|_| file == ONLY)
            .ok_or(Failure::Violation("it sent more than it offered"))?;
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let end = offset.checked_add(count).filter(|end| *end <= length);
        let end = end.ok_or(Failure::Violation("it sent more than it offered"))?;
        self.received = self.received.saturating_add(u64::from(count));
        self.waiting = self.waiting.saturating_add(1);
        if self.received > self.granted || self.waiting > MAX_WAITING_PARTS {
            return Err(Failure::Violation("it sent more than there was room for"));
        }
        let due = self.open.remove(&chunk).unwrap_or_default();
        let known = self.complete.contains_key(&chunk) || self.verified.contains_key(&chunk);
        if known || offset != due || self.open.len() >= MAX_OPEN_CHUNKS {
            return Err(Failure::Violation("it sent parts of the file out of order"));
        }
        let last = end == length;
        if last {
            self.complete.insert(chunk, (None, None));
        } else {
            self.open.insert(chunk, end);
        }
        Ok(Part { chunk, position: start.saturating_add(u64::from(offset)), bytes, last })
    }

    /// The sender says what a chunk's hash is; all its bytes must have come before.
    fn announced(&mut self, ChunkHash { file, chunk, hash }: ChunkHash) -> Result<(), Failure> {
        match self.complete.get_mut(&chunk).filter(|_| file == ONLY) {
            Some((announced @ None, _)) => *announced = Some(hash),
            _ => return Err(Failure::Violation("it sent a hash out of order")),
        }
        self.compare(chunk)
    }

    /// The disk says what a chunk's hash is.
    fn taken(&mut self, ChunkHash { chunk, hash, .. }: ChunkHash) -> Result<(), Failure> {
        if let Some((_, taken)) = self.complete.get_mut(&chunk) {
            *taken = Some(hash);
        }
        self.compare(chunk)
    }

    fn compare(&mut self, chunk: u32) -> Result<(), Failure> {
        let Some((Some(announced), Some(taken))) = self.complete.get(&chunk).copied() else {
            return Ok(());
        };
        if announced != taken {
            return Err(Failure::Here(Reason::Verification));
        }
        self.complete.remove(&chunk);
        self.verified.insert(chunk, taken);
        Ok(())
    }

    /// The file's digest, once everything is here, verified and of that digest.
    fn end(&self) -> Result<Option<Hash>, Failure> {
        let whole = u32::try_from(self.verified.len()) == Ok(self.chunking.count());
        let Some(announced) = self.digest.filter(|_| whole) else {
            return Ok(None);
        };
        let hashes: Vec<_> = self.verified.values().copied().collect();
        if tree(&hashes) == announced {
            Ok(Some(announced))
        } else {
            Err(Failure::Here(Reason::Verification))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::{FileId, tests::file};

    const CHUNK: usize = 256 * 1024;

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

    fn offered(entry: Entry) -> (Receiver, Vec<Action>) {
        let mut receiver = Receiver::new();
        let bytes = entry.size;
        receiver.handle(Input::Peer(Frame::Manifest(vec![entry])));
        let actions = after(&mut receiver, Input::Peer(Frame::ManifestEnd { entries: 1, bytes }));
        (receiver, actions)
    }

    fn receiving(size: u64) -> Receiver {
        let (mut receiver, _) = offered(file(size));
        receiver.handle(Input::Answer(true));
        receiver.handle(Input::Prepared);
        drain(&mut receiver);
        receiver
    }

    fn data(chunk: u32, offset: u32, bytes: &[u8]) -> Input {
        let bytes = Bytes::copy_from_slice(bytes);
        Input::Peer(Frame::Data(vec![Record { file: ONLY, chunk, offset, bytes }]))
    }

    fn hash(chunk: u32, bytes: &[u8]) -> ChunkHash {
        ChunkHash { file: ONLY, chunk, hash: Hash::of(bytes) }
    }

    fn hashes(chunk: u32, bytes: &[u8]) -> Input {
        Input::Peer(Frame::Hashes(vec![hash(chunk, bytes)]))
    }

    fn fin(chunks: &[&[u8]]) -> Input {
        let leaves: Vec<_> = chunks.iter().map(|chunk| Hash::of(chunk)).collect();
        Input::Peer(Frame::Fin { file: ONLY, digest: tree(&leaves) })
    }

    #[test]
    fn a_file_is_asked_for_written_verified_committed_and_confirmed() {
        let (mut receiver, asked) = offered(file(5));
        assert_eq!(asked, [Action::Ask(file(5))]);
        assert_eq!(after(&mut receiver, Input::Answer(true)), [Action::Prepare(file(5))]);
        assert_eq!(
            after(&mut receiver, Input::Prepared),
            [Action::Send(Frame::Accept), Action::Send(Frame::Credit { limit: WINDOW })]
        );
        let part = Part { chunk: 0, position: 0, bytes: Bytes::from_static(b"hello"), last: true };
        assert_eq!(after(&mut receiver, data(0, 0, b"hello")), [Action::Write(part)]);
        assert_eq!(after(&mut receiver, hashes(0, b"hello")), []);
        assert_eq!(after(&mut receiver, Input::ChunkStored(hash(0, b"hello"))), []);
        assert_eq!(after(&mut receiver, fin(&[b"hello"])), [Action::Commit]);
        let confirmed = after(&mut receiver, Input::Committed);
        assert_eq!(confirmed, [Action::Send(Frame::FinOk(vec![ONLY]))]);
        assert_eq!(receiver.waits_for(), Some(Wait::Farewell));
        assert!(matches!(after(&mut receiver, Input::Closed)[..], [Action::Done(Ok(_))]));
    }

    #[test]
    fn an_empty_file_needs_no_data() {
        let mut receiver = receiving(0);
        assert_eq!(after(&mut receiver, fin(&[])), [Action::Commit]);
    }

    #[test]
    fn fin_may_overtake_data_but_what_never_comes_fails() {
        let mut receiver = receiving(5);
        assert_eq!(after(&mut receiver, fin(&[b"hello"])), []);
        assert_eq!(receiver.waits_for(), Some(Wait::Missing));
        receiver.handle(data(0, 0, b"hello"));
        receiver.handle(hashes(0, b"hello"));
        drain(&mut receiver);
        let stored = after(&mut receiver, Input::ChunkStored(hash(0, b"hello")));
        assert_eq!(stored, [Action::Commit]);

        let mut receiver = receiving(5);
        receiver.handle(fin(&[b"hello"]));
        let end = after(&mut receiver, Input::TimedOut);
        assert_eq!(failure(&end), Some(&Failure::Here(Reason::Verification)));
    }

    #[test]
    fn a_lie_about_a_hash_or_the_digest_fails_verification() {
        for (announced, digest) in
            [(&b"hellO"[..], &b"hellO"[..]), (b"hellO", b"hello"), (b"hello", b"hellO")]
        {
            let mut receiver = receiving(5);
            receiver.handle(data(0, 0, b"hello"));
            receiver.handle(Input::ChunkStored(hash(0, b"hello")));
            receiver.handle(hashes(0, announced));
            receiver.handle(fin(&[digest]));
            let end = drain(&mut receiver);
            assert_eq!(failure(&end), Some(&Failure::Here(Reason::Verification)));
            assert!(!end.contains(&Action::Commit));
            assert!(end.contains(&Action::Send(Frame::Cancel(Reason::Verification))));
        }
    }

    #[test]
    fn bytes_outside_the_offer_are_refused() {
        let other =
            Record { file: FileId(1), chunk: 0, offset: 0, bytes: Bytes::from_static(b"x") };
        for bad in [
            data(1, 0, b"x"),
            data(u32::MAX, 0, b"x"),
            data(0, 5, b"x"),
            data(0, 0, b"hello!"),
            data(0, u32::MAX, b"x"),
            Input::Peer(Frame::Data(vec![other])),
        ] {
            let mut receiver = receiving(5);
            let end = after(&mut receiver, bad);
            assert!(matches!(failure(&end), Some(Failure::Violation(_))), "{end:?}");
            assert!(!end.iter().any(|action| matches!(action, Action::Write(_))));
        }
    }

    #[test]
    fn parts_of_a_chunk_come_in_order_and_once() {
        for bad in [&[(0, 1)][..], &[(0, 0), (0, 0)], &[(0, 0), (0, 2)], &[(0, 0), (0, 1), (0, 0)]]
        {
            let mut receiver = receiving(2);
            let end: Vec<_> = bad
                .iter()
                .flat_map(|(chunk, at)| after(&mut receiver, data(*chunk, *at, b"x")))
                .collect();
            assert!(matches!(failure(&end), Some(Failure::Violation(_))), "{bad:?}");
        }
        let mut receiver = receiving(2);
        assert_eq!(
            failure(&after(&mut receiver, hashes(0, b"xx"))),
            Some(&Failure::Violation("it sent a hash out of order"))
        );
    }

    #[test]
    fn more_than_was_granted_is_refused_and_writing_grants_more() {
        let size = WINDOW * 2;
        let mut receiver = receiving(size);
        let chunk = vec![0; CHUNK];
        let chunks = u32::try_from(WINDOW).unwrap() / u32::try_from(CHUNK).unwrap();
        for index in 0..chunks {
            assert!(failure(&after(&mut receiver, data(index, 0, &chunk))).is_none());
        }
        assert!(after(&mut receiver, Input::Stored(CREDIT_STEP - 1)).is_empty());
        let limit = WINDOW + CREDIT_STEP;
        let granted = after(&mut receiver, Input::Stored(1));
        assert_eq!(granted, [Action::Send(Frame::Credit { limit })]);
        assert!(failure(&after(&mut receiver, data(chunks, 0, &chunk))).is_none());
        assert!(failure(&after(&mut receiver, data(chunks + 1, 0, &chunk))).is_none());
        assert!(failure(&after(&mut receiver, data(chunks + 2, 0, &chunk))).is_some());
    }

    #[test]
    fn data_before_consent_is_refused() {
        let (mut receiver, _) = offered(file(5));
        let end = after(&mut receiver, data(0, 0, b"hello"));
        assert!(matches!(failure(&end), Some(Failure::Violation(_))));
    }

    #[test]
    fn offers_that_this_version_cannot_take_are_refused() {
        let directory = Entry { kind: Kind::Directory, ..file(0) };
        let symlink = Entry { kind: Kind::Symlink, ..file(0) };
        let nested =
            Entry { path: crate::proto::name::RelPath::parse(["a", "b"]).unwrap(), ..file(0) };
        for entry in [directory, symlink, nested] {
            assert!(matches!(failure(&offered(entry).1), Some(Failure::Violation(_))));
        }
        let mut receiver = Receiver::new();
        let end = after(&mut receiver, Input::Peer(Frame::Manifest(vec![file(1), file(2)])));
        assert!(failure(&end).is_some());
        let mut receiver = Receiver::new();
        receiver.handle(Input::Peer(Frame::Manifest(vec![file(1)])));
        let end = after(&mut receiver, Input::Peer(Frame::ManifestEnd { entries: 1, bytes: 2 }));
        assert!(failure(&end).is_some(), "the sizes do not add up");
    }

    #[test]
    fn declining_tells_the_sender() {
        let (mut receiver, _) = offered(file(5));
        assert_eq!(
            after(&mut receiver, Input::Answer(false)),
            [
                Action::Send(Frame::Cancel(Reason::Declined)),
                Action::Done(Err(Failure::Here(Reason::Declined))),
            ]
        );
    }

    #[test]
    fn once_everything_is_verified_only_the_disk_can_fail_it() {
        let cancel = Input::Peer(Frame::Cancel(Reason::Interrupted));
        for late in [Input::PathLost, Input::Closed, Input::Failed(Reason::Interrupted), cancel] {
            let mut receiver = receiving(0);
            receiver.handle(fin(&[]));
            drain(&mut receiver);
            assert_eq!(after(&mut receiver, late), []);
            assert!(matches!(after(&mut receiver, Input::Committed)[..], [Action::Done(Ok(_))]));
        }
        let mut receiver = receiving(0);
        receiver.handle(fin(&[]));
        let end = after(&mut receiver, Input::Failed(Reason::Disk));
        assert_eq!(failure(&end), Some(&Failure::Here(Reason::Disk)));
    }

    #[test]
    fn a_huge_offer_takes_no_memory_before_its_bytes_come() {
        let mut receiver = receiving((1 << 53) - 1);
        assert!(failure(&after(&mut receiver, data(5, 0, b"x"))).is_none());
    }

    #[test]
    fn crumbs_that_wait_for_the_disk_are_bounded() {
        let mut receiver = receiving(10_000_000);
        let crumb = |at: u32| data(at / 200_000, at % 200_000, b"x");
        for at in 0..MAX_WAITING_PARTS {
            assert_eq!(failure(&after(&mut receiver, crumb(at))), None);
        }
        receiver.handle(Input::Stored(1));
        assert_eq!(failure(&after(&mut receiver, crumb(MAX_WAITING_PARTS))), None);
        let end = after(&mut receiver, crumb(MAX_WAITING_PARTS + 1));
        let room = Failure::Violation("it sent more than there was room for");
        assert_eq!(failure(&end), Some(&room));
    }

    #[test]
    fn once_the_file_is_safe_nothing_can_fail_it() {
        for late in
            [Input::PathLost, Input::TimedOut, Input::Failed(Reason::Interrupted), Input::Closed]
        {
            let mut receiver = receiving(0);
            receiver.handle(fin(&[]));
            receiver.handle(Input::Committed);
            drain(&mut receiver);
            assert!(matches!(after(&mut receiver, late)[..], [Action::Done(Ok(_))]));
        }
    }
}
