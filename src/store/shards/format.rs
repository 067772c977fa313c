//! The bytes of segments and entries. The layout is told in the module's documentation.

use std::path::PathBuf;

use crate::base::{OwnerId, ShardId, limits};

/// Everything begins at a multiple of this.
pub const PAGE: u64 = 4096;
/// Bytes of an entry header.
pub const ENTRY_HEADER: usize = 128;
/// Bytes of a segment header.
pub const SEGMENT_HEADER: usize = 36;
/// The directory of the segments.
pub const DIRECTORY: &str = "shards";

const SEGMENT_MAGIC: [u8; 8] = *b"OBSEGMNT";
const ENTRY_MAGIC: [u8; 4] = *b"OBSH";
const SEGMENT_VERSION: u8 = 1;
/// 1 had no subtree roots.
const ENTRY_VERSION: u8 = 2;

/// Drawn once per store; nobody who sends shards knows it.
pub type Nonce = [u8; 16];
/// What names a shard in a store: two owners may hold the same shard independently.
pub type Key = (OwnerId, ShardId);

/// The path of a segment.
pub fn segment_path(number: u32) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{number:08x}.segment"))
}

/// The number in a segment's file name.
pub fn segment_number(name: &std::path::Path) -> Option<u32> {
    let digits = name.to_str()?.strip_suffix(".segment")?;
    if digits.len() == 8 { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// A subtree root, as it is stored.
pub type Node = [u8; 32];

/// The space that an entry with so many subtree roots and a body of so many bytes takes.
pub fn footprint(roots: usize, body_bytes: u64) -> u64 {
    (head_bytes(roots) + body_bytes).next_multiple_of(PAGE)
}

/// Bytes of an entry before its body.
pub fn head_bytes(roots: usize) -> u64 {
    (ENTRY_HEADER + roots * size_of::<Node>()) as u64
}

/// The most subtree roots that a body of so many bytes may have.
pub fn most_roots(body_bytes: usize) -> usize {
    body_bytes.div_ceil(limits::LEAF_BYTES * limits::SUBTREE_LEAVES).max(1)
}

/// Why a header does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No header is here, or it is damaged.
    Damaged,
    /// A later release wrote it.
    Newer(u8),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    Live,
    /// Deleted, or never confirmed.
    Dead,
    /// Its body did not verify.
    Bad,
}

/// The header of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    pub state: EntryState,
    /// How many subtree roots stand between the header and the body.
    pub roots: u16,
    pub roots_crc: u32,
    pub body_bytes: u32,
    pub body_crc: u32,
    pub flushed_to: u64,
    pub offset: u64,
    pub segment: u32,
    pub key: Key,
}

impl EntryHeader {
    /// A dead entry that covers a gap.
    pub fn filler(segment: u32, offset: u64, bytes: u64) -> Self {
        let body_bytes = u32::try_from(bytes - ENTRY_HEADER as u64).expect("a gap lies within one segment");
        let key = (OwnerId([0; 32]), ShardId([0; 32]));
        Self {
            state: EntryState::Dead,
            roots: 0,
            roots_crc: 0,
            body_bytes,
            body_crc: 0,
            flushed_to: offset,
            offset,
            segment,
            key,
        }
    }

    /// The space that the whole entry takes.
    pub fn footprint(&self) -> u64 {
        footprint(self.roots.into(), self.body_bytes.into())
    }

    /// The stored bytes.
    pub fn encode(&self, nonce: &Nonce) -> [u8; ENTRY_HEADER] {
        assert!(self.offset.is_multiple_of(PAGE), "entries begin at pages");
        let mut bytes = [0; ENTRY_HEADER];
        bytes[..4].copy_from_slice(&ENTRY_MAGIC);
        bytes[4] = ENTRY_VERSION;
        bytes[5] = match self.state {
            EntryState::Live => 1,
            EntryState::Dead => 2,
            EntryState::Bad => 3,
        };
        bytes[6..8].copy_from_slice(&self.roots.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.flushed_to.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..48].copy_from_slice(nonce);
        bytes[48..80].copy_from_slice(self.key.0.as_bytes());
        bytes[80..112].copy_from_slice(self.key.1.as_bytes());
        bytes[112..116].copy_from_slice(&self.segment.to_le_bytes());
        bytes[116..120].copy_from_slice(&self.roots_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header expected at this place; anything else there is damage.
    pub fn decode(bytes: &[u8; ENTRY_HEADER], nonce: &Nonce, segment: u32, offset: u64) -> Result<Self, Unreadable> {
        let whole = bytes[..4] == ENTRY_MAGIC && crc32fast::hash(&bytes[..124]) == u32_at(bytes, 124);
        if !whole || bytes[32..48] != nonce[..] {
            return Err(Unreadable::Damaged);
        }
        if bytes[4] > ENTRY_VERSION {
            return Err(Unreadable::Newer(bytes[4]));
        }
        let state = match bytes[5] {
            1 => EntryState::Live,
            2 => EntryState::Dead,
            3 => EntryState::Bad,
            _ => return Err(Unreadable::Damaged),
        };
        let header = Self {
            state,
            roots: u16::from_le_bytes([bytes[6], bytes[7]]),
            roots_crc: u32_at(bytes, 116),
            body_bytes: u32_at(bytes, 8),
            body_crc: u32_at(bytes, 12),
            flushed_to: u64_at(bytes, 16),
            offset: u64_at(bytes, 24),
            segment: u32_at(bytes, 112),
            key: (OwnerId(id_at(bytes, 48)), ShardId(id_at(bytes, 80))),
        };
        let is_here = header.segment == segment && header.offset == offset;
        let is_sized = state == EntryState::Dead
            || header.body_bytes as usize <= limits::SHARD_BYTES
                && usize::from(header.roots) <= most_roots(header.body_bytes as usize);
        if is_here && is_sized { Ok(header) } else { Err(Unreadable::Damaged) }
    }
}

/// The stored bytes of a segment header.
pub fn encode_segment(number: u32, nonce: &Nonce) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
    bytes[8] = SEGMENT_VERSION;
    bytes[12..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..32].copy_from_slice(nonce);
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The nonce in a segment header.
pub fn decode_segment(bytes: &[u8; SEGMENT_HEADER], number: u32) -> Result<Nonce, Unreadable> {
    if bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[..32]) != u32_at(bytes, 32) {
        return Err(Unreadable::Damaged);
    }
    if bytes[8] > SEGMENT_VERSION || bytes[9] != 0 {
        return Err(Unreadable::Newer(bytes[8]));
    }
    if u32_at(bytes, 12) != number {
        return Err(Unreadable::Damaged);
    }
    Ok(bytes[16..32].try_into().expect("16 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn id_at(bytes: &[u8], at: usize) -> [u8; 32] {
    bytes[at..at + 32].try_into().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> EntryHeader {
        let key = (OwnerId([5; 32]), ShardId([6; 32]));
        let (state, flushed_to) = (EntryState::Live, 4096);
        EntryHeader {
            state,
            roots: 1,
            roots_crc: 5,
            body_bytes: 1024,
            body_crc: 77,
            flushed_to,
            offset: 8192,
            segment: 3,
            key,
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_header_is_noticed(bit in 0usize..ENTRY_HEADER * 8) {
            let mut bytes = sample().encode(&[9; 16]);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(EntryHeader::decode(&bytes, &[9; 16], 3, 8192), Err(Unreadable::Damaged));
        }
    }

    #[test]
    fn headers_read_only_in_their_own_place() {
        let bytes = sample().encode(&[9; 16]);
        assert_eq!(EntryHeader::decode(&bytes, &[9; 16], 3, 8192), Ok(sample()));
        assert!(EntryHeader::decode(&bytes, &[8; 16], 3, 8192).is_err(), "another store");
        assert!(EntryHeader::decode(&bytes, &[9; 16], 4, 8192).is_err(), "another segment");
        assert!(EntryHeader::decode(&bytes, &[9; 16], 3, 4096).is_err(), "another offset");
        let segment = encode_segment(3, &[9; 16]);
        assert_eq!(decode_segment(&segment, 3), Ok([9; 16]));
        assert_eq!(decode_segment(&segment, 4), Err(Unreadable::Damaged));
    }

    #[test]
    fn oversized_bodies_and_more_roots_than_subtrees_are_damage() {
        for header in [EntryHeader { body_bytes: u32::MAX, ..sample() }, EntryHeader { roots: 2, ..sample() }] {
            let bytes = header.encode(&[9; 16]);
            assert_eq!(EntryHeader::decode(&bytes, &[9; 16], 3, 8192), Err(Unreadable::Damaged));
        }
    }

    #[test]
    fn names_of_segments_read_back() {
        let path = segment_path(0x2a);
        assert_eq!(path.to_str(), Some("shards/0000002a.segment"));
        assert_eq!(segment_number(path.file_name().expect("a name").as_ref()), Some(0x2a));
        for other in ["2a.segment", "lock", "0000002a.segment.tmp", "zzzzzzzz.segment"] {
            assert_eq!(segment_number(other.as_ref()), None);
        }
    }
}
