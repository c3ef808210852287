//! Fills a lane: a thread reads and hashes what the sender's machine wants read, a task sends,
//! and both wait for each other and for the receiver's credit. Another thread hashes what the
//! receiver claims to have, which must not wait for a slow lane.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as queue,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use super::flight::Flight;
use crate::{
    disk::source::{Chunk, ChunkReader, Frames, Source, SourceError},
    net::lane::{Closed, LaneSender},
    proto::{
        digest::Hash,
        frame::ChunkHash,
        manifest::{Entry, FileId},
    },
};

/// Frames read ahead of the lane: 2 MiB.
const READ_AHEAD: usize = 32;

/// The most bytes that a lane may have under way.
const MOST_UNDER_WAY: u64 = 2 * 1024 * 1024;

/// How soon it is looked again whether the lane has place: the least that the timer knows.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

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
}

/// A frame, with so many bytes of payload.
type Piece = (BytesMut, usize);

/// Stops when it is dropped.
#[derive(Debug)]
pub struct Feed {
    jobs: queue::Sender<Job>,
    credit: watch::Sender<u64>,
    sent: Arc<AtomicU64>,
    reports: mpsc::UnboundedReceiver<Fed>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts to read, into frames of at most so many bytes; nothing is sent before there is
    /// credit.
    ///
    /// # Panics
    /// When the system has no thread to give.
    #[must_use]
    pub fn start(source: Arc<Source>, lane: LaneSender, longest: usize) -> Self {
        let (jobs, waiting) = queue::channel();
        let (give, pieces) = mpsc::channel(READ_AHEAD);
        let (credit, granted) = watch::channel(0);
        let sent = Arc::new(AtomicU64::new(0));
        // Bounded by the jobs that the machine has under way.
        let (report, reports) = mpsc::unbounded_channel();
        // Ends by itself when nobody takes its pieces, or has jobs for it, any more.
        let read = move || read(&source, &waiting, longest, &give, &report);
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(read);
        thread.expect("the system has a thread to give");
        let flight = Flight::new(MOST_UNDER_WAY, Instant::now());
        let sender = Sender { lane, flight, granted, sent: sent.clone(), handed: 0 };
        Self { jobs, credit, sent, reports, task: tokio::spawn(sender.run(pieces)) }
    }

    /// Queues a job.
    pub fn queue(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::debug!("the reader has ended");
        }
    }

    /// Allows this many payload bytes in all.
    pub fn grant(&self, limit: u64) {
        self.credit.send_replace(limit);
    }

    /// Payload bytes handed to the lane.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What was reported and not yet taken: a connection that is lost may have carried it.
    #[must_use]
    pub fn rest(mut self) -> Vec<Fed> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }

    /// The next reports.
    pub async fn next(&mut self) -> Vec<Fed> {
        let mut reports = Vec::new();
        if self.reports.recv_many(&mut reports, BATCH).await == 0 {
            std::future::pending::<()>().await;
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
fn read(
    source: &Source,
    jobs: &queue::Receiver<Job>,
    longest: usize,
    give: &mpsc::Sender<Piece>,
    report: &mpsc::UnboundedSender<Fed>,
) {
    let mut reader = ChunkReader::new(source);
    let mut frames =
        Frames::new(longest, |frame, payload| give.blocking_send((frame, payload)).is_ok());
    while frames.wanted() {
        let job = if let Ok(job) = jobs.try_recv() {
            job
        } else {
            frames.flush();
            match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            }
        };
        let (fed, hash) = carry_out(source, &mut reader, &mut frames, job);
        // The session may have ended already.
        fed.into_iter().for_each(|fed| drop(report.send(fed)));
        hash.into_iter().for_each(|hash| frames.hash(hash));
    }
}

/// What is to be reported, and the hash that is to be told after that.
fn carry_out(
    source: &Source,
    reader: &mut ChunkReader<'_>,
    frames: &mut Frames<'_>,
    job: Job,
) -> (Option<Fed>, Option<ChunkHash>) {
    match job {
        Job::Announce(chunk) => (None, Some(chunk)),
        Job::Close(file, entry) => match source.check_unchanged(file, &entry) {
            Ok(()) => (Some(Fed::Unchanged(file)), None),
            Err(error) => (Some(Fed::Changed(file, error)), None),
        },
        Job::Read(file, entry, chunk) => match reader.read(file, &entry, chunk, frames) {
            Ok(Chunk::Read(chunk)) => (Some(Fed::Read(chunk)), Some(chunk)),
            Ok(Chunk::Ended(size)) => (Some(Fed::Ended(file, size)), None),
            Err(error) => (Some(Fed::Unreadable(file, error)), None),
        },
    }
}

struct Sender {
    lane: LaneSender,
    flight: Flight,
    granted: watch::Receiver<u64>,
    sent: Arc<AtomicU64>,
    /// Bytes handed to the lane, with everything around the payload.
    handed: u64,
}

impl Sender {
    async fn run(mut self, mut pieces: mpsc::Receiver<Piece>) {
        while let Some((frame, payload)) = pieces.recv().await {
            if self.send(frame, payload as u64).await.is_err() {
                return; // The link is lost, which is told elsewhere.
            }
        }
    }

    async fn send(&mut self, frame: BytesMut, payload: u64) -> Result<(), Closed> {
        let total = self.sent.load(Ordering::Relaxed) + payload;
        if payload > 0 {
            self.granted.wait_for(|limit| *limit >= total).await.map_err(|_| Closed)?;
        }
        let length = frame.len() as u64;
        self.place_for(length).await;
        self.lane.send(frame).await?;
        self.handed += length;
        self.flight.sent(self.handed, Instant::now());
        self.sent.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the line has place for so many bytes.
    async fn place_for(&mut self, bytes: u64) {
        loop {
            let under_way = self.lane.outstanding().await as u64;
            self.flight.delivered(self.handed.saturating_sub(under_way), Instant::now());
            if self.flight.admits(bytes, under_way) {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
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
