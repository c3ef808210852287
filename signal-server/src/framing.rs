//! STUN messages and `ChannelData` in a stream: where each ends (RFC 8489, section 6.2.2, and RFC
//! 8656, section 12.5). Pure; clients use it too.

/// The longest message that is taken from a stream, in bytes.
pub const MAX_FRAME: usize = 4 * 1024;

/// The bytes that show how long a message is.
const HEADER: usize = 4;

/// What follows a STUN header's length: magic cookie and transaction.
const REST_OF_STUN_HEADER: usize = 16;

/// The stream holds something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct NotFramed;

/// Bytes of a stream, until they are whole messages.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

impl Frames {
    /// Takes what the stream gave.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, without padding.
    ///
    /// # Errors
    /// [`NotFramed`] when what follows is no message, or a too long one.
    pub fn take(&mut self) -> Result<Option<&[u8]>, NotFramed> {
        let rest = &self.bytes[self.start..];
        let Some(header) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let length = length(*header)?;
        let padded = length.next_multiple_of(4);
        if padded > MAX_FRAME {
            return Err(NotFramed);
        }
        if rest.len() < padded {
            return Ok(None);
        }
        let start = self.start;
        self.start += padded;
        Ok(Some(&self.bytes[start..start + length]))
    }
}

/// Pads a message for a stream.
pub fn pad(message: &mut Vec<u8>) {
    message.resize(message.len().next_multiple_of(4), 0);
}

/// How long the message is that begins so.
fn length([kind, _, high, low]: [u8; HEADER]) -> Result<usize, NotFramed> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    match kind {
        0..=0x3f if length.is_multiple_of(4) => Ok(HEADER + REST_OF_STUN_HEADER + length),
        0x40..=0x7f => Ok(HEADER + length),
        _ => Err(NotFramed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| frames.take().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let stun = [&[0, 1, 0, 4][..], &[7; 20]].concat();
        let channel = vec![0x40, 0, 0, 3, 1, 2, 3];
        let mut stream = stun.clone();
        let mut padded = channel.clone();
        pad(&mut padded);
        assert_eq!(padded.len(), 8);
        stream.extend_from_slice(&padded);
        stream.extend_from_slice(&stun);
        for cut in 0..=stream.len() {
            let mut frames = Frames::default();
            frames.extend(&stream[..cut]);
            let mut got = all(&mut frames);
            frames.extend(&stream[cut..]);
            got.extend(all(&mut frames));
            assert_eq!(got, [stun.clone(), channel.clone(), stun.clone()], "{cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [&b"\xffET / "[..], &[0x16, 3, 1, 1], &[0, 1, 0, 3], &[0x40, 0, 0xff, 0xff]] {
            let mut frames = Frames::default();
            frames.extend(bad);
            assert_eq!(frames.take(), Err(NotFramed), "{bad:?}");
        }
    }
}
