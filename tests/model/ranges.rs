//! The model's operations on ranges: holes, copies that share, and what the holes of a file are; and changed policies.

use openbucket::{
    base::Ino,
    bucket::{Allocation, Error, Seek, XattrMode},
};

use super::{fixture::Fixture, tree::Model};

impl Model {
    pub fn fallocate(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        let (start, length) = (self.below(400_000), 1 + self.below(200_000));
        let allocation = [Allocation::Reserve, Allocation::Punch, Allocation::Zero][self.below(3)];
        let is_size_kept = self.below(2) == 0;
        let range = start as u64..(start + length) as u64;
        self.log.push(format!("{allocation:?} {ino} {range:?}, size kept: {is_size_kept}"));
        fixture.bucket.fallocate(ino, range, allocation, is_size_kept).expect("there is space");
        let file = self.file(ino);
        file.earlier.push(file.data.clone());
        if !is_size_kept && file.data.len() < start + length {
            file.data.resize(start + length, 0);
        }
        if allocation != Allocation::Reserve {
            let end = (start + length).min(file.data.len());
            file.data[start.min(end)..end].fill(0);
        }
    }

    pub fn copy(&mut self, fixture: &Fixture) {
        let (Some(source), Some(target)) = (self.some_file(), self.some_file()) else { return };
        let (from, to) = (self.below(400_000), self.below(400_000));
        let length = [1 + self.below(1_000), 1 + self.below(200_000), 1 + self.below(6 << 20)][self.below(3)];
        let data = self.file(source).data.clone();
        let part = &data[from.min(data.len())..(from + length).min(data.len())];
        let mut done = 0;
        while done < part.len() {
            let (from, to) = ((source, (from + done) as u64), (target, (to + done) as u64));
            let copied = fixture.bucket.copy_range(from, to, (part.len() - done) as u64);
            self.log.push(format!("copy {from:?} to {to:?} {}: {copied:?}", part.len() - done));
            match copied {
                Ok(copied) => {
                    assert!(copied > 0, "there is more to copy");
                    done += copied as usize;
                }
                // Kept in different ways, or a policy is still being applied.
                Err(Error::Apart) => break,
                Err(Error::Invalid(_)) if source == target => break,
                Err(error) => panic!("{error}"),
            }
        }
        if done > 0 {
            let part = part[..done].to_vec();
            let file = self.file(target);
            file.earlier.push(file.data.clone());
            file.data.resize(file.data.len().max(to + done), 0);
            file.data[to..to + done].copy_from_slice(&part);
        }
    }

    pub fn change_policy(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        // Of six shards, any two of which may be away.
        let tier = ["basic", "3+3", "2+4"][self.below(3)];
        self.log.push(format!("tier of {ino}: {tier}"));
        fixture.bucket.setxattr(ino, b"user.openbucket.tier", tier.as_bytes(), XattrMode::Set).expect("set");
    }
}

/// Outside what a file says is data there are only zeros, data and holes take turns, and the blocks are those of data.
pub fn check_holes(fixture: &Fixture, ino: Ino, data: &[u8]) {
    let (mut at, mut bytes) = (0, 0);
    let end = data.len() as u64;
    while at < end {
        let start = match fixture.bucket.seek(ino, at, Seek::Data) {
            Ok(start) => start,
            Err(Error::NoData) => end,
            Err(error) => panic!("{error}"),
        };
        assert!(data[at as usize..start as usize].iter().all(|byte| *byte == 0), "{ino}: data at {at}..{start}");
        if start == end {
            break;
        }
        assert_eq!(fixture.bucket.seek(ino, start, Seek::Data).expect("data"), start);
        let hole = fixture.bucket.seek(ino, start, Seek::Hole).expect("the end counts as a hole");
        assert!(hole > start && hole <= end, "{ino}: a hole at {hole} after {start}");
        bytes += hole - start;
        at = hole;
        if at < end {
            assert_eq!(fixture.bucket.seek(ino, at, Seek::Hole).expect("a hole"), at);
        }
    }
    assert!(matches!(fixture.bucket.seek(ino, end, Seek::Hole), Err(Error::NoData)));
    let blocks = fixture.bucket.getattr(ino).expect("there").blocks;
    assert!((bytes.div_ceil(512)..=end.div_ceil(512)).contains(&blocks), "{ino}: {blocks} blocks of {bytes} bytes");
}
