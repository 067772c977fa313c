//! What rows have in common: files written, read and timed.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

/// Bytes of one call.
const CALL: usize = 1 << 20;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// How many a second.
pub fn per_second(count: usize, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    Ok(count as f64 / seconds(work)?)
}

/// How long it takes.
pub fn seconds(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Millions of bytes a second.
pub fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds
}

/// What so many of a hundred do not exceed, in milliseconds.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

/// Chance that is the same in each run.
pub fn chance(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Bytes that no compression makes smaller.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    chance(0).fill_bytes(&mut data);
    data
}

/// So many different numbers of blocks below a count.
pub fn pick(chance: &mut StdRng, blocks: u64, count: usize) -> Vec<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut picked = Vec::new();
    while picked.len() < count.min(blocks as usize) {
        let block = chance.random_range(0..blocks);
        if seen.insert(block) {
            picked.push(block);
        }
    }
    picked
}

/// Writes a new file of noise and has it made safe.
pub fn write(path: &Path, bytes: u64) -> anyhow::Result<()> {
    // Longer than a chunk by an odd length, so that no two chunks are equal.
    let data = noise(5 * CALL + 4096);
    let mut file = File::create_new(path)?;
    let mut done = 0;
    while done < bytes {
        let start = (done % (4 * MIB + 4096)) as usize;
        let length = CALL.min((bytes - done) as usize);
        file.write_all(&data[start..start + length])?;
        done += length as u64;
    }
    Ok(file.sync_all()?)
}

/// Reads a file to its end.
pub fn read(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CALL];
    let mut done = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => done += count as u64,
        }
    }
    if done != bytes {
        bail!("{} ends after {done} bytes, it has {bytes}", path.display());
    }
    Ok(())
}
