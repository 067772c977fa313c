//! Opening: headers are scanned, a torn end is cut, damage in the middle is stepped over.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use super::{
    format::{
        DIRECTORY, ENTRY_HEADER, EntryHeader, EntryState, Nonce, PAGE, SEGMENT_HEADER, Unreadable, decode_segment,
        encode_segment, head_bytes, segment_number, segment_path,
    },
    state::{Location, State},
    writer::Writer,
};
use crate::{
    runtime::Chance,
    store::{Disk, DiskFile, Error},
};

/// Nonces that are counted when no segment header reads.
const NONCES: usize = 1024;

/// What was found.
pub struct Recovered {
    pub nonce: Nonce,
    pub state: State,
    pub writer: Writer,
}

/// What a scan of one segment found.
struct Scan {
    entries: Vec<EntryHeader>,
    /// From, to: pages in which no header reads.
    gaps: Vec<(u64, u64)>,
    /// Behind the last entry that reads.
    end: u64,
    file_bytes: u64,
    /// The disk failed to read some of it: nothing in it is repaired or cut.
    is_unreadable: bool,
}

/// Reads the headers of all segments and repairs the end of the last.
pub fn recover(disk: &dyn Disk, chance: &dyn Chance) -> Result<Recovered, Error> {
    let mut numbers: Vec<u32> = disk
        .list(Path::new(DIRECTORY))
        .map_err(Error::io("cannot list", DIRECTORY))?
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let mut state = State::default();
    let nonce = match find_nonce(disk, &numbers)? {
        Some(nonce) => nonce,
        None => chance.bytes32()[..16].try_into().expect("16 of 32 bytes"),
    };
    let mut writer = Writer { next_number: 1, ..Writer::default() };
    if !numbers.is_empty() {
        // What a killed process has left unflushed is flushed before anyone relies on it: these, and each segment below.
        for directory in [DIRECTORY, ""] {
            disk.sync_directory(Path::new(directory)).map_err(Error::io("cannot flush", DIRECTORY))?;
        }
    }
    for &number in &numbers {
        let is_last = numbers.last() == Some(&number);
        writer.next_number = number.checked_add(1).ok_or_else(|| corrupt(number, "its number is out of range"))?;
        let file = open(disk, number)?;
        sync(file.as_ref(), number)?;
        let scan = scan(file.as_ref(), number, &nonce)?;
        state.add_segment(number);
        if is_last && !scan.is_unreadable {
            let tail = repair_end(file.as_ref(), number, &nonce, scan, &mut state)?;
            (writer.active, writer.tail, writer.flushed_to) = (Some(number), tail, tail);
        } else {
            take_entries(&mut state, number, scan.entries, file.as_ref(), &nonce)?;
            report_damage(&mut state, number, &scan.gaps);
            if scan.file_bytes.next_multiple_of(PAGE) > scan.end {
                report_damage(&mut state, number, &[(scan.end, scan.file_bytes.next_multiple_of(PAGE))]);
            }
        }
        give_back_again(&mut state, number, file.as_ref(), &nonce)?;
    }
    remove_empty(disk, &mut state, &mut writer)?;
    state.to_verify_shards = state.index.len() as u64;
    Ok(Recovered { nonce, state, writer })
}

fn corrupt(number: u32, why: &str) -> Error {
    Error::Corrupt { path: segment_path(number), why: why.into() }
}

fn newer(number: u32, version: u8) -> Error {
    corrupt(number, &format!("written by a later release (format {version}): upgrade openbucket"))
}

fn open(disk: &dyn Disk, number: u32) -> Result<Arc<dyn DiskFile>, Error> {
    disk.open(&segment_path(number), false).map_err(Error::io("cannot open", segment_path(number)))
}

/// The nonce of the store: from any segment's header, else the one that most entries carry.
fn find_nonce(disk: &dyn Disk, numbers: &[u32]) -> Result<Option<Nonce>, Error> {
    for &number in numbers {
        let mut bytes = [0; SEGMENT_HEADER];
        read(open(disk, number)?.as_ref(), number, &mut bytes, 0)?;
        match decode_segment(&bytes, number) {
            Ok(nonce) => return Ok(Some(nonce)),
            Err(Unreadable::Newer(version)) => return Err(newer(number, version)),
            Err(Unreadable::Damaged) => {}
        }
    }
    let mut votes: BTreeMap<Nonce, u64> = BTreeMap::new();
    for &number in numbers {
        let file = open(disk, number)?;
        let file_bytes = file.len().map_err(Error::io("cannot measure", segment_path(number)))?;
        for offset in (PAGE..file_bytes).step_by(PAGE as usize) {
            let mut bytes = [0; ENTRY_HEADER];
            read(file.as_ref(), number, &mut bytes, offset)?;
            let nonce: Nonce = bytes[32..48].try_into().expect("16 bytes");
            let is_header = EntryHeader::decode(&bytes, &nonce, number, offset).is_ok();
            if is_header && (votes.len() < NONCES || votes.contains_key(&nonce)) {
                *votes.entry(nonce).or_default() += 1;
            }
        }
    }
    Ok(votes.into_iter().max_by_key(|(_, count)| *count).map(|(nonce, _)| nonce))
}

/// Reads; what the disk cannot read (false) is zeros, and so damage.
fn read(file: &dyn DiskFile, number: u32, bytes: &mut [u8], offset: u64) -> Result<bool, Error> {
    match file.read_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            tracing::error!(op = "open", "segment {number} does not read at {offset}: {error}; check the disk");
            bytes.fill(0);
            Ok(false)
        }
        Err(error) => Err(Error::io("cannot read", segment_path(number))(error)),
    }
}

fn scan(file: &dyn DiskFile, number: u32, nonce: &Nonce) -> Result<Scan, Error> {
    let file_bytes = file.len().map_err(Error::io("cannot measure", segment_path(number)))?;
    let mut scan = Scan { entries: Vec::new(), gaps: Vec::new(), end: PAGE, file_bytes, is_unreadable: false };
    let mut offset = PAGE;
    while offset < file_bytes {
        let mut bytes = [0; ENTRY_HEADER];
        scan.is_unreadable |= !read(file, number, &mut bytes, offset)?;
        match EntryHeader::decode(&bytes, nonce, number, offset) {
            Ok(header) => {
                if offset > scan.end {
                    scan.gaps.push((scan.end, offset));
                }
                offset += header.footprint();
                scan.end = offset;
                scan.entries.push(header);
            }
            Err(Unreadable::Newer(version)) => return Err(newer(number, version)),
            Err(Unreadable::Damaged) => offset += PAGE,
        }
    }
    Ok(scan)
}

/// Indexes entries. Of two live ones with the same key (a crash between a delete and a put) the first stays.
fn take_entries(
    state: &mut State,
    number: u32,
    entries: Vec<EntryHeader>,
    file: &dyn DiskFile,
    nonce: &Nonce,
) -> Result<(), Error> {
    let mut has_changed = false;
    for header in entries {
        match header.state {
            EntryState::Live if state.index.contains_key(&header.key) => {
                rewrite(file, &EntryHeader { state: EntryState::Dead, ..header }, nonce)?;
                has_changed = true;
                state.hold(number, PAGE);
            }
            EntryState::Live => state.add(header.key, Location::from(&header)),
            EntryState::Dead => state.hold(number, PAGE),
            EntryState::Bad => {
                state.hold(number, PAGE);
                state.bad_shards += 1;
            }
        }
    }
    if has_changed { sync(file, number) } else { Ok(()) }
}

fn rewrite(file: &dyn DiskFile, header: &EntryHeader, nonce: &Nonce) -> Result<(), Error> {
    file.write_at(&header.encode(nonce), header.offset)
        .map_err(Error::io("cannot repair", segment_path(header.segment)))
}

fn sync(file: &dyn DiskFile, number: u32) -> Result<(), Error> {
    file.sync().map_err(Error::io("cannot flush", segment_path(number)))
}

/// Settles what a crash may have torn in the last segment, and returns its tail.
fn repair_end(
    file: &dyn DiskFile,
    number: u32,
    nonce: &Nonce,
    mut scan: Scan,
    state: &mut State,
) -> Result<u64, Error> {
    let flushed_to = scan.entries.iter().map(|header| header.flushed_to).max().unwrap_or(PAGE);
    for header in &mut scan.entries {
        let is_doubtful = header.offset >= flushed_to && header.state == EntryState::Live;
        if is_doubtful && !is_whole(file, header, number)? {
            header.state = EntryState::Dead;
            rewrite(file, header, nonce)?;
        }
    }
    let (torn, damaged): (Vec<_>, Vec<_>) = scan.gaps.iter().partition(|(from, _)| *from >= flushed_to);
    for &(from, to) in &torn {
        let filler = EntryHeader::filler(number, from, to - from);
        rewrite(file, &filler, nonce)?;
        scan.entries.push(filler);
    }
    let mut bytes = [0; SEGMENT_HEADER];
    read(file, number, &mut bytes, 0)?;
    if decode_segment(&bytes, number).is_err() {
        file.write_at(&encode_segment(number, nonce), 0).map_err(Error::io("cannot repair", segment_path(number)))?;
    }
    file.set_len(scan.end).map_err(Error::io("cannot cut", segment_path(number)))?;
    sync(file, number)?;
    take_entries(state, number, scan.entries, file, nonce)?;
    report_damage(state, number, &damaged);
    Ok(scan.end)
}

fn is_whole(file: &dyn DiskFile, header: &EntryHeader, number: u32) -> Result<bool, Error> {
    let mut bytes = vec![0; head_bytes(header.roots.into()) as usize - ENTRY_HEADER + header.body_bytes as usize];
    read(file, number, &mut bytes, header.offset + ENTRY_HEADER as u64)?;
    let (roots, body) = bytes.split_at(bytes.len() - header.body_bytes as usize);
    Ok(crc32fast::hash(roots) == header.roots_crc && crc32fast::hash(body) == header.body_crc)
}

fn report_damage(state: &mut State, number: u32, gaps: &[(u64, u64)]) {
    for &(from, to) in gaps {
        let place = segment_path(number);
        tracing::error!(
            op = "open",
            "{}: no header reads from {from} to {to}: the shards there are lost; check the disk",
            place.display()
        );
        state.damaged_headers += 1;
        state.hold(number, to - from);
        state.segments.entry(number).or_default().is_damaged = true;
    }
}

/// A crash between marking an entry dead and giving its space back: the space is given back now.
fn give_back_again(state: &mut State, number: u32, file: &dyn DiskFile, nonce: &Nonce) -> Result<(), Error> {
    let held = state.segments.get(&number).map_or(0, |segment| segment.held_bytes);
    let allocated = file.allocated().map_err(Error::io("cannot measure", segment_path(number)))?;
    if allocated <= held {
        return Ok(());
    }
    for header in scan(file, number, nonce)?.entries {
        if header.state == EntryState::Live {
            continue;
        }
        match file.punch(header.offset + ENTRY_HEADER as u64, header.footprint() - ENTRY_HEADER as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                state.hold(number, header.footprint() - PAGE);
            }
            Err(error) => return Err(Error::io("cannot give space back in", segment_path(number))(error)),
        }
    }
    Ok(())
}

fn remove_empty(disk: &dyn Disk, state: &mut State, writer: &mut Writer) -> Result<(), Error> {
    let is_empty = |segment: &super::state::SegmentUse| segment.live_entries == 0 && !segment.is_damaged;
    let numbers = state.segments.iter().filter(|(_, segment)| is_empty(segment)).map(|(number, _)| *number);
    for number in numbers.collect::<Vec<_>>() {
        disk.remove(&segment_path(number)).map_err(Error::io("cannot remove", segment_path(number)))?;
        state.remove_segment(number);
        if writer.active == Some(number) {
            writer.active = None;
        }
    }
    Ok(())
}
