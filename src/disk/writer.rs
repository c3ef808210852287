//! The thread that writes and hashes what arrives, so that a slow disk never holds the network
//! task, and one beside it that hashes what is here from before. They are told what to do through
//! queues that the receiver's machine bounds.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    Spent,
    gather::Run,
    hashing::{Pairs, Unhashed},
    journal::Session,
    pipe::Pipe,
    platform,
    sink::{Destination, Item, Opened, Sink, SinkError, Survey},
};
use crate::proto::{
    digest::Hash,
    frame::ChunkHash,
    manifest::{Entry, FileId},
    receiver::{Conflict, Found, Input, Origin, Part},
};

/// Bytes that are hashed at a time.
const HASH_STEP: usize = 256 * 1024;

/// Chunks whose parts are kept in order to hash two at a time: there are more only where the lanes are
/// many, and slower than the hash.
const MOST_KEPT: usize = 4;

/// Parts that were stored are told of together: each time somebody has to be woken.
const TOLD_TOGETHER: u32 = 4;

/// So long it is waited for what follows, before a part is written alone, or a chunk hashed alone.
const GATHER: Duration = Duration::from_millis(2);

/// Where everything goes.
pub enum Target {
    /// Into a folder.
    Folder(Destination, Option<Session>),
    /// Into a pipe.
    Pipe(Box<dyn Write + Send>),
    /// Into memory: a text.
    Memory,
}

/// What is to be done.
pub enum Command {
    /// Open the target, and look what there is.
    Open(Target, Vec<Item>),
    /// What is done about names that are taken.
    Decide(Conflict),
    /// Look what there is of a file.
    Look(FileId, Entry),
    /// Hash a chunk that is here from before.
    Hash(FileId, u32, Origin),
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
    /// Throw away what there is of a file.
    Discard(FileId),
    /// Flush items, each with its first entry, and name them.
    Commit(Vec<(FileId, String)>),
}

/// What was done.
#[derive(Debug)]
pub enum Report {
    /// The target is open, and this is what there is.
    Opened(Survey),
    /// Something that the receiver's machine waits for.
    Done(Input),
    /// An item is safe, at this path if it has one.
    Committed(FileId, Option<PathBuf>),
    /// A text is here.
    Text(Vec<u8>),
    /// It cannot go on; nothing follows.
    Failed(SinkError),
}

/// The threads.
#[derive(Debug)]
pub struct Writer {
    commands: mpsc::Sender<Order>,
    spent: Arc<Spent>,
    thread: JoinHandle<()>,
}

enum Order {
    Do(Command),
    /// End, and keep what a later attempt can use, or not.
    End(bool),
}

impl Writer {
    /// Starts the threads. Reports are bounded by what the session has commands for.
    ///
    /// # Panics
    /// When the system has no thread to give.
    #[must_use]
    pub fn start(reports: UnboundedSender<Report>) -> Self {
        let (commands, queue) = mpsc::channel();
        let hasher = Hasher::start(reports.clone());
        let spent = Arc::new(Spent::default());
        let work = Work {
            target: None,
            unhashed: HashMap::new(),
            pairs: Pairs::default(),
            hasher,
            spent: spent.clone(),
            run: None,
            stored: (0, 0),
            failed: false,
            reports,
        };
        let thread =
            thread::Builder::new().name("writer".to_owned()).spawn(move || work.run(&queue));
        Self { commands, spent, thread: thread.expect("the system has a thread to give") }
    }

    /// What writing and hashing has taken so far.
    #[must_use]
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Queues a command; one that comes after a failure is passed over.
    pub fn command(&self, command: Command) {
        if self.commands.send(Order::Do(command)).is_err() {
            tracing::debug!("the writer has ended");
        }
    }

    /// Ends the thread after what was commanded. Without `keep`, nothing remains of what was not
    /// committed; with it, what a later attempt can use.
    pub fn close(self, keep: bool) {
        // It ends by itself after a failure, keeping what can be used.
        let _ = self.commands.send(Order::End(keep));
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("the writer panicked");
        }
    }
}

enum Open {
    Folder(Box<Sink>),
    Pipe(Pipe),
}

struct Work {
    target: Option<Open>,
    /// What was written of chunks.
    unhashed: HashMap<(FileId, u32), Unhashed>,
    /// Chunks that were written, and are to be checked.
    pairs: Pairs<(FileId, u32)>,
    hasher: Hasher,
    spent: Arc<Spent>,
    /// What is to be written together.
    run: Option<Run>,
    /// Bytes and parts that were stored, and are not told yet.
    stored: (u64, u32),
    failed: bool,
    reports: UnboundedSender<Report>,
}

impl Work {
    fn run(mut self, queue: &mpsc::Receiver<Order>) {
        let mut keep = true;
        while let Ok(order) = self.next(queue) {
            match order {
                Order::End(wish) => {
                    keep = wish;
                    break;
                }
                Order::Do(command) => self.attempt(|work| work.carry_out(command)),
            }
        }
        self.attempt(Self::write_run);
        if let Some(Open::Folder(sink)) = self.target {
            sink.close(keep);
        }
    }

    /// The next order. Before it is waited for, what there is is written and hashed, and told.
    fn next(&mut self, queue: &mpsc::Receiver<Order>) -> Result<Order, mpsc::RecvError> {
        if let Ok(order) = queue.try_recv() {
            return Ok(order);
        }
        if self.run.is_some() || self.pairs.is_waiting() {
            if let Ok(order) = queue.recv_timeout(GATHER) {
                return Ok(order);
            }
            self.attempt(|work| {
                work.write_run()?;
                work.hash_rest();
                Ok(())
            });
        }
        self.tell_stored();
        queue.recv()
    }

    /// Does something, unless something has failed already.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), SinkError>) {
        if self.failed {
            return;
        }
        if let Err(error) = work(self) {
            self.failed = true;
            self.tell(Report::Failed(error));
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<(), SinkError> {
        if let Command::Write(part) = command {
            self.hash(&part);
            return self.write(part);
        }
        self.write_run()?;
        match command {
            Command::Open(target, items) => return self.open(target, &items),
            Command::Check(file, chunk) => {
                self.check(file, chunk);
                return Ok(());
            }
            _ => {}
        }
        match &mut self.target {
            Some(Open::Folder(_)) => self.in_folder(command),
            Some(Open::Pipe(_)) => self.in_pipe(command),
            None => Ok(()),
        }
    }

    fn open(&mut self, target: Target, items: &[Item]) -> Result<(), SinkError> {
        let (open, survey) = match target {
            Target::Folder(destination, session) => {
                let mut sink = Sink::open(destination, Conflict::default(), session)?;
                let survey = sink.survey(items)?;
                (Open::Folder(Box::new(sink)), survey)
            }
            Target::Pipe(to) => (Open::Pipe(Pipe::new(Some(to))), Survey::default()),
            Target::Memory => (Open::Pipe(Pipe::new(None)), Survey::default()),
        };
        self.target = Some(open);
        self.tell(Report::Opened(survey));
        Ok(())
    }

    fn hash(&mut self, part: &Part) {
        let are_few = self.unhashed.len() <= MOST_KEPT;
        let chunk = self.unhashed.entry((part.file, part.chunk)).or_default();
        if part.offset == 0 {
            *chunk = Unhashed::default();
        }
        let started = Instant::now();
        if are_few {
            chunk.add(part.bytes.clone());
        } else {
            chunk.add_now(&part.bytes);
        }
        self.spent.with_hashing(started);
    }

    fn check(&mut self, file: FileId, chunk: u32) {
        let unhashed = self.unhashed.remove(&(file, chunk)).unwrap_or_default();
        let started = Instant::now();
        let hashed = self.pairs.take((file, chunk), unhashed);
        self.spent.with_hashing(started);
        hashed.into_iter().for_each(|hashed| self.hashed(hashed));
    }

    fn hash_rest(&mut self) {
        let started = Instant::now();
        let hashed = self.pairs.rest();
        self.spent.with_hashing(started);
        hashed.into_iter().for_each(|hashed| self.hashed(hashed));
    }

    fn hashed(&mut self, ((file, chunk), hash): ((FileId, u32), Hash)) {
        self.done(Input::ChunkStored(ChunkHash { file, chunk, hash }));
    }

    fn write(&mut self, part: Part) -> Result<(), SinkError> {
        match &mut self.target {
            Some(Open::Folder(_)) => self.gather(part),
            Some(Open::Pipe(pipe)) => {
                pipe.write(part);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn gather(&mut self, part: Part) -> Result<(), SinkError> {
        let apart = match &mut self.run {
            Some(run) => run.add(part).err(),
            None => Some(part),
        };
        if let Some(part) = apart {
            self.write_run()?;
            self.run = Some(Run::new(part));
        }
        if self.run.as_ref().is_some_and(Run::is_enough) { self.write_run() } else { Ok(()) }
    }

    /// Writes what was gathered.
    fn write_run(&mut self) -> Result<(), SinkError> {
        self.run.take().map_or(Ok(()), |run| self.store(&run))
    }

    fn store(&mut self, run: &Run) -> Result<(), SinkError> {
        let Some(Open::Folder(sink)) = &mut self.target else { return Ok(()) };
        let started = Instant::now();
        sink.write(run)?;
        self.spent.with_disk(started);
        let (bytes, parts) = run.size();
        self.stored.0 += bytes;
        self.stored.1 += parts;
        if self.stored.1 >= TOLD_TOGETHER {
            self.tell_stored();
        }
        Ok(())
    }

    fn in_folder(&mut self, command: Command) -> Result<(), SinkError> {
        let Some(Open::Folder(sink)) = &mut self.target else { return Ok(()) };
        let done = match command {
            Command::Decide(conflict) => {
                sink.decide(conflict);
                None
            }
            Command::Look(file, entry) => Some(match sink.look_at(file, entry)? {
                Opened::Take(found) => Input::Opened(file, found),
                Opened::Skip(reason) => Input::Skipped(file, reason),
            }),
            Command::Hash(file, chunk, origin) => {
                let job = Job { file, chunk, origin, from: sink.from_before(file, origin).ok() };
                self.hasher.queue(job);
                None
            }
            Command::Copy(file, chunk) => {
                let hash = sink.copy(file, chunk)?;
                Some(Input::ChunkStored(ChunkHash { file, chunk, hash }))
            }
            Command::Keep(file, chunk) => sink.keep(file, chunk).map(|()| None)?,
            Command::Finish(file) => sink.finish(file).map(|()| None)?,
            Command::CopyFile(file) => Some(Input::FileCopied(file, Some(sink.copy_file(file)?))),
            Command::Here(file) => {
                sink.here(file);
                None
            }
            Command::Discard(file) => {
                self.unhashed.retain(|(of, _), _| *of != file);
                sink.discard(file);
                None
            }
            Command::Commit(items) => return self.commit(items),
            Command::Open(..) | Command::Write(_) | Command::Check(..) => None,
        };
        done.into_iter().for_each(|input| self.done(input));
        Ok(())
    }

    fn commit(&mut self, items: Vec<(FileId, String)>) -> Result<(), SinkError> {
        let Some(Open::Folder(sink)) = &mut self.target else { return Ok(()) };
        let (first, names): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let paths = sink.commit(&names)?;
        for (first, path) in first.into_iter().zip(paths) {
            self.tell(Report::Committed(first, Some(path)));
        }
        Ok(())
    }

    fn in_pipe(&mut self, command: Command) -> Result<(), SinkError> {
        let Some(Open::Pipe(pipe)) = &mut self.target else { return Ok(()) };
        match command {
            Command::Look(file, _) => self.done(Input::Opened(file, Found::default())),
            Command::Keep(_, chunk) => {
                let (bytes, parts) = pipe.keep(chunk)?;
                self.done(Input::Stored(bytes, parts));
            }
            Command::Commit(items) => {
                let text = pipe.finish()?;
                text.into_iter().for_each(|text| self.tell(Report::Text(text)));
                items.into_iter().for_each(|(first, _)| self.tell(Report::Committed(first, None)));
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&mut self, input: Input) {
        self.tell(Report::Done(input));
    }

    /// Tells what has happened, in order.
    fn tell(&mut self, report: Report) {
        self.tell_stored();
        tell(&self.reports, report);
    }

    fn tell_stored(&mut self) {
        let (bytes, parts) = std::mem::take(&mut self.stored);
        if parts > 0 {
            tell(&self.reports, Report::Done(Input::Stored(bytes, parts)));
        }
    }
}

/// A thread that hashes chunks that are here from before.
struct Hasher {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    file: FileId,
    chunk: u32,
    origin: Origin,
    from: Option<(File, Entry)>,
}

impl Hasher {
    fn start(reports: UnboundedSender<Report>) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || {
            for Job { file, chunk, origin, from } in queue {
                let hash = from.and_then(|(from, entry)| hash_of(&from, &entry, chunk).ok());
                tell(&reports, Report::Done(Input::Hashed(file, chunk, origin, hash)));
            }
        };
        let thread = thread::Builder::new().name("hasher".to_owned()).spawn(work);
        thread.expect("the system has a thread to give");
        Self { jobs }
    }

    fn queue(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the hasher has ended");
        }
    }
}

fn hash_of(from: &File, entry: &Entry, chunk: u32) -> io::Result<Hash> {
    let (start, length) = entry.chunking().span(chunk).ok_or(io::ErrorKind::InvalidInput)?;
    let end = start.saturating_add(u64::from(length));
    let mut hashed = Unhashed::default();
    let mut buffer = vec![0; HASH_STEP];
    let mut position = start;
    while position < end {
        let left = usize::try_from(end - position).unwrap_or(HASH_STEP).min(HASH_STEP);
        let part = buffer.get_mut(..left).unwrap_or_default();
        platform::read_at(from, part, position)?;
        hashed.add_now(part);
        position += left as u64;
    }
    Ok(hashed.hash())
}

/// The session may have ended already.
fn tell(reports: &UnboundedSender<Report>, report: Report) {
    if reports.send(report).is_err() {
        tracing::debug!("nobody listens to the writer");
    }
}
