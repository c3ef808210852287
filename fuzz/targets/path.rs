//! Names of files, and what of a stranger's text a terminal gets to see.

#![no_main]

use std::{
    path::{Component, Path},
    str,
};

use libfuzzer_sys::fuzz_target;
use p2pshare::proto::name::{MAX_COMPONENT, MAX_DEPTH, MAX_PATH, Name, RelPath, shown, unportable};
use p2pshare_fuzz::{comes_back, seed};

/// Ends a component; a name with one in it is refused, as the vectors say.
const END: char = '\u{1f}';

const SEEDS: [&str; 10] = [
    "a.bin",
    "..",
    "../etc/passwd",
    "folder\u{1f}file",
    "a\u{1f}..\u{1f}b",
    "C:\\Windows\u{1f}NUL.txt",
    "COM\u{b2} .tar",
    "nai\u{308}ve \u{1f980}",
    "a\u{202e}cod.exe",
    "\u{1b}[2J\u{200b}\u{feff}\u{2028}",
];

fuzz_target!(init: seed(seeds()), |data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    is_safe_to_show(&shown(text));
    comes_back(&shown(text), Ok::<_, ()>(shown(&shown(text))));
    if let Ok(name) = Name::try_from(text) {
        assert_eq!(name.as_str(), text);
        stays_beneath(&RelPath::from(name));
    }
    if let Ok(path) = RelPath::parse(text.split(END)) {
        stays_beneath(&path);
        is_safe_to_show(&path.to_string());
        let again = RelPath::parse(path.components());
        comes_back(&path, again);
    }
});

/// Those, and names at the edge of what is too long, which chance is slow to reach.
fn seeds() -> impl Iterator<Item = String> {
    let long = |length| "x".repeat(length);
    let edge = [long(MAX_COMPONENT), long(MAX_COMPONENT + 1)];
    SEEDS.map(str::to_owned).into_iter().chain(edge)
}

fn stays_beneath(path: &RelPath) {
    let names: Vec<_> = path.components().collect();
    assert!((1..=MAX_DEPTH).contains(&names.len()));
    assert!(names.iter().all(|name| (1..=MAX_COMPONENT).contains(&name.len())));
    assert!(names.iter().all(|name| !name.contains(char::is_control)));
    assert_eq!(names.last(), Some(&path.name().as_str()));
    assert_eq!(names.first(), Some(&path.item()));
    let joined = names.join("/");
    assert!(joined.len() < MAX_PATH);
    let parts: Vec<_> = Path::new(&joined).components().collect();
    assert_eq!(parts.len(), names.len(), "{joined:?}");
    assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{joined:?}");
    // Says nothing or something, but says it of every name.
    let _ = unportable(path.name().as_str());
}

fn is_safe_to_show(shown: &str) {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(!shown.contains(turns), "{shown:?}");
}
