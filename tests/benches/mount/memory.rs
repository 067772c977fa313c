//! How much memory the mount, and a consumer, take while much more than that passes through.

use std::{env, fs};

use anyhow::Context as _;

use crate::{
    machine::{peak_mib, reset_peak},
    meter::{GIB, read, write},
    places::{Place, Places},
    report::{Row, less},
};

/// GiB that pass through, instead of the default.
const VARIABLE: &str = "OPENBUCKET_BENCH_MEMORY_GIB";
const DEFAULT_GIB: u64 = 2;
/// What the target speaks of.
const PROMISED_GIB: u64 = 10;

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let gib = match env::var(VARIABLE) {
        Ok(word) => word.parse().with_context(|| format!("{VARIABLE}={word} is no number"))?,
        Err(_) => DEFAULT_GIB,
    };
    eprintln!("memory, {gib} GiB");
    // A process that has done nothing else.
    places.remount()?;
    let directory = places.directory(Place::Bucket, "memory")?;
    let pid = places.mount_pid()?;
    let consumers = places.processes()?.into_iter().filter(|(name, _)| name.starts_with("consumer"));
    let consumers: Vec<i32> = consumers.map(|(_, pid)| pid).collect();
    consumers.iter().chain([&pid]).try_for_each(|pid| reset_peak(*pid))?;
    for number in 0..gib {
        let path = directory.join(format!("file-{number}"));
        write(&path, GIB)?;
        places.make_cold(Place::Bucket, &path)?;
        read(&path, GIB)?;
        fs::remove_file(&path)?;
    }
    let mut row = Row::alone(less("peak memory of mount", "MiB"), peak_mib(pid)?);
    let more = if gib < PROMISED_GIB { format!("; {VARIABLE}={PROMISED_GIB} measures all") } else { String::new() };
    row.note = Some(format!("{gib} GiB were written, uploaded and read cold{more}"));
    let mut most: f64 = 0.0;
    for consumer in consumers {
        most = most.max(peak_mib(consumer)?);
    }
    fs::remove_dir_all(&directory)?;
    places.settle()?;
    Ok(vec![row, Row::alone(less("peak memory of a consumer", "MiB"), most)])
}
