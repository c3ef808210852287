//! What is to be sent: several files and folders, walked while they are already being sent.
//!
//! Beneath what the user chose, no symbolic link is followed, neither when the tree is walked nor
//! when a file is opened, and only regular files and folders are sent; the rest is
//! [left out](LeftOut) and said. The session walks the tree on one thread and opens files on
//! another; the tree remembers its items only, so that a million entries cost no memory here.
//!
//! The walk goes by paths, [`Tree::open`] by handles. Whoever can swap a folder for a link while
//! it is walked can have names and sizes listed that lie elsewhere; no byte of them is read.

use std::{
    collections::{HashMap, hash_map},
    error::Error,
    ffi::OsStr,
    fs::{self, File, FileType, Metadata},
    io, iter,
    path::{Path, PathBuf},
    sync::Arc,
};

use cap_std::{ambient_authority, fs::Dir};
use ignore::{
    DirEntry, Walk, WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
    overrides::{Override, OverrideBuilder},
};

use super::{
    platform,
    source::{SourceError, modified},
};
use crate::proto::{
    manifest::{Entry, Kind},
    name::{HostileName, Name, RelPath},
};

/// What is to be sent, as it was said on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The files and folders, in the order in which they go.
    pub paths: Vec<PathBuf>,
    /// Patterns of what is left out, as in a `.gitignore` in the folder that holds the item: both
    /// `*.tmp` and `photos/raw` do what they say.
    pub exclude: Vec<String>,
    /// Whether to leave out what git would: what `.gitignore` files say, and `.git` itself.
    pub git: bool,
}

/// What a walk comes across.
#[derive(Debug)]
pub enum Found {
    /// A regular file or a folder.
    Entry(Entry),
    /// Something that is not sent, and neither is what is beneath it.
    LeftOut {
        /// What it is called on this machine.
        path: PathBuf,
        /// Why it is not sent.
        why: LeftOut,
    },
}

/// Why something in a folder is not sent.
#[derive(Debug, thiserror::Error)]
pub enum LeftOut {
    /// Where it leads is another matter.
    #[error("it is a symbolic link")]
    Symlink,
    /// It has no bytes of its own.
    #[error("it is a device, a socket or a pipe")]
    Special,
    /// Its name is not UTF-8.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// The other end would refuse its name.
    #[error("it has {0}")]
    Name(HostileName),
    /// It, or what is in it, cannot be read, or is gone by now.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
}

/// The items of an offer, checked: each is there and has a name of its own.
#[derive(Debug)]
pub struct Tree {
    items: Vec<Item>,
    /// Where in `items` each name is.
    places: HashMap<Name, usize>,
    exclude: Override,
    git: bool,
}

impl Tree {
    /// Looks at each item; one that is excluded is none.
    ///
    /// # Errors
    /// [`SourceError`] when an item cannot be read, is neither a file nor a folder, has a name
    /// that cannot be sent or that another has too, or when a pattern makes no sense.
    pub fn new(selection: &Selection) -> Result<Self, SourceError> {
        let (items, places) = (Vec::new(), HashMap::new());
        let exclude = exclusion(&selection.exclude)?;
        let mut tree = Self { items, places, exclude, git: selection.git };
        let mut parents = HashMap::new();
        for path in &selection.paths {
            tree.add(path, &mut parents)?;
        }
        Ok(tree)
    }

    /// Whether everything was excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn add(&mut self, path: &Path, parents: &mut Parents) -> Result<(), SourceError> {
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
        let root = path.canonicalize().map_err(failed)?;
        let file_type = fs::metadata(&root).map_err(failed)?.file_type();
        if !file_type.is_file() && !file_type.is_dir() {
            return Err(SourceError::NotAFile(path.to_owned()));
        }
        let name = name_of(path, &root)?;
        if self.exclude.matched(name.as_str(), file_type.is_dir()).is_ignore() {
            return Ok(());
        }
        let parent = root.parent().unwrap_or(&root);
        let parent = handle(parent, parents).map_err(failed)?;
        let item = Item { name, said: path.to_owned(), root, parent };
        item.check_readable(file_type).map_err(failed)?;
        self.push(item)
    }

    fn push(&mut self, item: Item) -> Result<(), SourceError> {
        match self.places.entry(item.name.clone()) {
            hash_map::Entry::Vacant(place) => {
                place.insert(self.items.len());
                self.items.push(item);
                Ok(())
            }
            hash_map::Entry::Occupied(place) => {
                let first = self.items[*place.get()].said.clone();
                Err(SourceError::SameName(first, item.said))
            }
        }
    }

    /// Walks the items in the order given, what is in a folder by its name, and a folder before
    /// what is in it; until `give` says no.
    pub fn walk(&self, give: &mut dyn FnMut(Found) -> bool) {
        for item in &self.items {
            let going_on = match fs::symlink_metadata(&item.root) {
                Ok(metadata) if metadata.is_dir() => self.walk_folder(item, give),
                looked => give(item.found(&item.root, looked)),
            };
            if !going_on {
                return;
            }
        }
    }

    fn walk_folder(&self, item: &Item, give: &mut dyn FnMut(Found) -> bool) -> bool {
        let mut left_out: Option<PathBuf> = None;
        for (path, looked) in self.walker(item).filter_map(|step| look(step, &item.root)) {
            if left_out.as_ref().is_some_and(|folder| path.starts_with(folder)) {
                continue;
            }
            let found = item.found(&path, looked);
            if is_left_out_whole(&found) {
                left_out = Some(path);
            }
            if !give(found) {
                return false;
            }
        }
        true
    }

    fn walker(&self, item: &Item) -> Walk {
        let mut builder = WalkBuilder::new(&item.root);
        builder.standard_filters(false).follow_links(false).sort_by_file_name(OsStr::cmp);
        if self.git {
            // Within a repository, rules end where it does: a `.gitignore` further up, such as
            // one for the home folder, is another's. Without one, they begin at the item.
            let within = item.root.ancestors().any(|folder| folder.join(".git").exists());
            builder.git_ignore(true).git_exclude(true).parents(within).require_git(within);
        }
        let (git, exclude, item) = (self.git, self.exclude.clone(), item.clone());
        builder.filter_entry(move |entry| {
            let path = Path::new(item.name.as_str()).join(item.beneath(entry.path()));
            let is_folder = entry.file_type().is_some_and(|it| it.is_dir());
            let is_git = git && entry.file_name() == ".git";
            !is_git && !exclude.matched(path, is_folder).is_ignore()
        });
        builder.build()
    }

    /// Opens a file of the tree for reading: no symbolic link beneath the item is followed, and
    /// nothing outside of it is ever opened.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::NotFound`] when no item begins like this, and
    /// [`io::ErrorKind::InvalidInput`] when it is no regular file.
    pub fn open(&self, path: &RelPath) -> io::Result<File> {
        let item = self.item(path).ok_or(io::ErrorKind::NotFound)?;
        item.open(&beneath_item(path))
    }

    /// The path of an entry on this machine, for messages.
    #[must_use]
    pub fn locate(&self, path: &RelPath) -> PathBuf {
        match self.item(path) {
            Some(item) => item.place(&beneath_item(path)),
            None => path.components().collect(),
        }
    }

    fn item(&self, path: &RelPath) -> Option<&Item> {
        self.items.get(*self.places.get(path.item())?)
    }
}

/// Handles of the folders that hold items; many items share few.
type Parents = HashMap<PathBuf, Arc<Dir>>;

fn handle(folder: &Path, parents: &mut Parents) -> io::Result<Arc<Dir>> {
    if let Some(handle) = parents.get(folder) {
        return Ok(Arc::clone(handle));
    }
    let handle = Arc::new(Dir::open_ambient_dir(folder, ambient_authority())?);
    parents.insert(folder.to_owned(), Arc::clone(&handle));
    Ok(handle)
}

/// One file or folder that the user named.
#[derive(Clone, Debug)]
struct Item {
    name: Name,
    /// The path as the user wrote it.
    said: PathBuf,
    /// The same without symbolic links, which the user has chosen to follow this far.
    root: PathBuf,
    /// The folder that holds `root`, as it was at the beginning.
    parent: Arc<Dir>,
}

impl Item {
    /// Asks the system now rather than in the midst of the transfer.
    fn check_readable(&self, file_type: FileType) -> io::Result<()> {
        if file_type.is_dir() {
            fs::read_dir(&self.root).map(drop)
        } else {
            self.open(Path::new("")).map(drop)
        }
    }

    fn open(&self, beneath: &Path) -> io::Result<File> {
        let path = join(Path::new(self.root.file_name().unwrap_or_default()), beneath);
        let file = platform::open_beneath(&self.parent, &path)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file any more"))
        }
    }

    fn found(&self, path: &Path, looked: io::Result<Metadata>) -> Found {
        let beneath = self.beneath(path);
        let entry = looked.map_err(LeftOut::Unreadable);
        match entry.and_then(|metadata| self.entry(beneath, &metadata)) {
            Ok(entry) => Found::Entry(entry),
            Err(why) => Found::LeftOut { path: self.place(beneath), why },
        }
    }

    fn entry(&self, beneath: &Path, metadata: &Metadata) -> Result<Entry, LeftOut> {
        let kind = kind(metadata.file_type())?;
        let path = self.rel_path(beneath)?;
        let modified = modified(metadata);
        let is_file = kind == Kind::File;
        let size = if is_file { metadata.len() } else { 0 };
        let executable = is_file && platform::is_executable(metadata);
        Ok(Entry { kind, path, size, modified, executable })
    }

    fn rel_path(&self, beneath: &Path) -> Result<RelPath, LeftOut> {
        let rest: Option<Vec<&str>> = beneath.iter().map(OsStr::to_str).collect();
        let names = iter::once(self.name.as_str()).chain(rest.ok_or(LeftOut::NotUtf8)?);
        RelPath::parse(names).map_err(LeftOut::Name)
    }

    fn beneath<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Where something of this item is, in the user's words.
    fn place(&self, beneath: &Path) -> PathBuf {
        if self.said == Path::new(".") && beneath != Path::new("") {
            beneath.to_owned()
        } else {
            join(&self.said, beneath)
        }
    }
}

/// The name that an item arrives under: the one that was typed, or the folder's own for `..`.
fn name_of(path: &Path, root: &Path) -> Result<Name, SourceError> {
    let name = path.file_name().or(root.file_name()).unwrap_or_default();
    let name = name.to_str().ok_or_else(|| SourceError::NotUtf8(path.to_owned()))?;
    Name::try_from(name).map_err(|why| SourceError::Name { path: path.to_owned(), why })
}

fn kind(file_type: FileType) -> Result<Kind, LeftOut> {
    if file_type.is_dir() {
        Ok(Kind::Directory)
    } else if file_type.is_file() {
        Ok(Kind::File)
    } else if file_type.is_symlink() {
        Err(LeftOut::Symlink)
    } else {
        Err(LeftOut::Special)
    }
}

/// What follows the item's name.
fn beneath_item(path: &RelPath) -> PathBuf {
    path.components().skip(1).collect()
}

/// Joins paths, without a separator at the end when nothing follows.
fn join(path: &Path, beneath: &Path) -> PathBuf {
    if beneath == Path::new("") { path.to_owned() } else { path.join(beneath) }
}

/// Patterns of what is wanted of an offer, as in a `.gitignore`: whatever one of them fits, and
/// everything in a folder that it fits.
#[derive(Clone, Debug)]
pub struct Patterns {
    fitting: Option<Gitignore>,
}

impl Patterns {
    /// Parses patterns; none fit everything.
    ///
    /// # Errors
    /// [`SourceError::Pattern`] when one makes no sense.
    pub fn new(patterns: &[String]) -> Result<Self, SourceError> {
        if patterns.is_empty() {
            return Ok(Self { fitting: None });
        }
        let bad = |pattern: &str, why| SourceError::Pattern { pattern: pattern.to_owned(), why };
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| bad(pattern, complaint(error)))?;
        }
        let fitting = builder.build();
        let fitting = fitting.map_err(|error| bad(&patterns.join(" "), complaint(error)))?;
        Ok(Self { fitting: Some(fitting) })
    }

    /// Whether a path is wanted.
    #[must_use]
    pub fn fit(&self, path: &RelPath, is_folder: bool) -> bool {
        let Some(fitting) = &self.fitting else { return true };
        fitting.matched_path_or_any_parents(path.as_str(), is_folder).is_ignore()
    }
}

/// Matches what is left out, by paths that begin with an item's name.
fn exclusion(patterns: &[String]) -> Result<Override, SourceError> {
    let bad = |pattern: &str, why| SourceError::Pattern { pattern: pattern.to_owned(), why };
    let mut builder = OverrideBuilder::new(".");
    for pattern in patterns {
        if pattern.trim().trim_matches('/').is_empty() {
            return Err(bad(pattern, "it names nothing".to_owned()));
        }
        builder.add(&format!("!{pattern}")).map_err(|error| bad(pattern, complaint(error)))?;
    }
    builder.build().map_err(|error| bad(&patterns.join(" "), complaint(error)))
}

fn complaint(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        other => other.to_string(),
    }
}

/// What a step of the walk came to, and what the system says of it.
fn look(
    step: Result<DirEntry, ignore::Error>,
    root: &Path,
) -> Option<(PathBuf, io::Result<Metadata>)> {
    match step {
        Ok(entry) => {
            let looked = fs::symlink_metadata(entry.path());
            Some((entry.into_path(), looked))
        }
        // Not of the walk but of a `.gitignore`: the line is lost, as it is for git.
        Err(error) if error.depth().is_none() => {
            tracing::debug!(%error, "ignore file");
            None
        }
        Err(error) => Some((path_of(&error).unwrap_or(root).to_owned(), Err(cause(error)))),
    }
}

/// Whether what is beneath it, if it is a folder, has no place in the offer either.
fn is_left_out_whole(found: &Found) -> bool {
    match found {
        Found::Entry(_) | Found::LeftOut { why: LeftOut::Unreadable(_), .. } => false,
        Found::LeftOut { .. } => true,
    }
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } => path_of(err),
        _ => None,
    }
}

/// The system's own error, without the path, which is told in the user's words.
fn cause(error: ignore::Error) -> io::Error {
    let error = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
    let inner = error.get_ref().and_then(Error::source);
    let number = inner.and_then(|it| it.downcast_ref::<io::Error>()?.raw_os_error());
    number.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::proto::manifest::Modified;

    /// A folder with files in it, each with its path as its bytes; what ends in `/` is a folder.
    fn folder_of(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let whole = folder.path().join(path);
            if path.ends_with('/') {
                fs::create_dir_all(whole).unwrap();
            } else {
                fs::create_dir_all(whole.parent().unwrap()).unwrap();
                fs::write(whole, path).unwrap();
            }
        }
        folder
    }

    fn tree(paths: &[&Path]) -> Tree {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        Tree::new(&Selection { paths, ..Selection::default() }).unwrap()
    }

    fn tree_without(paths: &[&Path], exclude: &[&str], git: bool) -> Tree {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        Tree::new(&Selection { paths, exclude, git }).unwrap()
    }

    fn found(tree: &Tree) -> (Vec<Entry>, Vec<(PathBuf, LeftOut)>) {
        let (mut entries, mut left_out) = (Vec::new(), Vec::new());
        tree.walk(&mut |found| {
            match found {
                Found::Entry(entry) => entries.push(entry),
                Found::LeftOut { path, why } => left_out.push((path, why)),
            }
            true
        });
        (entries, left_out)
    }

    /// The entries, each folder with a `/`; nothing may be left out.
    fn names(tree: &Tree) -> Vec<String> {
        let (entries, left_out) = found(tree);
        assert!(left_out.is_empty(), "{left_out:?}");
        let name = |entry: &Entry| match entry.kind {
            Kind::Directory => format!("{}/", entry.path),
            _ => entry.path.to_string(),
        };
        entries.iter().map(name).collect()
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.split('/')).unwrap()
    }

    fn make_pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    fn read(tree: &Tree, text: &str) -> io::Result<String> {
        io::read_to_string(tree.open(&path(text))?)
    }

    #[test]
    fn items_come_in_the_order_given_and_what_is_in_them_by_name() {
        let folder = folder_of(&["z/b", "z/a/2", "z/a/1", "z/.hidden", "z/a.b", "z/empty/", "c"]);
        let tree = tree(&[&folder.path().join("z"), &folder.path().join("c")]);
        let expected =
            ["z/", "z/.hidden", "z/a/", "z/a/1", "z/a/2", "z/a.b", "z/b", "z/empty/", "c"];
        assert_eq!(names(&tree), expected);
    }

    #[test]
    fn an_entry_tells_size_time_and_the_execute_bit_of_files_alone() {
        let folder = folder_of(&["a/none", "a/run"]);
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a/none"), b"").unwrap();
        fs::set_permissions(at("a/run"), fs::Permissions::from_mode(0o755)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 7);
        for name in ["a/none", "a/run", "a"] {
            File::open(at(name)).unwrap().set_modified(time).unwrap();
        }
        let modified = Some(Modified { seconds: 1_600_000_000, nanoseconds: 7 });
        let entry = |kind, name, size, executable| Entry {
            kind,
            path: path(name),
            size,
            modified,
            executable,
        };
        let expected = [
            entry(Kind::Directory, "a", 0, false),
            entry(Kind::File, "a/none", 0, false),
            entry(Kind::File, "a/run", 5, true),
        ];
        assert_eq!(found(&tree(&[&at("a")])).0, expected);
    }

    #[test]
    fn what_cannot_be_sent_is_left_out_once_and_said() {
        let folder = folder_of(&["a/file", "a/b\nad/inner/x", "a/dir/"]);
        let at = |name: &str| folder.path().join("a").join(name);
        symlink("/etc", at("link")).unwrap();
        make_pipe(&at("pipe"));
        let odd = folder.path().join("a").join(OsStr::from_bytes(b"odd\xff"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("x"), b"x").unwrap();
        let (entries, left_out) = found(&tree(&[&folder.path().join("a")]));
        let sent: Vec<_> = entries.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(sent, ["a", "a/dir", "a/file"]);
        let told: Vec<_> =
            left_out.iter().map(|(path, why)| (path.clone(), why.to_string())).collect();
        let expected = [
            (at("b\nad"), "it has a name with a control character in it".to_owned()),
            (at("link"), "it is a symbolic link".to_owned()),
            (odd, "its name is not UTF-8".to_owned()),
            (at("pipe"), "it is a device, a socket or a pipe".to_owned()),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_folder_that_is_too_deep_is_left_out_with_what_is_in_it() {
        let deep = "d/".repeat(70);
        let folder = folder_of(&[&deep]);
        let (entries, left_out) = found(&tree(&[&folder.path().join("d")]));
        assert_eq!(entries.len(), 64);
        assert!(matches!(left_out[..], [(_, LeftOut::Name(HostileName::Depth(65)))]));
    }

    #[test]
    fn an_item_that_is_gone_or_became_a_link_is_left_out() {
        let folder = folder_of(&["a/x", "b/x", "c"]);
        let at = |name: &str| folder.path().join(name);
        let tree = tree(&[&at("a"), &at("b"), &at("c")]);
        fs::remove_dir_all(at("a")).unwrap();
        symlink("/etc", at("a")).unwrap();
        fs::remove_dir_all(at("b")).unwrap();
        let (entries, left_out) = found(&tree);
        assert_eq!(entries.len(), 1);
        assert!(matches!(
            &left_out[..],
            [(_, LeftOut::Symlink), (gone, LeftOut::Unreadable(_))] if *gone == at("b")
        ));
    }

    #[test]
    fn patterns_are_those_of_gitignore_in_the_folder_that_holds_the_item() {
        let folder = folder_of(&["p/raw/x", "p/a.tmp", "p/b/raw/y", "p/b/c.tmp", "p/d", "e.tmp"]);
        let (p, e) = (folder.path().join("p"), folder.path().join("e.tmp"));
        let names = |exclude: &[&str]| names(&tree_without(&[&p, &e], exclude, false));
        let all = ["p/", "p/a.tmp", "p/b/", "p/b/c.tmp", "p/b/raw/", "p/b/raw/y", "p/d", "p/raw/"];
        assert_eq!(names(&[])[..8], all);
        assert_eq!(
            names(&["*.tmp"]),
            ["p/", "p/b/", "p/b/raw/", "p/b/raw/y", "p/d", "p/raw/", "p/raw/x"]
        );
        assert_eq!(names(&["p/raw", "*.tmp"]), ["p/", "p/b/", "p/b/raw/", "p/b/raw/y", "p/d"]);
        assert_eq!(names(&["raw/", "/p/b", "d"]), ["p/", "p/a.tmp", "e.tmp"]);
        assert_eq!(names(&["p"]), ["e.tmp"]);
        assert_eq!(names(&["[ab].tmp", "{b,raw}"]), ["p/", "p/d", "e.tmp"]);
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused() {
        for bad in ["[a", "{a", "", "/", "a[z-a]"] {
            let exclude = vec![bad.to_owned()];
            let refused = Tree::new(&Selection { exclude, ..Selection::default() });
            let Err(SourceError::Pattern { pattern, why }) = refused else { panic!("{bad}") };
            assert!(pattern == bad && !why.is_empty() && !why.contains("glob"), "{why}");
        }
    }

    #[test]
    fn git_leaves_out_what_ignore_files_say_in_and_outside_of_a_repository() {
        let folder = folder_of(&["r/.git/x", "r/a/x.o", "r/a/x.c", "r/a/b/y.c", "r/a/.keep"]);
        let at = |name: &str| folder.path().join(name);
        fs::write(at("r/.gitignore"), "*.o").unwrap();
        fs::write(at("r/a/b/.gitignore"), "y.*").unwrap();
        let whole = ["r/", "r/.gitignore", "r/a/", "r/a/.keep", "r/a/b/", "r/a/b/.gitignore"];
        let git = |name: &str| names(&tree_without(&[&at(name)], &[], true));
        assert_eq!(git("r")[..6], whole);
        assert_eq!(git("r")[6..], ["r/a/x.c"]);
        assert_eq!(git("r/a"), ["a/", "a/.keep", "a/b/", "a/b/.gitignore", "a/x.c"]);
        assert_eq!(names(&tree(&[&at("r")])).len(), 11);

        fs::remove_dir_all(at("r/.git")).unwrap();
        assert_eq!(git("r")[..6], whole);
        assert_eq!(git("r/a"), ["a/", "a/.keep", "a/b/", "a/b/.gitignore", "a/x.c", "a/x.o"]);
    }

    #[test]
    fn git_rules_end_where_the_repository_does() {
        let folder = folder_of(&["home/r/.git/x", "home/r/a", "home/r/b"]);
        let at = |name: &str| folder.path().join(name);
        fs::write(at("home/.gitignore"), "*\n[bad").unwrap();
        fs::write(at("home/r/.gitignore"), "[bad\nb").unwrap();
        let tree = tree_without(&[&at("home/r")], &[], true);
        assert_eq!(names(&tree), ["r/", "r/.gitignore", "r/a"]);
    }

    #[test]
    fn what_is_no_item_is_refused() {
        let folder = folder_of(&["a/x", "b/x", "c"]);
        let at = |name: &str| folder.path().join(name);
        make_pipe(&at("pipe"));
        let refused = |paths: &[&str]| {
            let paths = paths.iter().map(|path| at(path)).collect();
            Tree::new(&Selection { paths, ..Selection::default() }).unwrap_err()
        };
        let twice = refused(&["a/x", "c", "b/x"]);
        assert!(
            matches!(&twice, SourceError::SameName(a, b) if *a == at("a/x") && *b == at("b/x"))
        );
        assert!(matches!(refused(&["c", "c"]), SourceError::SameName(..)));
        assert!(matches!(refused(&["pipe"]), SourceError::NotAFile(_)));
        assert!(matches!(refused(&["/dev/null"]), SourceError::NotAFile(_)));
        assert!(matches!(refused(&["missing"]), SourceError::Read { .. }));
        assert!(matches!(refused(&["/"]), SourceError::Name { why: HostileName::Empty, .. }));
        fs::write(at("x\ny"), b"").unwrap();
        assert!(matches!(refused(&["x\ny"]), SourceError::Name { .. }));
        let odd = folder.path().join(OsStr::from_bytes(b"\xff"));
        fs::write(&odd, b"").unwrap();
        let selection = Selection { paths: vec![odd], ..Selection::default() };
        assert!(matches!(Tree::new(&selection), Err(SourceError::NotUtf8(_))));
    }

    #[test]
    fn dots_have_the_name_of_their_folder_and_a_chosen_link_its_own() {
        let folder = folder_of(&["real/in/x", "file"]);
        let at = |name: &str| folder.path().join(name);
        for dots in ["real/in/..", "real/.", "real/in/../"] {
            assert_eq!(names(&tree(&[&at(dots)])), ["real/", "real/in/", "real/in/x"], "{dots}");
        }
        let here = std::env::current_dir().unwrap();
        let tree_here = tree(&[Path::new(".")]);
        let name = here.file_name().unwrap().to_str().unwrap();
        assert_eq!(tree_here.items[0].name.as_str(), name);
        assert_eq!(tree_here.locate(&path(&format!("{name}/a/b"))), Path::new("a/b"));
        assert_eq!(tree_here.locate(&path(name)), Path::new("."));

        symlink("real", at("link")).unwrap();
        symlink("file", at("other")).unwrap();
        let tree = tree(&[&at("link/"), &at("other")]);
        assert_eq!(names(&tree), ["link/", "link/in/", "link/in/x", "other"]);
        assert_eq!(read(&tree, "link/in/x").unwrap(), "real/in/x");
        assert_eq!(read(&tree, "other").unwrap(), "file");
        assert_eq!(tree.locate(&path("link/in/x")), at("link/in/x"));
    }

    #[test]
    fn nothing_outside_is_opened_through_a_link_that_appears_after_the_walk() {
        let folder = folder_of(&["a/b/x", "a/y", "a/z", "f", "out/x"]);
        let at = |name: &str| folder.path().join(name);
        let tree = tree(&[&at("a"), &at("f")]);
        assert_eq!(found(&tree).0.len(), 6);
        for name in ["a/b/x", "a/y", "f"] {
            assert_eq!(read(&tree, name).unwrap(), name);
        }
        fs::remove_dir_all(at("a/b")).unwrap();
        symlink(at("out"), at("a/b")).unwrap();
        for file in ["a/y", "f"] {
            fs::remove_file(at(file)).unwrap();
            symlink("/etc/passwd", at(file)).unwrap();
        }
        fs::remove_file(at("a/z")).unwrap();
        make_pipe(&at("a/z"));
        for name in ["a/b/x", "a/y", "f", "a/z", "a/b", "a", "f/x", "out/x"] {
            assert!(tree.open(&path(name)).is_err(), "{name}");
        }
        fs::remove_dir_all(at("a")).unwrap();
        symlink(at("out"), at("a")).unwrap();
        assert!(tree.open(&path("a/x")).is_err());
    }

    #[test]
    fn a_system_without_openat2_opens_the_same_and_refuses_the_same() {
        let folder = folder_of(&["a/b/x", "out/x"]);
        let at = |name: &str| folder.path().join(name);
        let handle = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let open = |path: &str| platform::open_stepwise(&handle, Path::new(path));
        assert_eq!(io::read_to_string(open("a/b/x").unwrap()).unwrap(), "a/b/x");
        symlink(at("out"), at("a/l")).unwrap();
        symlink("b/x", at("a/k")).unwrap();
        for path in ["a/l/x", "a/k", "a/../out/x", "/etc/passwd", "", "a/no"] {
            assert!(open(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_step_that_fails_tells_the_path_and_the_systems_own_error() {
        let folder = folder_of(&[]);
        let missing = folder.path().join("missing");
        let step = WalkBuilder::new(&missing).build().next().unwrap();
        let (path, looked) = look(step, folder.path()).unwrap();
        assert_eq!(path, missing);
        assert_eq!(
            looked.unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::NOENT.raw_os_error())
        );
    }

    #[test]
    fn a_walk_ends_when_it_is_told_to() {
        let folder = folder_of(&["a/1", "a/2", "b/1"]);
        let tree = tree(&[&folder.path().join("a"), &folder.path().join("b")]);
        for most in 1..=5 {
            let mut given = 0;
            tree.walk(&mut |_| {
                given += 1;
                given < most
            });
            assert_eq!(given, most);
        }
    }

    #[test]
    fn a_thread_may_open_what_another_walks() {
        fn shared<T: Send + Sync>() {}
        shared::<Tree>();
    }
}
