//! How names and addresses are hashed: with a secret key, so that nobody outside can choose some that collide.

use core::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

/// Hashes what comes from outside, with a secret key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretHash(pub(super) [u64; 2]);

impl BuildHasher for SecretHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

/// The same for texts alone: each is hashed in one piece, which takes half the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextHash(pub(super) [u64; 2]);

impl BuildHasher for TextHash {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher { keys: self.0, hash: 0 }
    }
}

pub(super) struct TextHasher {
    keys: [u64; 2],
    hash: u64,
}

impl Hasher for TextHasher {
    fn write(&mut self, text: &[u8]) {
        self.hash = SipHasher13::new_with_keys(self.keys[0], self.keys[1]).hash(text);
    }

    /// A text ends with a byte that is in none, which tells nothing where there is one text.
    fn write_u8(&mut self, _end: u8) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hash_is_keyed_with_matters() {
        let hashes = |keys, text| [SecretHash(keys).hash_one(text), TextHash(keys).hash_one(text)];
        for (number, hash) in hashes([1, 2], "al").into_iter().enumerate() {
            assert_eq!(hash, hashes([1, 2], "al")[number]);
            for other in [hashes([0, 0], "al"), hashes([2, 1], "al"), hashes([1, 2], "bob")] {
                assert_ne!(hash, other[number]);
            }
        }
    }
}
