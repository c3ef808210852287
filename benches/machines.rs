//! Both machines against each other, with files that are only named and a network that loses
//! nothing: what the bookkeeping of a transfer costs.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use p2pshare::{
    Conflict,
    proto::{
        digest::Hash,
        frame::{ChunkHash, Frame, MAX_PAYLOAD, Record},
        manifest::{Entry, FileId, Kind},
        name::RelPath,
        receiver::{self, Found, Receiver},
        sender::{self, Sender},
    },
};

/// What every file consists of.
static ZEROS: [u8; MAX_PAYLOAD] = [0; MAX_PAYLOAD];

/// A transfer in memory.
struct Transfer {
    entries: Vec<Entry>,
    sender: Sender,
    receiver: Receiver,
    /// Chunks that the sender is to read.
    reads: VecDeque<(FileId, u32)>,
    /// What the receiver's disk has done.
    reports: VecDeque<receiver::Input>,
    credit: u64,
    sent: u64,
    done: bool,
}

impl Transfer {
    fn new(entries: &[Entry]) -> Self {
        let mut sender = Sender::new(false);
        sender.handle(sender::Input::Found(entries.to_vec()));
        sender.handle(sender::Input::WalkEnded);
        Self {
            entries: entries.to_vec(),
            sender,
            receiver: Receiver::new(true),
            reads: VecDeque::new(),
            reports: VecDeque::new(),
            credit: 0,
            sent: 0,
            done: false,
        }
    }

    fn run(mut self) {
        while !self.done {
            while let Some(action) = self.sender.poll() {
                self.sender_acts(action);
            }
            while let Some(action) = self.receiver.poll() {
                self.receiver_acts(action);
            }
            self.read();
            while let Some(report) = self.reports.pop_front() {
                self.receiver.handle(report);
            }
        }
    }

    fn sender_acts(&mut self, action: sender::Action) {
        match action {
            sender::Action::Send(frame) => self.receiver.handle(receiver::Input::Peer(frame)),
            sender::Action::Read(file, chunk) => self.reads.push_back((file, chunk)),
            sender::Action::Close(file) => self.sender.handle(sender::Input::Unchanged(file)),
            sender::Action::Grant(credit) => self.credit = credit,
            sender::Action::Done(result) => {
                result.expect("nothing goes wrong in memory");
                self.done = true;
            }
            action => unreachable!("{action:?} is for what was there before"),
        }
    }

    fn receiver_acts(&mut self, action: receiver::Action) {
        use receiver::{Action, Input};
        match action {
            Action::Ask => self.reports.push_back(Input::Answer(Some(Conflict::Rename))),
            Action::Send(frame) => self.sender.handle(sender::Input::Peer(frame)),
            Action::Open(file) => self.reports.push_back(Input::Opened(file, Found::default())),
            Action::Write(part) => {
                self.reports.push_back(Input::Stored(part.bytes.len() as u64, 1));
            }
            Action::Check(file, chunk) => {
                self.reports.push_back(Input::ChunkStored(hash(file, chunk)));
            }
            Action::Commit(items) => self.reports.extend(items.into_iter().map(Input::Committed)),
            Action::Keep(..) | Action::Finish(_) => {}
            action => unreachable!("{action:?} is for what was there before"),
        }
    }

    /// Reads chunks, as far as credit goes.
    fn read(&mut self) {
        while let Some((file, chunk)) = self.reads.front().copied() {
            let entry = &self.entries[file.0 as usize];
            let (_, length) = entry.chunking().span(chunk).expect("it is asked for what there is");
            if self.sent + u64::from(length) > self.credit {
                return;
            }
            self.sent += u64::from(length);
            self.reads.pop_front();
            self.send(file, chunk, length as usize);
            let hash = hash(file, chunk);
            self.receiver.handle(receiver::Input::Peer(Frame::Hashes(vec![hash])));
            self.sender.handle(sender::Input::ChunkRead(hash));
        }
    }

    fn send(&mut self, file: FileId, chunk: u32, length: usize) {
        for start in (0..length).step_by(MAX_PAYLOAD) {
            let bytes = Bytes::from_static(&ZEROS[..MAX_PAYLOAD.min(length - start)]);
            let offset = u32::try_from(start).expect("a chunk is 16 MiB at most");
            let record = Record { file, chunk, offset, bytes };
            self.receiver.handle(receiver::Input::Peer(Frame::Data(vec![record])));
        }
    }
}

/// Nothing is hashed here: both ends only have to agree.
fn hash(file: FileId, chunk: u32) -> ChunkHash {
    ChunkHash { file, chunk, hash: Hash([7; 32]) }
}

fn file(path: &[&str], size: u64) -> Entry {
    let path = RelPath::parse(path.iter().copied()).expect("the name is harmless");
    Entry { kind: Kind::File, path, size, modified: None, executable: false }
}

fn many_small() -> Vec<Entry> {
    let folder = Entry { kind: Kind::Directory, ..file(&["folder"], 0) };
    let files = (0..10_000).map(|number| file(&["folder", &number.to_string()], 4096));
    [folder].into_iter().chain(files).collect()
}

fn machines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("machines");
    for (name, entries) in [
        ("10,000 files of 4 KiB", many_small()),
        ("one file of 1 GiB", vec![file(&["large"], 1024 * 1024 * 1024)]),
    ] {
        let bytes = entries.iter().map(|entry| entry.size).sum();
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Transfer::new(&entries),
                Transfer::run,
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = machines
}
criterion_main!(benches);
