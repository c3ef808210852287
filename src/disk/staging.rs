//! The hidden folder beside the destination in which everything lands, and what an earlier
//! attempt has left there.
//!
//! ```text
//! .p2pshare-0123456789abcdef/   0700, made by this user
//!     journal                   notes of what is verified (a hint), and the lock
//!     tree-0/, tree-1/ ...      part files; the last is this attempt's, the others are older
//! ```
//!
//! What is found in an older tree moves into this attempt's, so that this holds what is offered
//! and nothing else, and can be renamed as it is.

use std::{
    collections::HashSet,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use cap_std::fs::{Dir, MetadataExt};
use data_encoding::HEXLOWER;

use super::{
    journal::{self, Journal, Line, Notes, Session},
    platform, registry,
};
use crate::proto::manifest::{Entry, Modified};

/// How the folders' names begin.
const PREFIX: &str = ".p2pshare-";

const JOURNAL: &str = "journal";

/// The most trees of earlier attempts that are kept.
const MOST_TREES: u32 = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Staging {
    name: String,
    parent: PathBuf,
    dir: Dir,
    /// This attempt's tree.
    pub(super) tree: Dir,
    /// Those of earlier attempts, the newest first.
    older: Vec<Dir>,
    journal: Journal,
    notes: Notes,
    next_number: u32,
    /// Folders that are known to be in the tree.
    folders: HashSet<String>,
    /// Part files that were made or taken over, by a hash of their paths.
    parts: HashSet<u64>,
    /// Whether a later attempt could use what is here.
    pub(super) worth_keeping: bool,
}

impl Staging {
    /// What an earlier attempt at this item has left.
    pub(super) fn left(parent: &Dir, path: &Path, item: &str) -> Option<Self> {
        let left = leftovers(parent).find(|left| left.notes.items.iter().any(|of| of == item));
        left.and_then(|left| Self::adopt(left, path).ok())
    }

    /// A new folder.
    pub(super) fn create(parent: &Dir, path: &Path) -> io::Result<Self> {
        platform::step("staging")?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("{PREFIX}{}", HEXLOWER.encode(&random));
        parent.create_dir_with(&name, &platform::private_directory())?;
        let made = parent.open_dir(&name).and_then(|dir| {
            let file = dir.open_with(JOURNAL, &platform::private_file())?.into_std();
            platform::lock(&file)?;
            let tree = make_tree(&dir, 0)?;
            Ok((Journal::new(file)?, dir, tree))
        });
        let (journal, dir, tree) = match made {
            Ok(made) => made,
            Err(error) => {
                // What was begun is taken away again, as far as that goes.
                let _ = parent.remove_dir_all(&name);
                return Err(error);
            }
        };
        registry::remember(&path.join(&name));
        Ok(Self {
            name,
            parent: path.to_owned(),
            dir,
            tree,
            older: Vec::new(),
            journal,
            notes: journal::read(io::empty()),
            next_number: 0,
            folders: HashSet::new(),
            parts: HashSet::new(),
            worth_keeping: false,
        })
    }

    fn adopt(left: Leftover, path: &Path) -> io::Result<Self> {
        let Leftover { name, dir, file, notes } = left;
        let trees = (0..MOST_TREES).map_while(|tree| dir.open_dir(tree_name(tree)).ok());
        let older: Vec<_> = trees.collect();
        let tree = make_tree(&dir, u32::try_from(older.len()).unwrap_or(MOST_TREES))?;
        registry::remember(&path.join(&name));
        Ok(Self {
            name,
            parent: path.to_owned(),
            dir,
            tree,
            older: older.into_iter().rev().collect(),
            journal: Journal::new(file)?,
            next_number: notes.next_number,
            notes,
            folders: HashSet::new(),
            parts: HashSet::new(),
            worth_keeping: true,
        })
    }

    /// Notes an item that lands here.
    pub(super) fn note_item(&mut self, item: &str) -> io::Result<()> {
        if self.notes.items.iter().any(|of| of == item) {
            return Ok(());
        }
        self.notes.items.push(item.to_owned());
        self.journal.note(&Line::Item(item.to_owned()))?;
        self.journal.flush()
    }

    /// Notes how the same sender can be found again.
    pub(super) fn note_session(&mut self, session: &Session) -> io::Result<()> {
        self.journal.note(&Line::Session(session.clone()))?;
        self.journal.flush()
    }

    /// Notes a file whose chunks will be noted; gives its number in the journal.
    pub(super) fn note_file(&mut self, entry: &Entry) -> io::Result<u32> {
        let number = self.next_number;
        self.next_number += 1;
        let (path, size) = (entry.path.as_str().to_owned(), entry.size);
        let modified = entry.modified.map(pair);
        self.journal.note(&Line::File { number, path, size, modified, tree: 0 })?;
        Ok(number)
    }

    /// Notes a chunk that is verified.
    pub(super) fn note_chunk(&mut self, file: u32, chunk: u32) -> io::Result<()> {
        platform::step("journal")?;
        self.worth_keeping = true;
        self.journal.note(&Line::Chunk { file, chunk })?;
        self.journal.flush()
    }

    /// Takes over what an earlier attempt has of a file: the chunks that may be right.
    pub(super) fn take_over(&mut self, entry: &Entry) -> io::Result<Vec<Range<u32>>> {
        let path = entry.path.as_str();
        let found = self.older.iter().find_map(|tree| {
            let metadata =
                tree.symlink_metadata(path).ok().filter(cap_std::fs::Metadata::is_file)?;
            Some((tree, metadata))
        });
        let Some((tree, metadata)) = found else { return Ok(Vec::new()) };
        let modified = metadata.modified().ok().and_then(|at| {
            let since = at.into_std().duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(Modified { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() })
        });
        let whole = metadata.len() == entry.size && modified == entry.modified;
        let noted =
            self.notes.files.get(path).filter(|noted| {
                noted.size == entry.size && noted.modified == entry.modified.map(pair)
            });
        let chunks = match noted {
            _ if whole && modified.is_some() => vec![0..entry.chunking().count()],
            Some(noted) => noted.chunks.clone(),
            None => Vec::new(),
        };
        if chunks.is_empty() {
            return Ok(chunks);
        }
        let tree = tree.try_clone()?;
        self.make_parents(path)?;
        self.parts.insert(fingerprint(path));
        platform::replace((&tree, Path::new(path)), (&self.tree, Path::new(path)))?;
        Ok(chunks)
    }

    /// Opens a part file, which is made when there is none. One that is there under a name that
    /// only this file system takes for the same is another's
    /// ([`io::ErrorKind::AlreadyExists`]).
    pub(super) fn part(&mut self, path: &str) -> io::Result<File> {
        platform::step("part")?;
        self.make_parents(path)?;
        let new = self.parts.insert(fingerprint(path));
        let opened = self.tree.open_with(path, platform::private_file().create_new(new));
        Ok(opened?.into_std())
    }

    /// Makes a folder in the tree, and those that it is in.
    pub(super) fn make_folder(&mut self, path: &str) -> io::Result<()> {
        if self.folders.contains(path) {
            return Ok(());
        }
        self.make_parents(path)?;
        match self.tree.create_dir_with(path, &platform::ordinary_directory()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.folders.insert(path.to_owned());
        Ok(())
    }

    fn make_parents(&mut self, path: &str) -> io::Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.make_folder(parent))
    }

    /// Bytes that part files of earlier attempts take on the disk.
    pub(super) fn held(&self) -> u64 {
        self.older.iter().map(|tree| size_of(tree).unwrap_or_default()).sum()
    }

    /// Ends: what is of no use to a later attempt goes.
    pub(super) fn close(self, parent: &Dir, keep: bool) {
        if !(keep && self.worth_keeping) {
            remove(parent, &self.parent, &self.name);
        }
        drop(self.dir);
    }
}

/// A folder that no process uses.
struct Leftover {
    name: String,
    dir: Dir,
    file: File,
    notes: Notes,
}

fn leftovers(parent: &Dir) -> impl Iterator<Item = Leftover> + '_ {
    let entries = parent.entries().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(PREFIX)).filter_map(|name| leftover(parent, name))
}

fn leftover(parent: &Dir, name: String) -> Option<Leftover> {
    let metadata = parent.symlink_metadata(&name).ok()?;
    let dir =
        parent.open_dir(&name).ok().filter(|dir| metadata.is_dir() && platform::is_private(dir))?;
    let file =
        dir.symlink_metadata(JOURNAL).ok().filter(cap_std::fs::Metadata::is_file).and_then(|_| {
            dir.open_with(JOURNAL, platform::private_file().create_new(false).append(true)).ok()
        });
    let file = file?.into_std();
    if !platform::lock(&file).ok()? {
        return None;
    }
    let notes = journal::read(&file);
    Some(Leftover { name, dir, file, notes })
}

fn fingerprint(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn tree_name(tree: u32) -> String {
    format!("tree-{tree}")
}

fn make_tree(dir: &Dir, tree: u32) -> io::Result<Dir> {
    let name = tree_name(tree);
    dir.create_dir_with(&name, &platform::ordinary_directory())?;
    dir.open_dir(&name)
}

fn pair(modified: Modified) -> (u64, u32) {
    (modified.seconds, modified.nanoseconds)
}

/// Bytes on the disk beneath a folder.
fn size_of(folder: &Dir) -> io::Result<u64> {
    let mut size = 0_u64;
    for entry in folder.entries()? {
        let entry = entry?;
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            size = size.saturating_add(size_of(&entry.open_dir()?)?);
        } else {
            size = size.saturating_add(space_of(&entry.metadata()?));
        }
    }
    Ok(size)
}

#[cfg(unix)]
fn space_of(metadata: &cap_std::fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

#[cfg(not(unix))]
fn space_of(metadata: &cap_std::fs::Metadata) -> u64 {
    metadata.len()
}

fn remove(parent: &Dir, path: &Path, name: &str) {
    let removed = parent.remove_dir_all(name);
    tracing::debug!(?removed, "staging folder");
    if removed.is_ok() {
        registry::forget(&path.join(name));
    }
}

/// What an interrupted transfer has left in a folder.
#[derive(Debug)]
pub struct Left {
    /// The hidden folder.
    pub path: PathBuf,
    /// The items that it was for.
    pub items: Vec<String>,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// How the sender was to be found, when that is known.
    pub session: Option<Session>,
}

/// What interrupted transfers have left in a folder. Those that go on are not among them.
///
/// # Errors
/// When the folder cannot be read.
pub fn left_in(folder: &Path) -> io::Result<Vec<Left>> {
    let parent = Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    let left = leftovers(&parent).map(|left| Left {
        path: folder.join(&left.name),
        items: left.notes.items,
        bytes: size_of(&left.dir).unwrap_or_default(),
        session: left.notes.session,
    });
    Ok(left.collect())
}

/// Everything that interrupted transfers of this user have left, as far as it is known.
#[must_use]
pub fn left() -> Vec<Left> {
    let mut found = Vec::new();
    for path in registry::all() {
        let in_folder = path.parent().and_then(|folder| left_in(folder).ok()).unwrap_or_default();
        match in_folder.into_iter().find(|left| left.path == path) {
            Some(left) => found.push(left),
            // One that goes on is neither listed nor forgotten.
            None if !path.exists() => registry::forget(&path),
            None => {}
        }
    }
    found
}

/// Throws away what an interrupted transfer has left.
///
/// # Errors
/// When it cannot be removed.
pub fn discard(left: &Left) -> io::Result<()> {
    let folder = left.path.parent().unwrap_or(Path::new("."));
    let parent = Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    parent.remove_dir_all(left.path.file_name().unwrap_or_default())?;
    registry::forget(&left.path);
    Ok(())
}
