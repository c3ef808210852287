//! Names of files: parsed once, after which the type is the proof that they cannot escape.
//!
//! A name that could reach outside its folder is *hostile* and refuses the whole offer. One that
//! some file systems cannot hold is *unportable*: kept where it can be, and said. What reaches a
//! terminal goes through [`shown`].

use std::fmt;

/// The longest component, in bytes of UTF-8: what Linux, and with 255 UTF-16 units about what
/// the other systems hold.
pub const MAX_COMPONENT: usize = 255;

/// The most components of a path.
pub const MAX_DEPTH: usize = 64;

/// The longest path, in bytes with one for each separator.
pub const MAX_PATH: usize = 4096;

/// Names that Windows keeps for devices, whatever follows a dot.
const DEVICES: [&str; 7] = ["CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"];

/// The name of one file or folder: not empty, not `.` or `..`, without separators or control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostileName {
    /// Nothing.
    #[error("an empty name")]
    Empty,
    /// `.` or `..`.
    #[error("a name that means a folder itself or the one above it")]
    Dots,
    /// It has a `/` in it.
    #[error("a name with a separator in it")]
    Separator,
    /// It has a character below U+0020, or U+007F to U+009F, in it.
    #[error("a name with a control character in it")]
    Control,
    /// Longer than [`MAX_COMPONENT`].
    #[error("a name of {0} bytes")]
    TooLong(usize),
    /// More components than [`MAX_DEPTH`], or none.
    #[error("a path of {0} parts")]
    Depth(usize),
    /// Longer than [`MAX_PATH`].
    #[error("a path of {0} bytes")]
    PathTooLong(usize),
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why some systems cannot hold a name, if so.
#[must_use]
pub fn unportable(name: &str) -> Option<&'static str> {
    if name.contains(['\\', ':', '*', '?', '"', '<', '>', '|']) {
        Some("it has one of \\ : * ? \" < > | in it")
    } else if name.ends_with(['.', ' ']) {
        Some("it ends in a dot or a space")
    } else if is_device(name) {
        Some("Windows keeps it for a device")
    } else {
        None
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let numbered = ["COM", "LPT"].iter().filter_map(|port| stem.strip_prefix(port));
    DEVICES.contains(&stem.as_str())
        || numbered.into_iter().any(|n| matches!(n, "¹" | "²" | "³") || is_digit(n))
}

fn is_digit(text: &str) -> bool {
    text.len() == 1 && text.bytes().all(|b| matches!(b, b'1'..=b'9'))
}

impl TryFrom<&str> for Name {
    type Error = HostileName;

    fn try_from(text: &str) -> Result<Self, HostileName> {
        match text {
            "" => Err(HostileName::Empty),
            "." | ".." => Err(HostileName::Dots),
            _ if text.contains('/') => Err(HostileName::Separator),
            _ if text.contains(char::is_control) => Err(HostileName::Control),
            _ if text.len() > MAX_COMPONENT => Err(HostileName::TooLong(text.len())),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// A path beneath the folder that receives: at least one name. It takes as little memory as its
/// text, since an offer may have a million.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelPath(Box<str>);

impl RelPath {
    /// Parses a list of components.
    ///
    /// # Errors
    /// [`HostileName`] when a component is hostile, or there are too many or none.
    pub fn parse<'a>(components: impl IntoIterator<Item = &'a str>) -> Result<Self, HostileName> {
        let (mut joined, mut depth) = (String::new(), 0);
        for component in components {
            let name = Name::try_from(component)?;
            if depth > 0 {
                joined.push('/');
            }
            joined.push_str(name.as_str());
            depth += 1;
        }
        if depth == 0 || depth > MAX_DEPTH {
            return Err(HostileName::Depth(depth));
        }
        if joined.len() >= MAX_PATH {
            return Err(HostileName::PathTooLong(joined.len() + 1));
        }
        Ok(Self(joined.into()))
    }

    /// The path of a thing in this folder.
    ///
    /// # Errors
    /// [`HostileName`] when it is too deep or too long.
    pub fn join(&self, name: &Name) -> Result<Self, HostileName> {
        Self::parse(self.components().chain([name.as_str()]))
    }

    /// The components joined by `/`, which none of them contains.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, from the outside in.
    #[must_use]
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The first component: the item that it is, or belongs to.
    #[must_use]
    pub fn item(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> Name {
        Name(self.0.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// The path of the folder that it is in, unless it is an item itself.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl From<Name> for RelPath {
    fn from(name: Name) -> Self {
        Self(name.0.into())
    }
}

impl fmt::Display for RelPath {
    /// For people: joined by `/` and safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// A text from somebody else as a terminal may see it: control characters and those without a
/// shape of their own (bidirectional overrides, zero width) become `\u{..}`.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}

/// Whether a character has a shape or is an accent on one. `str::escape_debug` knows (it leaves
/// combining marks alone except at the start, hence the letter), but also escapes quotes.
fn is_plain(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_names() {
        for good in [
            "a",
            "README.md",
            "…",
            "naïve",
            "nai\u{308}ve",
            "日本.txt",
            "-rf",
            ".hidden",
            "a b",
            "C:x",
            "~",
        ] {
            assert_eq!(Name::try_from(good).map(|n| n.0), Ok(good.to_owned()));
        }
    }

    #[test]
    fn hostile_names_are_refused_by_kind() {
        use HostileName as H;
        let long = "x".repeat(MAX_COMPONENT + 1);
        for (bad, why) in [
            ("", H::Empty),
            (".", H::Dots),
            ("..", H::Dots),
            ("/", H::Separator),
            ("../x", H::Separator),
            ("/etc/passwd", H::Separator),
            ("a\0b", H::Control),
            ("a\nb", H::Control),
            ("\u{1b}[2J", H::Control),
            ("\u{7f}", H::Control),
            ("\u{9b}2J", H::Control),
            (long.as_str(), H::TooLong(MAX_COMPONENT + 1)),
        ] {
            assert_eq!(Name::try_from(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn paths_are_bounded_in_depth_and_length() {
        assert_eq!(RelPath::parse([]), Err(HostileName::Depth(0)));
        assert_eq!(RelPath::parse(vec!["a"; 65]), Err(HostileName::Depth(65)));
        let long = "x".repeat(200);
        assert_eq!(RelPath::parse(vec![&*long; 30]), Err(HostileName::PathTooLong(6030)));
        assert_eq!(RelPath::parse(["a", "..", "b"]), Err(HostileName::Dots));
        assert_eq!(RelPath::parse(["a", "b"]).unwrap().to_string(), "a/b");
    }

    #[test]
    fn what_windows_cannot_hold_is_told() {
        for name in
            ["a:b", "a\\b", "x.", "x ", "con", "NUL.txt", "com1", "LPT9.tar.gz", "COM²", "aux .c"]
        {
            assert!(unportable(name).is_some(), "{name}");
        }
        for name in ["console", "com10", "comet", "a.b", "nul-1", "COM0"] {
            assert_eq!(unportable(name), None, "{name}");
        }
    }

    #[test]
    fn nothing_without_a_shape_reaches_a_terminal() {
        assert_eq!(shown("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(shown("a\u{202e}cod.exe"), "a\\u{202e}cod.exe");
        assert_eq!(shown("a\u{200b}b\u{feff}\u{2028}"), "a\\u{200b}b\\u{feff}\\u{2028}");
        assert_eq!(
            shown("it's \"naïve\" nai\u{308}ve \\ 日本 🦀"),
            "it's \"naïve\" nai\u{308}ve \\ 日本 🦀"
        );
    }
}
