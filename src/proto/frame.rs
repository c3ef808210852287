//! What travels on lanes: one frame a message, each at most [`MAX_FRAME`] bytes.
//!
//! A frame is a type of 16 bits, whose highest bit is [`CRITICAL`], and a body: fields, or for
//! the two kinds that carry bulk, records of fixed shape. `Data` and `Hashes` may travel on any
//! lane; `Hello` opens each; everything else stays on the control channel.

use bytes::Bytes;

use super::{
    binding::Hello,
    digest::Hash,
    manifest::{Entry, EntryError, FileId},
    wire::{CRITICAL, Fields, Reader, Value, WireError, Writer},
};

/// The longest frame, in bytes: the data-channel message that every peer takes.
pub const MAX_FRAME: usize = 64 * 1024;

/// Bytes before the payload of a data frame with one record.
pub const DATA_HEADER: usize = 2 + RECORD_HEADER;

/// The largest payload of one record that fills a frame, in bytes.
pub const MAX_PAYLOAD: usize = MAX_FRAME - DATA_HEADER;

const RECORD_HEADER: usize = 16;

/// One message on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame on every lane, from each end: proves who it is.
    Hello(Hello),
    /// Parts of chunks.
    Data(Vec<Record>),
    /// Hashes of chunks whose parts went before on the same lane.
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
    /// The receiver takes the offer and is ready to write.
    Accept,
    /// The receiver can take this many payload bytes in all, counted from the start.
    Credit {
        /// A total that never falls, in bytes.
        limit: u64,
    },
    /// Everything of a file was sent.
    Fin {
        /// Which.
        file: FileId,
        /// Its tree digest.
        digest: Hash,
    },
    /// These files are on stable storage under their final names.
    FinOk(Vec<FileId>),
    /// This end gives up.
    Cancel(Reason),
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
}

const REASONS: [Reason; 9] = [
    Reason::Other,
    Reason::Interrupted,
    Reason::Declined,
    Reason::Disk,
    Reason::SourceChanged,
    Reason::Verification,
    Reason::UnsafeName,
    Reason::Protocol,
    Reason::TargetExists,
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

const ENTRY: u16 = CRITICAL | 1;
const ENTRIES: u16 = CRITICAL | 1;
const BYTES: u16 = CRITICAL | 2;
const LIMIT: u16 = CRITICAL | 1;
const FILE: u16 = CRITICAL | 1;
const DIGEST: u16 = CRITICAL | 2;
const REASON: u16 = CRITICAL | 1;

/// The bytes before the payload of a data frame with one record.
///
/// # Panics
/// When the payload is longer than [`MAX_PAYLOAD`].
#[must_use]
pub fn data_header(file: FileId, chunk: u32, offset: u32, length: usize) -> [u8; DATA_HEADER] {
    assert!(length <= MAX_PAYLOAD, "callers cut chunks into payloads");
    let length = u32::try_from(length).expect("a payload is shorter than 2^32");
    let mut header = [0; DATA_HEADER];
    let parts = DATA.to_be_bytes().into_iter();
    let numbers = [file.0, chunk, offset, length].into_iter().flat_map(u32::to_be_bytes);
    header.iter_mut().zip(parts.chain(numbers)).for_each(|(to, from)| *to = from);
    header
}

impl Frame {
    /// The bytes of the frame.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.to_wire(Writer::of_type(HELLO)),
            Self::Data(records) => return records_to_wire(records),
            Self::Hashes(hashes) => return hashes_to_wire(hashes),
            Self::Manifest(entries) => {
                entries.iter().fold(Writer::of_type(MANIFEST), |writer, entry| {
                    writer.field(ENTRY, &entry.to_wire())
                })
            }
            Self::ManifestEnd { entries, bytes } => {
                Writer::of_type(MANIFEST_END).u32(ENTRIES, *entries).u64(BYTES, *bytes)
            }
            Self::Accept => Writer::of_type(ACCEPT),
            Self::Credit { limit } => Writer::of_type(CREDIT).u64(LIMIT, *limit),
            Self::Fin { file, digest } => {
                Writer::of_type(FIN).u32(FILE, file.0).field(DIGEST, &digest.0)
            }
            Self::FinOk(files) => {
                files.iter().fold(Writer::of_type(FIN_OK), |writer, file| writer.u32(FILE, file.0))
            }
            Self::Cancel(reason) => Writer::of_type(CANCEL).u16(REASON, reason.code()),
        }
        .finish()
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
            DATA => Self::Data(records_from_wire(&body)?),
            HASHES => Self::Hashes(hashes_from_wire(&body)?),
            _ => return Self::from_fields(kind, &body),
        };
        Ok(Some(frame))
    }

    fn from_fields(kind: u16, body: &[u8]) -> Result<Option<Self>, FrameError> {
        if kind & CRITICAL == 0 {
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
            FIN => Self::Fin {
                file: FileId(fields.required(FILE)?),
                digest: Hash(fields.required(DIGEST)?),
            },
            FIN_OK => Self::FinOk(fields.all::<u32>(FILE)?.into_iter().map(FileId).collect()),
            CANCEL => Self::Cancel(Reason::of_code(fields.required(REASON)?)),
            unknown => return Err(WireError::UnknownType(unknown).into()),
        };
        fields.finish()?;
        Ok(Some(frame))
    }
}

fn entries_from_wire(fields: &mut Fields<'_>) -> Result<Vec<Entry>, FrameError> {
    let entries = fields.all::<&[u8]>(ENTRY)?;
    Ok(entries.into_iter().map(Entry::from_wire).collect::<Result<_, _>>()?)
}

fn records_to_wire(records: &[Record]) -> Vec<u8> {
    let mut message = DATA.to_be_bytes().to_vec();
    for record in records {
        let header = data_header(record.file, record.chunk, record.offset, record.bytes.len());
        message.extend(header.iter().skip(2));
        message.extend_from_slice(&record.bytes);
    }
    message
}

fn records_from_wire(body: &Bytes) -> Result<Vec<Record>, WireError> {
    let mut reader = Reader::new(body);
    let mut records = Vec::new();
    while !reader.is_empty() {
        let (file, chunk, offset) = (FileId(reader.u32()?), reader.u32()?, reader.u32()?);
        let length = usize::try_from(reader.u32()?).map_err(|_| WireError::Truncated)?;
        let bytes = body.slice_ref(reader.take(length)?);
        if bytes.is_empty() {
            return Err(WireError::Range("a record without bytes"));
        }
        records.push(Record { file, chunk, offset, bytes });
    }
    Ok(records)
}

fn hashes_to_wire(hashes: &[ChunkHash]) -> Vec<u8> {
    let mut message = HASHES.to_be_bytes().to_vec();
    for ChunkHash { file, chunk, hash } in hashes {
        message.extend_from_slice(&file.0.to_be_bytes());
        message.extend_from_slice(&chunk.to_be_bytes());
        message.extend_from_slice(&hash.0);
    }
    message
}

fn hashes_from_wire(body: &[u8]) -> Result<Vec<ChunkHash>, WireError> {
    let mut reader = Reader::new(body);
    let mut hashes = Vec::new();
    while !reader.is_empty() {
        let (file, chunk) = (FileId(reader.u32()?), reader.u32()?);
        hashes.push(ChunkHash { file, chunk, hash: Hash(reader.array()?) });
    }
    Ok(hashes)
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
            Frame::Fin { file: FileId(0), digest: Hash([4; 32]) },
            Frame::FinOk(vec![FileId(0), FileId(1)]),
            Frame::Cancel(Reason::Declined),
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
            kind in 1_u16..12,
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut message = (CRITICAL | kind).to_be_bytes().to_vec();
            message.extend(body);
            let _ = Frame::from_wire(&Bytes::from(message));
        }
    }
}
