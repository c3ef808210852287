//! The file that is sent: opened once, read in order, hashed on the way, and looked at again at
//! the end, since what changed while it was read is not what anybody meant to send.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use super::platform::{self, Stamp};
use crate::proto::{
    digest::{Hash, tree},
    frame::{ChunkHash, DATA_HEADER, MAX_FRAME, data_header},
    manifest::{Entry, FileId, Kind, Modified},
    name::{HostileName, Name},
};

/// What a reading gives, in order: the frames of a chunk, its hash, the next chunk.
#[derive(Debug)]
pub enum Piece {
    /// A whole data frame.
    Frame(BytesMut),
    /// The chunk whose frames went before.
    Chunk(ChunkHash),
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is a folder, a device or something else without bytes of its own.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Its name cannot be sent.
    #[error("the name of {path} cannot be sent: {why}")]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        why: HostileName,
    },
    /// Its name is not UTF-8.
    #[error("the name of {0} is not UTF-8")]
    NotUtf8(PathBuf),
    /// It changed while it was read.
    #[error("{0} changed while it was sent")]
    Changed(PathBuf),
}

/// An open file and what was seen of it when it was opened.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    entry: Entry,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SourceError`] when it is not a readable regular file, or its name cannot be sent.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
        // Looked at before it is opened, since opening a pipe waits for its writer.
        let before = std::fs::metadata(path).map_err(failed)?;
        if !before.is_file() {
            return Err(SourceError::NotAFile(path.to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SourceError::NotAFile(path.to_owned()));
        }
        let entry = entry(path, &metadata)?;
        Ok(Self { path: path.to_owned(), file, stamp: platform::stamp(&metadata), entry })
    }

    /// What is offered.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Reads the whole file, chunk by chunk, and hands its pieces over until `give` says no: in
    /// frames of at most so many bytes, header included.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when it is not the same file any more, [`SourceError::Read`]
    /// when it cannot be read.
    ///
    /// # Panics
    /// Never: payloads are shorter than chunks, which are shorter than 2^32.
    pub fn read(
        &self,
        id: FileId,
        frame: usize,
        mut give: impl FnMut(Piece) -> bool,
    ) -> Result<(), SourceError> {
        let payload = frame.clamp(DATA_HEADER + 1, MAX_FRAME) - DATA_HEADER;
        let chunking = self.entry.chunking();
        for chunk in 0..chunking.count() {
            let (_, length) = chunking.span(chunk).unwrap_or_default();
            let mut hasher = Sha256::new();
            let mut offset = 0;
            while offset < length {
                let frame = self.frame(id, chunk, offset, payload.min(left(length - offset)))?;
                let payload = &frame[DATA_HEADER..];
                hasher.update(payload);
                offset += u32::try_from(payload.len()).expect("a payload is shorter than a chunk");
                if !give(Piece::Frame(frame)) {
                    return Ok(());
                }
            }
            let hash = Hash(hasher.finalize().into());
            if !give(Piece::Chunk(ChunkHash { file: id, chunk, hash })) {
                return Ok(());
            }
        }
        self.check_unchanged()
    }

    /// Reads the next part of a chunk into the tail of its frame.
    fn frame(
        &self,
        id: FileId,
        chunk: u32,
        offset: u32,
        length: usize,
    ) -> Result<BytesMut, SourceError> {
        let mut frame = BytesMut::zeroed(DATA_HEADER + length);
        let (header, payload) = frame.split_at_mut(DATA_HEADER);
        header.copy_from_slice(&data_header(id, chunk, offset, length));
        (&self.file).read_exact(payload).map_err(|error| self.failed(error))?;
        Ok(frame)
    }

    fn failed(&self, error: io::Error) -> SourceError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => SourceError::Changed(self.path.clone()),
            _ => SourceError::Read { path: self.path.clone(), error },
        }
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        let now = self.file.metadata().map_err(|error| self.failed(error))?;
        if platform::stamp(&now) == self.stamp {
            Ok(())
        } else {
            Err(SourceError::Changed(self.path.clone()))
        }
    }
}

/// No machine that runs this has pointers of less than 32 bits.
fn left(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn entry(path: &Path, metadata: &Metadata) -> Result<Entry, SourceError> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_str().ok_or_else(|| SourceError::NotUtf8(path.to_owned()))?;
    let name =
        Name::try_from(name).map_err(|why| SourceError::Name { path: path.to_owned(), why })?;
    Ok(Entry {
        kind: Kind::File,
        path: name.into(),
        size: metadata.len(),
        modified: modified(metadata),
        executable: platform::is_executable(metadata),
    })
}

/// Times before 1970 are left out.
fn modified(metadata: &Metadata) -> Option<Modified> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Modified { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() })
}

/// The tree digest of a file, as a transfer shows it.
///
/// # Errors
/// [`SourceError`] when the file cannot be read or changes meanwhile.
pub fn digest(path: &Path) -> Result<Hash, SourceError> {
    let mut hashes = Vec::new();
    Source::open(path)?.read(FileId(0), MAX_FRAME, |piece| {
        if let Piece::Chunk(chunk) = piece {
            hashes.push(chunk.hash);
        }
        true
    })?;
    Ok(tree(&hashes))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::frame::{Frame, MAX_PAYLOAD};

    fn file_of(size: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251).to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn a_file_comes_whole_and_in_order_with_a_hash_after_each_chunk() {
        for size in [0, 1, MAX_PAYLOAD, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_000] {
            let (_folder, path, bytes) = file_of(size);
            let (mut read, mut chunk) = (Vec::new(), Vec::new());
            let give = |piece| {
                match piece {
                    Piece::Frame(frame) => {
                        let frame = Frame::from_wire(&Bytes::from(frame)).unwrap();
                        let Some(Frame::Data(records)) = frame else { panic!("not data") };
                        chunk.extend_from_slice(&records[0].bytes);
                    }
                    Piece::Chunk(end) => {
                        assert_eq!(end.hash, Hash::of(&chunk));
                        read.append(&mut chunk);
                    }
                }
                true
            };
            Source::open(&path).unwrap().read(FileId(0), MAX_FRAME, give).unwrap();
            assert!(read == bytes, "{size}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_found_out() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 4] = [
            ("grows", |path| {
                use io::Write;
                File::options().append(true).open(path).unwrap().write_all(b"x").unwrap();
            }),
            ("shrinks", |path| File::options().write(true).open(path).unwrap().set_len(1).unwrap()),
            ("is rewritten", |path| {
                File::options().write(true).open(path).unwrap();
                std::fs::write(path, vec![9; 600_000]).unwrap();
            }),
            ("is touched", |path| {
                let file = File::options().write(true).open(path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }),
        ];
        for (what, change) in changes {
            let (_folder, path, _) = file_of(600_000);
            let source = Source::open(&path).unwrap();
            let mut first = true;
            let end = source.read(FileId(0), MAX_FRAME, |_| {
                if std::mem::take(&mut first) {
                    change(&path);
                }
                true
            });
            assert!(matches!(end, Err(SourceError::Changed(_))), "{what}: {end:?}");
        }
    }

    #[test]
    fn only_regular_files_with_plain_names_are_opened() {
        let (folder, path, _) = file_of(1);
        assert!(matches!(Source::open(folder.path()), Err(SourceError::NotAFile(_))));
        assert!(matches!(Source::open(Path::new("/dev/null")), Err(SourceError::NotAFile(_))));
        assert!(matches!(Source::open(&folder.path().join("b")), Err(SourceError::Read { .. })));
        let odd = folder.path().join("a\nb");
        std::fs::rename(&path, &odd).unwrap();
        assert!(matches!(Source::open(&odd), Err(SourceError::Name { .. })));
    }

    #[test]
    fn the_digest_of_a_file_is_the_tree_over_its_chunks() {
        let (_folder, path, bytes) = file_of(300_000);
        let leaves = [Hash::of(&bytes[..256 * 1024]), Hash::of(&bytes[256 * 1024..])];
        assert_eq!(digest(&path).unwrap(), tree(&leaves));
    }
}
