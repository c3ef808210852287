//! Where a received file is kept until it is whole, and how it gets its name.
//!
//! Everything lands in one hidden folder beside its destination, through handles of both folders,
//! so that nothing of ours bears a final name before it is verified and flushed, no symbolic link
//! is followed and no other file is touched. [`super::writer`] calls this.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cap_std::{ambient_authority, fs::Dir};
use data_encoding::HEXLOWER;

use super::platform;
use crate::proto::{manifest::Entry, name::Name};

/// The part file's name within the hidden folder.
const PART: &str = "part";

/// Free space that is left alone, in bytes.
const RESERVE: u64 = 16 * 1024 * 1024;

/// How many names like `name (1).ext` are tried.
const MOST_COPIES: u32 = 10_000;

/// Why a file cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The folder it is to go into cannot be used.
    #[error("cannot write into {path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be written or named.
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
        /// Bytes of the file.
        needed: u64,
        /// Bytes that are free where it is to go.
        free: u64,
    },
    /// `-o` says a name that cannot be one.
    #[error("{0} cannot be the name of a file")]
    Target(PathBuf),
}

/// The folder and the name that a file is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    folder: PathBuf,
    name: String,
}

impl Destination {
    /// Where an entry goes: into the current folder, into the folder said, or, when what is said
    /// is no folder, under the name said.
    ///
    /// # Errors
    /// [`SinkError::Target`] when what is said cannot be a name.
    pub fn of(name: &Name, out: Option<&Path>) -> Result<Self, SinkError> {
        let name = name.as_str().to_owned();
        match out {
            None => Ok(Self { folder: PathBuf::from("."), name }),
            Some(path) if path.is_dir() => Ok(Self { folder: path.to_owned(), name }),
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
                name: name.to_owned(),
            }),
            None => Err(SinkError::Target(path.to_owned())),
        }
    }

    /// The whole path, for messages.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.with_name(&self.name)
    }

    fn with_name(&self, name: &str) -> PathBuf {
        if self.folder == Path::new(".") { name.into() } else { self.folder.join(name) }
    }
}

/// A part file in its hidden folder; both go when this is dropped before [`Sink::commit`].
#[derive(Debug)]
pub struct Sink {
    destination: Destination,
    folder: Dir,
    staging: Option<Staging>,
    file: File,
    entry: Entry,
}

#[derive(Debug)]
struct Staging {
    name: String,
    folder: Dir,
}

impl Sink {
    /// Makes sure of room and opens the part file.
    ///
    /// # Errors
    /// [`SinkError`] when the folder cannot be written to or has too little room.
    pub fn create(destination: Destination, entry: Entry) -> Result<Self, SinkError> {
        let failed = |error| SinkError::Folder { path: destination.folder.clone(), error };
        let folder =
            Dir::open_ambient_dir(&destination.folder, ambient_authority()).map_err(failed)?;
        check_room(&folder, entry.size)?;
        let staging = Staging::create(&folder).map_err(failed)?;
        match staging.folder.open_with(PART, &platform::private_file()) {
            Ok(file) => {
                let staging = Some(staging);
                Ok(Self { destination, folder, staging, file: file.into_std(), entry })
            }
            Err(error) => {
                staging.remove(&folder);
                Err(SinkError::Folder { path: destination.folder, error })
            }
        }
    }

    /// Writes bytes at a position of the file.
    ///
    /// # Errors
    /// [`SinkError::Write`], for example when the disk is full.
    pub fn write(&self, bytes: &[u8], position: u64) -> Result<(), SinkError> {
        platform::write_at(&self.file, bytes, position).map_err(|error| self.failed(error))
    }

    /// Flushes the file and puts it under its final name, or the next one that is free; gives
    /// the path it has now.
    ///
    /// # Errors
    /// [`SinkError::Write`]; the part file is gone then.
    pub fn commit(mut self) -> Result<PathBuf, SinkError> {
        let name = self.publish().map_err(|error| self.failed(error))?;
        if let Some(staging) = self.staging.take() {
            staging.remove(&self.folder);
        }
        Ok(self.destination.with_name(&name))
    }

    fn publish(&self) -> io::Result<String> {
        platform::make_ordinary(&self.file, self.entry.executable)?;
        if let Some(modified) = self.modified() {
            self.file.set_modified(modified)?;
        }
        self.file.sync_all()?;
        let name = self.take_free_name()?;
        platform::sync_directory(&self.folder)?;
        Ok(name)
    }

    fn modified(&self) -> Option<SystemTime> {
        let modified = self.entry.modified?;
        UNIX_EPOCH.checked_add(Duration::new(modified.seconds, modified.nanoseconds))
    }

    fn take_free_name(&self) -> io::Result<String> {
        let staging = self.staging.as_ref().expect("only commit and drop take it away");
        for copy in 0..MOST_COPIES {
            let name = numbered(&self.destination.name, copy);
            let renamed =
                platform::rename_without_replacing((&staging.folder, PART), (&self.folder, &name));
            match renamed {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|()| name),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn failed(&self, error: io::Error) -> SinkError {
        SinkError::Write { path: self.destination.path(), error }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(staging) = self.staging.take() {
            staging.remove(&self.folder);
        }
    }
}

impl Staging {
    fn create(folder: &Dir) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!(".p2pshare-{}", HEXLOWER.encode(&random));
        folder.create_dir_with(&name, &platform::private_directory())?;
        let opened = folder.open_dir(&name)?;
        Ok(Self { name, folder: opened })
    }

    /// Removes what was made here and nothing else; what cannot be removed is left.
    fn remove(self, folder: &Dir) {
        let removed = self.folder.remove_file(PART);
        tracing::debug!(?removed, "part file");
        let removed = folder.remove_dir(&self.name);
        tracing::debug!(?removed, "staging folder");
    }
}

fn check_room(folder: &Dir, needed: u64) -> Result<(), SinkError> {
    match platform::free_space(folder) {
        Some(free) if free < needed.saturating_add(RESERVE) && needed > 0 => {
            Err(SinkError::NoRoom { needed, free })
        }
        _ => Ok(()),
    }
}

/// `name.ext`, `name (1).ext`, `name (2).ext` and so on.
fn numbered(name: &str, copy: u32) -> String {
    if copy == 0 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem} ({copy}).{extension}"),
        _ => format!("{name} ({copy})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::file;

    fn sink(folder: &Path) -> Sink {
        let destination = Destination::of(&"a.bin".try_into().unwrap(), Some(folder)).unwrap();
        Sink::create(destination, file(5)).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_bears_the_final_name_before_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let sink = sink(folder.path());
        sink.write(b"lo", 3).unwrap();
        sink.write(b"hel", 0).unwrap();
        assert!(names(folder.path()).iter().all(|name| name.starts_with(".p2pshare-")));
        assert_eq!(sink.commit().unwrap(), folder.path().join("a.bin"));
        assert_eq!(names(folder.path()), ["a.bin"]);
        assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), b"hello");
    }

    #[test]
    fn a_file_that_appears_meanwhile_keeps_its_name_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for expected in ["a (1).bin", "a (2).bin"] {
            let sink = sink(folder.path());
            std::fs::write(folder.path().join("a.bin"), b"mine").unwrap();
            assert_eq!(sink.commit().unwrap(), folder.path().join(expected));
        }
        assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), b"mine");
    }

    #[test]
    fn a_link_under_the_final_name_is_neither_followed_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, b"mine").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("a.bin")).unwrap();
        assert_eq!(sink(folder.path()).commit().unwrap(), folder.path().join("a (1).bin"));
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn what_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(sink(folder.path()));
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn only_the_owner_can_look_into_what_is_not_finished() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let sink = sink(folder.path());
        let hidden = folder.path().join(&names(folder.path())[0]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&hidden), 0o700);
        assert_eq!(mode(&hidden.join(PART)), 0o600);
        drop(sink);
    }

    #[test]
    fn the_time_and_the_execute_bit_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let modified = crate::proto::manifest::Modified { seconds: 1_600_000_000, nanoseconds: 5 };
        let entry = Entry { modified: Some(modified), executable: true, ..file(0) };
        let destination = Destination::of(&"x".try_into().unwrap(), Some(folder.path())).unwrap();
        let path = Sink::create(destination, entry).unwrap().commit().unwrap();
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(metadata.modified().unwrap(), UNIX_EPOCH + Duration::new(1_600_000_000, 5));
        assert_eq!(metadata.permissions().mode() & 0o7100, 0o100);
    }

    #[test]
    fn a_file_larger_than_the_disk_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::of(&"x".try_into().unwrap(), Some(folder.path())).unwrap();
        let refused = Sink::create(destination, file(1 << 52));
        assert!(matches!(refused, Err(SinkError::NoRoom { .. })));
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn out_may_be_a_folder_or_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = Name::try_from("a.bin").unwrap();
        let path = |out: &Path| Destination::of(&name, Some(out)).map(|d| d.path());
        assert_eq!(Destination::of(&name, None).unwrap().path(), Path::new("a.bin"));
        assert_eq!(path(folder.path()).unwrap(), folder.path().join("a.bin"));
        assert_eq!(path(&folder.path().join("b.bin")).unwrap(), folder.path().join("b.bin"));
        assert_eq!(path(Path::new("b.bin")).unwrap(), Path::new("b.bin"));
        assert!(matches!(path(Path::new("no/such/")), Err(SinkError::Target(_))));
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a.tar.gz", 1), "a.tar (1).gz");
        assert_eq!(numbered("a", 2), "a (2)");
        assert_eq!(numbered(".profile", 3), ".profile (3)");
    }
}
