//! What each system does in its own way: one function, once per family of systems.
//!
//! Linux is tested. The others compile from the same calls where they have them, and take the
//! portable way where they do not.

use std::{
    fs::{File, Metadata},
    io::{self, IoSlice},
    ops::Range,
    path::Path,
    time::SystemTime,
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

/// Reads as many bytes as there is room for, from a position.
#[cfg(unix)]
pub(super) fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, position)
}

/// Reads as many bytes as there is room for, from a position.
#[cfg(not(unix))]
pub(super) fn read_at(mut file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    use io::{Read, Seek};
    file.seek(io::SeekFrom::Start(position))?;
    file.read_exact(bytes)
}

/// Has the system read a file from the disk the next time; in vain where it keeps it all the same.
#[cfg(target_os = "linux")]
pub(super) fn forget(file: &File) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "fadvise");
    }
}

/// Has the system read a file from the disk the next time; in vain where it keeps it all the same.
#[cfg(not(target_os = "linux"))]
pub(super) fn forget(_: &File) {}

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

/// Writes all bytes, which follow each other, at a position.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) fn write_all_at(
    file: &File,
    mut slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    while !slices.is_empty() {
        match rustix::io::pwritev(file, slices, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                position += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all bytes, which follow each other, at a position.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn write_all_at(
    file: &File,
    slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    for slice in slices {
        write_at(file, slice, position)?;
        position += slice.len() as u64;
    }
    Ok(())
}

/// Reserves space for a range of a file, whose length stays, if the system can without writing.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, range.start, range.end - range.start)?)
}

/// Reserves nothing.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn reserve(_: &File, _: Range<u64>) -> io::Result<()> {
    Ok(())
}

/// Opens a file beneath a folder for reading, without following a symbolic link in any part of
/// its path. A pipe under that name does not block; whether it is a regular file is not asked.
#[cfg(target_os = "linux")]
pub(super) fn open_beneath(folder: &Dir, path: &Path) -> io::Result<File> {
    use rustix::{
        fs::{Mode, ResolveFlags, openat2},
        io::Errno,
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(folder, path, reading(), Mode::empty(), resolve) {
        Ok(file) => blocking(file),
        // The kernel is older than 5.6, or a container's filter does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_stepwise(folder, path),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file beneath a folder for reading, without following a symbolic link in any part of
/// its path. A pipe under that name does not block; whether it is a regular file is not asked.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn open_beneath(folder: &Dir, path: &Path) -> io::Result<File> {
    open_stepwise(folder, path)
}

/// Opens a file beneath a folder for reading, without following a symbolic link in any part of
/// its path, unless one appears at this very moment: it leads nowhere outside of the folder.
#[cfg(not(unix))]
pub(super) fn open_beneath(folder: &Dir, path: &Path) -> io::Result<File> {
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        if folder.symlink_metadata(part)?.is_symlink() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    Ok(folder.open(path)?.into_std())
}

/// Goes from folder to folder by their handles.
#[cfg(unix)]
pub(super) fn open_stepwise(folder: &Dir, path: &Path) -> io::Result<File> {
    use std::{os::fd::AsFd, path::Component};

    use rustix::fs::{Mode, OFlags, openat};
    let mut at = folder.as_fd().try_clone_to_owned()?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { break };
        if parts.peek().is_none() {
            return blocking(openat(&at, name, reading(), Mode::empty())?);
        }
        at = openat(&at, name, reading() | OFlags::DIRECTORY, Mode::empty())?;
    }
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(unix)]
fn reading() -> rustix::fs::OFlags {
    use rustix::fs::OFlags;
    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

/// Takes `O_NONBLOCK` away, which was for opening only: some file systems (FUSE) heed it.
#[cfg(unix)]
fn blocking(file: std::os::fd::OwnedFd) -> io::Result<File> {
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?;
    Ok(file.into())
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

/// The process's mask of modes. Reading it means setting it, so this is done once, for a moment.
#[cfg(unix)]
fn umask() -> u32 {
    static MASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *MASK.get_or_init(|| {
        let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

/// A folder as a new one of this user would be.
#[cfg(unix)]
pub(super) fn ordinary_directory() -> DirBuilder {
    use cap_std::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o777 & !umask());
    builder
}

/// A folder as a new one of this user would be.
#[cfg(not(unix))]
pub(super) fn ordinary_directory() -> DirBuilder {
    DirBuilder::new()
}

/// A lock on an open file, as long as it is open; `false` when another process has it.
#[cfg(unix)]
pub(super) fn lock(file: &File) -> io::Result<bool> {
    use rustix::{fs, io::Errno};
    match fs::flock(file, fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A lock on an open file, as long as it is open; `false` when another process has it.
#[cfg(not(unix))]
pub(super) fn lock(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// A place where tests let things fail: in debug builds, `P2PSHARE_FAIL_POINT=step:error:n` makes
/// the n-th such step fail, and `step:abort:n` ends the process there, as a power cut would.
#[cfg(debug_assertions)]
pub(super) fn step(name: &str) -> io::Result<()> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(wish) = std::env::var("P2PSHARE_FAIL_POINT") else { return Ok(()) };
    let mut parts = wish.split(':');
    let (step, how) = (parts.next(), parts.next());
    let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(1);
    if step != Some(name) || COUNT.fetch_add(1, Ordering::Relaxed) + 1 != number {
        return Ok(());
    }
    match how {
        Some("abort") => std::process::abort(),
        _ => Err(io::Error::other("a test lets this fail")),
    }
}

/// A place where tests let things fail, in debug builds only.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail in debug builds")]
pub(super) fn step(_: &str) -> io::Result<()> {
    Ok(())
}

/// Sets when a folder was changed last.
#[cfg(unix)]
pub(super) fn set_folder_time(parent: &Dir, path: &Path, at: SystemTime) -> io::Result<()> {
    use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let changed = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
    let read = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: read, last_modification: changed };
    Ok(utimensat(parent, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets when a folder was changed last.
#[cfg(not(unix))]
pub(super) fn set_folder_time(parent: &Dir, path: &Path, at: SystemTime) -> io::Result<()> {
    parent.open_dir(path)?.into_std_file().set_modified(at)
}

/// Makes everything in the file system of a folder survive a power cut, where there is one call
/// for that; `false` where there is none.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn sync_file_system(folder: &Dir) -> io::Result<bool> {
    use rustix::fs;
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
    fs::syncfs(fs::openat(folder, ".", flags, fs::Mode::empty())?)?;
    Ok(true)
}

/// Makes everything in the file system of a folder survive a power cut, where there is one call
/// for that; `false` where there is none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn sync_file_system(_: &Dir) -> io::Result<bool> {
    Ok(false)
}

/// Whether a folder is this user's, and nobody else can look into it: the last six bits of its
/// mode are zero.
#[cfg(unix)]
pub(super) fn is_private(folder: &Dir) -> bool {
    use cap_std::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    folder.dir_metadata().is_ok_and(|data| data.uid() == user && data.mode().trailing_zeros() >= 6)
}

/// Whether a folder is this user's, and nobody else can look into it.
#[cfg(not(unix))]
pub(super) fn is_private(_: &Dir) -> bool {
    true
}

/// Gives a file a new name, in place of what has it.
pub(super) fn replace(from: (&Dir, &Path), to: (&Dir, &Path)) -> io::Result<()> {
    from.0.rename(from.1, to.0, to.1)
}

/// Gives a file a new name, never one that is taken ([`io::ErrorKind::AlreadyExists`]).
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(super) fn rename_without_replacing(from: (&Dir, &Path), to: (&Dir, &Path)) -> io::Result<()> {
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
pub(super) fn rename_without_replacing(from: (&Dir, &Path), to: (&Dir, &Path)) -> io::Result<()> {
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
