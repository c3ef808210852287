//! What is offered: entries with a kind, a path, a size and little else.
//!
//! A folder comes before what is in it, and everything of one *item* (a file or folder that was
//! named to the sender) before the next. A text or a stream is always the only entry.

use super::{
    digest::Chunking,
    name::RelPath,
    wire::{CRITICAL, Fields, Value, WireError, Writer},
};

/// Names an entry in all that follows; counted from 0 in the order of the manifest.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// The most entries an offer may have.
pub const MAX_ENTRIES: usize = 1_000_000;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A message for the terminal.
    Text,
    /// Bytes of unknown number; its size says 0.
    Stream,
    /// Reserved, and refused.
    Symlink,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Text => 3,
            Self::Stream => 4,
            Self::Symlink => 5,
        }
    }
}

impl Value<'_> for Kind {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        match u8::from_wire(bytes)? {
            1 => Ok(Self::File),
            2 => Ok(Self::Directory),
            3 => Ok(Self::Text),
            4 => Ok(Self::Stream),
            5 => Ok(Self::Symlink),
            _ => Err(WireError::Range("a kind of entry")),
        }
    }
}

/// When a file was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970-01-01T00:00:00Z, not negative.
    pub seconds: u64,
    /// And this many nanoseconds, below 10^9.
    pub nanoseconds: u32,
}

/// One thing offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Where it goes, beneath the folder that receives.
    pub path: RelPath,
    /// Bytes.
    pub size: u64,
    /// When it was last changed, if that is kept.
    pub modified: Option<Modified>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

const KIND: u16 = CRITICAL | 1;
const COMPONENT: u16 = CRITICAL | 2;
const SIZE: u16 = CRITICAL | 3;
const SECONDS: u16 = 4;
const NANOSECONDS: u16 = 5;
const EXECUTABLE: u16 = 6;

/// Nanoseconds in a second.
const SECOND: u32 = 1_000_000_000;

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Its bytes make no sense.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its name could escape the folder that receives.
    #[error("{0}")]
    Name(#[from] super::name::HostileName),
}

impl Entry {
    /// How the file is cut into chunks.
    #[must_use]
    pub fn chunking(&self) -> Chunking {
        match self.kind {
            Kind::Stream => Chunking::of_stream(),
            _ => Chunking::of(self.size),
        }
    }

    /// Its number of chunks; `None` for a stream that has not ended.
    #[must_use]
    pub fn chunk_count(&self) -> Option<u32> {
        (self.kind != Kind::Stream).then(|| self.chunking().count())
    }

    /// The bytes of the entry.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut writer = Writer::new().u8(KIND, self.kind.code());
        for name in self.path.components() {
            writer = writer.field(COMPONENT, name.as_bytes());
        }
        writer = writer.u64(SIZE, self.size);
        if let Some(modified) = self.modified {
            writer = writer.u64(SECONDS, modified.seconds).u32(NANOSECONDS, modified.nanoseconds);
        }
        if self.executable {
            writer = writer.field(EXECUTABLE, &[]);
        }
        writer.finish()
    }

    /// Parses an entry, names included.
    ///
    /// # Errors
    /// [`EntryError`] when it is malformed, or its name is hostile.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut fields = Fields::parse(bytes)?;
        let components = fields.all::<&str>(COMPONENT)?;
        let entry = Self {
            kind: fields.required(KIND)?,
            path: RelPath::parse(components)?,
            size: fields.required(SIZE)?,
            modified: modified(&mut fields)?,
            executable: fields.optional::<[u8; 0]>(EXECUTABLE)?.is_some(),
        };
        fields.finish()?;
        Ok(entry)
    }
}

fn modified(fields: &mut Fields<'_>) -> Result<Option<Modified>, WireError> {
    let (seconds, nanoseconds) = (fields.optional(SECONDS)?, fields.optional(NANOSECONDS)?);
    let nanoseconds = nanoseconds.unwrap_or_default();
    if nanoseconds >= SECOND {
        return Err(WireError::Range("nanoseconds over a second"));
    }
    Ok(seconds.map(|seconds| Modified { seconds, nanoseconds }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::proto::name::HostileName;

    /// A file of a size, for tests of the layers above.
    pub(crate) fn file(size: u64) -> Entry {
        Entry {
            kind: Kind::File,
            path: RelPath::parse(["a.bin"]).unwrap(),
            size,
            modified: None,
            executable: false,
        }
    }

    /// An entry of a kind at a path like `a/b`, for tests of the layers above.
    pub(crate) fn entry(kind: Kind, path: &str, size: u64) -> Entry {
        Entry { kind, path: RelPath::parse(path.split('/')).unwrap(), ..file(size) }
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let modified = Some(Modified { seconds: 1_790_000_000, nanoseconds: 999_999_999 });
        let path = RelPath::parse(["photos", "naïve.jpg"]).unwrap();
        for entry in
            [file(0), Entry { kind: Kind::Directory, path, size: 7, modified, executable: true }]
        {
            assert_eq!(Entry::from_wire(&entry.to_wire()), Ok(entry));
        }
    }

    #[test]
    fn a_hostile_name_refuses_the_entry() {
        let entry = Writer::new().u8(KIND, 1).field(COMPONENT, b"..").u64(SIZE, 1).finish();
        assert_eq!(Entry::from_wire(&entry), Err(EntryError::Name(HostileName::Dots)));
        let entry = Writer::new().u8(KIND, 1).u64(SIZE, 1).finish();
        assert_eq!(Entry::from_wire(&entry), Err(EntryError::Name(HostileName::Depth(0))));
        let entry = Writer::new().u8(KIND, 1).field(COMPONENT, b"\xff").u64(SIZE, 1).finish();
        assert!(matches!(Entry::from_wire(&entry), Err(EntryError::Wire(WireError::Range(_)))));
    }

    #[test]
    fn an_unknown_kind_or_a_time_that_cannot_be_is_refused() {
        let start = |kind| Writer::new().u8(KIND, kind).field(COMPONENT, b"a").u64(SIZE, 1);
        assert!(Entry::from_wire(&start(9).finish()).is_err());
        assert!(
            Entry::from_wire(&start(1).u64(SECONDS, 1).u32(NANOSECONDS, SECOND).finish()).is_err()
        );
    }
}
