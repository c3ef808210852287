//! Where interrupted transfers have left something: one small file each, in the user's state
//! folder. It is only for finding them again; without it, a transfer goes on all the same.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use etcetera::{BaseStrategy, choose_base_strategy};

fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("P2PSHARE_STATE_DIR") {
        return Some(folder.into());
    }
    let strategy = choose_base_strategy().ok()?;
    let state = strategy.state_dir().unwrap_or_else(|| strategy.data_dir());
    Some(state.join("p2pshare").join("transfers"))
}

pub(super) fn remember(staging: &Path) {
    let remembered = || -> io::Result<()> {
        let folder = folder().ok_or(io::ErrorKind::NotFound)?;
        let name = staging.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(&folder)?;
        let path = fs::canonicalize(staging)?;
        fs::write(folder.join(name), path.as_os_str().as_encoded_bytes())
    };
    if let Err(error) = remembered() {
        tracing::debug!(%error, "registry");
    }
}

pub(super) fn forget(staging: &Path) {
    let forgotten =
        folder().zip(staging.file_name()).map(|(folder, name)| fs::remove_file(folder.join(name)));
    tracing::debug!(?forgotten, "registry");
}

/// The hidden folders that are known.
pub(super) fn all() -> Vec<PathBuf> {
    let entries = folder().and_then(|folder| fs::read_dir(folder).ok());
    let entries = entries.into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| path_in(&entry.path(), &entry.file_name()));
    paths.collect()
}

/// The path that a file holds; it must lead to a folder of the same name.
fn path_in(file: &Path, name: &OsStr) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    Some(PathBuf::from(text)).filter(|path| path.file_name() == Some(name) && path.is_absolute())
}
