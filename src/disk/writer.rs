//! The thread that writes and hashes what arrives, so that a slow disk never holds the network
//! task. It is told what to do through a queue that the session's credit bounds.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedSender;

use super::sink::{Destination, Sink, SinkError};
use crate::proto::{
    digest::Hash,
    frame::ChunkHash,
    manifest::{Entry, FileId},
    receiver::Part,
};

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Open a part file.
    Prepare(Destination, Entry),
    /// Write a part of a chunk.
    Write(Part),
    /// Flush the file and name it.
    Commit,
}

/// What was done.
#[derive(Debug)]
pub enum Report {
    /// The part file is open.
    Prepared,
    /// This many bytes were written.
    Stored(u64),
    /// All of a chunk was written.
    ChunkStored(ChunkHash),
    /// The file is safe, at this path.
    Committed(PathBuf),
    /// It cannot go on; nothing follows.
    Failed(SinkError),
}

/// The thread; what is not committed is removed when it is [closed](Writer::close).
#[derive(Debug)]
pub struct Writer {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. Reports are bounded by what the session has commands for.
    ///
    /// # Panics
    /// When the system has no thread to give.
    #[must_use]
    pub fn start(reports: UnboundedSender<Report>) -> Self {
        let (commands, queue) = mpsc::channel();
        let work = move || Work::default().run(&queue, &reports);
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(work);
        Self { commands, thread: thread.expect("the system has a thread to give") }
    }

    /// Queues a command; one that comes after a failure is passed over.
    pub fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::debug!("the writer has ended");
        }
    }

    /// Ends the thread and waits until it has removed what was not committed.
    pub fn close(self) {
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("the writer panicked");
        }
    }
}

#[derive(Default)]
struct Work {
    sink: Option<Sink>,
    hashers: HashMap<u32, Sha256>,
}

impl Work {
    fn run(mut self, queue: &mpsc::Receiver<Command>, reports: &UnboundedSender<Report>) {
        for command in queue {
            match self.carry_out(command) {
                Ok(done) => done.into_iter().for_each(|report| tell(reports, report)),
                Err(error) => return tell(reports, Report::Failed(error)),
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<Vec<Report>, SinkError> {
        match command {
            Command::Prepare(destination, entry) => {
                self.sink = Some(Sink::create(destination, entry)?);
                Ok(vec![Report::Prepared])
            }
            Command::Write(part) => self.write(&part),
            Command::Commit => match self.sink.take() {
                Some(sink) => Ok(vec![Report::Committed(sink.commit()?)]),
                None => Ok(Vec::new()),
            },
        }
    }

    fn write(&mut self, part: &Part) -> Result<Vec<Report>, SinkError> {
        let Some(sink) = &self.sink else { return Ok(Vec::new()) };
        let mut hasher = self.hashers.remove(&part.chunk).unwrap_or_default();
        hasher.update(&part.bytes);
        sink.write(&part.bytes, part.position)?;
        let mut reports = vec![Report::Stored(part.bytes.len() as u64)];
        if part.last {
            let hash = Hash(hasher.finalize().into());
            reports.push(Report::ChunkStored(ChunkHash {
                file: FileId(0),
                chunk: part.chunk,
                hash,
            }));
        } else {
            self.hashers.insert(part.chunk, hasher);
        }
        Ok(reports)
    }
}

/// The session may have ended already.
fn tell(reports: &UnboundedSender<Report>, report: Report) {
    if reports.send(report).is_err() {
        tracing::debug!("nobody listens to the writer");
    }
}
