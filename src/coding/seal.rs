//! Sealing of blocks: AES-256-GCM under a key of the chunk's own. The only door to ring's AEAD.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    Error,
    layout::{BlockEntry, FORMAT},
};
use crate::base::{ChunkId, limits::SEAL_OVERHEAD_BYTES};

const LABEL: &[u8] = b"openbucket chunk key 1";
const AAD_BYTES: usize = 54;

/// The key of a bucket, from which the key of every chunk is derived. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BucketKey([u8; 32]);

impl BucketKey {
    /// A key of these bytes, which must be random or derived by a key derivation function.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The place of a block in its chunk: what is authenticated with it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub index: usize,
    pub block_plain_len: usize,
    pub entry: BlockEntry,
}

/// Seals and opens the blocks of one chunk.
pub(super) struct ChunkCipher {
    key: LessSafeKey,
    chunk: ChunkId,
    block_count: usize,
    plain_len: usize,
}

impl ChunkCipher {
    pub fn new(key: &BucketKey, chunk: ChunkId, block_count: usize, plain_len: usize) -> Self {
        let secret = Salt::new(HKDF_SHA256, chunk.as_bytes()).extract(&key.0);
        let info = [LABEL];
        let okm = secret.expand(&info, &AES_256_GCM).expect("HKDF-SHA256 gives 32 bytes");
        Self { key: LessSafeKey::new(UnboundKey::from(okm)), chunk, block_count, plain_len }
    }

    /// Seals in place: the last 16 bytes of `bytes` become the tag.
    pub fn seal(&self, place: Place, bytes: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split(place, bytes)?;
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce(place.index), Aad::from(self.associated(place)), body)
            .map_err(|_| Error::Defect(format!("sealing a block of {} bytes failed", body.len())))?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(())
    }

    /// Opens in place what [`seal`](Self::seal) made: all but the tag, which is last.
    pub fn open<'a>(&self, place: Place, bytes: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        assert_eq!(bytes.len(), place.entry.sealed_len as usize, "a block as long as its entry says");
        self.key
            .open_in_place(nonce(place.index), Aad::from(self.associated(place)), bytes)
            .map_err(|_| Error::Unsealed { block: place.index })
    }

    /// Fills `bytes` with padding: key stream under a nonce that no block has.
    ///
    /// Zeros would do for decoding. But then the empty shards of all small chunks would be one and the same: they
    /// would share an id, so that deleting one deletes another, and whoever is paid to keep them need not.
    pub fn pad(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(0);
        let tag = self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([0xff; 12]), Aad::empty(), bytes);
        tag.map(|_| ()).map_err(|_| Error::Defect(format!("padding with {} bytes failed", bytes.len())))
    }

    fn associated(&self, place: Place) -> [u8; AAD_BYTES] {
        let mut bytes = [0; AAD_BYTES];
        bytes[0] = FORMAT;
        bytes[1..33].copy_from_slice(self.chunk.as_bytes());
        let numbers = [place.index, self.block_count, self.plain_len, place.block_plain_len];
        for (field, number) in bytes[33..49].chunks_exact_mut(4).zip(numbers) {
            field.copy_from_slice(&u32::try_from(number).expect("numbers of a chunk are small").to_be_bytes());
        }
        bytes[49..53].copy_from_slice(&place.entry.sealed_len.to_be_bytes());
        bytes[53] = u8::from(place.entry.is_compressed);
        bytes
    }
}

fn split(place: Place, bytes: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), Error> {
    assert_eq!(bytes.len(), place.entry.sealed_len as usize, "a block as long as its entry says");
    bytes
        .split_at_mut_checked(bytes.len().saturating_sub(SEAL_OVERHEAD_BYTES))
        .filter(|(_, tag)| tag.len() == SEAL_OVERHEAD_BYTES)
        .ok_or_else(|| Error::Defect("a sealed block without room for its tag".into()))
}

fn nonce(index: usize) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&(index as u64).to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
