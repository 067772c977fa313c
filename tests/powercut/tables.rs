//! The tables of a tracker, and of the outbox of an account, on a disk whose power goes: what was flushed before a promise
//! was made or a payment sent is there.

use std::path::Path;

use openbucket::{
    base::Record,
    runtime::{Chance as _, SeededChance},
    store::{RecordTable, Tables},
};
use serde::{Deserialize, Serialize};

use crate::{
    cuts::given,
    database::{has_fuse, promised_until_the_cut},
    disk::{Disk, Power},
    fixture::is_full,
};

const KEYS: u8 = 8;
const PUTS: u64 = 300;
/// Operations after which the power goes, those of the first start left out.
const OPERATIONS: u64 = 1_500;

#[derive(Serialize, Deserialize)]
struct Sample {
    number: u64,
    /// So large now and then that sled keeps it in a file of its own.
    filling: Vec<u8>,
}

impl Record for Sample {
    const NAME: &'static str = "sample";
}

fn open(root: &Path) -> (Tables, RecordTable<Sample>) {
    let tables = Tables::open(&root.join("trees")).unwrap();
    let table = tables.table("samples").unwrap();
    (tables, table)
}

/// Changes records, flushes, and tells what was flushed, until the power goes.
pub fn put_until_the_end(place: &Path, seed: u64) {
    let (tables, table) = open(place);
    let chance = SeededChance::new(seed);
    println!("ready");
    for number in 1..=PUTS {
        let slot = chance.below(KEYS.into()) as u8;
        let bytes = if chance.below(10) == 0 { 300_000 } else { chance.below(2_000) };
        let sample = Sample { number, filling: vec![slot; bytes as usize] };
        if table.put(&[slot], &sample).and_then(|()| tables.flush()).is_err() {
            return;
        }
        println!("synced 0 {slot} {number}");
    }
}

#[test]
fn what_was_flushed_into_tables_is_there() {
    if !has_fuse() {
        return;
    }
    let first = given("OPENBUCKET_TEST_SEED", 1) * 1_000;
    let mut promises = 0;
    for seed in first..first + if is_full() { 200 } else { 6 } {
        let (place, power, chance) = (tempfile::tempdir().unwrap(), Power::on(), SeededChance::new(seed));
        let mut disk = Disk::mount(place.path(), &power).unwrap();
        let operations = 1 + chance.below(OPERATIONS);
        let promised = promised_until_the_cut(("put", seed), place.path(), &power, operations);
        promises += promised.len();
        disk.cut(&chance).unwrap();
        power.go_on();
        let (_tables, table) = open(place.path());
        for ([_, slot], number) in promised {
            let found = table.get(&[slot]).unwrap().expect("it was flushed");
            assert!(found.number >= number, "seed {seed}: {slot} is {}, and {number} was flushed", found.number);
            assert!(found.filling.iter().all(|byte| *byte == slot));
        }
    }
    assert!(promises > 10, "{promises} promises prove little");
}
