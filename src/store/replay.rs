//! What a crash left in the intent log, put where it belongs.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Error, StagingFiles,
    log::{LogFile, Op},
    trees::Trees,
};
use crate::base::RangeMap;

/// Bytes of a staging file that the log carries, each run with the offset at which it began.
type Replayed = RangeMap<(u64, Arc<[u8]>)>;

/// Replays both log files in the order of their epochs into sled and the staging files; returns the newest epoch.
pub(super) fn replay(files: &[LogFile; 2], trees: &Trees, staging: &dyn StagingFiles) -> Result<u64, Error> {
    let mut order = [(files[0].read_epoch()?, &files[0]), (files[1].read_epoch()?, &files[1])];
    order.sort_by_key(|(epoch, _)| *epoch);
    let mut inline: BTreeMap<u64, Replayed> = BTreeMap::new();
    let mut replayed = 0;
    let mut steps = trees.steps();
    for (epoch, file) in order {
        if epoch == 0 {
            continue;
        }
        let (count, _) = file.replay(epoch, |ops| {
            for op in ops {
                match op {
                    Op::Put { key, value } => steps.set(&key, Some(&value))?,
                    Op::Delete { key } => steps.set(&key, None)?,
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
            }
            Ok(())
        })?;
        replayed += count;
    }
    steps.finish()?;
    for (ino, ranges) in &inline {
        for (range, (offset, bytes)) in ranges.iter() {
            let slice = (range.start - offset) as usize..(range.end - offset) as usize;
            staging.restore(*ino, range.start, &bytes[slice])?;
        }
    }
    staging.flush(&inline.keys().copied().collect())?;
    if replayed > 0 {
        tracing::info!(batches = replayed, "replayed the intent log");
    }
    Ok(order[1].0)
}
