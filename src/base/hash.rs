//! SHA-256 (FIPS 180-4), the one hash of the product, and its only door.

use std::sync::OnceLock;

use sha2::Digest;

/// An incremental SHA-256.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The digest of the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// The digest of `prefix | chunk` for each chunk of so many bytes; the last chunk may be shorter.
///
/// One digest waits for itself most of the time: each round needs the one before. So several are computed at a time.
///
/// # Panics
/// When `chunk_bytes` is 0.
pub fn sha256_chunks(prefix: &[u8], data: &[u8], chunk_bytes: usize) -> Vec<[u8; 32]> {
    static IS_RIGHT: OnceLock<bool> = OnceLock::new();
    let chunks: Vec<&[u8]> = data.chunks(chunk_bytes).collect();
    let mut digests = vec![[0; 32]; chunks.len()];
    if *IS_RIGHT.get_or_init(|| is_right(tape_sha256::hash_many_prefixed)) {
        tape_sha256::hash_many_prefixed(prefix, &chunks, &mut digests);
    } else {
        one_by_one(prefix, &chunks, &mut digests);
    }
    digests
}

/// Writes the digest of `prefix | message` for each message.
type HashMany = fn(&[u8], &[&[u8]], &mut [[u8; 32]]);

fn one_by_one(prefix: &[u8], messages: &[&[u8]], digests: &mut [[u8; 32]]) {
    for (message, digest) in messages.iter().zip(digests) {
        *digest = sha256(&[prefix, message]);
    }
}

/// Whether another implementation computes what this one does, here, on this processor: it has code for each kind, and
/// not every kind was tried. What it got wrong nobody else could read.
fn is_right(other: HashMany) -> bool {
    let data: Vec<u8> = (0..71 * 1024).map(|at: u32| (at ^ at >> 7) as u8).collect();
    let is_same = |prefix: u8, messages: &[&[u8]]| {
        let (mut theirs, mut ours) = (vec![[0; 32]; messages.len()], vec![[0; 32]; messages.len()]);
        other(&[prefix], messages, &mut theirs);
        one_by_one(&[prefix], messages, &mut ours);
        theirs == ours
    };
    // What Merkle trees hash: leaves and pairs of nodes, the last leaf short or not, as many as groups of 4 to 32 leave
    // some over from and not.
    let is_right = [(0, 1024), (1, 64)].into_iter().all(|(prefix, bytes)| {
        [1, 3, 16, 31, 32, 71].into_iter().all(|count: usize| {
            let mut messages: Vec<&[u8]> = data.chunks(bytes).take(count).collect();
            let is_right = is_same(prefix, &messages);
            messages[count - 1] = &messages[count - 1][..bytes / 3];
            is_right && is_same(prefix, &messages)
        })
    });
    if !is_right {
        tracing::warn!(
            op = "hash",
            "SHA-256 of many at a time errs on this processor: each is computed alone, which is slower"
        );
    }
    is_right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_digests_at_a_time_are_those_of_one_by_one(
            prefix in proptest::collection::vec(any::<u8>(), 0..3),
            data in proptest::collection::vec(any::<u8>(), 0..9000),
            chunk_bytes in 1usize..1100,
        ) {
            let expected: Vec<_> = data.chunks(chunk_bytes).map(|chunk| sha256(&[&prefix, chunk])).collect();
            prop_assert_eq!(sha256_chunks(&prefix, &data, chunk_bytes), expected);
        }
    }

    #[test]
    fn an_implementation_that_errs_in_one_digest_is_not_used() {
        fn errs_at_the_end(prefix: &[u8], messages: &[&[u8]], digests: &mut [[u8; 32]]) {
            one_by_one(prefix, messages, digests);
            if let [.., last] = digests
                && messages.len() > 3
            {
                last[31] ^= 1;
            }
        }
        assert!(is_right(one_by_one) && is_right(tape_sha256::hash_many_prefixed));
        assert!(!is_right(errs_at_the_end));
    }

    #[test]
    fn digest_of_abc_is_the_one_of_fips_180_4() {
        assert_eq!(
            hex::encode(sha256(&[b"a", b"bc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
