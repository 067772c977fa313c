//! What a crash left in the intent log, put where it belongs.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Error, StagingFiles,
    log::{LogFile, Op},
    trees::{Trees, trees_error},
};
use crate::base::RangeMap;

/// Bytes of a staging file that the log carries, each run with the offset at which it began.
type Replayed = RangeMap<(u64, Arc<[u8]>)>;

/// Bytes of keys and values that go into the trees together.
const STEP_BYTES: usize = 1 << 20;

/// Replays both log files in the order of their epochs into sled and the staging files; returns the newest epoch.
pub(super) fn replay(files: &[LogFile; 2], trees: &Trees, staging: &dyn StagingFiles) -> Result<u64, Error> {
    let mut order = [(files[0].read_epoch()?, &files[0]), (files[1].read_epoch()?, &files[1])];
    order.sort_by_key(|(epoch, _)| *epoch);
    let mut inline: BTreeMap<u64, Replayed> = BTreeMap::new();
    let mut replayed = 0;
    let (mut batch, mut batch_bytes) = (sled::Batch::default(), 0);
    for (epoch, file) in order {
        if epoch == 0 {
            continue;
        }
        for ops in file.replay(epoch)? {
            for op in ops {
                match op {
                    Op::Put { key, value } => {
                        batch_bytes += key.len() + value.len();
                        batch.insert(key, value);
                    }
                    Op::Delete { key } => {
                        batch_bytes += key.len();
                        batch.remove(key);
                    }
                    Op::Inline { ino, offset, bytes } => {
                        let range = offset..offset + bytes.len() as u64;
                        inline.entry(ino).or_default().insert(range, (offset, bytes.into()));
                    }
                    Op::Supersede { ino, start, end } => {
                        if let Some(ranges) = inline.get_mut(&ino) {
                            ranges.remove(start..end);
                        }
                    }
                }
                if batch_bytes >= STEP_BYTES {
                    trees.apply_batch(std::mem::take(&mut batch)).map_err(trees_error)?;
                    batch_bytes = 0;
                }
            }
            replayed += 1;
        }
    }
    trees.apply_batch(batch).map_err(trees_error)?;
    for (ino, ranges) in &inline {
        for (range, (offset, bytes)) in ranges.iter() {
            let slice = (range.start - offset) as usize..(range.end - offset) as usize;
            staging.restore(*ino, range.start, &bytes[slice])?;
        }
    }
    staging.flush(&inline.keys().copied().collect())?;
    trees.flush().map_err(trees_error)?;
    if replayed > 0 {
        tracing::info!(batches = replayed, "replayed the intent log");
    }
    Ok(order[1].0)
}
