//! What a sync waits for: what was under a path when it began, whatever programs write there meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Bucket, Error, FileState, Pending,
    awaited::Waiting,
    cell::Cell,
    inspect::{Asked, Standing},
};
use crate::base::{ChunkId, Ino};

/// What was under a path at one moment, on its way to a state.
pub struct Arriving {
    bucket: Bucket,
    path: Vec<u8>,
    level: FileState,
    since: Instant,
    /// Files that are made later have higher numbers.
    newest: Ino,
    /// Files that were written later before all that they had then was seen to be there.
    written: HashMap<Ino, Stage>,
    /// What had not arrived when it was looked for last, wherever it is by now.
    left: HashSet<Ino>,
    has_looked: bool,
}

/// What is waited for of such a file.
enum Stage {
    /// What was staged when that was noticed, which is what it had at the moment, or newer.
    Staged(Waiting),
    /// Chunks that carry all that.
    Placed(Placed),
    /// Nothing any more.
    Arrived,
}

struct Placed {
    chunks: Vec<ChunkId>,
    /// The collector may move what is needed of one to another, with all that it lacks. Once: a program that overwrites
    /// everything all the time has new chunks all the time.
    may_move: bool,
}

impl Bucket {
    /// Begins to wait until what is under a path now has reached a state. Has it uploaded, should programs go on writing
    /// to it; [`Bucket::hurry`] has the rest uploaded at once.
    #[must_use]
    pub fn arriving(&self, path: Vec<u8>, level: FileState) -> Arriving {
        let newest = self.inner.namespace.lock().newest();
        Arriving {
            bucket: self.clone(),
            path,
            level,
            since: Instant::now(),
            newest,
            written: HashMap::new(),
            left: HashSet::new(),
            has_looked: false,
        }
    }

    /// The files under a path that a program may be writing to. Blocks on the disk.
    pub fn written_under(&self, path: &[u8]) -> Result<Vec<Ino>, Error> {
        let mut inodes = self.files_under(path)?;
        inodes.retain(|ino| self.has_writers(*ino).is_ok_and(|has| has));
        Ok(inodes)
    }
}

impl Arriving {
    /// What has not reached the state. It is there when nothing is left; ask for as long as something is. Blocks on the disk.
    pub fn pending(&mut self) -> Result<Pending, Error> {
        let mut gone = std::mem::take(&mut self.left);
        let (bucket, path) = (self.bucket.clone(), self.path.clone());
        let found = bucket.pending_by(&path, self.level, |cell| {
            gone.remove(&cell.ino);
            self.stand(cell)
        });
        let mut pending = match found {
            // The path itself is.
            Err(Error::NotFound) if self.has_looked => Pending::default(),
            found => found?,
        };
        self.has_looked = true;
        // Renamed since, to where it was not looked for.
        for ino in gone {
            let cell = match bucket.inner.cell(ino) {
                Ok(cell) if cell.lock().inode.links > 0 => cell,
                Ok(_) | Err(Error::Stale) => continue,
                Err(error) => return Err(error),
            };
            if self.stand(&cell)?.is_some_and(|standing| standing.state < self.level) {
                pending.files += 1;
                pending.bytes += cell.lock().dirty.covered_bytes();
            }
        }
        self.written.retain(|ino, stage| matches!(stage, Stage::Arrived) || self.left.contains(ino));
        Ok(pending)
    }

    /// How what a file had at the beginning stands; None if it came later.
    fn stand(&mut self, cell: &Arc<Cell>) -> Result<Option<Standing>, Error> {
        let bucket = &self.bucket;
        if cell.ino > self.newest {
            return Ok(None);
        }
        let standing = match self.written.get_mut(&cell.ino) {
            Some(stage) => stage.advance(bucket, cell, self.level)?,
            None => {
                let standing = bucket.state_for(cell, Asked::WhetherToWait)?;
                if standing.state < self.level && cell.lock().last_write > self.since {
                    self.written.insert(cell.ino, Stage::of(bucket, cell, self.since)?);
                }
                standing
            }
        };
        if standing.state < self.level {
            self.left.insert(cell.ino);
        }
        Ok(Some(standing))
    }
}

impl Stage {
    /// What is waited for of a file that had something staged before or after this moment.
    fn of(bucket: &Bucket, cell: &Arc<Cell>, since: Instant) -> Result<Self, Error> {
        let had_none = cell.lock().staged_since > since;
        match if had_none { None } else { bucket.inner.await_staged(cell) } {
            Some(waiting) => Ok(Stage::Staged(waiting)),
            None => Self::placed(bucket, cell),
        }
    }

    fn placed(bucket: &Bucket, cell: &Cell) -> Result<Self, Error> {
        Ok(Stage::Placed(Placed { chunks: bucket.inner.chunks_of(cell.ino)?, may_move: true }))
    }

    /// Goes on as far as it has come, and tells how what is waited for stands.
    fn advance(&mut self, bucket: &Bucket, cell: &Arc<Cell>, level: FileState) -> Result<Standing, Error> {
        let inner = &bucket.inner;
        match self {
            Stage::Staged(waiting) if !waiting.is_settled() => {
                let standing = bucket.state_for(cell, Asked::WhetherToWait)?;
                if standing.state >= level {
                    *self = Stage::Arrived;
                }
                return Ok(standing);
            }
            Stage::Staged(_) => *self = Self::placed(bucket, cell)?,
            Stage::Placed(placed) if placed.may_move => {
                for id in &placed.chunks {
                    if inner.chunk(*id)?.is_none() {
                        *placed = Placed { chunks: inner.chunks_of(cell.ino)?, may_move: false };
                        break;
                    }
                }
            }
            Stage::Placed(_) | Stage::Arrived => {}
        }
        let chunks = match self {
            Stage::Placed(placed) => &placed.chunks[..],
            Stage::Staged(_) | Stage::Arrived => &[],
        };
        let standing = bucket.placed(cell, chunks, Asked::WhetherToWait)?;
        if standing.state >= level {
            *self = Stage::Arrived;
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        FileKind, RenameMode,
        awaited::tests::{delivered, land, taken},
        land::tests::assert_sound,
        promises::{file, new, open, write},
        records::Chunk,
    };
    use super::*;
    use crate::{dispatch::Placement, store::Batch};

    const LEVEL: FileState = FileState::Uploaded;

    /// How many files have not arrived, of how many.
    fn left(arriving: &mut Arriving) -> (u64, u64) {
        let pending = arriving.pending().expect("readable");
        (pending.files, pending.total_files)
    }

    /// A bucket with a file that is only here, for which somebody begins to wait.
    fn setting() -> (tempfile::TempDir, Bucket, Ino, Arriving) {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = file(&bucket, b"file");
        write(&bucket, ino, 0, &[1; 5000]);
        let arriving = bucket.arriving(Vec::new(), LEVEL);
        (directory, bucket, ino, arriving)
    }

    /// What a file has staged comes to consumers, but for one shard. Returns the chunk as it is to be.
    fn deliver_in_part(bucket: &Bucket, ino: Ino) -> Chunk {
        bucket.inner.cell(ino).expect("there").lock().is_urgent = true;
        let job = taken(bucket);
        let mut delivery = delivered(bucket.inner.encode_job(&job).expect("readable"));
        let whole = delivery.chunk.clone();
        delivery.chunk.placements[1] = Placement::missing();
        bucket.inner.land(&job, &delivery).expect("landed");
        whole
    }

    #[tokio::test]
    async fn what_is_written_later_is_not_waited_for() {
        let (_directory, bucket, ino, mut arriving) = setting();
        assert_eq!(left(&mut arriving), (1, 1), "it is only here");
        write(&bucket, ino, 5000, &[2; 100]);
        let later = file(&bucket, b"later");
        write(&bucket, later, 0, &[3; 100]);
        assert_eq!(left(&mut arriving), (1, 1), "a file that is made later is not waited for");
        let job = taken(&bucket);
        let encoded = bucket.inner.encode_job(&job).expect("readable");
        write(&bucket, ino, 1000, &[4; 100]);
        write(&bucket, ino, 5100, &[5; 100]);
        assert_eq!(left(&mut arriving), (1, 1), "it is on its way");
        land(&bucket, &job, encoded);
        assert_eq!(left(&mut arriving), (0, 1), "what it had is there, as it was");
        assert_eq!(bucket.pending(b"", LEVEL).expect("readable").files, 2, "what is newer is only here");
        write(&bucket, ino, 0, &[6; 5000]);
        assert_eq!(left(&mut arriving), (0, 1), "what has arrived has arrived");
        drop(arriving);
        assert!(bucket.inner.cell(ino).expect("there").lock().awaited.is_empty());
        assert_sound(&bucket).await;
    }

    #[tokio::test]
    async fn what_is_removed_is_not_waited_for() {
        let (_directory, bucket, ino, mut arriving) = setting();
        write(&bucket, ino, 0, &[2; 10]);
        assert_eq!(left(&mut arriving), (1, 1));
        bucket.unlink(Ino::ROOT, b"file").expect("removed");
        assert_eq!(left(&mut arriving), (0, 0));
    }

    #[tokio::test]
    async fn what_is_renamed_is_waited_for_wherever_it_is() {
        let (_directory, bucket, ino, _) = setting();
        let parent = bucket.make(Ino::ROOT, b"dir", new(FileKind::Directory)).expect("made").ino;
        let rename = |from: (Ino, &[u8]), to: (Ino, &[u8])| {
            bucket.rename_now(from.0, from.1, to.0, to.1, RenameMode::Replace).expect("renamed");
        };
        rename((Ino::ROOT, b"file"), (parent, b"file"));
        let mut arriving = bucket.arriving(b"dir".to_vec(), LEVEL);
        assert_eq!(left(&mut arriving), (1, 1));
        rename((parent, b"file"), (Ino::ROOT, b"away"));
        assert_eq!(left(&mut arriving), (1, 0), "it is not under the path any more");
        bucket.inner.cell(ino).expect("there").lock().is_urgent = true;
        let job = taken(&bucket);
        let encoded = bucket.inner.encode_job(&job).expect("readable");
        land(&bucket, &job, encoded);
        assert_eq!(left(&mut arriving), (0, 0));
    }

    #[tokio::test]
    async fn what_is_overwritten_again_and_again_is_waited_for_once() {
        let (_directory, bucket, ino, mut arriving) = setting();
        write(&bucket, ino, 0, &[2; 10]);
        for round in 0..4 {
            assert_eq!(left(&mut arriving).0, u64::from(round < 3), "round {round}");
            deliver_in_part(&bucket, ino);
            assert_eq!(left(&mut arriving).0, u64::from(round < 2), "round {round}, landed");
            write(&bucket, ino, 0, &[3; 5000]);
        }
    }

    #[tokio::test]
    async fn shards_that_are_on_their_way_are_waited_for() {
        let (_directory, bucket, ino, mut arriving) = setting();
        write(&bucket, ino, 0, &[2; 10]);
        assert_eq!(left(&mut arriving), (1, 1));
        let whole = deliver_in_part(&bucket, ino);
        write(&bucket, ino, 0, &[3; 10]);
        assert_eq!(left(&mut arriving), (1, 1), "one shard is missing");
        let mut batch = Batch::new();
        bucket.inner.put_chunk(&whole, &mut batch).expect("readable");
        bucket.inner.database.commit(batch).expect("committed");
        assert_eq!(left(&mut arriving), (0, 1), "all shards of what it had are there");
    }
}
