//! Parts that follow each other in a file, gathered so that one call writes them. Each call costs
//! the file system as much as some ten kilobytes do, and so does a page that two of them share.

use std::io::IoSlice;

use bytes::Bytes;

use crate::proto::{manifest::FileId, receiver::Part};

/// Bytes that are worth a call: four of the longest parts have more. Many more are slower, and so are
/// calls that end where a large page does: virtual machines give such pages back to their host when a
/// file is removed, and have to fetch them again for the next.
const ENOUGH: u64 = 240 * 1024;

/// Parts that are written together; a system takes a thousand at most.
const MOST_PARTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    file: FileId,
    position: u64,
    length: u64,
    parts: Vec<Bytes>,
}

impl Run {
    /// One that begins with a part.
    pub(super) fn new(Part { file, position, bytes, .. }: Part) -> Self {
        Self { file, position, length: bytes.len() as u64, parts: vec![bytes] }
    }

    /// The file.
    pub(super) fn file(&self) -> FileId {
        self.file
    }

    /// Where in the file it begins, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes it has, and in how many parts.
    pub(super) fn size(&self) -> (u64, u32) {
        (self.length, u32::try_from(self.parts.len()).unwrap_or(u32::MAX))
    }

    /// Its bytes.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.parts.iter().map(|part| IoSlice::new(part)).collect()
    }

    /// Adds a part, or gives it back when it does not follow.
    pub(super) fn add(&mut self, part: Part) -> Result<(), Part> {
        if part.file != self.file || part.position != self.position + self.length {
            return Err(part);
        }
        self.length += part.bytes.len() as u64;
        self.parts.push(part.bytes);
        Ok(())
    }

    /// Whether there is enough for a call.
    pub(super) fn is_enough(&self) -> bool {
        self.length >= ENOUGH || self.parts.len() >= MOST_PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(position: u64, length: usize) -> Part {
        let bytes = (position..).take(length).map(|at| (at % 251).to_le_bytes()[0]).collect();
        Part { file: FileId(0), chunk: 0, offset: 0, position, bytes }
    }

    /// Parts of a length that follow each other, until there is enough.
    fn run(begin: u64, length: usize) -> Run {
        let mut run = Run::new(part(begin, length));
        while !run.is_enough() {
            let next = run.position + run.length;
            run.add(part(next, length)).unwrap();
        }
        run
    }

    #[test]
    fn what_follows_is_gathered_in_order_until_it_is_enough() {
        for (length, parts) in [(65_000, 4), (10_000, 25), (1, MOST_PARTS), (300_000, 1)] {
            let run = run(100, length);
            assert_eq!(run.slices().len(), parts);
            let whole = run.slices().iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>();
            assert_eq!(run.size(), (whole.len() as u64, u32::try_from(parts).unwrap()));
            assert_eq!(whole, part(100, parts * length).bytes);
        }
    }

    #[test]
    fn what_does_not_follow_is_given_back() {
        let mut run = Run::new(part(100, 10));
        let elsewhere = Part { file: FileId(1), ..part(110, 10) };
        for part in [part(109, 10), part(111, 10), elsewhere] {
            assert_eq!(run.add(part.clone()), Err(part));
        }
        assert_eq!(run.add(part(110, 10)), Ok(()));
    }
}
