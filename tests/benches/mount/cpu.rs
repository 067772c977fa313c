//! Processor time of all processes of the network together, per byte that passes.

use std::path::Path;

use crate::{
    machine::cpu_seconds,
    meter::{GIB, read, write},
    places::{Group, Place, Places, WITH_DATA},
    report::{Row, less},
};

const BYTES: u64 = GIB / 2;

/// The plain directory's is that of the one who writes and reads; a bucket's is on top of it.
const ROUND: Group = Group {
    name: "cpu",
    kinds: &[
        less("CPU, write + drain", "ns/B"),
        less("CPU, write: mount", "ns/B"),
        less("CPU, write: consumers", "ns/B"),
        less("CPU, read cold", "ns/B"),
        less("CPU, read: mount", "ns/B"),
        less("CPU, read: consumers", "ns/B"),
    ],
    places: &WITH_DATA,
    rounds: 3,
};

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    places.rounds(&ROUND, &|place, directory| measure_round(places, place, directory))
}

/// Seconds so far: of all, of the mount, of the consumers.
fn spent(places: &Places, place: Place) -> anyhow::Result<[f64; 3]> {
    if place != Place::Bucket {
        let own = cpu_seconds(i32::try_from(std::process::id())?)?;
        return Ok([own, f64::NAN, f64::NAN]);
    }
    let mut sums = [0.0; 3];
    for (name, pid) in places.processes()? {
        let seconds = cpu_seconds(pid)?;
        sums[0] += seconds;
        sums[1] += if name == "mount" { seconds } else { 0.0 };
        sums[2] += if name.starts_with("consumer") { seconds } else { 0.0 };
    }
    Ok(sums)
}

fn measure_round(places: &Places, place: Place, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let path = directory.join("file");
    let per_byte = |work: &dyn Fn() -> anyhow::Result<()>| -> anyhow::Result<[f64; 3]> {
        let before = spent(places, place)?;
        work()?;
        let after = spent(places, place)?;
        Ok(std::array::from_fn(|index| (after[index] - before[index]) * 1e9 / BYTES as f64))
    };
    let drained = per_byte(&|| {
        write(&path, BYTES)?;
        if place == Place::Bucket { places.upload(&path) } else { Ok(()) }
    })?;
    places.make_cold(place, &path)?;
    let cold = per_byte(&|| read(&path, BYTES))?;
    Ok([drained, cold].concat())
}
