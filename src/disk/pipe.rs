//! One file, text or stream that goes to a pipe, or to memory: verified chunk by chunk, and
//! handed on in order.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
};

use bytes::Bytes;

use super::sink::SinkError;
use crate::proto::receiver::Part;

/// See the module.
pub(super) struct Pipe {
    to: Option<Box<dyn Write + Send>>,
    /// What was handed on, when it goes to memory.
    memory: Vec<u8>,
    /// Chunks that are here in part or whole.
    chunks: HashMap<u32, Vec<Bytes>>,
    /// Those that are right, and wait for one before them.
    kept: HashSet<u32>,
    next: u32,
}

impl Pipe {
    /// Into a pipe, or, without one, into memory.
    pub(super) fn new(to: Option<Box<dyn Write + Send>>) -> Self {
        Self { to, memory: Vec::new(), chunks: HashMap::new(), kept: HashSet::new(), next: 0 }
    }

    /// Holds a part until its chunk is right.
    pub(super) fn write(&mut self, part: Part) {
        let chunk = self.chunks.entry(part.chunk).or_default();
        if part.offset == 0 {
            chunk.clear();
        }
        chunk.push(part.bytes);
    }

    /// A chunk is right; hands on what is next. Gives the number of bytes and of parts that this
    /// were.
    pub(super) fn keep(&mut self, chunk: u32) -> Result<(u64, u32), SinkError> {
        self.kept.insert(chunk);
        let (mut bytes, mut parts) = (0, 0);
        while self.kept.remove(&self.next) {
            for part in self.chunks.remove(&self.next).unwrap_or_default() {
                match &mut self.to {
                    Some(to) => to.write_all(&part).map_err(SinkError::Pipe)?,
                    None => self.memory.extend_from_slice(&part),
                }
                bytes += part.len() as u64;
                parts += 1;
            }
            self.next += 1;
        }
        Ok((bytes, parts))
    }

    /// Everything is handed on; gives what went to memory.
    pub(super) fn finish(&mut self) -> Result<Option<Vec<u8>>, SinkError> {
        match &mut self.to {
            Some(to) => to.flush().map(|()| None).map_err(SinkError::Pipe),
            None => Ok(Some(std::mem::take(&mut self.memory))),
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipe(chunk {})", self.next)
    }
}
