//! Fills the lanes: a thread reads and hashes what the sender's machine wants read, a
//! [task](super::carrier) sends it, and both wait for each other and for the receiver's credit.
//! Another thread hashes what the receiver claims to have, which must not wait for a slow lane.

use std::{
    cell::RefCell,
    sync::{Arc, mpsc as queue},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    carrier::{Carrier, Change, Handle, Need, Wishes},
    figures::{Figures, Shared},
};
use crate::{
    disk::{
        Spent,
        hashing::Pairs,
        source::{Chunk, ChunkReader, Frames, Source, SourceError},
    },
    net::{lane::LaneSender, network::Faster},
    proto::{
        digest::Hash,
        frame::ChunkHash,
        lanes::Message,
        manifest::{Entry, FileId, Kind},
    },
};

/// Messages that the lanes are given together: each time somebody has to be woken.
const TOGETHER: usize = 4;

/// How many times as many are read ahead of the lanes: 2 MiB.
const READ_AHEAD: usize = 8;

/// A chunk that took longer to be read and handed to lanes is hashed at once: who waits for the next
/// would gain nothing by it.
const QUICK: Duration = Duration::from_millis(50);

/// Reports that are taken together.
const BATCH: usize = 256;

/// What is to be read or told.
#[derive(Debug)]
pub enum Job {
    /// Read a chunk and send it, and its hash after it.
    Read(FileId, Entry, u32),
    /// Send a chunk's hash.
    Announce(ChunkHash),
    /// See whether a file is still what it was.
    Close(FileId, Entry),
}

/// What became of a job.
#[derive(Debug)]
pub enum Fed {
    /// A chunk was read, and is on its way to the lane.
    Read(ChunkHash),
    /// The stream has ended, after so many bytes.
    Ended(FileId, u64),
    /// A chunk cannot be read.
    Unreadable(FileId, SourceError),
    /// A file is still what it was.
    Unchanged(FileId),
    /// A file is not.
    Changed(FileId, SourceError),
    /// The lanes are to change.
    Need(Need),
}

/// Stops when it is dropped.
#[derive(Debug)]
pub struct Feed {
    jobs: queue::Sender<Job>,
    carrier: Handle,
    spent: Arc<Spent>,
    reports: mpsc::UnboundedReceiver<Fed>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts to read, into messages of at most so many bytes; nothing is sent before there is
    /// credit.
    ///
    /// # Panics
    /// When the system has no thread to give.
    #[must_use]
    pub fn start(
        source: Arc<Source>,
        first: LaneSender,
        longest: usize,
        wishes: Wishes,
        faster: Faster,
        round: Duration,
    ) -> Self {
        let (jobs, waiting) = queue::channel();
        let (give, messages) = mpsc::channel(READ_AHEAD);
        let (carrier, handle) = Carrier::new(first, longest, wishes, faster, round);
        let spent = Arc::new(Spent::default());
        // Bounded by the jobs that the machine has under way.
        let (report, reports) = mpsc::unbounded_channel();
        // Ends by itself when nobody takes its messages, or has jobs for it, any more.
        let mut reader = Reader { source, jobs: waiting, report, spent: spent.clone() };
        let shared = handle.shared.clone();
        let read = move || reader.run(&shared, &give);
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(read);
        thread.expect("the system has a thread to give");
        Self { jobs, carrier: handle, spent, reports, task: tokio::spawn(carrier.run(messages)) }
    }

    /// Queues a job.
    pub fn queue(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::debug!("the reader has ended");
        }
    }

    /// Allows this many payload bytes in all.
    pub fn grant(&self, limit: u64) {
        self.carrier.credit.send_replace(limit);
    }

    /// There is another lane, or one less.
    pub fn change(&self, change: Change) {
        if self.carrier.changes.send(change).is_err() {
            tracing::debug!("the carrier has ended");
        }
    }

    /// Payload bytes handed to lanes.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.carrier.shared.sent()
    }

    /// What the lanes have done, and waited for.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.carrier.shared.figures()
    }

    /// What reading has taken so far.
    #[must_use]
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// What was reported and not yet taken: a connection that is lost may have carried it.
    #[must_use]
    pub fn rest(mut self) -> Vec<Fed> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }

    /// The next reports.
    pub async fn next(&mut self) -> Vec<Fed> {
        let mut reports = Vec::new();
        tokio::select! {
            _ = self.reports.recv_many(&mut reports, BATCH), if !self.reports.is_closed() => {}
            Some(need) = self.carrier.needs.recv() => reports.push(Fed::Need(need)),
            else => std::future::pending::<()>().await,
        }
        reports
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Does jobs, and gives away what has gathered whenever there are none.
///
/// A chunk is reported before its hash can leave: what the receiver can verify, this end knows.
struct Reader {
    source: Arc<Source>,
    jobs: queue::Receiver<Job>,
    report: mpsc::UnboundedSender<Fed>,
    spent: Arc<Spent>,
}

impl Reader {
    fn run(&mut self, shared: &Shared, give: &mpsc::Sender<Vec<Message>>) {
        let mut reader = ChunkReader::new(&self.source);
        let together = RefCell::new(Vec::with_capacity(TOGETHER));
        let give_all = || give.blocking_send(together.take()).ok();
        let give = |message| {
            together.borrow_mut().push(message);
            let given = if together.borrow().len() == TOGETHER { give_all() } else { Some(()) };
            given.map(|()| shared.length())
        };
        let mut frames = Frames::new(shared.length(), give).measured(&self.spent);
        let mut pairs = Pairs::default();
        while frames.wanted() {
            let job = if let Ok(job) = self.jobs.try_recv() {
                job
            } else {
                self.tell(pairs.rest(), &mut frames);
                frames.flush();
                if !together.borrow().is_empty() && give_all().is_none() {
                    return;
                }
                match self.jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            };
            self.carry_out(&mut reader, &mut frames, &mut pairs, job);
        }
    }

    fn carry_out(
        &self,
        reader: &mut ChunkReader<'_>,
        frames: &mut Frames<'_>,
        pairs: &mut Pairs<(FileId, u32)>,
        job: Job,
    ) {
        let started = Instant::now();
        let fed = match job {
            Job::Announce(chunk) => return frames.hash(chunk),
            Job::Close(file, entry) => match self.source.check_unchanged(file, &entry) {
                Ok(()) => Fed::Unchanged(file),
                Err(error) => Fed::Changed(file, error),
            },
            Job::Read(file, entry, chunk) => match reader.read(file, &entry, chunk, frames) {
                Ok(Chunk::Read(unhashed)) => {
                    let may_wait = entry.kind == Kind::File && started.elapsed() < QUICK;
                    let started = Instant::now();
                    let hashed = pairs.take((file, chunk), unhashed);
                    let rest = if may_wait { None } else { pairs.rest() };
                    self.spent.with_hashing(started);
                    return self.tell(hashed.into_iter().chain(rest), frames);
                }
                Ok(Chunk::Ended(size)) => Fed::Ended(file, size),
                Err(error) => Fed::Unreadable(file, error),
            },
        };
        self.tell(pairs.rest(), frames);
        self.report(fed);
    }

    /// Reports chunks, and then tells their hashes.
    fn tell(
        &self,
        hashed: impl IntoIterator<Item = ((FileId, u32), Hash)>,
        frames: &mut Frames<'_>,
    ) {
        for ((file, chunk), hash) in hashed {
            let hash = ChunkHash { file, chunk, hash };
            self.report(Fed::Read(hash));
            frames.hash(hash);
        }
    }

    fn report(&self, fed: Fed) {
        // The session may have ended already.
        drop(self.report.send(fed));
    }
}

/// Hashes chunks that the receiver claims to have; one at a time.
#[derive(Debug)]
pub struct Checker {
    jobs: queue::Sender<(FileId, Entry, u32)>,
    checked: mpsc::UnboundedReceiver<(FileId, u32, Result<Hash, SourceError>)>,
}

impl Checker {
    /// Starts the thread, which ends when this is dropped.
    ///
    /// # Panics
    /// When the system has no thread to give.
    #[must_use]
    pub fn start(source: Arc<Source>) -> Self {
        let (jobs, waiting) = queue::channel::<(FileId, Entry, u32)>();
        let (tell, checked) = mpsc::unbounded_channel();
        let work = move || {
            let mut reader = ChunkReader::new(&source);
            for (file, entry, chunk) in waiting {
                if tell.send((file, chunk, reader.hash(file, &entry, chunk))).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("checker".to_owned()).spawn(work);
        thread.expect("the system has a thread to give");
        Self { jobs, checked }
    }

    /// Queues a chunk.
    pub fn queue(&self, file: FileId, entry: Entry, chunk: u32) {
        if self.jobs.send((file, entry, chunk)).is_err() {
            tracing::debug!("the checker has ended");
        }
    }

    /// The next hash.
    pub async fn next(&mut self) -> (FileId, u32, Result<Hash, SourceError>) {
        match self.checked.recv().await {
            Some(checked) => checked,
            None => std::future::pending().await,
        }
    }
}
