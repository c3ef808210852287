//! Fills a lane with a file: a thread reads and hashes, a task sends, and both wait for each
//! other and for the receiver's credit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::BytesMut;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    disk::source::{Piece, Source, SourceError},
    net::lane::{Closed, LaneSender},
    proto::{
        frame::{ChunkHash, DATA_HEADER, Frame},
        manifest::FileId,
    },
};

/// Frames read ahead of the lane: 2 MiB.
const READ_AHEAD: usize = 32;

/// Reports that wait for the session; one a chunk.
const QUEUE: usize = 16;

/// What became of the file.
#[derive(Debug)]
pub enum Fed {
    /// A chunk is on the lane.
    Chunk(ChunkHash),
    /// So is everything.
    All,
    /// The file cannot be sent.
    Failed(SourceError),
    /// The lane is closed.
    Closed,
}

/// A file on its way to a lane; stops when it is dropped.
#[derive(Debug)]
pub struct Feed {
    credit: watch::Sender<u64>,
    sent: Arc<AtomicU64>,
    reports: mpsc::Receiver<Fed>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts to read, in frames of at most so many bytes; nothing is sent before there is
    /// credit.
    #[must_use]
    pub fn start(source: Arc<Source>, file: FileId, lane: LaneSender, frame: usize) -> Self {
        let (credit, granted) = watch::channel(0);
        let sent = Arc::new(AtomicU64::new(0));
        let (report, reports) = mpsc::channel(QUEUE);
        let feeder = Feeder { lane, granted, sent: sent.clone(), report };
        let task = tokio::spawn(feeder.run(source, file, frame));
        Self { credit, sent, reports, task }
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

    /// The next report; none follows the last.
    pub async fn next(&mut self) -> Fed {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Feeder {
    lane: LaneSender,
    granted: watch::Receiver<u64>,
    sent: Arc<AtomicU64>,
    report: mpsc::Sender<Fed>,
}

impl Feeder {
    async fn run(mut self, source: Arc<Source>, file: FileId, frame: usize) {
        let (give, mut pieces) = mpsc::channel(READ_AHEAD);
        // Ends by itself when `pieces` is dropped.
        let read = move || source.read(file, frame, |piece| give.blocking_send(piece).is_ok());
        let reading = spawn_blocking(read);
        while let Some(piece) = pieces.recv().await {
            if self.send(piece).await.is_err() {
                return self.tell(Fed::Closed).await;
            }
        }
        match reading.await.expect("reading does not panic") {
            Ok(()) => self.tell(Fed::All).await,
            Err(error) => self.tell(Fed::Failed(error)).await,
        }
    }

    async fn send(&mut self, piece: Piece) -> Result<(), Closed> {
        match piece {
            Piece::Frame(frame) => self.send_data(frame).await,
            Piece::Chunk(chunk) => {
                let hashes = Frame::Hashes(vec![chunk]).to_wire();
                self.lane.send(BytesMut::from(hashes.as_slice())).await?;
                self.tell(Fed::Chunk(chunk)).await;
                Ok(())
            }
        }
    }

    async fn send_data(&mut self, frame: BytesMut) -> Result<(), Closed> {
        let payload = u64::try_from(frame.len() - DATA_HEADER).expect("a frame is short");
        let total = self.sent.load(Ordering::Relaxed) + payload;
        self.granted.wait_for(|limit| *limit >= total).await.map_err(|_| Closed)?;
        self.lane.send(frame).await?;
        self.sent.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// The session may have ended already.
    async fn tell(&self, report: Fed) {
        let _ = self.report.send(report).await;
    }
}
