//! What a mounted bucket costs, against the plain directory below it and against an empty file system on FUSE, measured
//! in one run: `scripts/bench [GROUP...] [--json]`.
//!
//! A group is a list of rows; a row is one number per file system. Each row is measured in rounds, one file system after the
//! other, so that what else the machine does falls on all alike; the middle of the rounds counts. What a row is to reach
//! stands in `targets.rs`.

mod cpu;
mod empty;
mod fsync;
mod machine;
mod memory;
mod metadata;
mod meter;
mod places;
mod random;
mod report;
mod sequential;
mod small;
mod targets;

use std::path::PathBuf;

use anyhow::bail;

/// Every group, in the order of the report.
const GROUPS: &[(&str, Group)] = &[
    ("sequential", sequential::measure),
    ("random", random::measure),
    ("fsync", fsync::measure),
    ("small", small::measure),
    ("memory", memory::measure),
    ("cpu", cpu::measure),
    ("metadata", metadata::measure),
];

type Group = fn(&places::Places) -> anyhow::Result<Vec<report::Row>>;

fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, directory] = &words[..]
        && word == empty::WORD
    {
        return empty::serve(&PathBuf::from(directory));
    }
    let is_json = words.iter().any(|word| word == "--json");
    words.retain(|word| word != "--json");
    for word in &words {
        if !GROUPS.iter().any(|(name, _)| name == word) {
            let known: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
            bail!("there is no group '{word}'; there are: {}", known.join(", "));
        }
    }
    if let Some((name, _)) = targets::TARGETS.iter().find(|(name, _)| targets::held_by(name).is_none()) {
        bail!("it is not said what holds '{name}' back when it misses its target");
    }
    let places = places::Places::open()?;
    let mut rows = Vec::new();
    for (name, measure) in GROUPS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            rows.extend(measure(&places)?);
        }
    }
    places.close()?;
    if words.is_empty()
        && let Some((name, _)) =
            targets::TARGETS.iter().find(|(name, _)| !rows.iter().any(|row| row.kind.name == *name))
    {
        bail!("there is a target for '{name}', and no such row");
    }
    let text = if is_json { report::json(&rows)? } else { report::table(&rows) };
    println!("{text}");
    Ok(())
}
