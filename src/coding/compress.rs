//! Compression of blocks: zstd, kept only where it helps, hardly tried where it does not. The only door to zstd.

use zstd::bulk;

use super::Error;

/// Fast, and within a few percent of the default level on blocks of this size.
const LEVEL: i32 = 1;
/// A block this short is not worth a frame.
const SHORTEST_BYTES: usize = 64;
/// What is tried of a block first, once a block did not shrink.
const SAMPLE_BYTES: usize = 4 << 10;

/// Compresses the blocks of one chunk, one after the other.
pub(super) struct Compressor {
    context: bulk::Compressor<'static>,
    /// The last block did not shrink: look at a sample before trying the next.
    is_wary: bool,
}

impl Compressor {
    pub fn new() -> Result<Self, Error> {
        let context = bulk::Compressor::new(LEVEL).map_err(|error| Error::Defect(format!("zstd: {error}")))?;
        Ok(Self { context, is_wary: false })
    }

    /// Compresses `plain` into the front of `target`, which is at least as long, and
    /// returns the length; None when that is not worth it (`target` is then arbitrary).
    pub fn shrink(&mut self, plain: &[u8], target: &mut [u8]) -> Option<usize> {
        assert!(target.len() >= plain.len(), "room for a block that does not shrink");
        if plain.len() < SHORTEST_BYTES {
            return None;
        }
        if self.is_wary && plain.len() > 2 * SAMPLE_BYTES {
            let middle = plain.len() / 2;
            self.attempt(&plain[middle..middle + SAMPLE_BYTES], target)?;
        }
        let length = self.attempt(plain, target);
        self.is_wary = length.is_none();
        length
    }

    /// zstd refuses a target that is too short, so an error is no gain, and one in 32 is the least gain.
    fn attempt(&mut self, plain: &[u8], target: &mut [u8]) -> Option<usize> {
        let worth = plain.len() - plain.len() / 32 - 1;
        self.context.compress_to_buffer(plain, &mut target[..worth]).ok()
    }
}

/// Decompresses blocks.
pub(super) struct Decompressor(bulk::Decompressor<'static>);

impl Decompressor {
    pub fn new() -> Result<Self, Error> {
        bulk::Decompressor::new().map(Self).map_err(|error| Error::Defect(format!("zstd: {error}")))
    }

    /// Decompresses into `plain`, whose length bounds it; false unless it is filled exactly.
    pub fn fill(&mut self, compressed: &[u8], plain: &mut [u8]) -> bool {
        self.0.decompress_to_buffer(compressed, plain).is_ok_and(|length| length == plain.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Chance, SeededChance};

    const BLOCK: usize = crate::base::limits::BLOCK_BYTES;

    fn random() -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        SeededChance::new(1).fill(&mut block);
        block
    }

    #[test]
    fn a_block_that_shrinks_is_compressed_and_comes_back_at_its_length_only() {
        let plain = b"a folder that cannot be lost ".repeat(2000);
        let mut target = vec![0; plain.len()];
        let length = Compressor::new().unwrap().shrink(&plain, &mut target).expect("it shrinks");
        assert!(length < plain.len() / 10);
        let mut back = vec![0; plain.len()];
        let mut decompressor = Decompressor::new().unwrap();
        assert!(decompressor.fill(&target[..length], &mut back));
        assert_eq!(back, plain);
        for wrong in [plain.len() - 1, plain.len() + 1, 0] {
            assert!(!decompressor.fill(&target[..length], &mut vec![0; wrong]), "into {wrong} bytes");
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut compressor = Compressor::new().unwrap();
        let mut target = vec![0; BLOCK];
        assert_eq!(compressor.shrink(&random(), &mut target), None);
        assert_eq!(compressor.shrink(&[], &mut target), None);
        assert_eq!(compressor.shrink(&[0; SHORTEST_BYTES - 1], &mut target), None);
        assert_eq!(compressor.shrink(&random()[..SHORTEST_BYTES], &mut target), None);
    }

    #[test]
    fn text_after_noise_is_compressed_again() {
        let mut compressor = Compressor::new().unwrap();
        let mut target = vec![0; BLOCK];
        for _ in 0..3 {
            assert_eq!(compressor.shrink(&random(), &mut target), None);
            assert!(compressor.is_wary);
            assert!(compressor.shrink(&[7; BLOCK], &mut target).is_some());
            assert!(!compressor.is_wary);
        }
    }
}
