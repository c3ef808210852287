//! Who may use the relay: user names that expire, passwords made of them with a secret, and nonces
//! that need no memory. Pure.
//!
//! The passwords follow the REST convention (draft-uberti-behave-turn-rest-00), so that another
//! TURN server with the same secret accepts them too. A user name is the time at which it expires,
//! in seconds since 1970, and the [`RelayRoom`] that it is good for.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::protocol::RoomId;

/// How long a credential opens new allocations; those that are open may be refreshed for ever.
const VALIDITY: Duration = Duration::from_secs(10 * 60);

/// How long a nonce is accepted, in seconds.
const NONCE_VALIDITY: u64 = 60 * 60;

/// Bytes of a nonce's tag.
const TAG: usize = 8;

/// The two ends of one room, as the relay knows them: nothing leads from here to the room's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RelayRoom(u64);

/// What the passwords are made with. The first secret makes new ones, all are accepted: one is put
/// in front of the other to change them.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Secrets that were agreed upon; `None` without one, or when one is shorter than 16 bytes.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let secrets: Vec<_> =
            secrets.into_iter().map(|secret| secret.as_bytes().to_vec()).collect();
        let strong = !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= 16);
        strong.then_some(Self(secrets))
    }

    /// A secret of this process alone.
    #[must_use]
    pub fn of_process(random: [u8; 32]) -> Self {
        Self(vec![random.to_vec()])
    }

    /// A user name and its password for the ends of a room.
    pub(crate) fn issue(&self, room: &RoomId, unix: u64) -> (String, String) {
        let tag = mac(&self.0[0], &[room.as_str().as_bytes()]);
        let id = HEXLOWER.encode(&tag[..8]);
        let username = format!("{}:{id}", unix + VALIDITY.as_secs());
        let password = password(&self.0[0], &username);
        (username, password)
    }

    /// Nonces that every server with the same first secret knows as its own.
    pub(crate) fn nonces(&self) -> Nonces {
        Nonces(mac(&self.0[0], &[b"nonces"]))
    }

    /// The passwords that a user name may have.
    pub(crate) fn passwords(&self, username: &str) -> impl Iterator<Item = String> {
        self.0.iter().map(move |secret| password(secret, username))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// What a user name says: when it expires, and for whom it is.
pub(crate) fn parse(username: &str) -> Option<(u64, RelayRoom)> {
    let (expires, id) = username.split_once(':')?;
    let id: [u8; 8] = HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()?;
    Some((expires.parse().ok()?, RelayRoom(u64::from_be_bytes(id))))
}

/// Nonces that say when and for whom they were made, so that none is remembered.
pub(crate) struct Nonces([u8; 20]);

impl Nonces {
    /// A nonce for whoever is described by these bytes.
    pub(crate) fn make(&self, whom: &[u8], unix: u64) -> String {
        let time = unix.to_be_bytes();
        HEXLOWER.encode(&[&time[..], &mac(&self.0, &[&time, whom])[..TAG]].concat())
    }

    /// Whether a nonce was made here, for the same, not too long ago.
    pub(crate) fn is_fresh(&self, nonce: &str, whom: &[u8], unix: u64) -> bool {
        let time = HEXLOWER.decode(nonce.as_bytes()).ok().and_then(|bytes| {
            let (time, _) = bytes.split_first_chunk::<8>()?;
            Some(u64::from_be_bytes(*time))
        });
        time.is_some_and(|time| {
            time <= unix && unix - time < NONCE_VALIDITY && self.make(whom, time) == nonce
        })
    }
}

fn password(secret: &[u8], username: &str) -> String {
    BASE64.encode(&mac(secret, &[username.as_bytes()]))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_the_convention() {
        // openssl dgst -sha1 -hmac "0123456789abcdef" -binary | base64, of the user name.
        let secrets = Secrets::new(["0123456789abcdef"]).unwrap();
        let made: Vec<_> = secrets.passwords("1700000000:0102030405060708").collect();
        assert_eq!(made, ["XjraEaAABDA7dfRauDrFmZjHOrg="]);
    }

    #[test]
    fn both_ends_of_a_room_and_nobody_else_share_a_relay_room() {
        let secrets = Secrets::of_process([7; 32]);
        let issued =
            |room, unix| parse(&secrets.issue(&RoomId::from_128_bits([room; 16]), unix).0).unwrap();
        assert_eq!(issued(1, 100).1, issued(1, 200).1);
        assert_ne!(issued(1, 100).1, issued(2, 100).1);
        assert_eq!(issued(1, 100).0, 700);
        for bad in ["", "1:", ":0102030405060708", "x:0102030405060708", "1:01", "0102030405060708"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_old_secret_is_accepted_beside_the_new_one() {
        let old = Secrets::new(["the old secret 16"]).unwrap();
        let both = Secrets::new(["the new secret 16", "the old secret 16"]).unwrap();
        let (username, password) = old.issue(&RoomId::from_128_bits([1; 16]), 0);
        assert!(both.passwords(&username).any(|accepted| accepted == password));
        let (username, password) = both.issue(&RoomId::from_128_bits([1; 16]), 0);
        assert!(!old.passwords(&username).any(|accepted| accepted == password));
        assert!(Secrets::new(["short"]).is_none());
    }

    #[test]
    fn a_nonce_is_good_for_an_hour_and_for_one_client() {
        let nonces = Secrets::of_process([3; 32]).nonces();
        let nonce = nonces.make(b"a", 5_000);
        assert!(nonces.is_fresh(&nonce, b"a", 5_000));
        assert!(nonces.is_fresh(&nonce, b"a", 5_000 + NONCE_VALIDITY - 1));
        assert!(!nonces.is_fresh(&nonce, b"a", 5_000 + NONCE_VALIDITY));
        assert!(!nonces.is_fresh(&nonce, b"a", 4_999));
        assert!(!nonces.is_fresh(&nonce, b"b", 5_000));
        assert!(!Secrets::of_process([4; 32]).nonces().is_fresh(&nonce, b"a", 5_000));
        assert!(!nonces.is_fresh("", b"a", 5_000));
    }
}
