//! The bucket's database alone on a disk whose power goes: what its trees took over from the log is there.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use openbucket::{
    runtime::SeededChance,
    store::{Batch, Database, Error, RealDisk, StagingFiles, Table},
};

use crate::disk::{Disk, Power};

/// None are used here.
struct NoFiles;

impl StagingFiles for NoFiles {
    fn flush(&self, _: &BTreeSet<u64>) -> Result<(), Error> {
        Ok(())
    }

    fn small(&self, _: u64) -> Option<Vec<u8>> {
        None
    }

    fn restore(&self, _: u64, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

fn open(root: &Path) -> Database {
    let disk = RealDisk::new(root.join("log")).unwrap();
    Database::open(root, &disk, Arc::new(NoFiles)).unwrap()
}

#[test]
fn what_the_log_has_let_go_is_in_the_trees() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: /dev/fuse is missing");
        return;
    }
    // The last is kept in a file of its own by sled.
    let values: Vec<Vec<u8>> = [10, 3_000, 60_000, 700_000].iter().map(|length| vec![7; *length]).collect();
    for seed in 0..8 {
        let place = tempfile::tempdir().unwrap();
        let (power, chance) = (Power::on(), SeededChance::new(seed));
        let mut disk = Disk::mount(place.path(), &power).unwrap();
        let database = open(place.path());
        for (number, value) in values.iter().enumerate() {
            let mut batch = Batch::new();
            batch.put(Table::Meta, &[&[number as u8]], value.clone());
            database.commit(batch).unwrap();
        }
        database.close().unwrap();
        drop(database);
        // Replays both logs and begins them anew: from here on only the trees have it.
        drop(open(place.path()));
        power.go_off();
        disk.cut(&chance).unwrap();
        power.go_on();
        let database = open(place.path());
        for (number, value) in values.iter().enumerate() {
            let found = database.get(Table::Meta, &[&[number as u8]]).unwrap();
            assert!(found.as_ref() == Some(value), "seed {seed}: value {number} is {:?}", found.map(|it| it.len()));
        }
    }
}
