//! Codes: what a person reads out and types, and where it says to meet.
//!
//! `7-croissant-clipboard-banana` is a nameplate, which is public, and a password, which leaves
//! the machine only through the PAKE. A code may come with a place: `code@host:port` or a link
//! `https://host/#code`.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::words;

/// How many words a password may have. Three are 31 bits: one guess in 2.2 thousand million.
pub const WORDS: RangeInclusive<usize> = 3..=10;

/// The longest text that is looked at for a code, in bytes.
const MAX_TEXT: usize = 1024;

/// The public part of a code: a number of the configured server, or `lan` and a number for a
/// sender that embeds its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameplate(String);

impl Nameplate {
    /// Whether the sender embeds its own rendezvous server.
    #[must_use]
    pub fn is_lan(&self) -> bool {
        self.0.starts_with("lan")
    }

    /// The text that is typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Nameplate {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let number = text.strip_prefix("lan").unwrap_or(text);
        let plain = matches!(number.len(), 1..=7)
            && number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0');
        if plain { Ok(Self(text.to_owned())) } else { Err(CodeError::Nameplate) }
    }
}

/// The secret part of a code: words of the list joined by hyphens.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Picks words at random, each with the same chance.
    pub fn generate(word_count: usize, random: &mut impl CryptoRng) -> Self {
        let words: Vec<_> = (0..word_count).map(|_| random_word(random)).collect();
        Self(words.join("-"))
    }

    /// What goes into the PAKE.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl FromStr for Password {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let typed: Vec<_> = text.split('-').collect();
        if !WORDS.contains(&typed.len()) {
            return Err(CodeError::WordCount(typed.len()));
        }
        let words: Option<Vec<_>> = typed.iter().map(|word| words::meant(word)).collect();
        match words {
            Some(words) => Ok(Self(words.join("-"))),
            None => Err(CodeError::UnknownWord(position_of_unknown(&typed))),
        }
    }
}

/// Counted from 1; the word itself stays out of errors, which are printed and logged.
fn position_of_unknown(typed: &[&str]) -> usize {
    typed.iter().take_while(|word| words::meant(word).is_some()).count().saturating_add(1)
}

fn random_word(random: &mut impl CryptoRng) -> &'static str {
    loop {
        // 11 bits hold 2,048 numbers; those past the list are drawn again, so none is favoured.
        let index = random.next_u32() & 0x7ff;
        if let Some(word) = usize::try_from(index).ok().and_then(words::nth) {
            return word;
        }
    }
}

/// A nameplate and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where to meet; public.
    pub nameplate: Nameplate,
    /// What to prove; secret.
    pub password: Password,
}

impl Code {
    /// The text to read out. It holds the secret, so it is a method and not `Display`.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}-{}", self.nameplate, self.password.0)
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Takes capitals, spaces for hyphens, words cut off after three letters and one mistake a
    /// word.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_TEXT {
            return Err(CodeError::TooLong);
        }
        let text = text.to_lowercase();
        let parts: Vec<_> =
            text.split(|c: char| c.is_whitespace() || c == '-').filter(|p| !p.is_empty()).collect();
        let (nameplate, words) = parts.split_first().ok_or(CodeError::Empty)?;
        Ok(Self { nameplate: nameplate.parse()?, password: words.join("-").parse()? })
    }
}

/// Where a code says to meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing said: the configured server, or this LAN for a `lan` nameplate.
    Unsaid,
    /// `@host:port`.
    Host {
        /// A name or an address; an IPv6 address without its brackets, perhaps with a zone.
        host: String,
        /// TCP port, when one was said.
        port: Option<u16>,
    },
    /// The address before the `#` of a link.
    Link(String),
}

/// A code and where it says to meet: what `receive` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The code.
    pub code: Code,
    /// Where.
    pub place: Place,
}

impl FromStr for Invitation {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_TEXT {
            return Err(CodeError::TooLong);
        }
        let text = text.trim();
        if text.contains("://") {
            let (link, code) = text.split_once('#').ok_or(CodeError::LinkWithoutCode)?;
            return Ok(Self { code: code.parse()?, place: Place::Link(link.to_owned()) });
        }
        match text.split_once('@') {
            Some((code, place)) => Ok(Self { code: code.parse()?, place: parse_host(place)? }),
            None => Ok(Self { code: text.parse()?, place: Place::Unsaid }),
        }
    }
}

fn parse_host(text: &str) -> Result<Place, CodeError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(CodeError::Host)?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port.ok_or(CodeError::Host)? {
        "" => None,
        digits => Some(parse_port(digits).ok_or(CodeError::Host)?),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(CodeError::Host);
    }
    Ok(Place::Host { host: host.to_owned(), port })
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|port| *port != 0)
}

/// Why a text is not a code. None of these holds a part of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Nothing was typed.
    #[error("the code is empty")]
    Empty,
    /// Longer than any code.
    #[error("this is too long for a code")]
    TooLong,
    /// It does not begin with a nameplate.
    #[error("a code begins with a number, or with `lan` and a number")]
    Nameplate,
    /// Too few or too many words.
    #[error("a code has {least} to {most} words after the number, this one has {0}", least = WORDS.start(), most = WORDS.end())]
    WordCount(usize),
    /// A word that is not in the list, by its place in the code, counted from 1.
    #[error("word {0} of the code is not one that p2pshare uses")]
    UnknownWord(usize),
    /// What follows the `@` is not a host and port.
    #[error("what follows the `@` is not a host and port")]
    Host,
    /// A link without `#code`.
    #[error("the link has no code in it")]
    LinkWithoutCode,
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    fn code(text: &str) -> Result<String, CodeError> {
        text.parse::<Code>().map(|code| code.reveal())
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for typed in [
            "7-aardvark-abandoned-abbreviate",
            " 7 aardvark abandoned abbreviate\n",
            "7-AARDVARK-Abandoned-abbreviate",
            "7-aar-aba-abb",
            "7--aardvrak-abandone-abbreviate-",
        ] {
            assert_eq!(code(typed).as_deref(), Ok("7-aardvark-abandoned-abbreviate"), "{typed}");
        }
    }

    #[test]
    fn what_is_not_a_code_is_told_apart() {
        assert_eq!(code(" - "), Err(CodeError::Empty));
        assert_eq!(code("aardvark-abandoned-abbreviate"), Err(CodeError::Nameplate));
        assert_eq!(code("7-aardvark-abandoned"), Err(CodeError::WordCount(2)));
        assert_eq!(code(&["7"; 12].join("-")), Err(CodeError::WordCount(11)));
        assert_eq!(code("7-aardvark-abandoned-qqq"), Err(CodeError::UnknownWord(3)));
        assert_eq!(code(&"7".repeat(2000)), Err(CodeError::TooLong));
    }

    #[test]
    fn a_place_may_follow_the_code() {
        let place = |text: &str| text.parse::<Invitation>().map(|i| i.place);
        let code = "lan4-aardvark-abandoned-abbreviate";
        let host = |host: &str, port| Ok(Place::Host { host: host.to_owned(), port });
        assert_eq!(place(code), Ok(Place::Unsaid));
        assert_eq!(place(&format!("{code}@10.0.0.2:9477")), host("10.0.0.2", Some(9477)));
        assert_eq!(place(&format!("{code}@box.local")), host("box.local", None));
        assert_eq!(place(&format!("{code}@[fe80::1%eth0]:80")), host("fe80::1%eth0", Some(80)));
        assert_eq!(
            place(&format!("https://example.org/#{code}")),
            Ok(Place::Link("https://example.org/".to_owned()))
        );
        for bad in
            ["@", "@:80", "@h:0", "@h:99999", "@[::1", "@[::1]80", "@h:+80", "@a b", "@h:1:2"]
        {
            assert_eq!(place(&format!("{code}{bad}")), Err(CodeError::Host), "{bad}");
        }
        assert_eq!(place("https://example.org/"), Err(CodeError::LinkWithoutCode));
    }

    #[test]
    fn generated_passwords_are_read_back_and_differ() {
        let mut random = UnwrapErr(getrandom::SysRng);
        let one = Password::generate(4, &mut random);
        let text = std::str::from_utf8(one.as_bytes()).unwrap();
        assert_eq!(text.parse::<Password>().as_ref(), Ok(&one));
        assert_ne!(one, Password::generate(4, &mut random));
    }

    #[test]
    fn a_password_and_an_error_never_show_a_word() {
        let invitation: Invitation = "7-aardvark-abandoned-abbreviate".parse().unwrap();
        assert!(!format!("{invitation:?}").contains("aardvark"));
        let error = "7-aardvark-qqq-abbreviate".parse::<Code>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("qqq"));
    }
}
