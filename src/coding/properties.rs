//! Properties of the whole coding: identity, any k of n, nothing altered goes unnoticed.

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::{BucketKey, Encoded, Error, Layout, chunk::encode_as, decode, encode, leaf_range, merkle, open_blocks};
use super::{reconstruct_range, seal::Place};
use crate::{
    base::{
        ChunkId, Scheme,
        limits::{BLOCK_BYTES, CHUNK_BYTES, LEAF_BYTES},
    },
    runtime::{Chance, SeededChance},
};

fn key() -> BucketKey {
    BucketKey::new([3; 32])
}

/// Bytes that shrink, do not, or do in some blocks.
fn plain(length: usize, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    match kind {
        0 => SeededChance::new(9).fill(&mut bytes),
        1 => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 100) as u8),
        _ => {
            SeededChance::new(9).fill(&mut bytes);
            bytes.chunks_mut(BLOCK_BYTES).step_by(2).for_each(|block| block.fill(5));
        }
    }
    bytes
}

fn encoded(plain: &[u8], scheme: Scheme) -> Encoded {
    let encoded = encode(&key(), plain, scheme, &SeededChance::new(1)).unwrap();
    assert_eq!(encoded.layout.validate(), Ok(()));
    assert_eq!((encoded.shards.len(), encoded.roots.len()), (scheme.n(), scheme.n()));
    assert!(encoded.shards.iter().all(|shard| shard.len() == encoded.layout.shard_len as usize));
    encoded
}

fn all(shards: &[Bytes]) -> Vec<Option<Bytes>> {
    shards.iter().cloned().map(Some).collect()
}

fn sealed_bytes(encoded: &Encoded) -> Vec<u8> {
    let mut sealed = encoded.shards[..encoded.layout.scheme.k()].concat();
    sealed.truncate(encoded.layout.sealed_len() as usize);
    sealed
}

fn scheme() -> impl Strategy<Value = Scheme> {
    (1u64..=64).prop_flat_map(|k| (Just(k), 0..=64 - k)).prop_map(|(k, m)| Scheme::new(k, m).unwrap())
}

#[test]
fn every_length_near_a_border_comes_back() {
    let near = |border: usize| border.saturating_sub(18)..=border + 18;
    let short = 0..=2 * LEAF_BYTES + 40;
    let lengths = short.chain((1..=3).flat_map(|blocks| near(blocks * BLOCK_BYTES)));
    for length in lengths {
        for (scheme, kind) in [(Scheme::FREE, 0), (Scheme::new(3, 1).unwrap(), 1)] {
            let plain = plain(length, kind);
            let Encoded { layout, shards, .. } = encoded(&plain, scheme);
            assert_eq!(decode(&key(), &layout, all(&shards)).unwrap(), plain, "{length} bytes at {scheme}");
        }
    }
}

#[test]
fn full_chunks_come_back_and_longer_ones_are_refused() {
    for kind in 0..3 {
        let plain = plain(CHUNK_BYTES, kind);
        let Encoded { layout, mut shards, .. } = encoded(&plain, Scheme::BASIC);
        let mut some = all(&shards);
        (some[0], some[2]) = (None, None);
        assert!(decode(&key(), &layout, some).unwrap() == plain, "kind {kind}");
        shards.truncate(5);
        assert!(matches!(decode(&key(), &layout, all(&shards)), Err(Error::Request(_))));
    }
    let long = encode(&key(), &vec![0; CHUNK_BYTES + 1], Scheme::BASIC, &SeededChance::new(1));
    assert_eq!(long.unwrap_err(), Error::TooLong { bytes: CHUNK_BYTES + 1 });
}

#[test]
fn every_k_of_six_suffice_and_no_fewer() {
    let plain = plain(200_000, 2);
    let Encoded { layout, shards, .. } = encoded(&plain, Scheme::BASIC);
    for chosen in 0u32..1 << 6 {
        let some =
            shards.iter().enumerate().map(|(at, shard)| (chosen & (1 << at) != 0).then(|| shard.clone())).collect();
        let result = decode(&key(), &layout, some);
        match chosen.count_ones() as usize {
            present @ 0..4 => assert_eq!(result, Err(Error::TooFew { present, needed: 4 })),
            _ => assert!(result.unwrap() == plain, "{chosen:06b}"),
        }
    }
}

#[test]
fn three_of_four_needed_shards_and_a_forged_one_do_not_decode() {
    let Encoded { layout, shards, .. } = encoded(&plain(50_000, 0), Scheme::BASIC);
    for forged in 0..6 {
        let mut some: Vec<Option<Bytes>> = vec![None; 6];
        for at in (0..6).cycle().skip(forged + 1).take(3) {
            some[at] = Some(shards[at].clone());
        }
        some[forged] = Some(vec![0; layout.shard_len as usize].into());
        assert!(matches!(decode(&key(), &layout, some), Err(Error::Unsealed { .. })), "shard {forged} forged");
    }
}

#[test]
fn every_bit_of_a_sealed_block_counts() {
    let Encoded { layout, shards, .. } = encoded(b"a block", Scheme::BASIC);
    let mut sealed = shards[0][..layout.sealed_len() as usize].to_vec();
    for bit in 0..sealed.len() * 8 {
        sealed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_blocks(&key(), &layout, 0..1, &[&sealed]), Err(Error::Unsealed { block: 0 }), "bit {bit}");
        sealed[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(open_blocks(&key(), &layout, 0..1, &[&sealed]), Ok(Bytes::from_static(b"a block")));
}

#[test]
fn every_bit_of_a_shard_counts() {
    let Encoded { shards, roots, .. } = encoded(b"a block", Scheme::BASIC);
    for (shard, root) in shards.iter().zip(&roots) {
        let mut bytes = shard.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(merkle::root(&bytes), *root, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(merkle::root(&bytes), *root);
    }
}

#[test]
fn a_block_opens_only_under_its_key_and_in_its_place() {
    let plain = plain(3 * BLOCK_BYTES, 0);
    let encoded = encoded(&plain, Scheme::BASIC);
    let (layout, sealed) = (&encoded.layout, sealed_bytes(&encoded));
    let refused = |layout: &Layout, key: &BucketKey, sealed: &[u8]| {
        assert!(matches!(open_blocks(key, layout, 0..3, &[sealed]), Err(Error::Unsealed { .. })));
    };
    assert_eq!(open_blocks(&key(), layout, 0..3, &[&sealed]).unwrap(), plain);
    refused(layout, &BucketKey::new([4; 32]), &sealed);
    let mut other = layout.clone();
    other.chunk.0[31] ^= 1;
    refused(&other, &key(), &sealed);
    let (first, second, third) = {
        let mut blocks = sealed.chunks(BLOCK_BYTES + 16);
        (blocks.next().unwrap(), blocks.next().unwrap(), blocks.next().unwrap())
    };
    refused(layout, &key(), &[second, first, third].concat());
    refused(layout, &key(), &[first, third, second].concat());
    refused(layout, &key(), &[first, first, third].concat());
}

#[test]
fn blocks_of_another_table_are_refused() {
    // The lengths, the block count and the flag are authenticated, so a table that
    // is consistent in itself but not the one that was sealed opens nothing.
    let short = encoded(&plain(BLOCK_BYTES, 0), Scheme::BASIC);
    let sealed = sealed_bytes(&short);
    let longer = encoded(&plain(BLOCK_BYTES + 1, 0), Scheme::BASIC).layout;
    assert_eq!(longer.chunk, short.layout.chunk);
    assert_eq!(open_blocks(&key(), &longer, 0..1, &[&sealed]), Err(Error::Unsealed { block: 0 }));

    let mut flagged = encoded(&[1; 1000], Scheme::BASIC);
    assert!(flagged.layout.blocks[0].is_compressed);
    let sealed = sealed_bytes(&flagged);
    flagged.layout.plain_len = 1001;
    assert_eq!(flagged.layout.validate(), Ok(()));
    assert_eq!(open_blocks(&key(), &flagged.layout, 0..1, &[&sealed]), Err(Error::Unsealed { block: 0 }));
    flagged.layout.plain_len = flagged.layout.blocks[0].sealed_len - 16;
    flagged.layout.blocks[0].is_compressed = false;
    assert_eq!(flagged.layout.validate(), Ok(()));
    assert_eq!(open_blocks(&key(), &flagged.layout, 0..1, &[&sealed]), Err(Error::Unsealed { block: 0 }));
}

#[test]
fn a_damaged_table_is_refused_before_anything_is_sized_by_it() {
    let Encoded { mut layout, shards, .. } = encoded(b"a block", Scheme::BASIC);
    layout.plain_len = u32::MAX;
    assert!(matches!(decode(&key(), &layout, all(&shards)), Err(Error::Layout(_))));
    assert!(matches!(open_blocks(&key(), &layout, 0..1, &shards[..1]), Err(Error::Layout(_))));
}

#[test]
fn what_is_not_there_is_not_opened() {
    let encoded = encoded(b"a block", Scheme::BASIC);
    let sealed = sealed_bytes(&encoded);
    for (blocks, bytes) in [(0..2, &sealed[..]), (0..1, &sealed[1..]), (1..1, &sealed[..]), (0..1, &[])] {
        let opened = open_blocks(&key(), &encoded.layout, blocks.clone(), &[bytes]);
        assert!(matches!(opened, Err(Error::Request(_))), "{blocks:?}");
    }
    assert_eq!(open_blocks(&key(), &encoded.layout, 1..1, &[[]]), Ok(Bytes::new()));
    let short = vec![Some(encoded.shards[0].slice(1..)); 6];
    assert!(matches!(decode(&key(), &encoded.layout, short), Err(Error::ShardLength { index: 0, .. })));
}

#[test]
fn every_attempt_has_its_own_id_and_every_shard_another_root() {
    let chance = SeededChance::new(5);
    let mut roots = std::collections::HashSet::new();
    for attempt in 0..4 {
        let once = encode(&key(), b"the same few bytes", Scheme::BASIC, &chance).unwrap();
        roots.extend(once.roots);
        assert_eq!(roots.len(), (attempt + 1) * 6, "no shard of a small chunk is empty");
    }
}

#[test]
fn more_parity_leaves_the_other_shards_as_they_are() {
    let plain = plain(100_000, 2);
    let id = ChunkId([8; 32]);
    let few = encode_as(&key(), &plain, Scheme::BASIC, id).unwrap();
    let many = encode_as(&key(), &plain, Scheme::new(4, 9).unwrap(), id).unwrap();
    assert_eq!(few.shards, many.shards[..6]);
    assert_eq!(few.roots, many.roots[..6]);
}

#[test]
fn a_frame_that_decompresses_to_another_length_is_refused() {
    // Sealed as it should be, by an encoder that lied about the plain length.
    let frame = zstd::bulk::compress(&[1; 5000], 1).unwrap();
    let mut sealed = [frame.clone(), vec![0; 16]].concat();
    let entry = super::BlockEntry { sealed_len: sealed.len() as u32, is_compressed: true };
    let layout = Layout::new(ChunkId([1; 32]), Scheme::BASIC, 1000, vec![entry]);
    let cipher = super::seal::ChunkCipher::new(&key(), layout.chunk, 1, 1000);
    cipher.seal(Place { index: 0, block_plain_len: 1000, entry }, &mut sealed).unwrap();
    assert_eq!(layout.validate(), Ok(()));
    let opened = open_blocks(&key(), &layout, 0..1, &[&sealed]);
    assert_eq!(opened, Err(Error::Compression { block: 0, expected: 1000 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_k_of_any_scheme_suffice(
        scheme in scheme(),
        length in 0..3 * BLOCK_BYTES,
        kind in 0u8..3,
        order in any::<u64>(),
    ) {
        let plain = plain(length, kind);
        let Encoded { layout, shards, .. } = encoded(&plain, scheme);
        let mut some = all(&shards);
        let chance = SeededChance::new(order);
        let mut present: Vec<usize> = (0..scheme.n()).collect();
        while present.len() > scheme.k() {
            some[present.swap_remove(chance.below(present.len() as u64) as usize)] = None;
        }
        prop_assert!(decode(&key(), &layout, some.clone()).unwrap() == plain);
        some[present[0]] = None;
        prop_assert_eq!(decode(&key(), &layout, some), Err(Error::TooFew { present: scheme.k() - 1, needed: scheme.k() }));
    }

    #[test]
    fn a_range_is_read_from_verified_leaves_with_a_shard_missing(
        scheme in scheme().prop_filter("a shard can be missing", |scheme| scheme.m() > 0),
        length in 1..3 * BLOCK_BYTES,
        kind in 0u8..3,
        ends in any::<[Index; 2]>(),
        lost in any::<Index>(),
    ) {
        let bytes = plain(length, kind);
        let Encoded { layout, shards, roots } = encoded(&bytes, scheme);
        let mut ends = ends.map(|end| end.index(length + 1) as u32);
        ends.sort_unstable();
        let lost = lost.index(scheme.n());

        let blocks = layout.blocks_of(ends[0]..ends[1]);
        let sealed = layout.sealed_range(blocks.clone());
        let mut gathered = Vec::new();
        for slice in layout.slices(sealed) {
            let leaves = leaf_range(slice.range.clone());
            let widened = leaves.start as usize * LEAF_BYTES..leaves.end as usize * LEAF_BYTES;
            let fetch = |index: usize| {
                let part = shards[index].slice(widened.clone());
                let proof = merkle::Tree::build(&shards[index]).range_proof(leaves.clone());
                merkle::verify_range(roots[index], layout.leaves(), leaves.clone(), &part, &proof).map(|()| part)
            };
            let part = if slice.shard_index == lost {
                let others = (0..scheme.n()).rev().filter(|index| *index != lost).take(scheme.k());
                let pieces: Vec<_> = others.map(|index| (index, fetch(index).unwrap())).collect();
                reconstruct_range(&layout, lost, &pieces).unwrap()
            } else {
                fetch(slice.shard_index).unwrap()
            };
            let skip = slice.range.start as usize - widened.start;
            gathered.push(part.slice(skip..skip + slice.range.len()));
        }
        let opened = open_blocks(&key(), &layout, blocks.clone(), &gathered).unwrap();
        let held = layout.plain_range(blocks);
        prop_assert!(opened[..] == bytes[held.start as usize..held.end as usize]);
    }

    #[test]
    fn a_flipped_bit_of_a_data_shard_never_changes_what_is_read(
        length in 1..2 * BLOCK_BYTES,
        kind in 0u8..3,
        shard in 0usize..4,
        bit in any::<Index>(),
    ) {
        let bytes = plain(length, kind);
        let Encoded { layout, mut shards, roots } = encoded(&bytes, Scheme::BASIC);
        let mut flipped = shards[shard].to_vec();
        let bit = bit.index(flipped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(merkle::root(&flipped), roots[shard]);
        shards[shard] = flipped.into();
        let is_padding = (shard * layout.shard_len as usize + bit / 8) as u64 >= layout.sealed_len();
        match decode(&key(), &layout, all(&shards)) {
            Ok(read) => prop_assert!(is_padding && read == bytes),
            Err(error) => prop_assert!(!is_padding && matches!(error, Error::Unsealed { .. }), "{error}"),
        }
    }
}
