//! The sender's machine: offers a file, has it read once it is accepted, and is done when the
//! receiver says that the file is safe.
//!
//! Bytes do not pass through it: [`Action::Read`] sets the source going, which fills the lanes
//! as far as [`Action::Grant`] allows and reports each chunk's hash here.

use std::{collections::VecDeque, ops::Range};

use super::{
    digest::{Hash, tree},
    frame::{ChunkHash, Frame, Reason},
    manifest::{Entry, FileId},
};

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// The user compared the verifier words: whether they were the same.
    Compared(bool),
    /// A frame arrived on the control channel.
    Peer(Frame),
    /// A chunk was read and handed to a lane; chunks come in order.
    ChunkRead(ChunkHash),
    /// Everything of the file was read, and it did not change meanwhile.
    SourceRead(FileId),
    /// This end cannot go on.
    Failed(Reason),
    /// Something arrived that is no frame.
    Malformed,
    /// The peer cannot be reached any more.
    PathLost,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the user compare the verifier words.
    Compare,
    /// Send a frame on the control channel.
    Send(Frame),
    /// Read these chunks and send them.
    Read {
        /// Of which file.
        file: FileId,
        /// Which.
        chunks: Range<u32>,
    },
    /// The lanes may carry this many payload bytes in all.
    Grant(u64),
    /// The transfer is over.
    Done(Result<Hash, Failure>),
}

/// Why a transfer ends without its file.
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

/// The one file of an offer of version 1.
pub const ONLY: FileId = FileId(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Comparing,
    Offered,
    Sending,
    Finished { digest: Hash },
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    entry: Entry,
    state: State,
    hashes: Vec<Hash>,
    limit: u64,
    actions: VecDeque<Action>,
}

impl Sender {
    /// Offers a file at once, or after the user has compared words.
    #[must_use]
    pub fn new(entry: Entry, compare: bool) -> Self {
        let mut sender = Self {
            entry,
            state: State::Comparing,
            hashes: Vec::new(),
            limit: 0,
            actions: VecDeque::new(),
        };
        if compare {
            sender.actions.push_back(Action::Compare);
        } else {
            sender.offer();
        }
        sender
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) {
        if self.state == State::Over {
            return;
        }
        match input {
            Input::Compared(true) if self.state == State::Comparing => self.offer(),
            Input::Compared(_) => self.fail(Failure::Here(Reason::Verification)),
            Input::Peer(frame) => self.frame(frame),
            Input::ChunkRead(chunk) => self.hashes.push(chunk.hash),
            Input::SourceRead(file) => self.finish(file),
            Input::Failed(reason) => self.fail(Failure::Here(reason)),
            Input::Malformed => self.fail(Failure::Violation("a message makes no sense")),
            Input::PathLost => self.fail(Failure::PathLost),
        }
    }

    fn frame(&mut self, frame: Frame) {
        match (frame, self.state) {
            (Frame::Cancel(reason), _) => self.fail(Failure::Peer(reason)),
            (Frame::Accept, State::Offered) => self.send(),
            (Frame::Credit { limit }, State::Sending | State::Finished { .. })
                if limit >= self.limit =>
            {
                self.limit = limit;
                self.actions.push_back(Action::Grant(limit));
            }
            (Frame::FinOk(files), State::Finished { digest }) if files == [ONLY] => {
                self.state = State::Over;
                self.actions.push_back(Action::Done(Ok(digest)));
            }
            _ => self.fail(Failure::Violation("a message came out of turn")),
        }
    }

    fn offer(&mut self) {
        self.state = State::Offered;
        let bytes = self.entry.size;
        self.actions.push_back(Action::Send(Frame::Manifest(vec![self.entry.clone()])));
        self.actions.push_back(Action::Send(Frame::ManifestEnd { entries: 1, bytes }));
    }

    fn send(&mut self) {
        self.state = State::Sending;
        let count = self.entry.chunking().count();
        self.actions.push_back(Action::Read { file: ONLY, chunks: 0..count });
    }

    fn finish(&mut self, file: FileId) {
        let digest = tree(&self.hashes);
        self.state = State::Finished { digest };
        self.actions.push_back(Action::Send(Frame::Fin { file, digest }));
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Over;
        self.actions.extend(failure.reason().map(|reason| Action::Send(Frame::Cancel(reason))));
        self.actions.push_back(Action::Done(Err(failure)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::file;

    fn drain(sender: &mut Sender) -> Vec<Action> {
        std::iter::from_fn(|| sender.poll()).collect()
    }

    fn after(sender: &mut Sender, input: Input) -> Vec<Action> {
        sender.handle(input);
        drain(sender)
    }

    fn accepted(size: u64) -> Sender {
        let mut sender = Sender::new(file(size), false);
        sender.handle(Input::Peer(Frame::Accept));
        drain(&mut sender);
        sender
    }

    #[test]
    fn a_file_is_offered_read_finished_and_done() {
        let mut sender = Sender::new(file(300_000), false);
        assert_eq!(
            drain(&mut sender),
            [
                Action::Send(Frame::Manifest(vec![file(300_000)])),
                Action::Send(Frame::ManifestEnd { entries: 1, bytes: 300_000 }),
            ]
        );
        let read = after(&mut sender, Input::Peer(Frame::Accept));
        assert_eq!(read, [Action::Read { file: ONLY, chunks: 0..2 }]);
        let grant = after(&mut sender, Input::Peer(Frame::Credit { limit: 9 }));
        assert_eq!(grant, [Action::Grant(9)]);
        let hashes = [Hash([1; 32]), Hash([2; 32])];
        for (chunk, hash) in (0..).zip(hashes) {
            sender.handle(Input::ChunkRead(ChunkHash { file: ONLY, chunk, hash }));
        }
        let digest = tree(&hashes);
        let fin = after(&mut sender, Input::SourceRead(ONLY));
        assert_eq!(fin, [Action::Send(Frame::Fin { file: ONLY, digest })]);
        let done = after(&mut sender, Input::Peer(Frame::FinOk(vec![ONLY])));
        assert_eq!(done, [Action::Done(Ok(digest))]);
    }

    #[test]
    fn nothing_is_told_before_the_user_has_compared() {
        let mut sender = Sender::new(file(1), true);
        assert_eq!(drain(&mut sender), [Action::Compare]);
        assert!(matches!(
            after(&mut sender, Input::Compared(true))[0],
            Action::Send(Frame::Manifest(_))
        ));
        let mut sender = Sender::new(file(1), true);
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
    fn the_file_is_not_done_before_everything_was_sent() {
        let mut sender = accepted(1);
        let early = after(&mut sender, Input::Peer(Frame::FinOk(vec![ONLY])));
        assert!(matches!(early[1], Action::Done(Err(Failure::Violation(_)))));
    }

    #[test]
    fn frames_out_of_turn_end_the_transfer() {
        for frame in
            [Frame::Accept, Frame::ManifestEnd { entries: 0, bytes: 0 }, Frame::Data(vec![])]
        {
            let mut sender = accepted(1);
            let end = after(&mut sender, Input::Peer(frame));
            assert_eq!(end[0], Action::Send(Frame::Cancel(Reason::Protocol)));
        }
        let mut sender = accepted(1);
        sender.handle(Input::Peer(Frame::Credit { limit: 5 }));
        drain(&mut sender);
        let end = after(&mut sender, Input::Peer(Frame::Credit { limit: 4 }));
        assert_eq!(end[0], Action::Send(Frame::Cancel(Reason::Protocol)), "credit that falls");
    }

    #[test]
    fn a_peer_that_gives_up_is_not_answered() {
        let mut sender = accepted(1);
        let end = after(&mut sender, Input::Peer(Frame::Cancel(Reason::Declined)));
        assert_eq!(end, [Action::Done(Err(Failure::Peer(Reason::Declined)))]);
        assert_eq!(after(&mut sender, Input::PathLost), []);
    }
}
