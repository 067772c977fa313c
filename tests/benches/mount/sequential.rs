//! A large file: written, uploaded, read from the page cache and from consumers.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use crate::{
    meter::{GIB, MIB, rate, read, seconds, write},
    places::{Group, PLACES, Place, Places, WITH_DATA},
    report::{Row, less, more},
};

const BYTES: u64 = GIB;
/// Of the files whose first byte is read.
const SMALL_BYTES: u64 = 16 * MIB;

/// The drain is counted from the first byte written: uploading begins while the file is still being written.
const ROUND: Group = Group {
    name: "sequential",
    kinds: &[
        more("write 1 GiB + fsync", "MB/s"),
        more("write + drain, 4+2", "MB/s"),
        more("read warm", "MB/s"),
        more("read cold", "MB/s"),
    ],
    places: &PLACES,
    rounds: 3,
};

const FIRST_BYTE: Group =
    Group { name: "first byte", kinds: &[less("first byte, cold mount", "ms")], places: &WITH_DATA, rounds: 3 };

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let mut rows = places.rounds(&ROUND, &|place, directory| measure_round(places, place, directory))?;
    rows.extend(places.rounds(&FIRST_BYTE, &|place, directory| first_byte(places, place, directory))?);
    Ok(rows)
}

fn measure_round(places: &Places, place: Place, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let path = directory.join("file");
    let written = seconds(|| write(&path, BYTES))?;
    let drained = match place {
        Place::Bucket => written + seconds(|| places.upload(&path))?,
        _ => written,
    };
    read(&path, BYTES)?;
    let warm = seconds(|| read(&path, BYTES))?;
    if place == Place::Empty {
        // It has all in memory: what the kernel's side of it takes.
        return Ok(vec![rate(BYTES, written), f64::NAN, rate(BYTES, warm), f64::NAN]);
    }
    places.make_cold(place, &path)?;
    let cold = seconds(|| read(&path, BYTES))?;
    Ok([written, drained, warm, cold].map(|seconds| rate(BYTES, seconds)).to_vec())
}

fn first_byte(places: &Places, place: Place, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let path = directory.join("file");
    write(&path, SMALL_BYTES)?;
    places.make_cold(place, &path)?;
    match place {
        Place::Bucket => places.remount()?,
        _ => crate::machine::drop_caches(),
    }
    let waited = seconds(|| Ok(File::open(&path)?.read_exact_at(&mut [0], SMALL_BYTES / 2)?))?;
    Ok(vec![waited * 1e3])
}
