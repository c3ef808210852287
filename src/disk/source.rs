//! What is sent: files of a tree, a text, or a stream. Chunks are read where they are asked for, and
//! put into frames: many small ones share one. What is to be [hashed](super::hashing) is the memory of
//! the frames.
//!
//! A file is looked at again at its end, since what changed while it was read is not what anybody
//! meant to send.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Instant, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};

use super::{
    Spent,
    draft::Draft,
    hashing::{BLOCK, Pairs, Unhashed},
    platform::{self, Stamp},
    tree::{Found, Selection, Tree},
};
use crate::proto::{
    digest::{Hash, tree},
    frame::{ChunkHash, DATA_TYPE, Frame, RECORD_HEADER, record_header},
    lanes::{MAX_MESSAGE, Message, NUMBER},
    manifest::{Entry, FileId, Kind, Modified},
    name::{HostileName, Name},
};

/// Less room than this in a frame is not worth a record of a longer chunk, in bytes.
const SMALLEST_PART: usize = 4 * 1024;

/// Hashes that one frame tells at most.
const HASHES: usize = 1_000;

/// Bytes before the records of a data frame, or the hashes.
const HEADER: usize = NUMBER + DATA_TYPE.len();

/// No message can be shorter: it holds a byte.
const SHORTEST: usize = HEADER + RECORD_HEADER + 1;

/// Bytes after which the hashes of what was read are told: the receiver can do nothing with a
/// chunk before, and stops the sender when it holds too many.
const UNTOLD: usize = 1024 * 1024;

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
    /// Two things to send have one name, under which only one of them could arrive.
    #[error("{0} and {1} have the same name")]
    SameName(PathBuf, PathBuf),
    /// A pattern of what to leave out makes no sense.
    #[error("{pattern} is not a pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What is sent. Threads share it: what a stream has read outlives the connection that it was
/// read for.
#[derive(Debug)]
pub struct Source {
    content: Content,
    /// What each file was like when its first chunk was read.
    stamps: Mutex<HashMap<FileId, Stamp>>,
}

#[derive(Debug)]
enum Content {
    Tree(Tree),
    Text(Bytes),
    Stream(Mutex<Stream>),
}

/// The chunks of a stream that the receiver may still want.
struct Stream {
    from: Box<dyn Read + Send>,
    first: u32,
    chunks: VecDeque<Bytes>,
    /// Buffers of chunks that are forgotten.
    spare: Vec<BytesMut>,
    size: u64,
}

/// What became of a chunk.
#[derive(Debug)]
pub enum Chunk {
    /// It is in the frames, and to be hashed.
    Read(Unhashed),
    /// The stream has ended before it, after so many bytes.
    Ended(u64),
}

impl Source {
    /// The files and folders of a tree.
    #[must_use]
    pub fn of_tree(tree: Tree) -> Self {
        Self::of(Content::Tree(tree))
    }

    /// A text.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        Self::of(Content::Text(text.into()))
    }

    /// Whatever comes from a reader until it ends.
    #[must_use]
    pub fn of_stream(from: Box<dyn Read + Send>) -> Self {
        let stream = Stream { from, first: 0, chunks: VecDeque::new(), spare: Vec::new(), size: 0 };
        Self::of(Content::Stream(Mutex::new(stream)))
    }

    fn of(content: Content) -> Self {
        Self { content, stamps: Mutex::default() }
    }

    /// Tells what there is to offer, until `give` says no. The text or stream has this name.
    pub fn walk(&self, name: &Name, give: &mut dyn FnMut(Found) -> bool) {
        let (kind, size) = match &self.content {
            Content::Tree(tree) => return tree.walk(give),
            Content::Text(text) => (Kind::Text, text.len() as u64),
            Content::Stream(_) => (Kind::Stream, 0),
        };
        let path = name.clone().into();
        give(Found::Entry(Entry { kind, path, size, modified: None, executable: false }));
    }

    /// What an entry is called on this machine.
    #[must_use]
    pub fn locate(&self, entry: &Entry) -> PathBuf {
        match &self.content {
            Content::Tree(tree) => tree.locate(&entry.path),
            Content::Text(_) | Content::Stream(_) => entry.path.as_str().into(),
        }
    }

    /// Forgets the first chunks of the stream.
    pub fn forget(&self, chunks: u32) {
        if let Content::Stream(stream) = &self.content {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            while stream.first < chunks
                && let Some(chunk) = stream.chunks.pop_front()
            {
                stream.first += 1;
                stream.spare.extend(chunk.try_into_mut());
            }
        }
    }

    /// Whether a file is still what it was when its first chunk was read.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when it is not.
    pub fn check_unchanged(&self, id: FileId, entry: &Entry) -> Result<(), SourceError> {
        let Content::Tree(tree) = &self.content else { return Ok(()) };
        let seen = self.stamps().remove(&id);
        if seen.is_some() && entry.chunk_count() == Some(1) {
            return Ok(()); // It was looked at right after it was read.
        }
        let file = self.open(tree, id, entry);
        let now = self.stamps().remove(&id);
        file?;
        if seen.is_none() || seen == now { Ok(()) } else { Err(self.changed(entry)) }
    }

    /// Whether an open file is still what it was when it was opened first.
    fn check_open(&self, file: &File, id: FileId, entry: &Entry) -> Result<(), SourceError> {
        let failed = |error| SourceError::Read { path: self.locate(entry), error };
        let now = platform::stamp(&file.metadata().map_err(failed)?);
        let known = self.stamps().get(&id).copied();
        if known == Some(now) { Ok(()) } else { Err(self.changed(entry)) }
    }

    /// Opens a file, which must be as it was offered, and as it was when it was opened first.
    fn open(&self, tree: &Tree, id: FileId, entry: &Entry) -> Result<File, SourceError> {
        let failed = |error| SourceError::Read { path: self.locate(entry), error };
        let file = tree.open(&entry.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let stamp = platform::stamp(&metadata);
        let known = *self.stamps().entry(id).or_insert(stamp);
        let offered = metadata.len() == entry.size && modified(&metadata) == entry.modified;
        if offered && known == stamp { Ok(file) } else { Err(self.changed(entry)) }
    }

    fn stamps(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, Stamp>> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, entry: &Entry) -> SourceError {
        SourceError::Changed(self.locate(entry))
    }
}

impl Stream {
    /// A chunk that is kept, or that comes next; `None` at the end.
    fn chunk(&mut self, chunk: u32, length: usize) -> io::Result<Option<Bytes>> {
        let index = chunk.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(kept) = index.and_then(|index| self.chunks.get(index)) {
            return Ok(Some(kept.clone()));
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(length, 0);
        let count = fill(&mut *self.from, &mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        buffer.truncate(count);
        self.size = self.size.saturating_add(count as u64);
        let read = buffer.freeze();
        self.chunks.push_back(read.clone());
        Ok(Some(read))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} chunks from {})", self.chunks.len(), self.first)
    }
}

/// Reads until a buffer is full or nothing follows; gives the number of bytes.
fn fill(from: &mut dyn Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let length = buffer.len();
    while !buffer.is_empty() {
        match from.read(buffer) {
            Ok(0) => break,
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length - buffer.len())
}

/// Reads chunks of a source; keeps the file open that it read last.
#[derive(Debug)]
pub struct ChunkReader<'a> {
    source: &'a Source,
    open: Option<(FileId, File)>,
}

impl<'a> ChunkReader<'a> {
    /// A reader of a source.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        Self { source, open: None }
    }

    /// Reads a chunk into frames.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be read, or the file is not what was offered.
    pub fn read(
        &mut self,
        id: FileId,
        entry: &Entry,
        chunk: u32,
        frames: &mut Frames,
    ) -> Result<Chunk, SourceError> {
        let source = self.source;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => source.changed(entry),
            _ => SourceError::Read { path: source.locate(entry), error },
        };
        let (start, length) = entry.chunking().span(chunk).unwrap_or_default();
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let read = match &source.content {
            Content::Tree(tree) => {
                let file = self.file(tree, id, entry)?;
                let read = frames.chunk(id, chunk, whole, |offset, part| {
                    platform::read_at(file, part, start + offset as u64)
                });
                if entry.chunk_count() == Some(1) {
                    source.check_open(file, id, entry)?;
                }
                read
            }
            Content::Text(text) => frames.chunk(id, chunk, whole, copy(text)),
            Content::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(bytes) = stream.chunk(chunk, whole).map_err(failed)? else {
                    return Ok(Chunk::Ended(stream.size));
                };
                drop(stream);
                frames.chunk(id, chunk, bytes.len(), copy(&bytes))
            }
        };
        read.map(Chunk::Read).map_err(failed)
    }

    /// The hash of a chunk of a file.
    ///
    /// # Errors
    /// As [`ChunkReader::read`].
    pub fn hash(&mut self, id: FileId, entry: &Entry, chunk: u32) -> Result<Hash, SourceError> {
        self.unhashed(id, entry, chunk).map(Unhashed::hash)
    }

    fn unhashed(&mut self, id: FileId, entry: &Entry, chunk: u32) -> Result<Unhashed, SourceError> {
        let mut nowhere = Frames::new(MAX_MESSAGE, |_| Some(MAX_MESSAGE));
        match self.read(id, entry, chunk, &mut nowhere)? {
            Chunk::Read(chunk) => Ok(chunk),
            Chunk::Ended(_) => Err(self.source.changed(entry)),
        }
    }

    fn file(&mut self, tree: &Tree, id: FileId, entry: &Entry) -> Result<&File, SourceError> {
        let file = match self.open.take() {
            Some((open, file)) if open == id => file,
            _ => self.source.open(tree, id, entry)?,
        };
        Ok(&self.open.insert((id, file)).1)
    }
}

/// Copies parts of a chunk that is in memory.
fn copy(chunk: &[u8]) -> impl FnMut(usize, &mut [u8]) -> io::Result<()> {
    |offset, part| {
        let from = chunk.get(offset..offset + part.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        part.copy_from_slice(from);
        Ok(())
    }
}

/// Puts chunks into data frames, and their hashes into frames that follow, each a message of a data
/// lane with its number. Where they go is asked at each whether more are wanted, and how long the
/// next one may be.
pub struct Frames<'a> {
    give: Box<dyn FnMut(Message) -> Option<usize> + 'a>,
    /// The longest that the next message may be, in bytes.
    longest: usize,
    /// The number of the next one.
    number: u64,
    message: Draft,
    payload: usize,
    hashes: Vec<ChunkHash>,
    /// Bytes of chunks whose hashes are not told yet.
    untold: usize,
    wanted: bool,
    spent: Option<&'a Spent>,
}

impl std::fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frames({} bytes)", self.message.len())
    }
}

impl<'a> Frames<'a> {
    /// A first message of at most so many bytes.
    #[must_use]
    pub fn new(longest: usize, give: impl FnMut(Message) -> Option<usize> + 'a) -> Self {
        Self {
            give: Box::new(give),
            longest: longest.clamp(SHORTEST, MAX_MESSAGE),
            number: 0,
            message: Draft::default(),
            payload: 0,
            hashes: Vec::new(),
            untold: 0,
            wanted: true,
            spent: None,
        }
    }

    /// The same, and what reading takes is added up.
    #[must_use]
    pub fn measured(self, spent: &'a Spent) -> Self {
        Self { spent: Some(spent), ..self }
    }

    /// Whether anybody takes the frames.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Reads a chunk part by part into the tails of frames, and gives what is to be hashed.
    fn chunk(
        &mut self,
        file: FileId,
        chunk: u32,
        length: usize,
        mut read: impl FnMut(usize, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<Unhashed> {
        let mut unhashed = Unhashed::default();
        let mut offset = 0;
        while offset < length {
            let part = self.room(length - offset);
            let begin = self.message.len();
            let place = u32::try_from(offset).unwrap_or(u32::MAX);
            self.message.put(&record_header(file, chunk, place, part));
            let bytes = self.message.extend(part);
            let started = Instant::now();
            if let Err(error) = read(offset, bytes) {
                self.message.truncate(begin);
                return Err(error);
            }
            self.spent.into_iter().for_each(|spent| spent.with_disk(started));
            self.payload += part;
            self.untold += part;
            offset += part;
            let started = Instant::now();
            if part == length {
                unhashed.add_now(bytes);
            } else if offset == length {
                // The message goes on with something else.
                unhashed.add(Bytes::copy_from_slice(bytes));
            } else {
                let end = self.message.len();
                unhashed.add(self.end_message().slice(end - part..end));
            }
            self.spent.into_iter().for_each(|spent| spent.with_hashing(started));
        }
        Ok(unhashed)
    }

    /// Bytes of a chunk's rest that go into the frame at hand, or a new one.
    fn room(&mut self, rest: usize) -> usize {
        let left = self.longest.saturating_sub(self.message.len() + RECORD_HEADER);
        if self.message.is_empty() || left < rest.min(SMALLEST_PART) {
            self.end_message();
            self.message.expect(self.longest.min(HEADER + RECORD_HEADER + rest));
            self.message.put(&self.number.to_be_bytes());
            self.message.put(&DATA_TYPE);
        }
        let room = self.longest - self.message.len() - RECORD_HEADER;
        if rest > room && room > BLOCK { room / BLOCK * BLOCK } else { rest.min(room) }
    }

    /// Tells a hash, after the chunk.
    pub fn hash(&mut self, hash: ChunkHash) {
        self.hashes.push(hash);
        let full = self.hashes.len() >= HASHES.min((self.longest - HEADER) / 40);
        if full || self.untold >= UNTOLD {
            self.flush();
        }
    }

    /// Gives away everything that there is.
    pub fn flush(&mut self) {
        self.end_message();
        self.untold = 0;
        if !self.hashes.is_empty() {
            let hashes = Frame::Hashes(std::mem::take(&mut self.hashes)).to_wire();
            self.message.put(&self.number.to_be_bytes());
            self.message.put(&hashes);
            self.end_message();
        }
    }

    /// Gives the message at hand away, if there is one; it is shared with whoever takes it.
    fn end_message(&mut self) -> Bytes {
        if self.message.is_empty() {
            return Bytes::new();
        }
        let payload = std::mem::take(&mut self.payload) as u64;
        let bytes = self.message.finish();
        let message = Message { number: self.number, bytes: bytes.clone(), payload };
        self.number += 1;
        match (self.give)(message) {
            Some(longest) => self.longest = longest.clamp(SHORTEST, MAX_MESSAGE),
            None => self.wanted = false,
        }
        bytes
    }
}

/// Times before 1970 are left out.
pub(super) fn modified(metadata: &Metadata) -> Option<Modified> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Modified { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() })
}

/// The tree digest of a file, as a transfer shows it.
///
/// # Errors
/// [`SourceError`] when the file cannot be read or changes meanwhile.
pub fn digest(path: &Path) -> Result<Hash, SourceError> {
    let selection = Selection { paths: vec![path.to_owned()], ..Selection::default() };
    let source = Source::of_tree(Tree::new(&selection)?);
    let mut entry = None;
    let name = Name::try_from("-").map_err(|why| SourceError::Name { path: path.into(), why })?;
    source.walk(&name, &mut |found| {
        entry = match found {
            Found::Entry(entry) => Some(entry),
            Found::LeftOut { .. } => None,
        };
        false
    });
    let entry = entry.filter(|entry| entry.kind == Kind::File);
    let entry = entry.ok_or_else(|| SourceError::NotAFile(path.to_owned()))?;
    let mut reader = ChunkReader::new(&source);
    let (mut pairs, mut hashed) = (Pairs::default(), Vec::new());
    for chunk in 0..entry.chunking().count() {
        hashed.extend(pairs.take((), reader.unhashed(FileId(0), &entry, chunk)?));
    }
    hashed.extend(pairs.rest());
    source.check_unchanged(FileId(0), &entry)?;
    Ok(tree(&hashed.into_iter().map(|((), hash)| hash).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(size: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251).to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        (folder, path, bytes)
    }

    fn source(path: &Path) -> (Source, Vec<Entry>) {
        let selection = Selection { paths: vec![path.to_owned()], ..Selection::default() };
        let source = Source::of_tree(Tree::new(&selection).unwrap());
        let mut entries = Vec::new();
        source.walk(&"-".try_into().unwrap(), &mut |found| {
            if let Found::Entry(entry) = found {
                entries.push(entry);
            }
            true
        });
        (source, entries)
    }

    /// Reads everything; gives the bytes of each file and the number of data frames.
    fn read_all(source: &Source, entries: &[Entry], longest: usize) -> (Vec<Vec<u8>>, usize) {
        let mut files = vec![Vec::new(); entries.len()];
        let (mut frames, mut hashes) = (0, Vec::new());
        let mut numbers = 0..;
        let mut take = Frames::new(longest, |Message { number, bytes, payload }| {
            assert!(bytes.len() <= longest);
            assert_eq!(Some(number), numbers.next());
            assert_eq!(bytes[..NUMBER], number.to_be_bytes());
            match Frame::from_wire(&bytes.slice(NUMBER..)).unwrap() {
                Some(Frame::Data(records)) => {
                    frames += 1;
                    let sum = records.iter().map(|r| r.bytes.len() as u64).sum::<u64>();
                    assert_eq!(sum, payload);
                    for record in records {
                        files[record.file.0 as usize].extend_from_slice(&record.bytes);
                    }
                }
                Some(Frame::Hashes(told)) => hashes.extend(told),
                other => panic!("{other:?}"),
            }
            Some(longest)
        });
        let mut reader = ChunkReader::new(source);
        let mut expected = Vec::new();
        for (file, entry) in (0..).map(FileId).zip(entries) {
            for chunk in 0..entry.chunking().count() {
                let Chunk::Read(unhashed) = reader.read(file, entry, chunk, &mut take).unwrap()
                else {
                    panic!("no stream")
                };
                let hash = ChunkHash { file, chunk, hash: unhashed.hash() };
                take.hash(hash);
                expected.push(hash);
            }
        }
        take.flush();
        drop(take);
        assert_eq!(hashes, expected);
        (files, frames)
    }

    #[test]
    fn a_file_comes_whole_and_in_order() {
        for size in [0, 1, 65_510, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_000] {
            let (_folder, path, bytes) = file_of(size);
            let (source, entries) = source(&path);
            for longest in [MAX_MESSAGE, 16 * 1024, 1500] {
                assert_eq!(read_all(&source, &entries, longest).0[0], bytes);
            }
            source.check_unchanged(FileId(0), &entries[0]).unwrap();
        }
    }

    #[test]
    fn small_files_share_frames() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("many");
        std::fs::create_dir(&root).unwrap();
        for file in 0..100 {
            std::fs::write(root.join(format!("{file:03}")), vec![file; 1000]).unwrap();
        }
        let (source, entries) = source(&root);
        let (files, frames) = read_all(&source, &entries, MAX_MESSAGE);
        assert!(files[1..].iter().zip(0..).all(|(bytes, file)| *bytes == vec![file; 1000]));
        assert_eq!(frames, 2);
    }

    #[test]
    fn a_stream_is_kept_until_it_may_be_forgotten() {
        let bytes: Vec<u8> =
            (0..5_000_000_u32).flat_map(u32::to_le_bytes).take(2_500_000).collect();
        let source = Source::of_stream(Box::new(io::Cursor::new(bytes)));
        let entry = crate::proto::manifest::tests::entry(Kind::Stream, "stream", 0);
        let mut reader = ChunkReader::new(&source);
        let mut read = |chunk| {
            let mut nowhere = Frames::new(MAX_MESSAGE, |_| Some(MAX_MESSAGE));
            reader.read(FileId(0), &entry, chunk, &mut nowhere).unwrap()
        };
        let first = read(0);
        assert!(matches!(read(1), Chunk::Read(_)));
        let [Chunk::Read(first), Chunk::Read(again)] = [first, read(0)] else { panic!("it ended") };
        assert_eq!(first.hash(), again.hash());
        source.forget(2);
        assert!(matches!(read(2), Chunk::Read(_)));
        assert!(matches!(read(3), Chunk::Ended(2_500_000)));
        assert!(matches!(read(2), Chunk::Read(_)));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_noticed() {
        type Change = fn(&Path);
        let changes: [Change; 5] = [
            |path| std::fs::write(path, vec![1; 300_000]).unwrap(),
            |path| std::fs::write(path, vec![0; 10]).unwrap(),
            |path| std::fs::write(path, vec![0; 400_000]).unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::write(path, vec![0; 300_000]).unwrap();
            },
        ];
        for change in changes {
            let (_folder, path, _) = file_of(300_000);
            let (source, entries) = source(&path);
            let mut reader = ChunkReader::new(&source);
            reader.hash(FileId(0), &entries[0], 0).unwrap();
            change(&path);
            assert!(source.check_unchanged(FileId(0), &entries[0]).is_err());
        }
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_a_transfer() {
        let (_folder, path, bytes) = file_of(300_000);
        let leaves = [&bytes[..256 * 1024], &bytes[256 * 1024..]].map(Hash::of);
        assert_eq!(digest(&path).unwrap(), tree(&leaves));
        assert!(matches!(digest(path.parent().unwrap()), Err(SourceError::NotAFile(_))));
    }
}
