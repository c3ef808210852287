//! Parts that follow each other in a file, gathered so that one call writes them. Each call costs
//! the file system as much as some ten kilobytes do, and so does a page that two of them share.

use std::io::IoSlice;

use bytes::Bytes;

use crate::proto::{manifest::FileId, receiver::Part};

/// Bytes of a piece. Files are cut at multiples of it, so that no page is written twice. Longer
/// pieces are slower: the file system takes larger pages for them, which are cold.
const PIECE: u64 = 256 * 1024;

/// Parts that are written together; a system takes a thousand at most.
const MOST_PARTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    /// The file.
    pub(super) file: FileId,
    /// Where in the file it begins, in bytes.
    pub(super) position: u64,
    /// How many bytes it has.
    pub(super) length: u64,
    /// How many parts end in it.
    pub(super) ended: u32,
    parts: Vec<Bytes>,
}

impl Run {
    /// One that begins with a part.
    pub(super) fn new(Part { file, position, bytes, .. }: Part) -> Self {
        Self { file, position, length: bytes.len() as u64, ended: 1, parts: vec![bytes] }
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
        self.ended += 1;
        self.parts.push(part.bytes);
        Ok(())
    }

    /// Cuts off what reaches as far as whole pieces do, when the last part reached that, or
    /// everything when there are many parts. What is left begins there, and may be empty.
    pub(super) fn cut(&mut self) -> Option<Self> {
        let end = self.position + self.length;
        let mut left = end % PIECE;
        if end - left <= self.position {
            if self.parts.len() < MOST_PARTS {
                return None;
            }
            left = 0;
        }
        let mut last = self.parts.pop()?;
        let rest = last.split_off(last.len().saturating_sub(usize::try_from(left).ok()?));
        self.parts.push(last);
        let rest = Self {
            file: self.file,
            position: end - left,
            length: left,
            ended: u32::from(!rest.is_empty()),
            parts: Vec::from_iter((!rest.is_empty()).then_some(rest)),
        };
        self.length -= rest.length;
        self.ended -= rest.ended;
        Some(std::mem::replace(self, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(position: u64, length: usize) -> Part {
        let bytes = (position..).take(length).map(|at| (at % 251).to_le_bytes()[0]).collect();
        Part { file: FileId(0), chunk: 0, offset: 0, position, bytes }
    }

    proptest! {
        #[test]
        fn every_byte_is_written_once_in_pieces(
            begin in 0..2 * PIECE,
            lengths in proptest::collection::vec(1..70_000_usize, 1..40),
        ) {
            let mut position = begin;
            let mut run: Option<Run> = None;
            let mut written = Vec::new();
            for length in &lengths {
                let part = part(position, *length);
                match &mut run {
                    Some(run) => prop_assert!(run.add(part).is_ok()),
                    None => run = Some(Run::new(part)),
                }
                position += *length as u64;
                written.extend(run.as_mut().and_then(Run::cut));
            }
            prop_assert!(written.iter().all(|run| (run.position + run.length) % PIECE == 0));
            written.extend(run);
            let mut at = begin;
            for run in &written {
                prop_assert_eq!(run.position, at);
                let bytes = run.slices().iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>();
                prop_assert_eq!(run.length, bytes.len() as u64);
                prop_assert_eq!(bytes, part(at, usize::try_from(run.length).unwrap()).bytes);
                at += run.length;
            }
            prop_assert_eq!(at, position);
            prop_assert_eq!(written.iter().map(|run| run.ended as usize).sum::<usize>(), lengths.len());
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

    #[test]
    fn crumbs_are_written_before_they_are_too_many_for_one_call() {
        let mut run = Run::new(part(0, 1));
        let cut = (1..1000).find_map(|position| {
            run.add(part(position, 1)).unwrap();
            run.cut()
        });
        assert_eq!(cut.unwrap().slices().len(), MOST_PARTS);
        assert_eq!((run.length, run.ended), (0, 0));
    }
}
