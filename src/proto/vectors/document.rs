//! What `PROTOCOL.md` says, for comparison with what the code does.

use super::*;
use crate::proto::{
    binding,
    code::{Invitation, WORDS},
    digest,
    frame::{self, ChunkHash, Frame, Record, Wanted},
    lanes,
    manifest::{self, FileId, Kind, tests::entry},
    name, offer, pairing, pake,
    receiver::{self, Conflict, Found, Receiver},
    seal,
    sender::{self, Sender},
    signal, wire, words,
};
use p2pshare_signal::protocol;

const TEXT: &str = include_str!("../../../PROTOCOL.md");

/// The lines from a heading to the next.
fn section(title: &str) -> Vec<&'static str> {
    let is_title =
        |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == title;
    let mut lines = TEXT.lines().skip_while(|line| !is_title(line));
    assert!(lines.next().is_some(), "PROTOCOL.md has no section {title}");
    lines.take_while(|line| !line.starts_with('#')).collect()
}

/// The cells of the first two columns of a section's tables.
fn rows(title: &str) -> Vec<(&'static str, &'static str)> {
    let cells = |line: &'static str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?, cells.next()?))
    };
    section(title).into_iter().filter_map(cells).collect()
}

fn hexadecimal(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The tags and types in the first column of a section's tables.
pub(super) fn tags_of(title: &str) -> BTreeSet<u16> {
    rows(title).into_iter().filter_map(|(first, _)| hexadecimal(first)).collect()
}

/// The fields in bytes.
pub(super) fn fields(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut reader = wire::Reader::new(bytes);
    let mut fields = Vec::new();
    while !reader.is_empty() {
        let (tag, length) = (reader.u16().unwrap(), reader.u16().unwrap());
        fields.push((tag, reader.take(length.into()).unwrap()));
    }
    fields
}

/// The tags of the fields in bytes.
pub(super) fn tags(bytes: &[u8]) -> BTreeSet<u16> {
    fields(bytes).into_iter().map(|(tag, _)| tag).collect()
}

fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().ok().unwrap()
}

/// The largest number below a bound for which something holds; it must hold below that.
fn largest(bound: u64, holds: impl Fn(u64) -> bool) -> u64 {
    (0..bound).take_while(|n| holds(*n)).last().unwrap()
}

fn takes_text_of(length: u64) -> bool {
    let text = format!("{}7-aar-aba-abb", " ".repeat(usize::try_from(length).unwrap() - 13));
    text.parse::<Invitation>().is_ok()
}

/// The largest number for which something holds; it must hold for those below, and not for 2^20.
fn most(holds: impl Fn(u32) -> bool) -> u64 {
    let (mut least, mut above) = (0, 1 << 20);
    while above - least > 1 {
        let middle = u32::midpoint(least, above);
        if holds(middle) {
            least = middle;
        } else {
            above = middle;
        }
    }
    least.into()
}

/// What an entry takes of the memory of an offer besides its path.
fn entry_overhead() -> u64 {
    let mut offer = offer::Offer::default();
    let longest = |i: usize| entry(Kind::File, &format!("{i:0>255}"), 0);
    let count = (0..crate::proto::manifest::MAX_ENTRIES)
        .take_while(|i| offer.add(vec![longest(*i)]).is_ok())
        .count();
    number(offer::MAX_MEMORY / count - 255)
}

/// What the limits are tested with.
const CHUNK: u64 = 256 * 1024;
const FILE: FileId = FileId(0);

/// Whether a sender takes a frame about a file of one chunk.
fn sender_takes(frame: Frame) -> bool {
    let mut sender = Sender::new(false);
    sender.handle(sender::Input::Found(vec![entry(Kind::File, "a", 1)]));
    while sender.poll().is_some() {}
    sender.handle(sender::Input::Peer(Frame::Accept));
    sender.handle(sender::Input::Peer(frame));
    std::iter::from_fn(|| sender.poll()).all(|action| !matches!(action, sender::Action::Done(_)))
}

fn takes_wishes(count: u32) -> bool {
    let wish = Wanted { files: 0..1, chunks: 0..1 };
    sender_takes(Frame::Want(vec![wish; usize::try_from(count).unwrap()]))
}

fn takes_claims(count: u32) -> bool {
    let claim = ChunkHash { file: FILE, chunk: 0, hash: digest::Hash([0; 32]) };
    sender_takes(Frame::Claim(vec![claim; usize::try_from(count).unwrap()]))
}

/// A receiver that has accepted a file of 1,000 chunks, of which it has found this.
fn receiver(found: Found) -> Receiver {
    use receiver::Input;
    let mut receiver = Receiver::new(true);
    let file = entry(Kind::File, "a", 1000 * CHUNK);
    let end = Frame::ManifestEnd { entries: 1, bytes: file.size };
    receiver.handle(Input::Peer(Frame::Manifest(vec![file])));
    receiver.handle(Input::Peer(end));
    receiver.handle(Input::Answer(Some(Conflict::Rename)));
    while receiver.poll().is_some() {}
    receiver.handle(Input::Opened(FILE, found));
    receiver
}

fn receiver_takes(records: impl Iterator<Item = (u32, u32)>) -> bool {
    let record = |(chunk, offset)| {
        let bytes = bytes::Bytes::from_static(&[0]);
        Record { file: FILE, chunk, offset, bytes }
    };
    let mut receiver = receiver(Found::default());
    receiver.handle(receiver::Input::Peer(Frame::Data(records.map(record).collect())));
    let mut actions = std::iter::from_fn(|| receiver.poll());
    actions.all(|action| !matches!(action, receiver::Action::Done(_)))
}

fn receives_open_chunks(count: u32) -> bool {
    receiver_takes((0..count).map(|chunk| (chunk, 0)))
}

fn receives_records(count: u32) -> bool {
    receiver_takes((0..count).map(|offset| (0, offset)))
}

/// How many chunks a receiver claims before the first is answered.
fn claims_of_a_receiver() -> u64 {
    let mut receiver = receiver(Found { part: vec![0..1000], base: None });
    let hashes = std::iter::from_fn(|| receiver.poll());
    number(hashes.filter(|action| matches!(action, receiver::Action::Hash(..))).count())
}

fn constants() -> BTreeMap<&'static str, u64> {
    let chunk = |size| u64::from(digest::Chunking::of(size).chunk_size());
    let smallest = chunk(0);
    BTreeMap::from([
        ("VERSION", pairing::VERSION.into()),
        ("WORD_LIST", number(words::count())),
        ("MIN_WORDS", number(*WORDS.start())),
        ("MAX_WORDS", number(*WORDS.end())),
        ("MAX_CODE_TEXT", 13 + largest(2000, |more| takes_text_of(13 + more))),
        ("DEFAULT_PORT", protocol::DEFAULT_PORT.into()),
        ("MAX_MESSAGE", number(protocol::MAX_MESSAGE)),
        ("MAX_BODY", number(protocol::MAX_BODY)),
        ("MAX_UNACKNOWLEDGED", number(protocol::MAX_UNACKNOWLEDGED)),
        ("MAX_UNACKNOWLEDGED_BYTES", number(protocol::MAX_UNACKNOWLEDGED_BYTES)),
        ("MAX_TTL", protocol::MAX_TTL),
        ("CRITICAL", wire::CRITICAL.into()),
        ("MAX_NUMBER", wire::MAX_NUMBER),
        ("SHARE", number(pake::SHARE)),
        ("STEP", number(seal::STEP)),
        ("MAX_SEALED_PAYLOAD", number(seal::MAX_PAYLOAD)),
        ("MAX_CANDIDATES", number(signal::MAX_CANDIDATES)),
        ("LANE_DATA_CHANNEL", signal::LANE_DATA_CHANNEL.into()),
        ("LANE_TLS", signal::LANE_TLS.into()),
        ("LANE_QUIC", signal::LANE_QUIC.into()),
        ("MAX_ADDRESSES", number(signal::MAX_ADDRESSES)),
        ("CONTROL", binding::CONTROL.into()),
        ("FIRST_DATA", binding::FIRST_DATA.into()),
        ("FIRST_QUIC", binding::FIRST_QUIC.into()),
        ("NUMBER", number(lanes::NUMBER)),
        ("MAX_AHEAD", lanes::MAX_AHEAD),
        ("MAX_FRAME", number(frame::MAX_FRAME)),
        ("DATA_HEADER", number(frame::DATA_HEADER)),
        ("MAX_PAYLOAD", number(frame::MAX_PAYLOAD)),
        ("MAX_ENTRIES", number(manifest::MAX_ENTRIES)),
        ("MAX_COMPONENT", number(name::MAX_COMPONENT)),
        ("MAX_DEPTH", number(name::MAX_DEPTH)),
        ("MAX_PATH", number(name::MAX_PATH)),
        ("MAX_MEMORY", number(offer::MAX_MEMORY)),
        ("ENTRY_OVERHEAD", entry_overhead()),
        ("MAX_TEXT", offer::MAX_TEXT),
        ("SMALLEST_CHUNK", smallest),
        ("LARGEST_CHUNK", digest::LARGEST.into()),
        ("MANY_CHUNKS", 1 + largest(5000, |n| chunk(n * smallest) == smallest)),
        ("STREAM_CHUNK", digest::Chunking::of_stream().chunk_size().into()),
        ("STREAM_WINDOW", sender::STREAM_WINDOW.into()),
        ("TO_THE_END", frame::TO_THE_END.into()),
        ("WINDOW", receiver::WINDOW),
        ("MAX_OPEN_CHUNKS", most(receives_open_chunks)),
        ("MAX_WAITING_RECORDS", most(receives_records)),
        ("MAX_CLAIMS", claims_of_a_receiver()),
        ("MAX_WAITING_WISHES", most(takes_wishes)),
        ("MAX_WAITING_CLAIMS", most(takes_claims)),
    ])
}

#[test]
fn the_constants_of_the_specification_are_those_of_the_code() {
    let value =
        |text: &str| hexadecimal(text).map_or_else(|| text.parse().unwrap_or(u64::MAX), u64::from);
    let is_constant = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let rows = rows("Constants").into_iter().filter(|(name, _)| is_constant(name));
    let written: Vec<_> = rows.map(|(name, text)| (name, value(text))).collect();
    assert_eq!(written.iter().copied().collect::<BTreeMap<_, _>>(), constants());
    assert_eq!(written.len(), constants().len(), "a constant is there twice");
}

#[test]
fn the_reasons_of_the_specification_are_those_of_the_code() {
    let reasons = rows("Cancel");
    let written: BTreeMap<u16, String> = reasons
        .into_iter()
        .filter_map(|(code, name)| Some((code.parse().ok()?, name.to_owned())))
        .collect();
    let name = |text: &String| -> ReasonName {
        serde_json::from_value(Value::String(text.clone())).unwrap()
    };
    assert_eq!(written.len(), 10);
    for (code, text) in &written {
        let reason = name(text).reason();
        assert_eq!((reason.code(), Reason::of_code(*code)), (*code, reason), "{text}");
    }
}

/// The kinds of refusal that a file expects.
fn kinds(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| kinds(value, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(kind) if name == "refused" || name == "as" => {
                found.insert(kind.clone());
            }
            value => kinds(value, found),
        }),
        _ => {}
    }
}

#[test]
fn the_refusals_of_the_specification_are_those_of_the_vectors() {
    let mut used = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        kinds(&serde_json::from_str(&text).unwrap(), &mut used);
    }
    let written = rows("Refusals").into_iter().map(|(kind, _)| kind.to_owned());
    let is_kind = |kind: &String| !kind.starts_with("--") && kind != "Kind";
    assert_eq!(written.filter(is_kind).collect::<BTreeSet<_>>(), used);
}

#[test]
fn the_paths_and_hashes_in_the_specification_are_those_of_the_code() {
    assert!(TEXT.contains(&format!("`{}`", protocol::PATH)));
    assert!(TEXT.contains("f6a587145fd0d7aaeff9849e5168d63ef795b03c2e0ce7efe7b2546c1c975e9f"));
}
