//! Bytes: numbers in network byte order and fields of tag, length and value.
//!
//! A field is a tag of 16 bits, a length of 16 bits and that many bytes. A tag, and a frame's
//! type, whose highest bit is set is *critical*: whoever does not know it must give up; one
//! without that bit is passed over. Numbers stay below 2^53, so that JavaScript can hold them.

/// Set in the tag of a field, and in the type of a frame, that may not be passed over.
pub const CRITICAL: u16 = 0x8000;

/// The largest number on the wire, 2^53 - 1.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Ends in the middle of something.
    #[error("a message ends too early")]
    Truncated,
    /// Bytes are left over.
    #[error("a message is longer than what it holds")]
    Trailing,
    /// A critical field that this version does not know.
    #[error("a message has the unknown critical field {0:#06x}")]
    UnknownField(u16),
    /// A critical frame that this version does not know.
    #[error("an unknown critical message of type {0:#06x}")]
    UnknownType(u16),
    /// A field that must be there is not.
    #[error("a message lacks the field {0:#06x}")]
    Missing(u16),
    /// A field that may be there once is there twice.
    #[error("a message has the field {0:#06x} twice")]
    Repeated(u16),
    /// A value is out of its range.
    #[error("a message has a value out of range: {0}")]
    Range(&'static str),
    /// Longer than its kind may be.
    #[error("a message is too long: {0}")]
    TooLong(&'static str),
}

/// Takes bytes from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of the bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a number of bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes an array.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are too few bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Takes a number of 16 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are too few bytes.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a number of 32 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are too few bytes.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }
}

/// What a field's value is made from and into.
pub trait Value<'a>: Sized {
    /// Reads the whole value.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    fn from_wire(bytes: &'a [u8]) -> Result<Self, WireError>;
}

/// Reads one value that takes all the bytes.
fn whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    if reader.is_empty() { Ok(value) } else { Err(WireError::Trailing) }
}

impl<'a> Value<'a> for &'a [u8] {
    fn from_wire(bytes: &'a [u8]) -> Result<Self, WireError> {
        Ok(bytes)
    }
}

impl<'a> Value<'a> for &'a str {
    fn from_wire(bytes: &'a [u8]) -> Result<Self, WireError> {
        std::str::from_utf8(bytes).map_err(|_| WireError::Range("text that is not UTF-8"))
    }
}

impl<const N: usize> Value<'_> for [u8; N] {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        whole(bytes, Reader::array)
    }
}

impl Value<'_> for u8 {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        whole(bytes, Reader::array).map(|[byte]| byte)
    }
}

impl Value<'_> for u16 {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        whole(bytes, Reader::u16)
    }
}

impl Value<'_> for u32 {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        whole(bytes, Reader::u32)
    }
}

impl Value<'_> for u64 {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let number = whole(bytes, Reader::array).map(u64::from_be_bytes)?;
        if number > MAX_NUMBER { Err(WireError::Range("a number over 2^53")) } else { Ok(number) }
    }
}

/// The fields of a message, each asked for by its tag.
#[derive(Debug)]
pub struct Fields<'a> {
    left: Vec<(u16, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// Takes a message apart.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when a field is cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut left = Vec::new();
        while !reader.is_empty() {
            let (tag, length) = (reader.u16()?, reader.u16()?);
            left.push((tag, reader.take(usize::from(length))?));
        }
        Ok(Self { left })
    }

    /// Takes the values of all fields with a tag, in their order.
    ///
    /// # Errors
    /// When a value is not of this kind.
    pub fn all<T: Value<'a>>(&mut self, tag: u16) -> Result<Vec<T>, WireError> {
        let (mine, left) = self.left.iter().partition::<Vec<_>, _>(|field| field.0 == tag);
        self.left = left;
        mine.into_iter().map(|(_, bytes)| T::from_wire(bytes)).collect()
    }

    /// Takes the value of a field that may be there.
    ///
    /// # Errors
    /// [`WireError::Repeated`] when it is there twice, or when the value is not of this kind.
    pub fn optional<T: Value<'a>>(&mut self, tag: u16) -> Result<Option<T>, WireError> {
        let mut values = self.all(tag)?;
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(WireError::Repeated(tag)) }
    }

    /// Takes the value of a field that must be there.
    ///
    /// # Errors
    /// [`WireError::Missing`] or [`WireError::Repeated`] when it is not there once, or when the
    /// value is not of this kind.
    pub fn required<T: Value<'a>>(&mut self, tag: u16) -> Result<T, WireError> {
        self.optional(tag)?.ok_or(WireError::Missing(tag))
    }

    /// Ends the reading: what is left was asked for by nobody.
    ///
    /// # Errors
    /// [`WireError::UnknownField`] when one of those is critical.
    pub fn finish(self) -> Result<(), WireError> {
        match self.left.iter().find(|(tag, _)| tag & CRITICAL != 0) {
            Some((tag, _)) => Err(WireError::UnknownField(*tag)),
            None => Ok(()),
        }
    }
}

/// Puts a message together.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message that begins with a type.
    #[must_use]
    pub fn of_type(kind: u16) -> Self {
        Self(kind.to_be_bytes().to_vec())
    }

    /// Goes on with a message.
    #[must_use]
    pub fn after(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds a field.
    ///
    /// # Panics
    /// When the value is longer than 65,535 bytes, which is longer than any message.
    #[must_use]
    pub fn field(mut self, tag: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("no value is longer than a message");
        self.0.extend_from_slice(&tag.to_be_bytes());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a field with a number of 8 bits.
    #[must_use]
    pub fn u8(self, tag: u16, value: u8) -> Self {
        self.field(tag, &[value])
    }

    /// Adds a field with a number of 16 bits.
    #[must_use]
    pub fn u16(self, tag: u16, value: u16) -> Self {
        self.field(tag, &value.to_be_bytes())
    }

    /// Adds a field with a number of 32 bits.
    #[must_use]
    pub fn u32(self, tag: u16, value: u32) -> Self {
        self.field(tag, &value.to_be_bytes())
    }

    /// Adds a field with a number of 64 bits, which must be at most [`MAX_NUMBER`].
    #[must_use]
    pub fn u64(self, tag: u16, value: u64) -> Self {
        self.field(tag, &value.to_be_bytes())
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Joins byte strings so that no two different lists give the same bytes: each with its length
/// of 32 bits before it. For what goes into a hash or a tag.
#[must_use]
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("no part is longer than a message");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_by_their_tags() {
        let bytes =
            Writer::new().u16(1, 7).field(2, b"x").field(2, b"y").u64(3, MAX_NUMBER).finish();
        let mut fields = Fields::parse(&bytes).unwrap();
        assert_eq!(fields.required::<u64>(3), Ok(MAX_NUMBER));
        assert_eq!(fields.all::<&str>(2), Ok(vec!["x", "y"]));
        assert_eq!(fields.required::<u16>(1), Ok(7));
        assert_eq!(fields.optional::<u16>(9), Ok(None));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn only_unknown_critical_fields_are_refused() {
        let plain = Writer::new().u8(5, 0).finish();
        assert_eq!(Fields::parse(&plain).unwrap().finish(), Ok(()));
        let critical = Writer::new().u8(5 | CRITICAL, 0).finish();
        assert_eq!(
            Fields::parse(&critical).unwrap().finish(),
            Err(WireError::UnknownField(5 | CRITICAL))
        );
    }

    #[test]
    fn values_of_the_wrong_length_range_or_number_are_refused() {
        let bytes =
            Writer::new().field(1, &[0; 3]).u64(2, MAX_NUMBER + 1).u8(3, 0).u8(3, 1).finish();
        let fields = || Fields::parse(&bytes).unwrap();
        assert_eq!(fields().required::<u32>(1), Err(WireError::Truncated));
        assert_eq!(fields().required::<u16>(1), Err(WireError::Trailing));
        assert!(matches!(fields().required::<u64>(2), Err(WireError::Range(_))));
        assert_eq!(fields().required::<u8>(3), Err(WireError::Repeated(3)));
        assert_eq!(fields().required::<u8>(4), Err(WireError::Missing(4)));
        assert!(matches!(Fields::parse(&bytes[..5]), Err(WireError::Truncated)));
    }

    #[test]
    fn joined_lists_never_look_alike() {
        assert_ne!(join(&[b"ab", b"c"]), join(&[b"a", b"bc"]));
        assert_ne!(join(&[b"ab"]), join(&[b"ab", b""]));
    }
}
