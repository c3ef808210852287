//! What the receiver is to tell the sender, gathered until nothing else is due: so files that follow
//! each other share a range, and ranges a frame.

use std::{mem, ops::Range};

use crate::proto::{
    frame::{ChunkHash, Frame, Reason, TO_THE_END, Wanted},
    manifest::FileId,
};

/// Records of one frame on the control channel.
const BATCH: usize = 1_000;

/// Everything that was not said yet on this connection.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    claims: Vec<ChunkHash>,
    wants: Vec<Wanted>,
    declined: Vec<Range<u32>>,
    existing: Vec<Range<u32>>,
    delivered: Vec<Range<u32>>,
}

impl Unsaid {
    /// A chunk is here from before, with this hash.
    pub(super) fn claim(&mut self, chunk: ChunkHash) {
        self.claims.push(chunk);
    }

    /// All of a file is wanted.
    pub(super) fn want_file(&mut self, file: FileId) {
        self.want(file, 0..TO_THE_END);
    }

    /// One chunk is wanted.
    pub(super) fn want_chunk(&mut self, file: FileId, chunk: u32) {
        self.want(file, chunk..chunk.saturating_add(1));
    }

    /// Chunks of a file are wanted.
    pub(super) fn want(&mut self, FileId(file): FileId, chunks: Range<u32>) {
        let whole = 0..TO_THE_END;
        match self.wants.last_mut() {
            Some(Wanted { files, chunks: before })
                if files.end == file && *before == whole && chunks == whole =>
            {
                files.end = file.saturating_add(1);
            }
            _ => self.wants.push(Wanted { files: file..file.saturating_add(1), chunks }),
        }
    }

    /// A file is not wanted: its name is taken and that is to stay, or it is declined.
    pub(super) fn skip(&mut self, file: FileId, reason: Reason) {
        let files = match reason {
            Reason::TargetExists => &mut self.existing,
            _ => &mut self.declined,
        };
        append(files, file);
    }

    /// A file is safe.
    pub(super) fn deliver(&mut self, file: FileId) {
        append(&mut self.delivered, file);
    }

    /// All of it as frames, after which nothing is unsaid.
    pub(super) fn say(&mut self) -> impl Iterator<Item = Frame> + use<> {
        let Self { claims, wants, declined, existing, delivered } = mem::take(self);
        let skip = |reason| move |files| Frame::Skip { files, reason };
        let frames = [
            batches(&claims, Frame::Claim),
            batches(&wants, Frame::Want),
            batches(&declined, skip(Reason::Declined)),
            batches(&existing, skip(Reason::TargetExists)),
            batches(&delivered, Frame::FinOk),
        ];
        frames.into_iter().flatten()
    }
}

/// Adds a file to ranges, of which it may prolong the last.
fn append(ranges: &mut Vec<Range<u32>>, FileId(file): FileId) {
    match ranges.last_mut() {
        Some(last) if last.end == file => last.end += 1,
        _ => ranges.push(file..file.saturating_add(1)),
    }
}

/// Records as frames that each hold some of them.
fn batches<T: Clone>(records: &[T], frame: impl Fn(Vec<T>) -> Frame) -> Vec<Frame> {
    records.chunks(BATCH).map(|batch| frame(batch.to_vec())).collect()
}
