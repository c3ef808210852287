//! An offer as it arrives at the receiver: nothing in it may be there twice, escape, or be more
//! than a receiver can hold.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use super::{
    manifest::{Entry, FileId, Kind, MAX_ENTRIES},
    sender::index,
};

/// What an offer may take of the receiver's memory, in bytes.
pub const MAX_MEMORY: usize = 100 * 1024 * 1024;

/// What an entry takes besides its path: itself, its place among the names, its stage.
const ENTRY_MEMORY: usize = 112;

/// The longest text, in bytes: it is shown, not stored.
pub const MAX_TEXT: u64 = 1024 * 1024;

/// Why an offer is refused.
pub type Refused = &'static str;

/// See the module.
#[derive(Debug, Default)]
pub struct Offer {
    entries: Vec<Entry>,
    /// By a hash of its path, whether an entry is a folder.
    folders: HashMap<u64, bool>,
    /// The first entry of each item.
    items: Vec<u32>,
    bytes: u64,
    memory: usize,
    complete: bool,
}

impl Offer {
    /// Takes more entries.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn add(&mut self, entries: Vec<Entry>) -> Result<(), Refused> {
        if self.complete {
            return Err("it offers more after the end of its offer");
        }
        entries.into_iter().try_for_each(|entry| self.add_one(entry))
    }

    fn add_one(&mut self, entry: Entry) -> Result<(), Refused> {
        self.memory += ENTRY_MEMORY + entry.path.as_str().len();
        if self.entries.len() >= MAX_ENTRIES || self.memory > MAX_MEMORY {
            return Err("it offers more than anybody can take");
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        self.check_kind(&entry)?;
        self.check_place(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    fn check_kind(&self, entry: &Entry) -> Result<(), Refused> {
        let alone = self.entries.is_empty() && entry.path.parent().is_none();
        let fits = match entry.kind {
            Kind::File => true,
            Kind::Directory => entry.size == 0,
            Kind::Text => alone && entry.size <= MAX_TEXT,
            Kind::Stream => alone && entry.size == 0,
            Kind::Symlink => false,
        };
        let goes_alone = |first: &Entry| matches!(first.kind, Kind::Text | Kind::Stream);
        if !fits || self.entries.first().is_some_and(goes_alone) {
            return Err("it offers what this version cannot take");
        }
        Ok(())
    }

    /// A folder comes before what is in it, an item as a whole, and nothing twice.
    fn check_place(&mut self, entry: &Entry) -> Result<(), Refused> {
        let folder = entry.kind == Kind::Directory;
        if self.folders.insert(fingerprint(entry.path.as_str()), folder).is_some() {
            return Err("it offers a name twice");
        }
        match entry.path.parent() {
            None => self.items.push(number(self.entries.len())),
            Some(parent) => {
                let last = self.items.last().and_then(|first| self.entry(FileId(*first)));
                let in_item = last.is_some_and(|item| item.path.as_str() == entry.path.item());
                if !in_item || self.folders.get(&fingerprint(parent)) != Some(&true) {
                    return Err("it offers something in a folder that it does not offer");
                }
            }
        }
        Ok(())
    }

    /// Takes the end of the offer, which is told again after a lost connection.
    ///
    /// # Errors
    /// When the sums differ.
    pub fn end(&mut self, entries: u32, bytes: u64) -> Result<(), Refused> {
        if number(self.entries.len()) != entries || self.bytes != bytes {
            return Err("the sums of its offer are wrong");
        }
        if entries == 0 {
            return Err("it offers nothing");
        }
        self.complete = true;
        Ok(())
    }

    /// Whether everything is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The entries so far, by [`FileId`].
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An entry.
    #[must_use]
    pub fn entry(&self, file: FileId) -> Option<&Entry> {
        self.entries.get(index(file))
    }

    /// Bytes of everything so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of items so far.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// The item that a file is, or belongs to.
    #[must_use]
    pub fn item_of(&self, file: FileId) -> usize {
        self.items.partition_point(|first| *first <= file.0).saturating_sub(1)
    }

    /// The entries of an item, once they are all here.
    #[must_use]
    pub fn item(&self, item: usize) -> Option<Range<u32>> {
        let first = *self.items.get(item)?;
        match self.items.get(item + 1) {
            Some(next) => Some(first..*next),
            None => self.complete.then(|| first..number(self.entries.len())),
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Stands for a path in the table of all of them. Two paths with one fingerprint, which a sender
/// may look for, only make its own offer be refused.
fn fingerprint(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::entry;

    fn refused(entries: &[(Kind, &str, u64)]) -> Option<Refused> {
        let mut offer = Offer::default();
        let entries = entries.iter().map(|(kind, path, size)| entry(*kind, path, *size));
        entries.map(|entry| offer.add(vec![entry])).find_map(Result::err)
    }

    #[test]
    fn items_follow_each_other_and_folders_what_is_in_them() {
        let mut offer = Offer::default();
        let entries = [
            entry(Kind::File, "a", 3),
            entry(Kind::Directory, "d", 0),
            entry(Kind::File, "d/a", 4),
            entry(Kind::Directory, "d/e", 0),
            entry(Kind::File, "d/e/a", 0),
            entry(Kind::File, "z", 5),
        ];
        offer.add(entries.to_vec()).unwrap();
        assert_eq!(offer.item_count(), 3);
        assert_eq!([0, 1, 4, 5].map(|file| offer.item_of(FileId(file))), [0, 1, 1, 2]);
        assert_eq!((offer.item(0), offer.item(1), offer.item(2)), (Some(0..1), Some(1..5), None));
        offer.end(6, 12).unwrap();
        assert_eq!(offer.item(2), Some(5..6));
    }

    #[test]
    fn what_is_twice_or_nowhere_is_refused() {
        use Kind::{Directory as D, File as F};
        for bad in [
            &[(F, "a", 1), (F, "a", 1)][..],
            &[(F, "d/a", 1)],
            &[(F, "d", 1), (F, "d/a", 1)],
            &[(D, "d", 0), (F, "a", 1), (F, "d/a", 1)],
            &[(D, "d", 0), (F, "d/e/a", 1)],
            &[(D, "d", 1)],
            &[(Kind::Symlink, "s", 0)],
            &[(Kind::Stream, "s", 1)],
            &[(Kind::Text, "t", MAX_TEXT + 1)],
            &[(Kind::Stream, "s", 0), (F, "a", 1)],
            &[(F, "a", 1), (Kind::Text, "t", 1)],
        ] {
            assert!(refused(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn sums_that_differ_and_entries_after_the_end_are_refused() {
        let mut offer = Offer::default();
        offer.add(vec![entry(Kind::File, "a", 3)]).unwrap();
        assert!(offer.end(1, 4).is_err());
        assert!(offer.end(2, 3).is_err());
        offer.end(1, 3).unwrap();
        offer.end(1, 3).unwrap();
        assert!(offer.add(vec![entry(Kind::File, "b", 3)]).is_err());
    }

    #[test]
    fn an_offer_is_bounded_in_memory() {
        let mut offer = Offer::default();
        let long = "x".repeat(200);
        let refused = (0..MAX_ENTRIES)
            .find_map(|i| offer.add(vec![entry(Kind::File, &format!("{i}{long}"), 0)]).err());
        assert!(refused.is_some());
        assert!(offer.entries().len() > 300_000);
    }
}
