//! What an offer is, for people: in one line, or as what to look at before taking it.

use crate::proto::{
    manifest::{Entry, Kind},
    name::unportable,
};

/// Names of each sort that are told; there may be many more.
const SAMPLES: usize = 10;

/// An offer in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The names of its first items.
    pub names: Vec<String>,
    /// Items: files and folders that were named to the sender.
    pub items: u32,
    /// Files in all.
    pub files: u32,
    /// Folders in all.
    pub folders: u32,
    /// Bytes of everything; of a stream, what is known.
    pub bytes: u64,
    /// Whether it is one text.
    pub is_text: bool,
    /// Whether it is one stream, of which nobody knows the size.
    pub is_stream: bool,
    /// Paths that begin with a dot, or have a part that does.
    pub hidden: Sample,
    /// Files that can be executed.
    pub executable: Sample,
    /// Paths that some systems cannot hold.
    pub unportable: Sample,
    /// Names that are taken at the destination.
    pub existing: Vec<String>,
    /// Bytes that can be written there, if that is known.
    pub free: Option<u64>,
    /// Bytes that an earlier attempt has left there.
    pub held: u64,
}

/// Some paths, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many there are.
    pub count: u32,
    /// The first of them.
    pub paths: Vec<String>,
}

impl Sample {
    fn add(&mut self, path: &str) {
        self.count = self.count.saturating_add(1);
        if self.paths.len() < SAMPLES {
            self.paths.push(path.to_owned());
        }
    }
}

impl Offer {
    /// Sums entries up.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Self {
        let mut offer = Self::default();
        for entry in entries {
            offer.add(entry);
        }
        offer
    }

    /// Takes one more entry into account.
    pub fn add(&mut self, entry: &Entry) {
        let path = entry.path.as_str();
        if entry.path.parent().is_none() {
            self.items = self.items.saturating_add(1);
            if self.names.len() < SAMPLES {
                self.names.push(path.to_owned());
            }
        }
        match entry.kind {
            Kind::Directory => self.folders = self.folders.saturating_add(1),
            _ => self.files = self.files.saturating_add(1),
        }
        self.is_text |= entry.kind == Kind::Text;
        self.is_stream |= entry.kind == Kind::Stream;
        self.bytes = self.bytes.saturating_add(entry.size);
        if entry.path.name().as_str().starts_with('.') {
            self.hidden.add(path);
        }
        if entry.executable {
            self.executable.add(path);
        }
        if unportable(entry.path.name().as_str()).is_some() {
            self.unportable.add(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::entry;

    #[test]
    fn an_offer_is_counted_and_what_deserves_a_look_is_named() {
        let entries = [
            entry(Kind::Directory, "photos", 0),
            entry(Kind::File, "photos/.hidden", 5),
            entry(Kind::File, "photos/a:b", 6),
            Entry { executable: true, ..entry(Kind::File, "run.sh", 7) },
        ];
        let offer = Offer::of(&entries);
        assert_eq!(offer.names, ["photos", "run.sh"]);
        assert_eq!((offer.items, offer.files, offer.folders, offer.bytes), (2, 3, 1, 18));
        assert_eq!(offer.hidden.paths, ["photos/.hidden"]);
        assert_eq!(offer.executable.paths, ["run.sh"]);
        assert_eq!(offer.unportable.paths, ["photos/a:b"]);
    }
}
