//! What the fuzz targets share: their first inputs, and keys that are the same each time.
//!
//! A target is a file in `targets` with a `[[bin]]` in `Cargo.toml`. It says what must hold of
//! whatever bytes come: the parser does not panic, what it accepts keeps within its caps and comes
//! back when it is written and read again.

use std::{convert::Infallible, env, fmt::Debug, fs, path::Path};

use data_encoding::HEXLOWER;
use p2pshare::proto::{
    code::Code,
    pairing::{Claiming, Waiting},
    pake::Keys,
};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

/// Puts first inputs into the corpus: the first folder among the arguments, where libFuzzer also
/// keeps what it finds.
///
/// # Panics
/// When a file cannot be written.
pub fn seed<T: AsRef<[u8]>>(inputs: impl IntoIterator<Item = T>) {
    let Some(corpus) = env::args_os().skip(1).find(|argument| Path::new(argument).is_dir()) else {
        return;
    };
    for (number, input) in inputs.into_iter().enumerate() {
        let path = Path::new(&corpus).join(format!("seed-{number}"));
        fs::write(path, input).expect("the corpus can be written");
    }
}

/// The values under a key in the cases of `tests/vectors/FILE.json`, as they stand.
///
/// # Panics
/// When there are none: the vectors are not what they were.
#[must_use]
pub fn texts(file: &str, key: &str) -> Vec<String> {
    cases(file, key, |value| value.as_str().map(str::to_owned))
}

/// The same for values in hexadecimal. Long ones are an object: `start`, then `repeat` so many
/// `times`.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn bytes(file: &str, key: &str) -> Vec<Vec<u8>> {
    let hex = |value: &Value| HEXLOWER.decode(value.as_str()?.as_bytes()).ok();
    cases(file, key, |value| {
        if value.is_string() {
            return hex(value);
        }
        let times = usize::try_from(value["times"].as_u64()?).ok()?;
        Some([hex(&value["start"])?, hex(&value["repeat"])?.repeat(times)].concat())
    })
}

fn cases<T>(file: &str, key: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    let path = format!("{}/../tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let vectors: Value = serde_json::from_slice(&text).expect("vectors are JSON");
    let cases = vectors["cases"].as_array().expect("vectors have cases");
    let found: Vec<_> = cases
        .iter()
        .filter_map(|case| case.get(key))
        .map(|value| read(value).expect(key))
        .collect();
    assert!(!found.is_empty(), "{path} has no {key}");
    found
}

/// Asserts that what was accepted comes back when it is written and read again.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn comes_back<T: Debug + PartialEq, E: Debug>(accepted: &T, again: Result<T, E>) {
    let again = again.expect("what was written is read");
    assert_eq!(again, *accepted, "read again it is another");
}

/// The code of [`keys`].
///
/// # Panics
/// Never: it is one.
#[must_use]
pub fn code() -> Code {
    "7-aardvark-abandoned-abbreviate".parse().expect("a code")
}

/// The names of the slot and the room of [`keys`].
pub const MEETING: (&str, &str) =
    ("00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100");

/// The keys of a pairing, the same each time.
///
/// # Panics
/// Never: both ends have the code.
#[must_use]
pub fn keys() -> Keys {
    let (slot, room) = MEETING;
    let sender = Waiting::new(&code(), slot.to_owned(), &mut Same(1));
    let (reply, _) =
        Claiming::reply(&code(), slot, room, &sender.share(), &mut Same(2)).expect("the same code");
    sender.confirm(room, &reply).expect("the same code").1
}

/// Anything but random: a failure must come back when its input does.
#[derive(Debug)]
pub struct Same(pub u8);

impl TryRng for Same {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes([self.0; 4]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes([self.0; 8]))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0);
        Ok(())
    }
}

impl TryCryptoRng for Same {}

/// Cuts bytes into messages: each begins with its length in two bytes.
pub fn script(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        data = rest;
        Some(message)
    })
}
