//! A receiver's notes about what is on its disk and verified, so that a transfer that was cut off
//! can go on where it was.
//!
//! A journal is a file of JSON lines to which is only ever appended: `{"chunk":[3,17]}`. It is a
//! hint and never a proof: whoever [reads](read) it checks against the disk what it says. So it
//! needs neither checksums nor flushing to the platter: a line that was torn by a crash, or that
//! another release wrote, is passed over. Where the file is, and that only its owner can read it,
//! is the caller's business; it holds keys.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    ops::Range,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::ZeroizeOnDrop;

/// The most bytes of a journal that are read.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The longest line, in bytes; the longest path with every character escaped is shorter.
const MAX_LINE: u64 = 64 * 1024;

/// The most files, and the most items, that are kept.
const MAX_FILES: usize = 1_000_000;

/// The most ranges of chunks that are kept, those of all files together.
const MAX_RANGES: usize = 4_000_000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Who sends, so that the same receiver can come back.
    Session(Session),
    /// The name of a top-level item that is received here.
    Item(String),
    /// A file that is begun, or gone on with.
    File {
        /// What the chunks after this line call it.
        number: u32,
        /// Its path beneath the folder that receives, joined by `/`.
        path: String,
        /// Bytes.
        size: u64,
        /// When it was last changed, in seconds since 1970 and nanoseconds.
        modified: Option<(u64, u32)>,
        /// Which tree it belongs to, as the caller counts them.
        tree: u32,
    },
    /// A chunk that is verified and written.
    #[serde(serialize_with = "write_pair", deserialize_with = "read_pair")]
    Chunk {
        /// The number of its file.
        file: u32,
        /// Which of the file's chunks, counted from 0.
        chunk: u32,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with references")]
fn write_pair<S: Serializer>(file: &u32, chunk: &u32, to: S) -> Result<S::Ok, S::Error> {
    (file, chunk).serialize(to)
}

fn read_pair<'de, D: Deserializer<'de>>(from: D) -> Result<(u32, u32), D::Error> {
    Deserialize::deserialize(from)
}

/// What it takes to meet the same sender again. Not checked when it is read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ZeroizeOnDrop)]
pub struct Session {
    /// The nameplate of the code.
    pub nameplate: String,
    /// The address of the server they met at, unless it is the configured one.
    pub address: Option<String>,
    /// The room, as 64 hexadecimal digits. Secret.
    pub room: String,
    /// The key, as 64 hexadecimal digits. Secret.
    pub key: String,
    /// When it began, in seconds since 1970.
    pub started: u64,
}

impl fmt::Debug for Session {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("nameplate", &self.nameplate)
            .field("address", &self.address)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// Appends lines.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
}

impl Journal {
    /// Goes on with a journal, or begins one in an empty file. When its last line was torn, that
    /// line is ended first.
    ///
    /// # Errors
    /// When the file, which must be open for reading and writing, cannot be read or written.
    pub fn new(mut file: File) -> io::Result<Self> {
        let is_torn = file.seek(SeekFrom::End(0))? > 0 && last_byte(&mut file)? != b'\n';
        let mut file = BufWriter::new(file);
        if is_torn {
            file.write_all(b"\n")?;
        }
        Ok(Self { file })
    }

    /// Adds a line, which stays in memory until there are some or they are flushed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// Hands all lines to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads the last byte of a file that has one, and stays behind it.
fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

/// What a journal says, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Who sends: the last that was noted.
    pub session: Option<Session>,
    /// The names of the items, each once, in the order in which they were noted.
    pub items: Vec<String>,
    /// The files by their paths, joined by `/`.
    pub files: HashMap<String, Noted>,
    /// One more than the highest number of a file.
    pub next_number: u32,
}

/// What a journal says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Bytes.
    pub size: u64,
    /// When it was last changed, in seconds since 1970 and nanoseconds.
    pub modified: Option<(u64, u32)>,
    /// Which tree it belongs to, as the caller counts them.
    pub tree: u32,
    /// The chunks that are verified and written: sorted, apart from each other. They may lie
    /// beyond the file's size.
    pub chunks: Vec<Range<u32>>,
}

/// Reads a journal; what cannot be read or is too much is passed over.
pub fn read(from: impl Read) -> Notes {
    let mut from = BufReader::new(from.take(MAX_BYTES));
    let mut reading = Reading::default();
    let mut text = Vec::new();
    while next_line(&mut from, &mut text) {
        if let Ok(line) = serde_json::from_slice(&text) {
            reading.take(line);
        } else {
            // Without the error, which may quote the line.
            tracing::debug!(bytes = text.len(), "a line of the journal is passed over");
        }
    }
    reading.finish()
}

/// Reads a line, or nothing in place of one that is too long; false at the end, which a failure
/// to read is too.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    let mut is_too_long = false;
    let mut is_something = false;
    while let Ok(1..) = from.by_ref().take(MAX_LINE).read_until(b'\n', line) {
        is_something = true;
        let is_whole = line.ends_with(b"\n");
        is_too_long |= !is_whole && line.len() as u64 >= MAX_LINE;
        if is_too_long {
            line.clear();
        }
        if is_whole {
            break;
        }
    }
    is_something
}

/// A journal that is being read.
#[derive(Default)]
struct Reading {
    notes: Notes,
    items: HashSet<String>,
    /// Every version of every file. Those that were replaced stay: chunks of their numbers are
    /// theirs.
    files: Vec<Noted>,
    /// Where in `files` a number's file is.
    numbers: HashMap<u32, usize>,
    /// Where in `files` a path's last version is.
    paths: HashMap<String, usize>,
    /// How many ranges all files have.
    ranges: usize,
}

impl Reading {
    fn take(&mut self, line: Line) {
        match line {
            Line::Session(session) => self.notes.session = Some(session),
            Line::Item(name) => self.item(name),
            Line::File { number, path, size, modified, tree } => {
                self.notes.next_number = self.notes.next_number.max(number.saturating_add(1));
                self.file(number, path, Noted { size, modified, tree, chunks: Vec::new() });
            }
            Line::Chunk { file, chunk } => self.chunk(file, chunk),
        }
    }

    fn item(&mut self, name: String) {
        if self.items.len() < MAX_FILES && self.items.insert(name.clone()) {
            self.notes.items.push(name);
        }
    }

    fn file(&mut self, number: u32, path: String, file: Noted) {
        let known = self.paths.get(&path).copied();
        let same = known.filter(|&place| self.files.get(place).is_some_and(|it| it.is(&file)));
        if let Some(place) = same {
            self.numbers.insert(number, place);
        } else if self.files.len() < MAX_FILES {
            self.numbers.insert(number, self.files.len());
            self.paths.insert(path, self.files.len());
            self.files.push(file);
        } else {
            self.numbers.remove(&number);
            self.paths.remove(&path);
        }
    }

    fn chunk(&mut self, file: u32, chunk: u32) {
        let place = self.numbers.get(&file);
        let Some(file) = place.and_then(|&place| self.files.get_mut(place)) else { return };
        let before = file.chunks.len();
        file.add(chunk, self.ranges < MAX_RANGES);
        self.ranges = self.ranges + file.chunks.len() - before;
    }

    fn finish(self) -> Notes {
        let Self { mut notes, files, paths, .. } = self;
        let mut files: Vec<_> = files.into_iter().map(Some).collect();
        for (path, place) in paths {
            if let Some(mut file) = files.get_mut(place).and_then(Option::take) {
                file.tidy();
                notes.files.insert(path, file);
            }
        }
        notes
    }
}

impl Noted {
    /// Whether both are of one version of a file.
    fn is(&self, other: &Self) -> bool {
        (self.size, self.modified, self.tree) == (other.size, other.modified, other.tree)
    }

    /// Adds a chunk, mostly to the last range; as a new one only if there is room for that.
    fn add(&mut self, chunk: u32, has_room: bool) {
        let Some(end) = chunk.checked_add(1) else { return };
        match self.chunks.last_mut() {
            Some(last) if last.contains(&chunk) => {}
            Some(last) if last.end == chunk => last.end = end,
            _ if has_room => {
                self.make_room();
                self.chunks.push(chunk..end);
            }
            _ => {}
        }
    }

    /// Tidies up each time that the ranges would need more memory, and gives them twice as much
    /// when that did not halve them: so the cost of a chunk is small in whatever order they come.
    fn make_room(&mut self) {
        let most = self.chunks.capacity();
        if self.chunks.len() == most {
            self.tidy();
            if self.chunks.len() > most / 2 {
                self.chunks.reserve(most);
            }
        }
    }

    /// Sorts the ranges and joins those that touch.
    fn tidy(&mut self) {
        self.chunks.sort_unstable_by_key(|range| range.start);
        self.chunks.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn session(nameplate: &str) -> Session {
        Session {
            nameplate: nameplate.to_owned(),
            address: Some("ws://192.0.2.1:1".to_owned()),
            room: "ab".repeat(32),
            key: "cd".repeat(32),
            started: 1_790_000_000,
        }
    }

    fn file(number: u32, path: &str, size: u64) -> Line {
        Line::File {
            number,
            path: path.to_owned(),
            size,
            modified: Some((1_600_000_000, 5)),
            tree: 1,
        }
    }

    fn chunk(file: u32, chunk: u32) -> Line {
        Line::Chunk { file, chunk }
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    fn notes(lines: &[Line]) -> Notes {
        read(text(lines).as_bytes())
    }

    fn journal(path: &std::path::Path) -> Journal {
        let options = File::options().read(true).append(true).create(true).clone();
        Journal::new(options.open(path).unwrap()).unwrap()
    }

    #[test]
    fn what_is_noted_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let lines = [
            Line::Session(session("1")),
            Line::Item("photos".to_owned()),
            file(0, "photos/a b\".jpg", 3),
            chunk(0, 0),
            file(1, "photos/naïve.jpg", 0),
        ];
        let mut journal = journal(&path);
        for line in &lines {
            journal.note(line).unwrap();
        }
        journal.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text(&lines));

        let notes = read(File::open(&path).unwrap());
        assert_eq!(notes.session, Some(session("1")));
        assert_eq!(notes.items, ["photos"]);
        assert_eq!(notes.next_number, 2);
        let modified = Some((1_600_000_000, 5));
        let noted = |size, chunks| Noted { size, modified, tree: 1, chunks };
        let files = [
            ("photos/a b\".jpg".to_owned(), noted(3, vec![0..1])),
            ("photos/naïve.jpg".to_owned(), noted(0, vec![])),
        ];
        assert_eq!(notes.files, HashMap::from(files));
    }

    #[test]
    fn a_chunk_takes_few_bytes() {
        assert_eq!(text(&[chunk(3, 17)]), "{\"chunk\":[3,17]}\n");
    }

    #[test]
    fn a_torn_line_costs_itself_and_not_the_next() {
        let whole = text(&[Line::Item("a".to_owned()), file(0, "a", 9), chunk(0, 0), chunk(0, 1)]);
        for length in 0..=whole.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut journal = journal(&path);
            journal.note(&file(7, "b", 9)).unwrap();
            journal.note(&chunk(7, 2)).unwrap();
            drop(journal);
            let notes = read(File::open(&path).unwrap());
            assert_eq!(notes.files["b"].chunks, [2..3], "{length}");
            assert!(!std::fs::read_to_string(&path).unwrap().contains("\n\n"), "{length}");
        }
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let bad = [
            "",
            "{",
            "null",
            "[1]",
            "{\"chunk\":[0]}",
            "{\"chunk\":[0,1,2]}",
            "{\"chunk\":[0,-1]}",
            "{\"chunk\":[0,4294967296]}",
            "{\"chunk\":[0,4294967295]}",
            "{\"chunk\":[9,9]}",
            "{\"later\":{}}",
            "{\"item\":1}",
            "\u{0}",
            "{\"file\":{\"number\":1}}",
        ];
        for bad in bad {
            let lines = text(&[file(0, "a", 9)]) + bad + "\n" + &text(&[chunk(0, 1)]);
            assert_eq!(read(lines.as_bytes()), notes(&[file(0, "a", 9), chunk(0, 1)]), "{bad}");
        }
        let later = "{\"file\":{\"number\":0,\"path\":\"a\",\"size\":9,\"tree\":1,\"new\":[]}}";
        assert_eq!(read(later.as_bytes()).files["a"].modified, None);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_with_its_tail() {
        let most = usize::try_from(MAX_LINE).unwrap();
        let item = |length: usize| {
            let around = text(&[Line::Item(String::new())]).len();
            text(&[Line::Item("x".repeat(length - around))])
        };
        assert_eq!(read(item(most).as_bytes()).items.len(), 1);
        assert_eq!(read(item(most + 1).as_bytes()).items.len(), 0);
        for size in [most, most + 1, 3 * most] {
            for end in ["", "\n"] {
                let long = " ".repeat(size) + text(&[Line::Item("a".to_owned())]).trim() + end;
                assert_eq!(read(long.as_bytes()).items.len(), 0);
                let more = long + "\n" + &text(&[Line::Item("b".to_owned())]);
                assert_eq!(read(more.as_bytes()).items, ["b"]);
            }
        }
    }

    #[test]
    fn only_so_much_of_a_journal_is_read() {
        let item = &b"\n{\"item\":\"a\"}\n"[..];
        assert_eq!(read(io::repeat(b'x').take(MAX_BYTES).chain(item)), Notes::default());
        assert_eq!(read(io::repeat(b'x').take(MAX_BYTES / 2).chain(item)).items, ["a"]);
        assert_eq!(read(io::repeat(b'x')), Notes::default());
    }

    #[test]
    fn only_so_many_files_and_ranges_are_kept() {
        let mut reading = Reading { ranges: MAX_RANGES - 1, ..Reading::default() };
        for line in [file(0, "a", 9), chunk(0, 3), chunk(0, 5), chunk(0, 4)] {
            reading.take(line);
        }
        reading.files.resize(MAX_FILES, reading.files[0].clone());
        for line in [file(1, "b", 9), chunk(1, 0), file(2, "a", 9), chunk(2, 5)] {
            reading.take(line);
        }
        reading.take(file(3, "c", 9));
        let notes = reading.finish();
        assert_eq!(notes.files.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(notes.files["a"].chunks, [3..6]);
        assert_eq!(notes.next_number, 4);
    }

    #[test]
    fn chunks_in_any_order_become_ranges() {
        let lines = |chunks: &[u32]| {
            let chunks = chunks.iter().map(|&number| chunk(0, number));
            std::iter::once(file(0, "a", 9)).chain(chunks).collect::<Vec<_>>()
        };
        let ranges = |chunks: &[u32]| notes(&lines(chunks)).files["a"].chunks.clone();
        assert_eq!(ranges(&[0, 1, 2, 3]), [0..4]);
        assert_eq!(ranges(&[3, 2, 1, 0]), [0..4]);
        assert_eq!(ranges(&[0, 4, 1, 5, 2, 6, 2]), [0..3, 4..7]);
        assert_eq!(
            ranges(&[9, 9, 5, u32::MAX, u32::MAX - 1]),
            [5..6, 9..10, u32::MAX - 1..u32::MAX]
        );
    }

    #[test]
    fn many_chunks_in_the_worst_order_cost_little() {
        let mut file = Noted { size: 0, modified: None, tree: 0, chunks: Vec::new() };
        for chunk in (0..1_000_000).rev() {
            file.add(chunk, true);
        }
        assert!(file.chunks.capacity() < 100, "{}", file.chunks.capacity());
        for chunk in (2_000_000..4_000_000).step_by(2).rev() {
            file.add(chunk, true);
        }
        file.tidy();
        assert_eq!(file.chunks.len(), 1_000_001);
    }

    #[test]
    fn another_version_of_a_file_has_none_of_its_chunks() {
        let lines = [file(0, "a", 9), chunk(0, 0), file(1, "a", 8), chunk(0, 1), chunk(1, 2)];
        let notes = notes(&lines);
        assert_eq!((notes.files["a"].size, &*notes.files["a"].chunks), (8, &[2..3][..]));
        assert_eq!((notes.files.len(), notes.next_number), (1, 2));
    }

    #[test]
    fn the_same_version_of_a_file_adds_to_its_chunks() {
        let lines = [file(0, "a", 9), chunk(0, 0), file(5, "a", 9), chunk(5, 1), chunk(0, 2)];
        let notes = notes(&lines);
        assert_eq!(notes.files["a"].chunks, [0..3]);
        assert_eq!(notes.next_number, 6);
    }

    #[test]
    fn a_number_means_the_last_file_that_took_it() {
        let notes = notes(&[file(0, "a", 9), chunk(0, 0), file(0, "b", 9), chunk(0, 1)]);
        assert_eq!(notes.files["a"].chunks, [0..1]);
        assert_eq!(notes.files["b"].chunks, [1..2]);
    }

    #[test]
    fn the_last_session_and_each_item_once() {
        let item = |name: &str| Line::Item(name.to_owned());
        let (first, last) = (Line::Session(session("1")), Line::Session(session("2")));
        let notes = notes(&[first, item("b"), item("a"), item("b"), last]);
        assert_eq!(notes.session, Some(session("2")));
        assert_eq!(notes.items, ["b", "a"]);
    }

    #[test]
    fn what_is_secret_is_not_printed() {
        let session = session("7");
        let told = format!("{session:?} {:?}", Line::Session(session.clone()));
        assert!(told.contains("nameplate: \"7\""), "{told}");
        assert!(!told.contains(&session.key) && !told.contains(&session.room), "{told}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            read(&*bytes);
        }

        #[test]
        fn no_numbers_make_it_panic(lines in proptest::collection::vec(any_line(), 0..50)) {
            for file in notes(&lines).files.values() {
                let apart = file.chunks.windows(2).all(|pair| pair[0].end < pair[1].start);
                prop_assert!(apart && file.chunks.iter().all(|range| !range.is_empty()));
            }
        }

        #[test]
        fn ranges_hold_what_was_noted(chunks in proptest::collection::vec(0..60_u32, 0..100)) {
            let mut file = Noted { size: 0, modified: None, tree: 0, chunks: Vec::new() };
            for &chunk in &chunks {
                file.add(chunk, true);
            }
            file.tidy();
            let held: Vec<u32> = file.chunks.iter().cloned().flatten().collect();
            let noted: BTreeSet<u32> = chunks.into_iter().collect();
            prop_assert_eq!(held, noted.into_iter().collect::<Vec<_>>());
        }
    }

    fn any_line() -> impl Strategy<Value = Line> {
        let number = || prop_oneof![0..4_u32, Just(u32::MAX), any::<u32>()];
        prop_oneof![
            (number(), "[ab]", 0..3_u64).prop_map(|(number, path, size)| file(number, &path, size)),
            (number(), number()).prop_map(|(file, number)| chunk(file, number)),
            ".*".prop_map(Line::Item),
        ]
    }
}
