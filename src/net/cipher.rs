//! What the cipher under data channels can do when nothing else is done.

use std::time::{Duration, Instant};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// How long it is measured.
const MEASURING: Duration = Duration::from_millis(500);

/// Bytes in a record: what DTLS seals at once on an ordinary path.
const RECORD: usize = 1_200;

/// Bytes a second that AES-128-GCM seals in DTLS records, on one processor.
///
/// # Panics
/// Never: key and nonce have their lengths.
#[must_use]
pub fn sealing() -> u64 {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("it has the length of a key");
    let key = LessSafeKey::new(key);
    let mut record = vec![0; RECORD];
    let (start, mut records) = (Instant::now(), 0_u64);
    while start.elapsed() < MEASURING {
        for _ in 0..1_000 {
            // The key is nobody's, so a nonce may come again.
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record);
            std::hint::black_box(tag.is_ok());
            records += 1;
        }
    }
    let nanoseconds = start.elapsed().as_nanos().max(1);
    let rate = u128::from(records) * RECORD as u128 * 1_000_000_000 / nanoseconds;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sealing_takes_time() {
        assert!(super::sealing() > 0);
    }
}
