use std::ops::Range;

use super::*;
use crate::proto::{
    Role,
    binding::Hello,
    digest::Hash,
    frame::{ChunkHash, Finished, Frame, Record, Wanted},
    limit::{Limit, What},
    manifest::{Entry, FileId, Kind, Modified},
    name::RelPath,
};

#[derive(Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Shown {
    Hello { lane: u32, generation: u32, nonce: Hex, tag: Hex, verify: bool },
    Data { records: Vec<RecordShown> },
    Hashes { hashes: Vec<HashShown> },
    Manifest { entries: Vec<EntryShown> },
    ManifestEnd { entries: u32, bytes: u64 },
    Accept,
    Credit { limit: u64 },
    Fin { files: Vec<FinishedShown> },
    FinOk { files: Vec<RangeShown> },
    Cancel { reason: ReasonName },
    Want { wanted: Vec<WantedShown> },
    Claim { hashes: Vec<HashShown> },
    Skip { reason: ReasonName, files: Vec<RangeShown> },
    Withdraw { files: Vec<RangeShown> },
    Kept { file: u32, chunks: u32 },
    Resume { entries: u32 },
    Lane { lane: u32, signals: Hex },
    Limited { what: Option<String>, end: Option<String> },
}

/// A range as its first and the one after its last.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct RangeShown(u32, u32);

#[derive(Deserialize, Serialize)]
struct FinishedShown {
    file: u32,
    size: u64,
    digest: Hex,
}

#[derive(Deserialize, Serialize)]
struct WantedShown {
    files: RangeShown,
    chunks: RangeShown,
}

#[derive(Deserialize, Serialize)]
struct RecordShown {
    file: u32,
    chunk: u32,
    offset: u32,
    bytes: Hex,
}

#[derive(Deserialize, Serialize)]
struct HashShown {
    file: u32,
    chunk: u32,
    hash: Hex,
}

#[derive(Deserialize, Serialize)]
struct EntryShown {
    kind: String,
    path: Vec<String>,
    size: u64,
    modified: Option<ModifiedShown>,
    executable: bool,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct ModifiedShown {
    seconds: u64,
    nanoseconds: u32,
}

impl Description for Shown {
    type Message = Frame;

    fn message(&self) -> Frame {
        match self {
            Self::Hello { lane, generation, nonce, tag, verify } => Frame::Hello(Hello {
                lane: *lane,
                generation: *generation,
                nonce: nonce.array(),
                tag: tag.array(),
                verify: *verify,
            }),
            Self::Data { records } => Frame::Data(records.iter().map(record).collect()),
            Self::Hashes { hashes } => Frame::Hashes(hashes.iter().map(chunk_hash).collect()),
            Self::Manifest { entries } => Frame::Manifest(entries.iter().map(entry).collect()),
            Self::ManifestEnd { entries, bytes } => {
                Frame::ManifestEnd { entries: *entries, bytes: *bytes }
            }
            Self::Accept => Frame::Accept,
            Self::Credit { limit } => Frame::Credit { limit: *limit },
            Self::Fin { files } => Frame::Fin(files.iter().map(finished).collect()),
            Self::FinOk { files } => Frame::FinOk(ranges(files)),
            Self::Cancel { reason } => Frame::Cancel(reason.reason()),
            Self::Want { wanted } => Frame::Want(wanted.iter().map(self::wanted).collect()),
            Self::Claim { hashes } => Frame::Claim(hashes.iter().map(chunk_hash).collect()),
            Self::Skip { reason, files } => {
                Frame::Skip { reason: reason.reason(), files: ranges(files) }
            }
            Self::Withdraw { files } => Frame::Withdraw(ranges(files)),
            Self::Kept { file, chunks } => Frame::Kept { file: FileId(*file), chunks: *chunks },
            Self::Resume { entries } => Frame::Resume { entries: *entries },
            Self::Lane { lane, signals } => {
                Frame::Lane { lane: *lane, signals: signals.bytes().into() }
            }
            Self::Limited { what, end } => Frame::Limited(limit(what.as_deref(), end.as_deref())),
        }
    }
}

impl Shown {
    /// Whether its body is a list of fields, rather than of records.
    fn has_fields(&self) -> bool {
        !matches!(
            self,
            Self::Data { .. }
                | Self::Hashes { .. }
                | Self::Fin { .. }
                | Self::FinOk { .. }
                | Self::Want { .. }
                | Self::Claim { .. }
                | Self::Withdraw { .. }
        )
    }
}

fn record(shown: &RecordShown) -> Record {
    let RecordShown { file, chunk, offset, bytes } = shown;
    let bytes = bytes.bytes().into();
    Record { file: FileId(*file), chunk: *chunk, offset: *offset, bytes }
}

fn chunk_hash(shown: &HashShown) -> ChunkHash {
    let HashShown { file, chunk, hash } = shown;
    ChunkHash { file: FileId(*file), chunk: *chunk, hash: Hash(hash.array()) }
}

fn finished(shown: &FinishedShown) -> Finished {
    let FinishedShown { file, size, digest } = shown;
    Finished { file: FileId(*file), size: *size, digest: Hash(digest.array()) }
}

fn wanted(WantedShown { files, chunks }: &WantedShown) -> Wanted {
    Wanted { files: files.range(), chunks: chunks.range() }
}

fn limit(what: Option<&str>, end: Option<&str>) -> Option<Limit> {
    let what = (0..u16::MAX).filter_map(What::of_code).find(|known| what == Some(known.word()));
    let end = [Role::Sender, Role::Receiver].into_iter().find(|role| end == Some(role.label()));
    Some(Limit { what: what?, end: end? })
}

fn ranges(shown: &[RangeShown]) -> Vec<Range<u32>> {
    shown.iter().map(|range| range.range()).collect()
}

impl RangeShown {
    fn range(self) -> Range<u32> {
        self.0..self.1
    }
}

fn entry(shown: &EntryShown) -> Entry {
    let modified = shown
        .modified
        .map(|ModifiedShown { seconds, nanoseconds }| Modified { seconds, nanoseconds });
    Entry {
        kind: kind(&shown.kind),
        path: RelPath::parse(shown.path.iter().map(String::as_str)).unwrap(),
        size: shown.size,
        modified,
        executable: shown.executable,
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "file" => Kind::File,
        "directory" => Kind::Directory,
        "text" => Kind::Text,
        "stream" => Kind::Stream,
        "symlink" => Kind::Symlink,
        _ => panic!("{name} is no kind of entry"),
    }
}

fn type_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(*bytes.first_chunk().unwrap())
}

#[test]
fn frames_are_the_written_bytes_and_bad_ones_are_refused_by_kind() {
    let mut types = BTreeSet::new();
    let mut refusals = BTreeSet::new();
    each("frame.json", |name, case: &mut Bytes<Shown>| {
        case.check(name, Frame::to_wire, |bytes| Frame::from_wire(&bytes.to_vec().into()));
        match &case.outcome {
            Outcome::Means(_) => _ = types.insert(type_of(&case.bytes.bytes())),
            Outcome::Refused(kind) => _ = refusals.insert(kind.clone()),
            Outcome::ReadAs(_) | Outcome::PassedOver(_) => {}
        }
    });
    assert_eq!(types, document::tags_of("Frames"));
    assert!(refusals.len() >= 14, "every kind of refusal: {refusals:?}");
}

#[test]
fn the_fields_of_frames_are_those_of_the_specification() {
    let mut used = BTreeMap::<u16, BTreeSet<u16>>::new();
    let mut in_entries = BTreeSet::new();
    each("frame.json", |_, case: &mut Bytes<Shown>| {
        if let Outcome::Means(shown) = &case.outcome
            && shown.has_fields()
        {
            let bytes = case.bytes.bytes();
            let body = bytes.get(2..).unwrap();
            used.entry(type_of(&bytes)).or_default().extend(document::tags(body));
            if let Shown::Manifest { .. } = shown {
                let entries = document::fields(body).into_iter();
                in_entries.extend(entries.flat_map(|(_, entry)| document::tags(entry)));
            }
        }
    });
    for (section, kind) in [
        ("Hello", 0x8001),
        ("Manifest", 0x8004),
        ("ManifestEnd", 0x8005),
        ("Credit", 0x8007),
        ("Cancel", 0x800a),
        ("Skip", 0x800d),
        ("Kept", 0x800f),
        ("Resume", 0x8010),
        ("Lane", 0x0001),
        ("Limited", 0x0002),
    ] {
        assert_eq!(used[&kind], document::tags_of(section), "{section}");
    }
    assert!(used[&0x8006].is_empty(), "Accept has no fields");
    assert_eq!(used.len(), 11, "every frame of fields is compared");
    assert_eq!(in_entries, document::tags_of("Entries"));
}
