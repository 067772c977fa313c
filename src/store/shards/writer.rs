//! The writer: many changes, one flush of every segment they touch, then all the answers.

use std::{collections::BTreeMap, io, ops::Range, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    format::{DIRECTORY, ENTRY_HEADER, EntryHeader, EntryState, Key, Node, PAGE, footprint, segment_path},
    queue::{Change, Waiting},
    state::{Location, SpaceGuard},
    store::ShardStore,
};
use crate::{
    runtime::failpoint,
    store::{DiskFile, Error, sync_ranges},
};

/// Where the next entry goes.
#[derive(Default)]
pub struct Writer {
    /// The segment that grows, if there is one.
    pub active: Option<u32>,
    /// Its end.
    pub tail: u64,
    /// Up to where it is flushed.
    pub flushed_to: u64,
    /// The number of the next segment.
    pub next_number: u32,
}

/// What one batch has written and not flushed yet.
#[derive(Default)]
struct Unflushed {
    files: BTreeMap<u32, Arc<dyn DiskFile>>,
    has_new_segment: bool,
    /// What of it has been flushed since.
    flushed: Vec<(Arc<dyn DiskFile>, Range<u64>)>,
}

/// A change that is written.
enum Written {
    /// The reservation ends with this.
    Added {
        key: Key,
        location: Location,
        /// A bad entry of the same shard that was not marked so before.
        marked: Option<Location>,
        _guard: SpaceGuard,
    },
    Dropped {
        key: Key,
        location: Location,
        to: EntryState,
    },
    /// Nothing had to be done.
    Already,
}

type Answer = (oneshot::Sender<Result<(), Error>>, OwnedSemaphorePermit);

impl ShardStore {
    /// Writes, flushes and answers one batch; its keys are distinct.
    pub(super) fn write_batch(&self, batch: Vec<Waiting>) {
        let mut writer = self.writer.lock();
        if let Some(active) = writer.active.filter(|active| !self.has_segment(*active)) {
            tracing::error!(op = "put", "the file of segment {active} was removed: what it held is lost");
            self.drop_handle(active);
            writer.active = None;
        }
        let mut unflushed = Unflushed::default();
        let mut done: Vec<(Written, Answer)> = Vec::with_capacity(batch.len());
        for Waiting { change, answer, place } in batch {
            match self.write(&mut writer, &mut unflushed, change) {
                Ok(written) => done.push((written, (answer, place))),
                Err(error) => reply((answer, place), Err(error)),
            }
        }
        let is_put = done.iter().any(|(written, _)| matches!(written, Written::Added { .. }));
        if is_put {
            failpoint("shard-written");
        }
        if let Err(error) = self.flush(&mut writer, &mut unflushed) {
            for (_, answer) in done {
                reply(answer, Err(Error::Closed(error.clone())));
            }
            return;
        }
        if is_put {
            failpoint("shard-flushed");
        }
        if done.iter().any(|(written, _)| matches!(written, Written::Dropped { .. })) {
            failpoint("shard-marked-dead");
        }
        self.account(&done);
        let freed = done.iter().filter_map(|(written, _)| match written {
            Written::Dropped { location, .. } | Written::Added { marked: Some(location), .. } => Some(*location),
            _ => None,
        });
        for location in freed {
            self.give_back(&location);
        }
        self.remove_empty_segments(&mut writer);
        drop(writer);
        for (written, answer) in done {
            // The reservation of an added shard ends here, after its space was counted as used.
            drop(written);
            reply(answer, Ok(()));
        }
        // Whoever has stored a shard seldom wants it soon: so it does not crowd out what this machine's owner uses.
        unflushed.flushed.into_iter().for_each(|(file, range)| file.forget(range));
    }

    fn write(&self, writer: &mut Writer, unflushed: &mut Unflushed, change: Change) -> Result<Written, Error> {
        if let Some(poison) = self.state.lock().poison.clone() {
            return Err(Error::Closed(poison));
        }
        let (found, unmarked) = {
            let (state, key) = (self.state.lock(), change.key());
            (state.index.get(&key).copied(), state.unmarked.get(&key).copied())
        };
        let (found, unmarked) = match (&change, found) {
            // What does not read, or has lost its file, is not here.
            (Change::Put { key, .. }, Some(location))
                if !self.has_segment(location.segment) || self.state.lock().unread.contains_key(key) =>
            {
                self.state.lock().set_aside(*key, location);
                (None, Some(location))
            }
            _ => (found, unmarked),
        };
        match (change, found) {
            (Change::Put { .. }, Some(_)) => Ok(Written::Already),
            (Change::Put { key, roots, body, guard }, None) => {
                // Of two entries a restart would take the first.
                if let Some(location) = unmarked.as_ref().filter(|location| self.has_segment(location.segment)) {
                    self.mark(writer, unflushed, (key, location), EntryState::Bad)?;
                }
                let location = self.append(writer, unflushed, key, (&roots, &body))?;
                Ok(Written::Added { key, location, marked: unmarked, _guard: guard })
            }
            (Change::Drop { only: Some(only), .. }, found) if found != Some(only) => Ok(Written::Already),
            (Change::Drop { key, to, .. }, found) => {
                let missing = || Error::NotFound(format!("shard {} is not here", key.1));
                let location = found.or(unmarked).ok_or_else(missing)?;
                if self.has_segment(location.segment) {
                    self.mark(writer, unflushed, (key, &location), to)?;
                }
                Ok(Written::Dropped { key, location, to })
            }
        }
    }

    /// Writes an entry at the tail. When that fails the tail stays where it was.
    fn append(
        &self,
        writer: &mut Writer,
        unflushed: &mut Unflushed,
        key: Key,
        (roots, body): (&[Node], &Bytes),
    ) -> Result<Location, Error> {
        let need = footprint(roots.len(), body.len() as u64);
        if writer.active.is_some() && writer.tail + need > self.segment_bytes && writer.tail > PAGE {
            // A segment is flushed before another is begun: only the last one can be torn.
            self.flush(writer, unflushed).map_err(Error::Closed)?;
            writer.active = None;
        }
        let number = match writer.active {
            Some(number) => number,
            None => self.begin_segment(writer, unflushed)?,
        };
        let path = segment_path(number);
        let file = self.handle(number).map_err(Error::io("cannot open", &path))?;
        let header = EntryHeader {
            state: EntryState::Live,
            roots: u16::try_from(roots.len()).expect("their number was checked"),
            roots_crc: crc32fast::hash(roots.as_flattened()),
            body_bytes: u32::try_from(body.len()).expect("a shard's length was checked"),
            body_crc: crc32fast::hash(body),
            flushed_to: writer.flushed_to,
            offset: writer.tail,
            segment: number,
            key,
        };
        let location = Location::from(&header);
        let head = [&header.encode(&self.nonce), roots.as_flattened()].concat();
        let written = file.write_at(&head, header.offset).and_then(|()| file.write_at(body, location.body_offset()));
        unflushed.files.insert(number, Arc::clone(&file));
        if let Err(error) = written {
            return Err(self.undo(&file, writer.tail, error, number));
        }
        writer.tail += need;
        Ok(location)
    }

    /// Takes a failed write back, so that nothing of it is found by a later scan.
    fn undo(&self, file: &Arc<dyn DiskFile>, tail: u64, error: io::Error, number: u32) -> Error {
        if let Err(second) = file.set_len(tail) {
            return Error::Closed(self.poison(format!("{error}, then cutting the remains failed: {second}")));
        }
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let text = format!("cannot write {}: {error}", segment_path(number).display());
        self.state.lock().problem = Some(text.clone());
        tracing::warn!(op = "put", "the disk refused a shard: {error}");
        if full { Error::Full(text) } else { Error::io("cannot write", segment_path(number))(error) }
    }

    fn begin_segment(&self, writer: &mut Writer, unflushed: &mut Unflushed) -> Result<u32, Error> {
        let number = writer.next_number;
        let file = match self.create_segment(number) {
            Ok(file) => file,
            Err(error) => {
                self.drop_handle(number);
                let path = segment_path(number);
                if let Err(second) = self.disk.remove(&path)
                    && second.kind() != io::ErrorKind::NotFound
                {
                    return Err(Error::Closed(
                        self.poison(format!("{error}, then removing the remains failed: {second}")),
                    ));
                }
                let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                let text = format!("cannot begin {}: {error}", path.display());
                self.state.lock().problem = Some(text.clone());
                return Err(if full { Error::Full(text) } else { Error::io("cannot begin", path)(error) });
            }
        };
        writer.next_number =
            number.checked_add(1).ok_or_else(|| Error::Full("the segment numbers are used up".into()))?;
        *writer = Writer { active: Some(number), tail: PAGE, flushed_to: PAGE, next_number: writer.next_number };
        unflushed.files.insert(number, file);
        unflushed.has_new_segment = true;
        self.state.lock().add_segment(number);
        Ok(number)
    }

    /// Rewrites the header of an entry, with its new state.
    fn mark(
        &self,
        writer: &Writer,
        unflushed: &mut Unflushed,
        (key, location): (Key, &Location),
        state: EntryState,
    ) -> Result<(), Error> {
        let Location { segment, offset, roots, roots_crc, body_bytes, body_crc } = *location;
        let flushed_to = if writer.active == Some(segment) { writer.flushed_to } else { offset };
        let header = EntryHeader { state, roots, roots_crc, body_bytes, body_crc, flushed_to, offset, segment, key };
        let path = segment_path(segment);
        let file = self.handle(segment).map_err(Error::io("cannot open", &path))?;
        file.write_at(&header.encode(&self.nonce), offset).map_err(Error::io("cannot write", &path))?;
        unflushed.files.insert(segment, file);
        Ok(())
    }

    /// Flushes what the batch has touched so far. After a failure nothing is known of the pages: the store is poisoned.
    fn flush(&self, writer: &mut Writer, unflushed: &mut Unflushed) -> Result<(), String> {
        if let Some(poison) = self.state.lock().poison.clone() {
            return Err(poison);
        }
        for (number, file) in std::mem::take(&mut unflushed.files) {
            let appended = (writer.active == Some(number)).then_some(writer.flushed_to..writer.tail);
            sync_ranges(&*file, appended.clone())
                .map_err(|error| self.poison(format!("flushing {}: {error}", segment_path(number).display())))?;
            unflushed.flushed.extend(appended.map(|range| (file, range)));
        }
        if std::mem::take(&mut unflushed.has_new_segment) {
            self.sync_directory().map_err(|error| self.poison(format!("flushing {DIRECTORY}: {error}")))?;
        }
        writer.flushed_to = writer.tail;
        Ok(())
    }

    fn poison(&self, why: String) -> String {
        let text = format!("{why}; nothing more is accepted: check the disk, then start again");
        tracing::error!(op = "flush", "the shard store is closed: {text}");
        self.state.lock().poison.get_or_insert(text).clone()
    }

    fn account(&self, done: &[(Written, Answer)]) {
        let mut state = self.state.lock();
        for (written, _) in done {
            match written {
                Written::Added { key, location, marked, .. } => {
                    marked.iter().for_each(|marked| state.forget(key, marked));
                    state.add(*key, *location);
                    state.problem = None;
                }
                Written::Dropped { key, location, to } => {
                    state.forget(key, location);
                    state.bad_shards += u64::from(*to == EntryState::Bad);
                }
                Written::Already => {}
            }
        }
    }

    /// Gives the space of a dead entry back; all but the page of its header.
    fn give_back(&self, location: &Location) {
        let (from, bytes) = (location.offset + ENTRY_HEADER as u64, location.footprint() - ENTRY_HEADER as u64);
        let punched = self.handle(location.segment).and_then(|file| file.punch(from, bytes));
        match punched {
            Ok(()) => self.state.lock().release(location.segment, location.footprint() - PAGE),
            Err(error) => tracing::warn!(op = "delete", "space of a deleted shard is not given back yet: {error}"),
        }
    }

    /// Removes segments in which nothing lives.
    fn remove_empty_segments(&self, writer: &mut Writer) {
        let is_small = writer.tail <= self.segment_bytes / 4;
        let keep = writer.active.filter(|_| is_small);
        let is_empty = |segment: &super::state::SegmentUse| segment.live_entries == 0 && !segment.is_damaged;
        let empty: Vec<u32> = {
            let state = self.state.lock();
            let numbers = state.segments.iter().filter(|(number, segment)| is_empty(segment) && Some(**number) != keep);
            numbers.map(|(number, _)| *number).collect()
        };
        for number in empty {
            self.drop_handle(number);
            match self.disk.remove(&segment_path(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(op = "delete", "an empty segment could not be removed: {error}");
                    continue;
                }
                _ => self.state.lock().remove_segment(number),
            }
            if writer.active == Some(number) {
                writer.active = None;
            }
        }
    }
}

/// Answers; whoever waited may have gone.
fn reply((answer, place): Answer, outcome: Result<(), Error>) {
    drop(place);
    if answer.send(outcome).is_err() {
        tracing::debug!(op = "put", "nobody waits for the answer of the shard store any more");
    }
}
