//! What travels on lanes: one frame a message, each at most [`MAX_FRAME`] bytes.
//!
//! A frame is a type of 16 bits, whose highest bit is [`CRITICAL`], and a body: fields, or for
//! the kinds that come in bulk, records of fixed shape. `Data` and `Hashes` travel on data lanes,
//! where each frame follows its [number](super::lanes); `Hello` opens each lane; everything else
//! stays on the control channel.
//!
//! Ranges, of files and of chunks, are half-open and name what they are of by number.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Role,
    binding::Hello,
    digest::Hash,
    lanes::Misnumbered,
    limit::{Limit, What},
    manifest::{Entry, EntryError, FileId},
    wire::{CRITICAL, Fields, MAX_NUMBER, Reader, Value, WireError, Writer},
};

/// The longest frame, in bytes: the data-channel message that every peer takes.
pub const MAX_FRAME: usize = 64 * 1024;

/// Bytes before the payload of a data frame with one record.
pub const DATA_HEADER: usize = 2 + RECORD_HEADER;

/// The largest payload of one record that fills a frame, in bytes.
pub const MAX_PAYLOAD: usize = MAX_FRAME - DATA_HEADER;

/// Bytes before the payload of each record.
pub const RECORD_HEADER: usize = 16;

/// The first bytes of a data frame; records follow.
pub const DATA_TYPE: [u8; 2] = DATA.to_be_bytes();

/// One message on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame on every lane, from each end: proves who it is.
    Hello(Hello),
    /// Parts of chunks.
    Data(Vec<Record>),
    /// Hashes of chunks whose parts went before.
    Hashes(Vec<ChunkHash>),
    /// Some entries of the offer, in order.
    Manifest(Vec<Entry>),
    /// The offer is complete.
    ManifestEnd {
        /// Number of entries.
        entries: u32,
        /// Sum of their sizes, in bytes.
        bytes: u64,
    },
    /// The receiver takes the offer, and says next what it wants of it.
    Accept,
    /// The receiver can take this many payload bytes in all on this connection.
    Credit {
        /// A total that never falls, in bytes.
        limit: u64,
    },
    /// Everything that was wanted of these files was sent, and they did not change meanwhile.
    Fin(Vec<Finished>),
    /// These files are on stable storage under their final names.
    FinOk(Vec<Range<u32>>),
    /// This end gives up.
    Cancel(Reason),
    /// The receiver is to be sent these chunks.
    Want(Vec<Wanted>),
    /// The receiver has these chunks from before; the sender answers each with its own hash, and
    /// before it the chunk, where the two differ.
    Claim(Vec<ChunkHash>),
    /// The receiver does not take these files.
    Skip {
        /// Which.
        files: Vec<Range<u32>>,
        /// Why: [`Reason::Declined`] or [`Reason::TargetExists`].
        reason: Reason,
    },
    /// The sender cannot send these files after all: they changed, or cannot be read.
    Withdraw(Vec<Range<u32>>),
    /// The receiver has the first chunks of a stream; the sender may forget them.
    Kept {
        /// The stream.
        file: FileId,
        /// How many.
        chunks: u32,
    },
    /// The receiver's first frame on a connection that follows a lost one: the offer is to go on
    /// after so many entries.
    Resume {
        /// Entries that it has; none when it was started anew.
        entries: u32,
    },
    /// Descriptions and candidates of a further lane.
    Lane {
        /// Its number.
        lane: u32,
        /// [`Signal`](super::signal::Signal)s.
        signals: Bytes,
    },
    /// What limits the transfer, as far as this end knows.
    Limited(Option<Limit>),
}

/// The end of a chunk range that goes to the end of a file.
pub const TO_THE_END: u32 = u32::MAX;

/// Chunks that the receiver wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which files; of several, everything.
    pub files: Range<u32>,
    /// Which chunks, up to [`TO_THE_END`]; none asks for the file's `Fin` alone.
    pub chunks: Range<u32>,
}

/// A file that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub file: FileId,
    /// Its size in bytes; known only now when it is a stream.
    pub size: u64,
    /// Its tree digest.
    pub digest: Hash,
}

/// A part of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of which file.
    pub file: FileId,
    /// Of which chunk.
    pub chunk: u32,
    /// Where in the chunk, in bytes.
    pub offset: u32,
    /// The bytes.
    pub bytes: Bytes,
}

/// The hash of a chunk, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHash {
    /// Of which file.
    pub file: FileId,
    /// Of which chunk.
    pub chunk: u32,
    /// SHA-256 of the chunk.
    pub hash: Hash,
}

/// Why an end gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something that has no number of its own.
    Other,
    /// Its user pressed Ctrl-C, or it was told to terminate.
    Interrupted,
    /// Its user does not want the files.
    Declined,
    /// It cannot write: full, read-only, gone.
    Disk,
    /// A file changed, or cannot be read, while it was sent.
    SourceChanged,
    /// What arrived is not what was sent.
    Verification,
    /// A name could escape the folder that receives.
    UnsafeName,
    /// The other end broke the protocol.
    Protocol,
    /// A file of that name exists, and the user wants it kept.
    TargetExists,
    /// It found no path to the other end.
    NoPath,
}

const REASONS: [Reason; 10] = [
    Reason::Other,
    Reason::Interrupted,
    Reason::Declined,
    Reason::Disk,
    Reason::SourceChanged,
    Reason::Verification,
    Reason::UnsafeName,
    Reason::Protocol,
    Reason::TargetExists,
    Reason::NoPath,
];

impl Reason {
    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        let position = REASONS.iter().position(|reason| *reason == self);
        position.and_then(|position| u16::try_from(position).ok()).unwrap_or_default()
    }

    /// The reason with a number; [`Reason::Other`] for one of a later version.
    #[must_use]
    pub fn of_code(code: u16) -> Self {
        REASONS.get(usize::from(code)).copied().unwrap_or(Self::Other)
    }
}

/// Why a message is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its bytes make no sense.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It offers what is refused.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It cannot be the frame of its number.
    #[error(transparent)]
    Number(#[from] Misnumbered),
}

const HELLO: u16 = CRITICAL | 1;
const DATA: u16 = CRITICAL | 2;
const HASHES: u16 = CRITICAL | 3;
const MANIFEST: u16 = CRITICAL | 4;
const MANIFEST_END: u16 = CRITICAL | 5;
const ACCEPT: u16 = CRITICAL | 6;
const CREDIT: u16 = CRITICAL | 7;
const FIN: u16 = CRITICAL | 8;
const FIN_OK: u16 = CRITICAL | 9;
const CANCEL: u16 = CRITICAL | 10;
const WANT: u16 = CRITICAL | 11;
const CLAIM: u16 = CRITICAL | 12;
const SKIP: u16 = CRITICAL | 13;
const WITHDRAW: u16 = CRITICAL | 14;
const KEPT: u16 = CRITICAL | 15;
const RESUME: u16 = CRITICAL | 16;
const LANE: u16 = 1;
const LIMITED: u16 = 2;
const PADDING: u16 = 0x7fff;

/// Bytes of a field before its value.
const FIELD_HEADER: usize = 4;

const ENTRY: u16 = CRITICAL | 1;
const ENTRIES: u16 = CRITICAL | 1;
const BYTES: u16 = CRITICAL | 2;
const LIMIT: u16 = CRITICAL | 1;
const FILE: u16 = CRITICAL | 1;
const CHUNKS: u16 = CRITICAL | 2;
const REASON: u16 = CRITICAL | 1;
const FILES: u16 = CRITICAL | 2;
const NUMBER: u16 = CRITICAL | 1;
const SIGNALS: u16 = CRITICAL | 2;
const WHAT: u16 = 1;
const END: u16 = 2;

/// The bytes before the payload of a data frame with one record.
///
/// # Panics
/// When the payload is longer than [`MAX_PAYLOAD`].
#[must_use]
pub fn data_header(file: FileId, chunk: u32, offset: u32, length: usize) -> [u8; DATA_HEADER] {
    assert!(length <= MAX_PAYLOAD, "callers cut chunks into payloads");
    let mut header = [0; DATA_HEADER];
    let (kind, record) = header.split_at_mut(2);
    kind.copy_from_slice(&DATA_TYPE);
    record.copy_from_slice(&record_header(file, chunk, offset, length));
    header
}

/// The bytes before the payload of one record.
///
/// # Panics
/// When the payload is longer than 2^32 bytes, which no frame holds.
#[must_use]
pub fn record_header(file: FileId, chunk: u32, offset: u32, length: usize) -> [u8; RECORD_HEADER] {
    let length = u32::try_from(length).expect("a payload is shorter than 2^32");
    numbers([file.0, chunk, offset, length])
}

impl Frame {
    /// The bytes of the frame.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.to_wire(Writer::of_type(HELLO)).finish(),
            Self::Data(records) => records_to_wire(records),
            Self::Hashes(hashes) => bulk(HASHES, hashes.iter().map(chunk_hash_to_wire)),
            Self::Manifest(entries) => {
                let manifest = Writer::of_type(MANIFEST);
                let each = |writer: Writer, entry: &Entry| writer.field(ENTRY, &entry.to_wire());
                entries.iter().fold(manifest, each).finish()
            }
            Self::ManifestEnd { entries, bytes } => {
                Writer::of_type(MANIFEST_END).u32(ENTRIES, *entries).u64(BYTES, *bytes).finish()
            }
            Self::Accept => Writer::of_type(ACCEPT).finish(),
            Self::Credit { limit } => Writer::of_type(CREDIT).u64(LIMIT, *limit).finish(),
            Self::Fin(finished) => bulk(FIN, finished.iter().map(finished_to_wire)),
            Self::FinOk(files) => bulk(FIN_OK, files.iter().map(range_to_wire)),
            Self::Cancel(reason) => Writer::of_type(CANCEL).u16(REASON, reason.code()).finish(),
            Self::Want(wanted) => bulk(WANT, wanted.iter().map(wanted_to_wire)),
            Self::Claim(claims) => bulk(CLAIM, claims.iter().map(chunk_hash_to_wire)),
            Self::Skip { files, reason } => {
                let skip = Writer::of_type(SKIP).u16(REASON, reason.code());
                let each = |writer: Writer, files| writer.field(FILES, &range_to_wire(files));
                files.iter().fold(skip, each).finish()
            }
            Self::Withdraw(files) => bulk(WITHDRAW, files.iter().map(range_to_wire)),
            Self::Kept { file, chunks } => {
                Writer::of_type(KEPT).u32(FILE, file.0).u32(CHUNKS, *chunks).finish()
            }
            Self::Resume { entries } => Writer::of_type(RESUME).u32(ENTRIES, *entries).finish(),
            Self::Lane { lane, signals } => {
                Writer::of_type(LANE).u32(NUMBER, *lane).field(SIGNALS, signals).finish()
            }
            Self::Limited(limit) => {
                let limited = Writer::of_type(LIMITED);
                let limited = match limit {
                    Some(limit) => limited.u16(WHAT, limit.what.code()).u16(END, end(limit.end)),
                    None => limited,
                };
                limited.finish()
            }
        }
    }

    /// The bytes of a frame that is made of fields, with one more that nobody reads if that is
    /// needed to make it as long as this.
    #[must_use]
    pub fn to_wire_of_length(&self, length: usize) -> Vec<u8> {
        let frame = self.to_wire();
        match length.checked_sub(frame.len() + FIELD_HEADER) {
            Some(padding) => Writer::after(frame).field(PADDING, &vec![0; padding]).finish(),
            None => frame,
        }
    }

    /// Parses a message. `None` is a frame of a later version that may be passed over.
    ///
    /// # Errors
    /// [`FrameError`] when it is malformed, too long, critical and unknown, or offers what is
    /// refused.
    pub fn from_wire(message: &Bytes) -> Result<Option<Self>, FrameError> {
        if message.len() > MAX_FRAME {
            return Err(WireError::TooLong("a frame").into());
        }
        let mut reader = Reader::new(message);
        let kind = reader.u16()?;
        let body = message.slice(2..);
        let frame = match kind {
            DATA => Self::Data(each(&body, |reader| record_from_wire(&body, reader))?),
            HASHES => Self::Hashes(each(&body, chunk_hash_from_wire)?),
            FIN => Self::Fin(each(&body, finished_from_wire)?),
            FIN_OK => Self::FinOk(each(&body, range_from_wire)?),
            WANT => Self::Want(each(&body, wanted_from_wire)?),
            CLAIM => Self::Claim(each(&body, chunk_hash_from_wire)?),
            WITHDRAW => Self::Withdraw(each(&body, range_from_wire)?),
            _ => return Self::from_fields(kind, &body),
        };
        Ok(Some(frame))
    }

    fn from_fields(kind: u16, body: &[u8]) -> Result<Option<Self>, FrameError> {
        if kind & CRITICAL == 0 && !matches!(kind, LANE | LIMITED) {
            return Ok(None);
        }
        let mut fields = Fields::parse(body)?;
        let frame = match kind {
            HELLO => Self::Hello(Hello::from_wire(&mut fields)?),
            MANIFEST => Self::Manifest(entries_from_wire(&mut fields)?),
            MANIFEST_END => Self::ManifestEnd {
                entries: fields.required(ENTRIES)?,
                bytes: fields.required(BYTES)?,
            },
            ACCEPT => Self::Accept,
            CREDIT => Self::Credit { limit: fields.required(LIMIT)? },
            CANCEL => Self::Cancel(Reason::of_code(fields.required(REASON)?)),
            SKIP => Self::Skip {
                reason: Reason::of_code(fields.required(REASON)?),
                files: ranges_from_wire(&mut fields)?,
            },
            KEPT => Self::Kept {
                file: FileId(fields.required(FILE)?),
                chunks: fields.required(CHUNKS)?,
            },
            RESUME => Self::Resume { entries: fields.required(ENTRIES)? },
            LANE => Self::Lane {
                lane: fields.required(NUMBER)?,
                signals: Bytes::copy_from_slice(fields.required(SIGNALS)?),
            },
            LIMITED => Self::Limited(limit_from_wire(&mut fields)?),
            unknown => return Err(WireError::UnknownType(unknown).into()),
        };
        fields.finish()?;
        Ok(Some(frame))
    }
}

/// A limit of a later version is none.
fn limit_from_wire(fields: &mut Fields<'_>) -> Result<Option<Limit>, WireError> {
    let what = fields.optional::<u16>(WHAT)?.and_then(What::of_code);
    let named = fields.optional::<u16>(END)?;
    let end = [Role::Sender, Role::Receiver].into_iter().find(|role| named == Some(end(*role)));
    Ok(what.zip(end).map(|(what, end)| Limit { what, end }))
}

/// The number of an end on the wire.
fn end(role: Role) -> u16 {
    match role {
        Role::Sender => 1,
        Role::Receiver => 2,
    }
}

fn entries_from_wire(fields: &mut Fields<'_>) -> Result<Vec<Entry>, FrameError> {
    let entries = fields.all::<&[u8]>(ENTRY)?;
    Ok(entries.into_iter().map(Entry::from_wire).collect::<Result<_, _>>()?)
}

fn ranges_from_wire(fields: &mut Fields<'_>) -> Result<Vec<Range<u32>>, WireError> {
    let ranges = fields.all::<[u8; 8]>(FILES)?;
    ranges.iter().map(|range| range_from_wire(&mut Reader::new(range))).collect()
}

/// A frame of records of fixed shape.
fn bulk<const N: usize>(kind: u16, records: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(records.flatten());
    message
}

/// Numbers of 32 bits, one after the other.
fn numbers<const N: usize, const BYTES: usize>(numbers: [u32; N]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let flat = numbers.into_iter().flat_map(u32::to_be_bytes);
    bytes.iter_mut().zip(flat).for_each(|(to, from)| *to = from);
    bytes
}

/// Reads records until the body ends.
fn each<'a, T>(
    body: &'a [u8],
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut reader = Reader::new(body);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(read(&mut reader)?);
    }
    Ok(records)
}

fn records_to_wire(records: &[Record]) -> Vec<u8> {
    let mut message = DATA.to_be_bytes().to_vec();
    for record in records {
        message.extend(record_header(record.file, record.chunk, record.offset, record.bytes.len()));
        message.extend_from_slice(&record.bytes);
    }
    message
}

fn record_from_wire(body: &Bytes, reader: &mut Reader<'_>) -> Result<Record, WireError> {
    let (file, chunk, offset) = (FileId(reader.u32()?), reader.u32()?, reader.u32()?);
    let length = usize::try_from(reader.u32()?).map_err(|_| WireError::Truncated)?;
    let bytes = body.slice_ref(reader.take(length)?);
    if bytes.is_empty() {
        return Err(WireError::Range("a record without bytes"));
    }
    Ok(Record { file, chunk, offset, bytes })
}

fn chunk_hash_to_wire(chunk: &ChunkHash) -> [u8; 40] {
    let mut bytes = [0; 40];
    let (place, hash) = bytes.split_at_mut(8);
    place.copy_from_slice(&numbers::<2, 8>([chunk.file.0, chunk.chunk]));
    hash.copy_from_slice(&chunk.hash.0);
    bytes
}

fn chunk_hash_from_wire(reader: &mut Reader<'_>) -> Result<ChunkHash, WireError> {
    let (file, chunk) = (FileId(reader.u32()?), reader.u32()?);
    Ok(ChunkHash { file, chunk, hash: Hash(reader.array()?) })
}

fn finished_to_wire(finished: &Finished) -> [u8; 44] {
    let mut bytes = [0; 44];
    let (numbers, digest) = bytes.split_at_mut(12);
    let (file, size) = numbers.split_at_mut(4);
    file.copy_from_slice(&finished.file.0.to_be_bytes());
    size.copy_from_slice(&finished.size.to_be_bytes());
    digest.copy_from_slice(&finished.digest.0);
    bytes
}

fn finished_from_wire(reader: &mut Reader<'_>) -> Result<Finished, WireError> {
    let (file, size) = (FileId(reader.u32()?), u64::from_be_bytes(reader.array()?));
    if size > MAX_NUMBER {
        return Err(WireError::Range("a number over 2^53 - 1"));
    }
    Ok(Finished { file, size, digest: Hash(reader.array()?) })
}

fn range_to_wire(range: &Range<u32>) -> [u8; 8] {
    numbers([range.start, range.end])
}

fn range_from_wire(reader: &mut Reader<'_>) -> Result<Range<u32>, WireError> {
    let range = reader.u32()?..reader.u32()?;
    if range.is_empty() {
        return Err(WireError::Range("an empty range of files"));
    }
    Ok(range)
}

fn wanted_to_wire(wanted: &Wanted) -> [u8; 16] {
    let Wanted { files, chunks } = wanted;
    numbers([files.start, files.end, chunks.start, chunks.end])
}

fn wanted_from_wire(reader: &mut Reader<'_>) -> Result<Wanted, WireError> {
    let files = range_from_wire(reader)?;
    let chunks = reader.u32()?..reader.u32()?;
    if chunks.start > chunks.end {
        return Err(WireError::Range("a range of chunks that ends before it begins"));
    }
    if files.len() > 1 && chunks != (0..TO_THE_END) {
        return Err(WireError::Range("parts of several files"));
    }
    Ok(Wanted { files, chunks })
}

impl Value<'_> for Reason {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        u16::from_wire(bytes).map(Self::of_code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{manifest::tests::file, name::HostileName};

    fn frames() -> Vec<Frame> {
        let hello = Hello { lane: 1, generation: 0, nonce: [1; 16], tag: [2; 32], verify: true };
        let record = |chunk, bytes| Record { file: FileId(0), chunk, offset: 65_518, bytes };
        vec![
            Frame::Hello(Hello { verify: false, ..hello.clone() }),
            Frame::Hello(hello),
            Frame::Data(vec![
                record(1, Bytes::from_static(b"x")),
                record(2, Bytes::from_static(b"yz")),
            ]),
            Frame::Hashes(vec![ChunkHash { file: FileId(1), chunk: 7, hash: Hash([3; 32]) }]),
            Frame::Manifest(vec![file(5), file(0)]),
            Frame::ManifestEnd { entries: 2, bytes: 5 },
            Frame::Accept,
            Frame::Credit { limit: 1 << 40 },
            Frame::Fin(vec![Finished { file: FileId(0), size: 7, digest: Hash([4; 32]) }]),
            Frame::FinOk(vec![0..1, 4..9]),
            Frame::Cancel(Reason::Declined),
            Frame::Want(vec![
                Wanted { files: 0..9, chunks: 0..TO_THE_END },
                Wanted { files: 9..10, chunks: 3..3 },
            ]),
            Frame::Claim(vec![ChunkHash { file: FileId(2), chunk: 8, hash: Hash([5; 32]) }]),
            Frame::Skip { files: vec![3..4], reason: Reason::TargetExists },
            Frame::Withdraw(vec![5..6]),
            Frame::Kept { file: FileId(0), chunks: 32 },
            Frame::Resume { entries: 12 },
        ]
    }

    #[test]
    fn every_frame_comes_back_as_it_was() {
        for frame in frames() {
            let bytes = Bytes::from(frame.to_wire());
            assert_eq!(Frame::from_wire(&bytes), Ok(Some(frame)));
        }
    }

    #[test]
    fn no_frame_can_be_cut_off_unnoticed_in_a_field_or_record() {
        for frame in frames() {
            let bytes = Bytes::from(frame.to_wire());
            for end in 0..bytes.len() {
                assert_ne!(Frame::from_wire(&bytes.slice(..end)), Ok(Some(frame.clone())), "{end}");
            }
        }
    }

    #[test]
    fn later_frames_are_passed_over_unless_they_are_critical() {
        assert_eq!(Frame::from_wire(&Bytes::from_static(&[0, 99, 1, 2, 3])), Ok(None));
        assert_eq!(
            Frame::from_wire(&Bytes::from_static(&[0x80, 99])),
            Err(WireError::UnknownType(CRITICAL | 99).into())
        );
    }

    #[test]
    fn a_frame_longer_than_a_message_is_refused_unread() {
        let long = Bytes::from(vec![0; MAX_FRAME + 1]);
        assert_eq!(Frame::from_wire(&long), Err(WireError::TooLong("a frame").into()));
    }

    #[test]
    fn a_hostile_name_in_a_manifest_is_told_from_a_malformed_one() {
        let mut entry = file(1).to_wire();
        let at = entry.windows(5).position(|w| w == b"a.bin").unwrap();
        entry[at] = b'/';
        let message = Bytes::from(Writer::of_type(MANIFEST).field(ENTRY, &entry).finish());
        assert_eq!(
            Frame::from_wire(&message),
            Err(FrameError::Entry(EntryError::Name(HostileName::Separator)))
        );
    }

    #[test]
    fn the_largest_payload_fills_a_frame() {
        let record = Record {
            file: FileId(0),
            chunk: 0,
            offset: 0,
            bytes: Bytes::from(vec![0; MAX_PAYLOAD]),
        };
        assert_eq!(Frame::Data(vec![record]).to_wire().len(), MAX_FRAME);
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for wanted in [
            Wanted { files: 3..3, chunks: 0..TO_THE_END },
            Wanted { files: 0..2, chunks: 0..1 },
            Wanted { files: 0..1, chunks: Range { start: 2, end: 1 } },
        ] {
            let message = Bytes::from(Frame::Want(vec![wanted]).to_wire());
            assert!(matches!(
                Frame::from_wire(&message),
                Err(FrameError::Wire(WireError::Range(_)))
            ));
        }
    }

    #[test]
    fn reasons_keep_their_numbers() {
        for (code, reason) in (0_u16..).zip(REASONS) {
            assert_eq!((reason.code(), Reason::of_code(code)), (code, reason));
        }
        assert_eq!(Reason::of_code(999), Reason::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::from_wire(&Bytes::from(bytes));
        }

        #[test]
        fn no_body_of_a_known_type_makes_the_parser_panic(
            kind in 1_u16..18,
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut message = (CRITICAL | kind).to_be_bytes().to_vec();
            message.extend(body);
            let _ = Frame::from_wire(&Bytes::from(message));
        }
    }
}
