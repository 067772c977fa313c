//! The intent log: what an fsync needs, in one flush.
//!
//! Two preallocated files take turns. A file begins with a header
//! (magic, version, epoch) in its first 64 bytes; records follow, each
//! `length u32 | crc32 u32 | epoch u64 | number u64 | body`, little-endian,
//! the checksum over everything after it. Reading stops at the first record
//! that does not verify, belongs to another epoch, or is out of order: that is
//! the torn tail. The body is a version byte and a postcard list of [`Op`].
//!
//! All operations are absolute (a key has this value, these bytes are at this
//! offset), so replaying a log over a checkpoint that already has some of it
//! ends in the same state.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Disk, DiskFile, Error};
use crate::base::limits;

/// Bytes of one log file.
pub const LOG_BYTES: u64 = 32 << 20;
/// Bytes of the largest record.
pub const RECORD_BYTES: usize = 8 << 20;

const MAGIC: [u8; 8] = *b"OBINTENT";
const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 64;
const PREFIX_BYTES: usize = 24;
const BODY_VERSION: u8 = 1;

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A key has this value.
    Put {
        #[serde(with = "whole")]
        key: Vec<u8>,
        #[serde(with = "whole")]
        value: Vec<u8>,
    },
    /// A key has none.
    Delete {
        #[serde(with = "whole")]
        key: Vec<u8>,
    },
    /// These bytes are in the staging file of this inode; put them there again on replay.
    Inline {
        ino: u64,
        offset: u64,
        #[serde(with = "whole")]
        bytes: Vec<u8>,
    },
    /// Whatever `Inline` said earlier of this range no longer holds.
    Supersede { ino: u64, start: u64, end: u64 },
}

/// Bytes as a whole: the same on the disk as one after another, and many times as fast.
mod whole {
    use std::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Vec<u8>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Whole)
    }
}

/// A batch as it lies in a file.
struct Record {
    epoch: u64,
    number: u64,
    body: Vec<u8>,
}

/// The file, opened once for each flush that may be under way, and once more: a failed write-back is told once to each
/// opening, so that no flush takes another's failure from it and calls its own a success.
type Openings = [Arc<dyn DiskFile>; limits::LOG_FLUSHES + 1];

/// The file, to be used without holding the log, and its path.
pub(super) type Handle = (Arc<dyn DiskFile>, PathBuf);

/// One of two files that take turns.
pub(super) struct LogFile {
    path: PathBuf,
    /// What it may become long.
    capacity: u64,
    file: Arc<dyn DiskFile>,
    openings: Openings,
    epoch: u64,
    next_number: u64,
    end: u64,
}

impl LogFile {
    /// Opens or makes a file that may become so long. All that is there is durable.
    pub fn open(disk: &dyn Disk, path: PathBuf, capacity: u64) -> Result<Self, Error> {
        let open = || disk.open(&path, true).map_err(Error::io("cannot open", &path));
        let file = open()?;
        let openings = [open()?, open()?, Arc::clone(&file)];
        let log = Self { path, capacity, file, openings, epoch: 0, next_number: 0, end: HEADER_BYTES };
        // Before anything is written: what is not a log of ours stays as it is.
        log.read_epoch()?;
        log.sync()?;
        Ok(log)
    }

    /// The same with a file as long as it may become, so that later flushes change no metadata.
    pub fn open_whole(disk: &dyn Disk, path: PathBuf, capacity: u64) -> Result<Self, Error> {
        let log = Self::open(disk, path, capacity)?;
        let fill = || -> std::io::Result<()> {
            let zeros = vec![0; 1 << 20];
            let mut at = log.file.len()?;
            while at < capacity {
                let step = (capacity - at).min(zeros.len() as u64);
                log.file.write_at(&zeros[..step as usize], at)?;
                at += step;
            }
            Ok(())
        };
        fill().map_err(Error::io("cannot preallocate intent log", &log.path))?;
        log.sync()?;
        Ok(log)
    }

    /// What a killed process has left must be durable before anyone relies on it: a replay puts it into the trees, which
    /// must never hold what the log could lose.
    fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("cannot flush", &self.path))
    }

    /// The epoch of the header; 0 when the file holds nothing.
    pub fn read_epoch(&self) -> Result<u64, Error> {
        Ok(self.read_header()?.unwrap_or(0))
    }

    /// The epoch of the header, 0 when there is none yet; None when it was torn.
    fn read_header(&self) -> Result<Option<u64>, Error> {
        let mut header = [0; HEADER_BYTES as usize];
        self.file.read_at(&mut header, 0).map_err(Error::io("cannot read", &self.path))?;
        if header == [0; HEADER_BYTES as usize] {
            return Ok(Some(0));
        }
        let corrupt = |why: String| Error::Corrupt { path: self.path.clone(), why };
        if header[..8] != MAGIC {
            return Err(corrupt("this is not an intent log. Restore the state directory from a backup".to_owned()));
        }
        let format = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if format != FORMAT {
            return Err(corrupt(format!(
                "intent log of format {format}, this release reads {FORMAT}: upgrade openbucket"
            )));
        }
        let sum = u32::from_le_bytes(header[20..24].try_into().expect("four bytes"));
        if crc32fast::hash(&header[..20]) != sum {
            return Ok(None);
        }
        Ok(Some(u64::from_le_bytes(header[12..20].try_into().expect("eight bytes"))))
    }

    /// Tells a header that was torn while its file changed its turn from one that has rotted: the records behind the first
    /// are older than the other file, and needed no more; those behind the second are not.
    pub fn check_turns([one, two]: &[Self; 2]) -> Result<(), Error> {
        for (file, other) in [(one, two), (two, one)] {
            if file.read_header()?.is_none()
                && let Some(first) = file.record_at(HEADER_BYTES)?
                && first.epoch >= other.read_epoch()?
            {
                let why = "its header is damaged, and what it holds is needed. Check the disk, and restore the state \
                           directory from a backup";
                return Err(Error::Corrupt { path: file.path.clone(), why: why.to_owned() });
            }
        }
        Ok(())
    }

    /// Begins an empty log of this epoch, durably.
    pub fn begin(&mut self, epoch: u64) -> Result<(), Error> {
        write_header(&self.handle(), epoch)?;
        self.start(epoch);
        Ok(())
    }

    /// Goes on as the empty log of this epoch, whose header is written.
    pub fn start(&mut self, epoch: u64) {
        (self.epoch, self.next_number, self.end) = (epoch, 0, HEADER_BYTES);
    }

    fn header(epoch: u64) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..20].copy_from_slice(&epoch.to_le_bytes());
        let sum = crc32fast::hash(&header[..20]);
        header[20..24].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// Shows the batches of this epoch in order, up to the torn tail. Returns how many there are, and where they end.
    pub fn replay(&self, epoch: u64, mut show: impl FnMut(Vec<Op>) -> Result<(), Error>) -> Result<(u64, u64), Error> {
        let (mut count, mut at) = (0, HEADER_BYTES);
        while let Some(record) = self.record_at(at)? {
            if record.epoch != epoch || record.number != count {
                break;
            }
            show(self.decode(&record.body)?)?;
            count += 1;
            at += (PREFIX_BYTES + record.body.len()) as u64;
        }
        Ok((count, at))
    }

    /// The record of any epoch that begins there, if a whole one does.
    fn record_at(&self, at: u64) -> Result<Option<Record>, Error> {
        if at + PREFIX_BYTES as u64 > self.capacity {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_BYTES];
        self.file.read_at(&mut prefix, at).map_err(Error::io("cannot read", &self.path))?;
        let length = u32::from_le_bytes(prefix[..4].try_into().expect("four bytes")) as usize;
        if length == 0 || length > RECORD_BYTES || at + (PREFIX_BYTES + length) as u64 > self.capacity {
            return Ok(None);
        }
        let mut body = vec![0; length];
        self.file.read_at(&mut body, at + PREFIX_BYTES as u64).map_err(Error::io("cannot read", &self.path))?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let is_whole = prefix[4..8] == checksum(&prefix[8..], &body).to_le_bytes();
        Ok(is_whole.then(|| Record { epoch: number(&prefix[8..16]), number: number(&prefix[16..]), body }))
    }

    /// Shows the batches of this epoch in order, and goes on behind them. A torn tail is cut off: what is in it would be
    /// taken for what follows a record that is written over its beginning.
    pub fn resume(&mut self, epoch: u64, show: impl FnMut(Vec<Op>) -> Result<(), Error>) -> Result<(), Error> {
        let (count, end) = self.replay(epoch, show)?;
        self.file.set_len(end).map_err(Error::io("cannot cut", &self.path))?;
        self.sync()?;
        (self.epoch, self.next_number, self.end) = (epoch, count, end);
        Ok(())
    }

    /// Bytes that are used.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    fn decode(&self, body: &[u8]) -> Result<Vec<Op>, Error> {
        let corrupt = |why: String| Error::Corrupt { path: self.path.clone(), why };
        match body.split_first() {
            Some((&BODY_VERSION, ops)) => {
                postcard::from_bytes(ops).map_err(|_| corrupt("a verified log record does not decode".to_owned()))
            }
            Some((version, _)) => {
                Err(corrupt(format!("log record of version {version}, this release reads {BODY_VERSION}")))
            }
            None => Err(corrupt("an empty log record".to_owned())),
        }
    }

    /// Whether a record with a body of this length still fits.
    pub fn fits(&self, body: usize) -> bool {
        self.end + (PREFIX_BYTES + body) as u64 <= self.capacity
    }

    /// Whether half of the file is used.
    pub fn is_half_full(&self) -> bool {
        self.end > self.capacity / 2
    }

    /// Hands one record to the operating system: survives the process, and after a flush the machine.
    pub fn append(&mut self, body: &[u8]) -> Result<(), Error> {
        debug_assert!(self.fits(body.len()) && body.len() <= RECORD_BYTES && !body.is_empty());
        let mut record = Vec::with_capacity(PREFIX_BYTES + body.len());
        record.extend_from_slice(&u32::try_from(body.len()).expect("within RECORD_BYTES").to_le_bytes());
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&self.epoch.to_le_bytes());
        record.extend_from_slice(&self.next_number.to_le_bytes());
        let sum = checksum(&record[8..], body);
        record[4..8].copy_from_slice(&sum.to_le_bytes());
        record.extend_from_slice(body);
        self.file.write_at(&record, self.end).map_err(Error::io("cannot append to", &self.path))?;
        self.end += record.len() as u64;
        self.next_number += 1;
        Ok(())
    }

    /// The file, to be used without holding the log: of an intent log by who turns it only, since others flush it at the
    /// same time and an error is told to one of them.
    pub fn handle(&self) -> Handle {
        (Arc::clone(&self.file), self.path.clone())
    }

    /// The file as one of the `limits::LOG_FLUSHES` flushes under way at a time is to use it.
    pub fn flush_handle(&self, flush: usize) -> Handle {
        assert!(flush < limits::LOG_FLUSHES, "the last opening is for who turns the log");
        (Arc::clone(&self.openings[flush]), self.path.clone())
    }
}

/// Writes the header of an empty log of this epoch, durably. Its file must not be the one that is appended to.
pub(super) fn write_header((file, path): &Handle, epoch: u64) -> Result<(), Error> {
    file.write_at(&LogFile::header(epoch), 0).map_err(Error::io("cannot write", path))?;
    file.sync().map_err(Error::io("cannot flush", path))
}

/// Empties a log that is not appended to: durably with its header first, because what is left of it in part must count for
/// nothing.
pub(super) fn clear((file, path): &Handle) -> Result<(), Error> {
    file.write_at(&[0; HEADER_BYTES as usize], 0).map_err(Error::io("cannot write", path))?;
    file.sync().map_err(Error::io("cannot flush", path))?;
    file.set_len(0).map_err(Error::io("cannot cut", path))
}

/// The body of a record.
pub(super) fn encode(ops: &[Op]) -> Vec<u8> {
    postcard::to_extend(ops, vec![BODY_VERSION]).expect("operations serialise")
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}
