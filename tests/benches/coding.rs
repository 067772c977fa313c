//! How fast a full chunk is encoded and decoded, and what its parts cost: `cargo bench --bench coding`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openbucket::{
    base::{Scheme, limits::CHUNK_BYTES, sha256},
    coding::{BucketKey, cpu_supported, decode, encode, merkle},
    runtime::{Chance, SeededChance},
};

const SCHEMES: [Scheme; 3] = [Scheme::BASIC, Scheme::PLUS, Scheme::PREMIUM];

/// A full chunk that does not shrink, and one that zstd halves: six random bits in each byte, in words that recur.
fn chunks() -> [(&'static str, Vec<u8>); 2] {
    let chance = SeededChance::new(1);
    let mut noise = vec![0; CHUNK_BYTES];
    chance.fill(&mut noise);
    let words: Vec<Vec<u8>> = (0..2000)
        .map(|_| {
            let mut word = vec![0; 3 + chance.below(7) as usize];
            chance.fill(&mut word);
            word.iter().map(|byte| b'a' + byte % 26).chain([b' ']).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(CHUNK_BYTES + 16);
    while text.len() < CHUNK_BYTES {
        text.extend_from_slice(&words[chance.below(words.len() as u64) as usize]);
    }
    text.truncate(CHUNK_BYTES);
    [("noise", noise), ("text", text)]
}

fn chunk_coding(c: &mut Criterion) {
    cpu_supported().expect("a processor that runs the erasure code");
    let (key, chance) = (BucketKey::new([1; 32]), SeededChance::new(2));
    for (kind, plain) in chunks() {
        let mut group = c.benchmark_group(format!("chunk of {kind}"));
        group.throughput(Throughput::Bytes(plain.len() as u64)).sample_size(20);
        for scheme in SCHEMES {
            let encoded = encode(&key, &plain, scheme, &chance).expect("a chunk encodes");
            let mut shards: Vec<_> = encoded.shards.iter().cloned().map(Some).collect();
            group.bench_function(BenchmarkId::new("encode", scheme), |b| {
                b.iter(|| encode(&key, &plain, scheme, &chance));
            });
            group.bench_function(BenchmarkId::new("decode", scheme), |b| {
                b.iter(|| decode(&key, &encoded.layout, shards.clone()));
            });
            shards[..scheme.m()].fill(None);
            group.bench_function(BenchmarkId::new("decode m lost", scheme), |b| {
                b.iter(|| decode(&key, &encoded.layout, shards.clone()));
            });
        }
    }
}

fn parts(c: &mut Criterion) {
    let [(_, noise), _] = chunks();
    let mut group = c.benchmark_group("part");
    group.throughput(Throughput::Bytes(noise.len() as u64)).sample_size(20);
    group.bench_function("SHA-256", |b| b.iter(|| sha256(&[&noise])));
    group.bench_function("Merkle root", |b| b.iter(|| merkle::root(&noise)));
}

criterion_group!(benches, chunk_coding, parts);
criterion_main!(benches);
