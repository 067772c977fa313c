//! What stands at the front of a cache file: which blocks of which chunk are in it.
//!
//! Version 1, 72 bytes, numbers little-endian: magic `OBCACHE`, version (1 byte), chunk id (32), bitmap of the
//! blocks present (8, block 0 the lowest bit), sealed bytes of the chunk (8), stamp (8, larger is more
//! recently used), bytes charged (4), CRC-32 of all before (4). The sealed bytes begin at [`DATA_OFFSET`], each
//! block at its place in the chunk.

use crate::base::{
    ChunkId,
    limits::{CHUNK_BLOCKS, SHARD_BYTES},
};

/// A cache file is charged in whole pages, of which the header takes one.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Where the sealed bytes begin.
pub(super) const DATA_OFFSET: u64 = PAGE_BYTES;
/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 72;

const MAGIC: &[u8; 7] = b"OBCACHE";
const VERSION: u8 = 1;

/// The bitmap has a bit for each block.
const _: () = assert!(CHUNK_BLOCKS <= 64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) chunk: ChunkId,
    pub(super) present: u64,
    pub(super) sealed_len: u64,
    pub(super) stamp: u64,
    pub(super) charged: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = VERSION;
        bytes[8..40].copy_from_slice(self.chunk.as_bytes());
        bytes[40..48].copy_from_slice(&self.present.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.sealed_len.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.stamp.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.charged.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..68]);
        bytes[68..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// None for anything that is not an intact header of this version.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let crc = u32::from_le_bytes(bytes[68..].try_into().ok()?);
        if &bytes[..7] != MAGIC || bytes[7] != VERSION || crc32fast::hash(&bytes[..68]) != crc {
            return None;
        }
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let header = Self {
            chunk: ChunkId(bytes[8..40].try_into().ok()?),
            present: number(40)?,
            sealed_len: number(48)?,
            stamp: number(56)?,
            charged: u32::from_le_bytes(bytes[64..68].try_into().ok()?),
        };
        let most = SHARD_BYTES as u64;
        let is_sane = header.sealed_len <= most && u64::from(header.charged) <= 2 * PAGE_BYTES + most;
        is_sane.then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_one_is_this() {
        let header = Header { chunk: ChunkId([7; 32]), present: 5, sealed_len: 65_552, stamp: 9, charged: 4096 * 18 };
        let bytes = header.encode();
        let golden = concat!(
            "4f42434143484501",
            "0707070707070707070707070707070707070707070707070707070707070707",
            "0500000000000000",
            "1000010000000000",
            "0900000000000000",
            "00200100",
        );
        assert_eq!(hex::encode(&bytes[..68]), golden);
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), None, "bit {bit}");
        }
    }
}
