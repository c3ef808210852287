//! What each system does in its own way: one function, once per family of systems.
//!
//! Linux is tested. The others compile from the same calls where they have them, and take the
//! portable way where they do not.

use std::{
    fs::{File, Metadata},
    io,
};

use cap_std::fs::{Dir, DirBuilder, OpenOptions};

/// What tells whether a file is still the same: changes when anything wrote to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([u64; 6]);

/// Takes a file's stamp.
#[cfg(unix)]
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    Stamp([
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned() ^ (metadata.ctime().cast_unsigned() << 30),
    ])
}

/// Takes a file's stamp.
#[cfg(not(unix))]
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    let modified =
        metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let modified = modified.unwrap_or_default();
    Stamp([metadata.len(), modified.as_secs(), u64::from(modified.subsec_nanos()), 0, 0, 0])
}

/// Whether the owner may execute a file.
#[cfg(unix)]
pub(super) fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

/// Whether the owner may execute a file.
#[cfg(not(unix))]
pub(super) fn is_executable(_: &Metadata) -> bool {
    false
}

/// Writes all bytes at a position.
#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position)
}

/// Writes all bytes at a position.
#[cfg(not(unix))]
pub(super) fn write_at(mut file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    use io::{Seek, Write};
    file.seek(io::SeekFrom::Start(position))?;
    file.write_all(bytes)
}

/// A folder that only its owner can enter.
#[cfg(unix)]
pub(super) fn private_directory() -> DirBuilder {
    use cap_std::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// A folder that only its owner can enter.
#[cfg(not(unix))]
pub(super) fn private_directory() -> DirBuilder {
    DirBuilder::new()
}

/// How a new file that only its owner can read is opened; never an existing one.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Gives a finished file the mode that a new file of this user would have.
#[cfg(unix)]
pub(super) fn make_ordinary(file: &File, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let wanted = if executable { 0o777 } else { 0o666 };
    file.set_permissions(std::fs::Permissions::from_mode(wanted & !umask()))
}

/// Gives a finished file the mode that a new file of this user would have.
#[cfg(not(unix))]
pub(super) fn make_ordinary(_: &File, _: bool) -> io::Result<()> {
    Ok(())
}

/// The process's mask of modes. Reading it means setting it, so this is done for a moment only,
/// while no other thread of this program makes files.
#[cfg(unix)]
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// Gives a file a new name, never one that is taken ([`io::ErrorKind::AlreadyExists`]).
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(super) fn rename_without_replacing(from: (&Dir, &str), to: (&Dir, &str)) -> io::Result<()> {
    use rustix::{fs, io::Errno};
    match fs::renameat_with(from.0, from.1, to.0, to.1, fs::RenameFlags::NOREPLACE) {
        // The file system (NFS, some FUSE) does not know the flag; a hard link never replaces.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::linkat(from.0, from.1, to.0, to.1, fs::AtFlags::empty())?;
            fs::unlinkat(from.0, from.1, fs::AtFlags::empty())?;
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Gives a file a new name, never one that is taken ([`io::ErrorKind::AlreadyExists`]).
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(super) fn rename_without_replacing(from: (&Dir, &str), to: (&Dir, &str)) -> io::Result<()> {
    from.0.hard_link(from.1, to.0, to.1)?;
    from.0.remove_file(from.1)
}

/// Makes the names in a folder survive a power cut.
#[cfg(unix)]
pub(super) fn sync_directory(directory: &Dir) -> io::Result<()> {
    use rustix::{fs, io::Errno};
    // cap-std's own handle is one for paths only (O_PATH), which cannot be synced.
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
    let readable = fs::openat(directory, ".", flags, fs::Mode::empty())?;
    match fs::fsync(readable) {
        // Some file systems have nothing to sync for a folder.
        Err(Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Makes the names in a folder survive a power cut.
#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Dir) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user can still write to the file system of a folder, if that is known.
#[cfg(unix)]
pub(super) fn free_space(directory: &Dir) -> Option<u64> {
    let statistics = rustix::fs::fstatvfs(directory).ok()?;
    statistics.f_bavail.checked_mul(statistics.f_frsize)
}

/// Bytes that this user can still write to the file system of a folder, if that is known.
#[cfg(not(unix))]
pub(super) fn free_space(_: &Dir) -> Option<u64> {
    None
}
