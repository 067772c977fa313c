//! Erasure coding: parity from data, a lost shard from any k others. The only door to reed-solomon-erasure.

use std::sync::Arc;

use bytes::Bytes;
use reed_solomon_erasure::galois_8::{ReedSolomon, mul_slice, mul_slice_xor};

use super::{Error, Layout};
use crate::base::{Mutex, Scheme, limits::CODERS};

/// Bytes of each shard that are coded together, so that they stay in the processor's cache.
const STRIP_BYTES: usize = 16 << 10;

/// Computes the parity shards; nothing to do when m = 0.
/// `shards` are the n shards of `length` bytes, one after the other, the data in the first k.
pub(super) fn add_parity(scheme: Scheme, length: usize, shards: &mut [u8]) -> Result<(), Error> {
    assert_eq!(shards.len(), scheme.n() * length, "n shards");
    if scheme.m() == 0 {
        return Ok(());
    }
    let coder = coder(scheme)?;
    let (data, parity) = shards.split_at_mut(scheme.k() * length);
    for start in (0..length).step_by(STRIP_BYTES) {
        let strip = start..length.min(start + STRIP_BYTES);
        let data: Vec<&[u8]> = data.chunks_exact(length).map(|shard| &shard[strip.clone()]).collect();
        let mut parity: Vec<&mut [u8]> =
            parity.chunks_exact_mut(length).map(|shard| &mut shard[strip.clone()]).collect();
        coder.encode_sep(&data, &mut parity).map_err(defect)?;
    }
    Ok(())
}

/// The bytes of shard `index`, data or parity, at the place where `pieces` - (shard index, bytes) - lie in
/// their shards. Any k different pieces will do; more are not used. All have the same length.
///
/// # Errors
/// [`Error::TooFew`] with fewer than k; [`Error::ShardLength`] or [`Error::Request`] when the pieces do not
/// fit together. Wrong bytes give wrong bytes: verify the pieces first.
pub fn reconstruct_range(layout: &Layout, index: usize, pieces: &[(usize, Bytes)]) -> Result<Bytes, Error> {
    let scheme = layout.scheme;
    if index >= scheme.n() {
        return Err(Error::Request(format!("shard {index} of a chunk of {} shards", scheme.n())));
    }
    let sources = choose(scheme, pieces)?;
    let length = sources[0].1.len();
    if length > layout.shard_len as usize {
        return Err(Error::ShardLength { index: sources[0].0, found: length, expected: layout.shard_len as usize });
    }
    if let Some((_, wanted)) = pieces.iter().find(|(source, _)| *source == index) {
        return Ok(wanted.clone());
    }
    let rows: Vec<usize> = sources.iter().map(|(source, _)| *source).collect();
    let weights = weights(scheme, index, &rows)?;
    let mut target = vec![0; length];
    let bytes: Vec<&[u8]> = sources.iter().map(|(_, bytes)| &bytes[..]).collect();
    combine(&weights, &bytes, &mut target);
    Ok(target.into())
}

/// k pieces of different shards and the same length, in the order of their shards.
fn choose(scheme: Scheme, pieces: &[(usize, Bytes)]) -> Result<Vec<(usize, &Bytes)>, Error> {
    let mut sources: Vec<(usize, &Bytes)> = Vec::with_capacity(scheme.k());
    for (source, bytes) in pieces {
        if *source >= scheme.n() || sources.iter().any(|(seen, _)| seen == source) {
            return Err(Error::Request(format!("shard {source} given twice, or to a chunk of {}", scheme.n())));
        }
        if let Some((_, first)) = sources.first()
            && first.len() != bytes.len()
        {
            return Err(Error::ShardLength { index: *source, found: bytes.len(), expected: first.len() });
        }
        sources.push((*source, bytes));
    }
    if sources.len() < scheme.k() {
        return Err(Error::TooFew { present: sources.len(), needed: scheme.k() });
    }
    sources.truncate(scheme.k());
    // The weights belong to the shards in their order.
    sources.sort_by_key(|(source, _)| *source);
    Ok(sources)
}

/// How much of each of the k shards `rows` (ascending) shard `index`, none of them, is made of.
///
/// The code is linear and works on each byte position alone: with shard number i of `rows` zero but for a one
/// at position i, position i of the reconstructed shard is the weight of that shard. So k bytes of each shard tell
/// the weights, and the shards themselves need not be copied into the coder.
pub(super) fn weights(scheme: Scheme, index: usize, rows: &[usize]) -> Result<Vec<u8>, Error> {
    let k = scheme.k();
    assert!(rows.len() == k && rows.is_sorted() && !rows.contains(&index), "k other shards");
    assert!(scheme.m() > 0, "without parity there are only k shards");
    let mut probe: Vec<Option<Vec<u8>>> = vec![None; scheme.n()];
    for (position, row) in rows.iter().enumerate() {
        let mut unit = vec![0; k];
        unit[position] = 1;
        probe[*row] = Some(unit);
    }
    let coder = coder(scheme)?;
    if index < k { coder.reconstruct_data(&mut probe) } else { coder.reconstruct(&mut probe) }.map_err(defect)?;
    probe[index].take().ok_or_else(|| Error::Defect("a shard was not reconstructed".into()))
}

/// The weighted sum of the shards over GF(2^8), into `target`, which is as long as each of them.
pub(super) fn combine(weights: &[u8], shards: &[&[u8]], target: &mut [u8]) {
    assert_eq!(weights.len(), shards.len(), "a weight for each shard");
    for (strip, out) in target.chunks_mut(STRIP_BYTES).enumerate() {
        let start = strip * STRIP_BYTES;
        for (position, (weight, shard)) in weights.iter().zip(shards).enumerate() {
            let part = &shard[start..start + out.len()];
            if position == 0 { mul_slice(*weight, part, out) } else { mul_slice_xor(*weight, part, out) }
        }
    }
}

/// The coder of a scheme with m > 0. Its matrix is worth keeping; the least recently made goes first.
fn coder(scheme: Scheme) -> Result<Arc<ReedSolomon>, Error> {
    static KEPT: Mutex<Vec<(Scheme, Arc<ReedSolomon>)>> = Mutex::new(Vec::new());
    if let Some((_, coder)) = KEPT.lock().iter().find(|(kept, _)| *kept == scheme) {
        return Ok(Arc::clone(coder));
    }
    let coder = Arc::new(ReedSolomon::new(scheme.k(), scheme.m()).map_err(defect)?);
    let mut kept = KEPT.lock();
    if kept.len() >= CODERS {
        kept.remove(0);
    }
    kept.push((scheme, Arc::clone(&coder)));
    Ok(coder)
}

fn defect(error: reed_solomon_erasure::Error) -> Error {
    Error::Defect(format!("erasure coding: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ChunkId, runtime::Chance, runtime::SeededChance};

    /// n shards of random data with their parity, and a layout good enough for ranges.
    fn shards(scheme: Scheme, length: usize) -> (Layout, Vec<Bytes>) {
        let mut buffer = vec![0xee; scheme.n() * length];
        SeededChance::new(3).fill(&mut buffer[..scheme.k() * length]);
        add_parity(scheme, length, &mut buffer).unwrap();
        let layout = Layout {
            format: 1,
            chunk: ChunkId([0; 32]),
            scheme,
            plain_len: 0,
            shard_len: u32::try_from(length).unwrap(),
            blocks: Vec::new(),
        };
        (layout, buffer.chunks(length).map(Bytes::copy_from_slice).collect())
    }

    #[test]
    fn strips_give_the_parity_of_the_whole() {
        let length = 2 * STRIP_BYTES + 1024;
        let (layout, shards) = shards(Scheme::BASIC, length);
        let mut whole: Vec<Vec<u8>> = shards.iter().map(|shard| shard.to_vec()).collect();
        coder(layout.scheme).unwrap().encode(&mut whole).unwrap();
        assert_eq!(shards, whole);
    }

    #[test]
    fn every_shard_comes_from_every_k_others() {
        let (layout, shards) = shards(Scheme::BASIC, STRIP_BYTES + 1024);
        let n = layout.scheme.n();
        for chosen in (0u32..1 << n).filter(|chosen| chosen.count_ones() as usize == layout.scheme.k()) {
            let mut pieces: Vec<(usize, Bytes)> = (0..n)
                .filter(|index| chosen & (1 << index) != 0)
                .map(|index| (index, shards[index].slice(1000..STRIP_BYTES + 500)))
                .collect();
            pieces.rotate_left(chosen as usize % 4);
            for (index, shard) in shards.iter().enumerate() {
                let got = reconstruct_range(&layout, index, &pieces).unwrap();
                assert_eq!(got, shard.slice(1000..STRIP_BYTES + 500), "shard {index} from {chosen:06b}");
            }
        }
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let (layout, shards) = shards(Scheme::BASIC, 1024);
        let piece = |index: usize, end: usize| (index, shards[index].slice(..end));
        let try_with = |index, pieces: &[(usize, Bytes)]| reconstruct_range(&layout, index, pieces);
        let three = [piece(1, 100), piece(2, 100), piece(3, 100)];
        assert_eq!(try_with(0, &three), Err(Error::TooFew { present: 3, needed: 4 }));
        let with = |more| [three.to_vec(), vec![more]].concat();
        assert!(matches!(try_with(0, &with(piece(4, 101))), Err(Error::ShardLength { index: 4, .. })));
        assert!(matches!(try_with(0, &with(piece(3, 100))), Err(Error::Request(_))));
        assert!(matches!(try_with(0, &with((6, Bytes::from_static(&[0; 100])))), Err(Error::Request(_))));
        assert!(matches!(try_with(6, &with(piece(4, 100))), Err(Error::Request(_))));
        let long: Vec<_> = (1..5).map(|index| (index, Bytes::from_static(&[0; 2000]))).collect();
        assert!(matches!(try_with(0, &long), Err(Error::ShardLength { .. })));
        assert_eq!(try_with(0, &with(piece(4, 100))), Ok(shards[0].slice(..100)));
        let nothing: Vec<_> = (1..5).map(|index| (index, Bytes::new())).collect();
        assert_eq!(try_with(0, &nothing), Ok(Bytes::new()));
    }

    #[test]
    fn no_parity_needs_no_coder() {
        let scheme = Scheme::new(3, 0).unwrap();
        let (layout, shards) = shards(scheme, 1024);
        let pieces: Vec<_> = shards.iter().cloned().enumerate().collect();
        assert_eq!(reconstruct_range(&layout, 1, &pieces), Ok(shards[1].clone()));
        assert_eq!(reconstruct_range(&layout, 1, &pieces[1..]), Err(Error::TooFew { present: 2, needed: 3 }));
    }

    #[test]
    fn the_kept_coders_are_few() {
        for m in 1..=2 * CODERS as u64 {
            coder(Scheme::new(2, m).unwrap()).unwrap();
        }
        let again = coder(Scheme::new(2, 1).unwrap()).unwrap();
        assert_eq!((again.data_shard_count(), again.parity_shard_count()), (2, 1));
    }
}
