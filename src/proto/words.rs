//! The word list of codes, and what a person may type for a word.
//!
//! EFF's short list 2 (Joseph Bonneau, 2016, CC BY 3.0 US) without its one entry that contains
//! a hyphen: 1,295 words, no two of which share their first three letters or lie within two
//! typing mistakes of each other. So three letters are enough and one mistake can be put right.

use std::sync::LazyLock;

/// The words in alphabetical order, one a line; its SHA-256 is pinned by a test.
const LIST: &str = include_str!("words.txt");

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| LIST.lines().collect());

/// How many letters of a word tell it from every other.
const UNIQUE_PREFIX: usize = 3;

/// Number of words in the list.
#[must_use]
pub fn count() -> usize {
    WORDS.len()
}

/// The word at a position, `None` past the end.
#[must_use]
pub fn nth(index: usize) -> Option<&'static str> {
    WORDS.get(index).copied()
}

/// The word that was meant: typed whole, begun with at least three letters, or with one mistake.
///
/// Expects lower case.
#[must_use]
pub fn meant(typed: &str) -> Option<&'static str> {
    exact(typed).or_else(|| begun(typed)).or_else(|| mistyped(typed))
}

fn exact(typed: &str) -> Option<&'static str> {
    WORDS.binary_search(&typed).ok().and_then(nth)
}

fn begun(typed: &str) -> Option<&'static str> {
    let candidate = nth(WORDS.partition_point(|word| *word < typed))?;
    (typed.len() >= UNIQUE_PREFIX && candidate.starts_with(typed)).then_some(candidate)
}

fn mistyped(typed: &str) -> Option<&'static str> {
    // Distances of long texts take long; one mistake changes the length by one at most.
    let letters = typed.chars().count();
    let mut near = WORDS
        .iter()
        .filter(|word| word.len().abs_diff(letters) <= 1)
        .filter(|word| strsim::osa_distance(word, typed) == 1);
    match (near.next(), near.next()) {
        (Some(word), None) => Some(word),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_list_is_the_one_that_every_release_has() {
        assert_eq!(
            HEXLOWER.encode(&Sha256::digest(LIST)),
            "f6a587145fd0d7aaeff9849e5168d63ef795b03c2e0ce7efe7b2546c1c975e9f"
        );
        assert_eq!(count(), 1295);
    }

    #[test]
    fn the_list_is_sorted_and_its_words_are_plain() {
        assert!(WORDS.is_sorted());
        assert!(WORDS.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn three_letters_tell_every_word_from_every_other() {
        for word in WORDS.iter() {
            assert_eq!(meant(&word[..UNIQUE_PREFIX]), Some(*word));
            assert_eq!(meant(word), Some(*word));
        }
    }

    #[test]
    fn one_typing_mistake_is_put_right() {
        assert_eq!(meant("aardvrak"), Some("aardvark"));
        assert_eq!(meant("ardvark"), Some("aardvark"));
        assert_eq!(meant("aardvarkk"), Some("aardvark"));
        assert_eq!(meant("abandoxed"), Some("abandoned"));
    }

    #[test]
    fn two_letters_or_two_mistakes_are_nothing() {
        for nothing in ["", "aa", "zz", "zzz", "aardvxxk", "yo-yo", "aardvark "] {
            assert_eq!(meant(nothing), (nothing == "aardvark ").then_some("aardvark"), "{nothing}");
        }
    }
}
