//! Where received files are kept until they are whole, and how they get their names.
//!
//! Everything lands in one [staging](super::staging) folder beside its destination, through
//! handles of both folders, so that nothing of ours bears a final name before it is verified and
//! flushed, no symbolic link is followed and no other file is touched. [`super::writer`] calls
//! this.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cap_std::{ambient_authority, fs::Dir};

use super::{
    gather::Run, hashing::Unhashed, journal::Session, platform, staging::Staging,
    writeback::WriteBack,
};
use crate::proto::{
    digest::{Hash, tree},
    frame::Reason,
    manifest::{Entry, FileId, Kind, Modified},
    receiver::{Conflict, Found, Origin},
};

/// Free space that is left alone, in bytes.
const RESERVE: u64 = 16 * 1024 * 1024;

/// How many names like `name (1).ext` are tried.
const MOST_COPIES: u32 = 10_000;

/// Part files that are open at the same time.
const MOST_OPEN: usize = 256;

/// With more files than this, a file system is flushed as a whole, which takes a fraction of the
/// time that flushing each would.
const FEW: usize = 8;

/// Space for a file that is longer than this is reserved so many bytes ahead of what is written.
const AHEAD: u64 = 32 * 1024 * 1024;

/// Bytes of a file that is copied at a time.
const COPY: usize = 256 * 1024;

/// Why files cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The folder they are to go into cannot be used.
    #[error("cannot write into {path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file cannot be written or named.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is not enough room.
    #[error("{needed} bytes are needed and {free} are free")]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free where they are to go.
        free: u64,
    },
    /// `-o` says a name that cannot be one.
    #[error("{0} cannot be the name of a file")]
    Target(PathBuf),
    /// Whoever reads the standard output is gone.
    #[error("nobody reads the standard output any more: {0}")]
    Pipe(io::Error),
    /// Only one file goes to the standard output.
    #[error("only one file can go to the standard output")]
    NotOneFile,
    /// Files are offered where noise was expected, which nobody keeps.
    #[error("files are offered, and not noise")]
    NotNoise,
}

/// What there is at the destination, before anything is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Bytes that can be written, if that is known.
    pub free: Option<u64>,
    /// Bytes that an earlier attempt has left, and that need not be written again.
    pub held: u64,
    /// Items whose names are taken.
    pub existing: Vec<String>,
}

/// What is offered, as far as the destination cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Bytes of everything in it.
    pub bytes: u64,
}

/// The folder that everything goes into, and the name that a single item is to have instead of
/// its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    folder: PathBuf,
    name: Option<String>,
}

impl Destination {
    /// Where items go: into the current folder, into the folder said, which is made for several,
    /// or, when there is one item and what is said is no folder, under the name said.
    ///
    /// # Errors
    /// [`SinkError::Target`] when what is said cannot be a name.
    pub fn of(out: Option<&Path>, several: bool) -> Result<Self, SinkError> {
        match out {
            None => Ok(Self { folder: PathBuf::from("."), name: None }),
            Some(path) if several || path.is_dir() => {
                Ok(Self { folder: path.to_owned(), name: None })
            }
            Some(path) => Self::named(path),
        }
    }

    fn named(path: &Path) -> Result<Self, SinkError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = path.file_name().and_then(|name| name.to_str());
        let ends_in_separator =
            path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        match name.filter(|_| !ends_in_separator) {
            Some(name) => Ok(Self {
                folder: folder.unwrap_or(Path::new(".")).to_owned(),
                name: Some(name.to_owned()),
            }),
            None => Err(SinkError::Target(path.to_owned())),
        }
    }

    /// The folder that everything goes into.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        if self.folder == Path::new(".") { name.into() } else { self.folder.join(name) }
    }
}

/// What becomes of a file that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is taken, and this is what there is of it.
    Take(Found),
    /// It is not.
    Skip(Reason),
}

/// Items on their way into a folder.
#[derive(Debug)]
pub struct Sink {
    destination: Destination,
    conflict: Conflict,
    session: Option<Session>,
    folder: Dir,
    /// Whether an earlier attempt was looked for.
    looked: bool,
    staging: Option<Staging>,
    files: HashMap<FileId, Incoming>,
    handles: HashMap<FileId, File>,
    write_back: WriteBack,
    items: HashMap<String, Landing>,
}

/// A file on its way.
#[derive(Debug)]
struct Incoming {
    entry: Entry,
    /// Its number in the journal.
    noted: Option<u32>,
    /// Up to where there is space for it.
    reserved: u64,
}

/// An item on its way.
#[derive(Debug)]
struct Landing {
    /// The name that it is to have.
    target: String,
    existing: Existing,
    is_folder: bool,
    /// Files of an existing folder that may be replaced: they were there at the start.
    replaceable: HashSet<String>,
    /// Folders in the staging folder, and when they were changed last.
    folders: Vec<(String, Option<Modified>)>,
}

/// What has the name of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    Nothing,
    File,
    Folder,
    Other,
}

impl Sink {
    /// Opens the folder that items go into.
    ///
    /// # Errors
    /// [`SinkError::Folder`] when it cannot be used.
    pub fn open(
        destination: Destination,
        conflict: Conflict,
        session: Option<Session>,
    ) -> Result<Self, SinkError> {
        let opened = || {
            if !destination.folder.exists() && destination.name.is_none() {
                std::fs::create_dir_all(&destination.folder)?;
            }
            Dir::open_ambient_dir(&destination.folder, ambient_authority())
        };
        let folder = opened()
            .map_err(|error| SinkError::Folder { path: destination.folder.clone(), error })?;
        Ok(Self {
            destination,
            conflict,
            session,
            folder,
            looked: false,
            staging: None,
            files: HashMap::new(),
            handles: HashMap::new(),
            write_back: WriteBack::start(),
            items: HashMap::new(),
        })
    }

    /// Looks at the destination of some items, and makes sure of room for them.
    ///
    /// # Errors
    /// [`SinkError::NoRoom`] when there is too little.
    pub fn survey(&mut self, items: &[Item]) -> Result<Survey, SinkError> {
        if let Some(first) = items.first() {
            self.look(&first.name);
        }
        let existing =
            |item: &&Item| self.existing(self.target_of(&item.name)) != Existing::Nothing;
        let (taken, new): (Vec<_>, Vec<_>) = items.iter().partition(existing);
        let needed: u64 = new.iter().map(|item| item.bytes).sum();
        let held = self.staging.as_ref().map_or(0, Staging::held);
        let free = platform::free_space(&self.folder);
        let needed = needed.saturating_sub(held);
        if let Some(free) = free.filter(|free| needed > 0 && *free < needed.saturating_add(RESERVE))
        {
            return Err(SinkError::NoRoom { needed, free });
        }
        let existing = taken.into_iter().map(|item| item.name.clone()).collect();
        Ok(Survey { free, held, existing })
    }

    /// What is done about names that are taken, which may be decided late.
    pub fn decide(&mut self, conflict: Conflict) {
        self.conflict = conflict;
    }

    /// Looks what there is of a file.
    ///
    /// # Errors
    /// [`SinkError::Write`] when it cannot be looked at.
    pub fn look_at(&mut self, file: FileId, entry: Entry) -> Result<Opened, SinkError> {
        let failed = self.failed(&entry);
        let opened = self.opened(file, entry);
        opened.map_err(failed)
    }

    fn opened(&mut self, file: FileId, entry: Entry) -> io::Result<Opened> {
        self.look(entry.path.item());
        self.land(&entry);
        let base = self.base(&entry);
        if let Some(Base::Kept) = base {
            return Ok(Opened::Skip(Reason::TargetExists));
        }
        let base = base.and_then(|base| if let Base::Of(size) = base { Some(size) } else { None });
        if entry.kind == Kind::Directory {
            self.folder(&entry, base.is_some())?;
            self.files.insert(file, Incoming { entry, noted: None, reserved: 0 });
            return Ok(Opened::Take(Found { part: Vec::new(), base }));
        }
        let part = match &mut self.staging {
            Some(staging) => staging.take_over(&entry)?,
            None => Vec::new(),
        };
        self.files.insert(file, Incoming { entry, noted: None, reserved: 0 });
        Ok(Opened::Take(Found { part, base }))
    }

    /// Looks, once, for what an earlier attempt has left.
    fn look(&mut self, item: &str) {
        if !std::mem::replace(&mut self.looked, true) {
            self.staging = Staging::left(&self.folder, &self.destination.folder, item);
        }
    }

    fn staging(&mut self, item: &str) -> io::Result<&mut Staging> {
        let staging = match self.staging.take() {
            Some(staging) => staging,
            None => Staging::create(&self.folder, &self.destination.folder)?,
        };
        let staging = self.staging.insert(staging);
        if let Some(session) = self.session.take() {
            staging.note_session(&session)?;
        }
        staging.note_item(item)?;
        Ok(staging)
    }

    fn target_of(&self, item: &str) -> String {
        self.destination.name.clone().unwrap_or_else(|| item.to_owned())
    }

    fn existing(&self, target: String) -> Existing {
        match self.folder.symlink_metadata(target) {
            Err(_) => Existing::Nothing,
            Ok(data) if data.is_file() => Existing::File,
            Ok(data) if data.is_dir() => Existing::Folder,
            Ok(_) => Existing::Other,
        }
    }

    /// Remembers an item when its first entry comes.
    fn land(&mut self, entry: &Entry) {
        let item = entry.path.item();
        if !self.items.contains_key(item) {
            let target = self.target_of(item);
            let landing = Landing {
                existing: self.existing(target.clone()),
                target,
                is_folder: entry.kind == Kind::Directory || entry.path.parent().is_some(),
                replaceable: HashSet::new(),
                folders: Vec::new(),
            };
            self.items.insert(item.to_owned(), landing);
        }
    }

    /// Where an entry is, or would be, in the folder.
    fn final_path(&self, entry: &Entry) -> String {
        let (item, path) = (entry.path.item(), entry.path.as_str());
        let target = self.items.get(item).map_or(item, |landing| &landing.target);
        format!("{target}{}", path.get(item.len()..).unwrap_or_default())
    }

    /// What there is under the name of an entry, if that matters.
    fn base(&mut self, entry: &Entry) -> Option<Base> {
        let path = self.final_path(entry);
        let landing = self.items.get_mut(entry.path.item())?;
        if landing.is_folder != (landing.existing == Existing::Folder)
            || landing.existing == Existing::Nothing
        {
            let kept = self.conflict == Conflict::Skip && landing.existing != Existing::Nothing;
            return kept.then_some(Base::Kept);
        }
        let data = self.folder.symlink_metadata(&path).ok()?;
        if entry.kind == Kind::Directory {
            return data.is_dir().then_some(Base::Of(0));
        }
        let same_size = data.is_file() && data.len() == entry.size && entry.kind == Kind::File;
        match self.conflict {
            Conflict::Skip => Some(if same_size { Base::Of(entry.size) } else { Base::Kept }),
            Conflict::Rename => same_size.then_some(Base::Of(entry.size)),
            Conflict::Replace if data.is_file() => {
                landing.replaceable.insert(path);
                (entry.kind == Kind::File).then(|| Base::Of(data.len()))
            }
            Conflict::Replace => None,
        }
    }

    fn folder(&mut self, entry: &Entry, exists: bool) -> io::Result<()> {
        let item = entry.path.item().to_owned();
        if let Some(landing) = self.items.get_mut(&item) {
            landing.folders.push((entry.path.as_str().to_owned(), entry.modified));
        }
        if exists { Ok(()) } else { self.staging(&item)?.make_folder(entry.path.as_str()) }
    }

    /// Writes parts that follow each other.
    ///
    /// # Errors
    /// [`SinkError::Write`], for example when the disk is full.
    pub(super) fn write(&mut self, run: &Run) -> Result<(), SinkError> {
        let Some(entry) = self.entry(run.file()) else { return Ok(()) };
        self.write_at(run, &entry).map_err(self.failed(&entry))
    }

    fn write_at(&mut self, run: &Run, entry: &Entry) -> io::Result<()> {
        self.open_part(run.file(), entry)?;
        let file = self.handles.get(&run.file()).ok_or(io::ErrorKind::NotFound)?;
        platform::step("write")?;
        if let Some(incoming) = self.files.get_mut(&run.file()) {
            incoming.reserve(file, run.position()..run.position() + run.size().0);
        }
        platform::write_all_at(file, &mut run.slices(), run.position())?;
        self.write_back.wrote(file, run.size().0);
        Ok(())
    }

    fn entry(&self, file: FileId) -> Option<Entry> {
        self.files.get(&file).map(|incoming| incoming.entry.clone())
    }

    fn handle(&mut self, file: FileId, entry: &Entry) -> io::Result<&File> {
        self.open_part(file, entry)?;
        self.handles.get(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_part(&mut self, file: FileId, entry: &Entry) -> io::Result<()> {
        if !self.handles.contains_key(&file) {
            if self.handles.len() >= MOST_OPEN {
                self.handles.clear();
            }
            let part = self.staging(entry.path.item())?.part(entry.path.as_str())?;
            self.handles.insert(file, part);
        }
        Ok(())
    }

    /// Opens what there is of a file from before, for hashing.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn from_before(&self, file: FileId, origin: Origin) -> io::Result<(File, Entry)> {
        let entry = self.entry(file).ok_or(io::ErrorKind::NotFound)?;
        let opened = match (origin, &self.staging) {
            (Origin::Base, _) => {
                platform::open_beneath(&self.folder, Path::new(&self.final_path(&entry)))
            }
            (Origin::Part, Some(staging)) => {
                platform::open_beneath(&staging.tree, Path::new(entry.path.as_str()))
            }
            (Origin::Part, None) => Err(io::ErrorKind::NotFound.into()),
        };
        Ok((opened?, entry))
    }

    /// Copies a chunk from the file that has the name; gives its hash.
    ///
    /// # Errors
    /// [`SinkError::Write`].
    pub fn copy(&mut self, file: FileId, chunk: u32) -> Result<Hash, SinkError> {
        let Some(entry) = self.entry(file) else { return Ok(Hash::of(&[])) };
        let copied = self.copied(file, &entry, chunk);
        copied.map_err(self.failed(&entry))
    }

    fn copied(&mut self, file: FileId, entry: &Entry, chunk: u32) -> io::Result<Hash> {
        let (from, _) = self.from_before(file, Origin::Base)?;
        let (start, length) = entry.chunking().span(chunk).unwrap_or_default();
        copy(&from, self.handle(file, entry)?, start..start.saturating_add(u64::from(length)))
    }

    /// Notes that a chunk is right.
    ///
    /// # Errors
    /// [`SinkError::Write`].
    pub fn keep(&mut self, file: FileId, chunk: u32) -> Result<(), SinkError> {
        let Some(entry) = self.entry(file) else { return Ok(()) };
        // A file of one chunk is recognised by its size and time once it is finished.
        if entry.chunk_count() == Some(1) || entry.kind == Kind::Stream {
            return Ok(());
        }
        let noted = self.note(file, &entry, chunk);
        noted.map_err(self.failed(&entry))
    }

    fn note(&mut self, file: FileId, entry: &Entry, chunk: u32) -> io::Result<()> {
        let number = self.files.get(&file).and_then(|incoming| incoming.noted);
        let staging = self.staging(entry.path.item())?;
        let number = match number {
            Some(number) => number,
            None => staging.note_file(entry)?,
        };
        staging.note_chunk(number, chunk)?;
        if let Some(incoming) = self.files.get_mut(&file) {
            incoming.noted = Some(number);
        }
        Ok(())
    }

    /// Makes a part file what the finished one is to be.
    ///
    /// # Errors
    /// [`SinkError::Write`].
    pub fn finish(&mut self, file: FileId) -> Result<(), SinkError> {
        let Some(entry) = self.entry(file) else { return Ok(()) };
        let finished = self.finished(file, &entry);
        finished.map_err(self.failed(&entry))
    }

    fn finished(&mut self, file: FileId, entry: &Entry) -> io::Result<()> {
        let part = self.handle(file, entry)?;
        platform::make_ordinary(part, entry.executable)?;
        if let Some(modified) = entry.modified.and_then(time) {
            part.set_modified(modified)?;
        }
        self.handles.remove(&file);
        self.files.remove(&file);
        if let Some(staging) = &mut self.staging {
            staging.worth_keeping |= entry.size > 0;
        }
        Ok(())
    }

    /// Copies a file or folder that is the same as the one of that name; gives the digest.
    ///
    /// # Errors
    /// [`SinkError::Write`].
    pub fn copy_file(&mut self, file: FileId) -> Result<Hash, SinkError> {
        let Some(entry) = self.entry(file) else { return Ok(Hash::of(&[])) };
        if entry.kind == Kind::Directory {
            let made = self.staging(entry.path.item());
            let made = made.and_then(|staging| staging.make_folder(entry.path.as_str()));
            return made.map(|()| tree(&[])).map_err(self.failed(&entry));
        }
        let hashes = (0..entry.chunking().count()).map(|chunk| self.copy(file, chunk));
        let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
        self.finish(file)?;
        Ok(tree(&hashes))
    }

    /// Forgets a file that is the same as the one of that name, unless it may yet be copied.
    pub fn here(&mut self, file: FileId) {
        if self.conflict != Conflict::Rename {
            self.files.remove(&file);
        }
    }

    /// Throws away what there is of a file.
    pub fn discard(&mut self, file: FileId) {
        self.handles.remove(&file);
        if let (Some(incoming), Some(staging)) = (self.files.remove(&file), &self.staging) {
            let removed = staging.tree.remove_file(incoming.entry.path.as_str());
            tracing::debug!(?removed, "part file");
        }
    }

    /// Flushes items and puts them under their final names, or the next ones that are free;
    /// gives the paths that they have now.
    ///
    /// # Errors
    /// [`SinkError::Write`].
    pub fn commit(&mut self, items: &[String]) -> Result<Vec<PathBuf>, SinkError> {
        let first = items.first().map(|item| self.destination.path(&self.target_of(item)));
        let failed = |error| SinkError::Write { path: first.clone().unwrap_or_default(), error };
        self.flush(items).map_err(failed)?;
        let mut paths = Vec::new();
        for item in items {
            let name = self.publish(item).map_err(|error| {
                let path = self.destination.path(&self.target_of(item));
                SinkError::Write { path, error }
            })?;
            paths.push(self.destination.path(&name));
        }
        platform::step("fsync-folder").map_err(failed)?;
        platform::sync_directory(&self.folder).map_err(failed)?;
        Ok(paths)
    }

    fn flush(&mut self, items: &[String]) -> io::Result<()> {
        let Some(staging) = &self.staging else { return Ok(()) };
        let mut whole = items.len() > FEW;
        for landing in items.iter().filter_map(|item| self.items.get(item)) {
            whole |= landing.is_folder;
            for (path, modified) in landing.folders.iter().rev() {
                if let Some(modified) = modified.and_then(time) {
                    set_folder_time(&staging.tree, path, modified);
                }
            }
        }
        platform::step("fsync")?;
        if whole && platform::sync_file_system(&staging.tree)? {
            return Ok(());
        }
        items.iter().try_for_each(|item| sync_all(&staging.tree, Path::new(item)))
    }

    fn publish(&mut self, item: &str) -> io::Result<String> {
        platform::step("rename")?;
        let (Some(staging), Some(landing)) = (&self.staging, self.items.get(item)) else {
            return Ok(item.to_owned());
        };
        let (target, tree) = (landing.target.clone(), staging.tree.try_clone()?);
        let merge = self.conflict != Conflict::Rename && landing.existing == Existing::Folder;
        if merge && landing.is_folder {
            self.merge(&tree, Path::new(item), &target)?;
            return Ok(target);
        }
        if landing.replaceable.contains(&target) {
            platform::replace((&tree, Path::new(item)), (&self.folder, Path::new(&target)))?;
            return Ok(target);
        }
        self.take_free_name((&tree, Path::new(item)), &target)
    }

    /// Puts what is in a staged folder into one that exists.
    fn merge(&self, tree: &Dir, from: &Path, to: &str) -> io::Result<()> {
        if !tree.exists(from) {
            return Ok(()); // Nothing of it differs.
        }
        for entry in tree.read_dir(from)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (from, to) = (from.join(&name), format!("{to}/{name}"));
            let there = self.folder.symlink_metadata(&to).ok();
            if entry.file_type()?.is_dir() && there.is_some_and(|data| data.is_dir()) {
                self.merge(tree, &from, &to)?;
            } else if self.items.values().any(|landing| landing.replaceable.contains(&to)) {
                platform::replace((tree, &from), (&self.folder, Path::new(&to)))?;
            } else {
                self.take_free_name((tree, &from), &to)?;
            }
        }
        let folder = self.folder.open_dir(to)?;
        platform::sync_directory(&folder)
    }

    fn take_free_name(&self, from: (&Dir, &Path), target: &str) -> io::Result<String> {
        for copy in 0..MOST_COPIES {
            let name = numbered(target, copy);
            let to = (&self.folder, Path::new(&name));
            match platform::rename_without_replacing(from, to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|()| name),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn failed(&self, entry: &Entry) -> impl FnOnce(io::Error) -> SinkError + use<> {
        let path = self.destination.path(&self.final_path(entry));
        move |error| SinkError::Write { path, error }
    }

    /// Ends. What a later attempt can use is kept if that is wanted, and nothing else.
    pub fn close(mut self, keep: bool) {
        self.handles.clear();
        if let Some(staging) = self.staging.take() {
            staging.close(&self.folder, keep);
        }
    }
}

impl Incoming {
    /// Reserves space for what is about to be written and some more: that is cheaper to write, and
    /// lies together on the disk.
    fn reserve(&mut self, file: &File, next: Range<u64>) {
        if self.entry.size <= AHEAD || next.end <= self.reserved {
            return;
        }
        let from = next.start.max(self.reserved);
        self.reserved = next.end.max(self.entry.size.min(next.end.saturating_add(AHEAD)));
        // If there is too little, writing says so.
        if let Err(error) = platform::reserve(file, from..self.reserved) {
            tracing::debug!(%error, "space");
        }
    }
}

enum Base {
    /// There is a file of this size, or a folder, that may be the same.
    Of(u64),
    /// There is something that is to be kept.
    Kept,
}

fn time(modified: Modified) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::new(modified.seconds, modified.nanoseconds))
}

/// A folder's time is a nicety: without it, the transfer is as good.
fn set_folder_time(tree: &Dir, path: &str, modified: SystemTime) {
    if let Err(error) = platform::set_folder_time(tree, Path::new(path), modified) {
        tracing::debug!(%error, path, "time of a folder");
    }
}

/// Flushes a file, or everything in a folder.
fn sync_all(tree: &Dir, path: &Path) -> io::Result<()> {
    let data = match tree.symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if data.is_dir() {
        for entry in tree.read_dir(path)? {
            sync_all(tree, &path.join(entry?.file_name()))?;
        }
        return platform::sync_directory(&tree.open_dir(path)?);
    }
    tree.open(path)?.sync_all()
}

/// Copies a range of one file into another, at the same place; gives its hash.
fn copy(from: &File, to: &File, range: Range<u64>) -> io::Result<Hash> {
    let mut hashed = Unhashed::default();
    let mut buffer = vec![0; COPY];
    let mut position = range.start;
    while position < range.end {
        let left = usize::try_from(range.end - position).unwrap_or(COPY).min(COPY);
        let part = buffer.get_mut(..left).unwrap_or_default();
        platform::read_at(from, part, position)?;
        platform::write_at(to, part, position)?;
        hashed.add_now(part);
        position += left as u64;
    }
    Ok(hashed.hash())
}

/// `name.ext`, `name (1).ext`, `name (2).ext` and so on.
fn numbered(path: &str, copy: u32) -> String {
    if copy == 0 {
        return path.to_owned();
    }
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(_, name)| {
        (path.get(..path.len() - name.len()).unwrap_or_default(), name)
    });
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => {
            format!("{folder}{stem} ({copy}).{extension}")
        }
        _ => format!("{folder}{name} ({copy})"),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::proto::name::RelPath;

    /// Bytes on the disk.
    fn space(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    fn incoming(size: u64) -> Incoming {
        let path = RelPath::parse(["a"]).unwrap();
        let entry = Entry { kind: Kind::File, path, size, modified: None, executable: false };
        Incoming { entry, noted: None, reserved: 0 }
    }

    #[test]
    fn space_is_reserved_ahead_and_a_file_is_not_longer_for_it() {
        let (file, mut incoming) = (tempfile::tempfile().unwrap(), incoming(2 * AHEAD));
        incoming.reserve(&file, 0..1_000);
        let reserved = space(&file);
        assert!(reserved >= AHEAD, "{reserved}");
        incoming.reserve(&file, 1_000..AHEAD);
        assert_eq!(space(&file), reserved);
        incoming.reserve(&file, AHEAD..2 * AHEAD);
        assert!(space(&file).abs_diff(2 * AHEAD) < AHEAD / 8, "{}", space(&file));
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn no_space_is_reserved_for_a_short_file() {
        let (file, mut incoming) = (tempfile::tempfile().unwrap(), incoming(AHEAD));
        incoming.reserve(&file, 0..1_000);
        assert_eq!(space(&file), 0);
    }
}
