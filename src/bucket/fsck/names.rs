//! Names: every entry has its inode and its place, every inode its names, and what has none is an orphan.

use std::collections::BTreeMap;

use super::{Check, Finding, FsckKind, Mend, Order, number, shown};
use crate::{
    base::{Ino, Record, limits},
    bucket::{
        Error, FileKind, Inner,
        records::{Entry, Inode},
    },
    store::{Batch, Table},
};

/// What an inode says of its names, and what was counted.
#[derive(Clone, Copy)]
struct Count {
    kind: FileKind,
    links: u32,
    names: u32,
    /// Directories in it.
    inner: u32,
}

impl Count {
    /// Two names of a directory are its own `.` and its entry; each in it adds its `..`. The root has no entry.
    fn expected(&self, ino: Ino) -> u32 {
        let is_root = ino == Ino::ROOT;
        match (self.kind, self.names > 0 || is_root) {
            (FileKind::Directory, true) => 2 + self.inner,
            (FileKind::Directory, false) => 0,
            _ => self.names,
        }
    }

    fn is_right(&self, ino: Ino) -> bool {
        self.links == self.expected(ino)
    }
}

impl Inner {
    /// An inode as it is stored; the outer error is one of the disk.
    pub(super) fn stored_inode(&self, ino: Ino) -> Result<Option<Result<Inode, String>>, Error> {
        let bytes = self.database.get(Table::Inode, &[&ino.0.to_be_bytes()])?;
        Ok(bytes.map(|bytes| Inode::decode(&bytes).map_err(|error| error.to_string())))
    }

    pub(super) fn is_marked_orphan(&self, ino: Ino) -> Result<bool, Error> {
        Ok(self.database.get(Table::Orphan, &[&ino.0.to_be_bytes()])?.is_some())
    }

    /// Whether an inode without names is marked for removal, or gone. In this order: both go in one batch.
    fn is_removal_known(&self, ino: Ino) -> Result<bool, Error> {
        Ok(self.is_marked_orphan(ino)? || self.stored_inode(ino)?.is_none())
    }

    fn look_at_entry(&self, parent: Ino, name: &[u8]) -> Result<Vec<Finding>, Error> {
        let what = format!("name '{}' in directory {parent}", shown(name));
        let Some(bytes) = self.database.get(Table::Entry, &[&parent.0.to_be_bytes(), name])? else {
            return Ok(Vec::new());
        };
        let entry = match Entry::decode(&bytes) {
            Ok(entry) => entry,
            Err(error) => {
                return Ok(vec![Finding::new(FsckKind::DamagedRecord, what, error.to_string(), Mend::Nothing)]);
            }
        };
        let mut findings = Vec::new();
        let bad = |why: String, mend| Finding::new(FsckKind::BadName, what.clone(), why, mend);
        let mut without = Batch::new();
        self.delete_entry(&mut without, parent, name, &entry);
        match self.stored_inode(parent)? {
            Some(Ok(directory)) if directory.kind == FileKind::Directory => {}
            Some(Err(_)) => {}
            // What it leads to gets another name where links are counted.
            _ => return Ok(vec![bad("it is in what is no directory".to_owned(), Mend::Batch(without))]),
        }
        match self.stored_inode(entry.ino)? {
            None => return Ok(vec![bad(format!("its inode {} is not there", entry.ino), Mend::Batch(without))]),
            // Told where the inodes are looked at.
            Some(Err(_)) => {}
            Some(Ok(inode)) => {
                if inode.kind != entry.kind {
                    let mut batch = Batch::new();
                    self.put_entry(&mut batch, parent, name, &Entry { kind: inode.kind, ..entry.clone() });
                    findings.push(bad("its inode is of another kind".to_owned(), Mend::Batch(batch)));
                }
                if inode.kind == FileKind::Directory && inode.parent != parent {
                    let why = format!("directory {} says that it is in {}", entry.ino, inode.parent);
                    let mend = Mend::Inode(entry.ino, Box::new(move |state| state.inode.parent = parent), Batch::new());
                    findings.push(Finding::new(FsckKind::DirectoryParent, what.clone(), why, mend));
                }
            }
        }
        let place = self.database.get(Table::Cookie, &[&parent.0.to_be_bytes(), &entry.cookie.to_be_bytes()])?;
        if place.as_deref() != Some(name) {
            let mut batch = Batch::new();
            self.put_entry(&mut batch, parent, name, &entry);
            let why = "it has no place in the order of its directory: it is not listed";
            findings.push(Finding::new(FsckKind::DirectoryOrder, what, why, Mend::Batch(batch)));
        }
        Ok(findings)
    }

    fn look_at_place(&self, parent: Ino, cookie: u64) -> Result<Vec<Finding>, Error> {
        let key: [&[u8]; 2] = [&parent.0.to_be_bytes(), &cookie.to_be_bytes()];
        let Some(name) = self.database.get(Table::Cookie, &key)? else { return Ok(Vec::new()) };
        let entry = self.database.get(Table::Entry, &[&parent.0.to_be_bytes(), &name])?;
        let is_right = match entry.map(|bytes| Entry::decode(&bytes)) {
            Some(Ok(entry)) => entry.cookie == cookie,
            Some(Err(_)) => true,
            None => false,
        };
        if is_right {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        batch.delete(Table::Cookie, &key);
        let what = format!("place {cookie} of directory {parent}");
        let why = format!("the name '{}' is not there", shown(&name));
        Ok(vec![Finding::new(FsckKind::DirectoryOrder, what, why, Mend::Batch(batch))])
    }

    /// In this order, because an inode and its mark go in one batch.
    fn look_at_orphan(&self, ino: Ino) -> Result<Vec<Finding>, Error> {
        let inode = self.stored_inode(ino)?;
        if !self.is_marked_orphan(ino)? {
            return Ok(Vec::new());
        }
        let why = match inode {
            None => "it is not there",
            Some(Ok(inode)) if inode.links > 0 => "it has names",
            Some(_) => return Ok(Vec::new()),
        };
        let mut batch = Batch::new();
        batch.delete(Table::Orphan, &[&ino.0.to_be_bytes()]);
        let what = format!("mark for the removal of inode {ino}");
        Ok(vec![Finding::new(FsckKind::OrphanMark, what, why, Mend::Batch(batch))])
    }

    fn look_at_count(&self, ino: Ino, count: Count) -> Result<Vec<Finding>, Error> {
        let Count { links, names, .. } = count;
        let expected = count.expected(ino);
        let what = format!("inode {ino}");
        if links == expected {
            if links > 0 || self.is_removal_known(ino)? {
                return Ok(Vec::new());
            }
            let mut batch = Batch::new();
            batch.put(Table::Orphan, &[&ino.0.to_be_bytes()], Vec::new());
            let why = "it has no name and is not marked for removal";
            return Ok(vec![Finding::new(FsckKind::OrphanMark, what, why, Mend::Batch(batch))]);
        }
        if names == 0 && ino != Ino::ROOT {
            let mark = if self.is_marked_orphan(ino)? { ", and it is marked for removal" } else { "" };
            let why = format!("it counts {links} links and no name leads to it{mark}");
            return Ok(vec![Finding::new(FsckKind::Unreachable, what, why, Mend::Nothing)]);
        }
        let mut batch = Batch::new();
        batch.delete(Table::Orphan, &[&ino.0.to_be_bytes()]);
        let mend = Mend::Inode(ino, Box::new(move |state| state.inode.links = expected), batch);
        let why = format!("it counts {links} links, there are {expected}");
        Ok(vec![Finding::new(FsckKind::LinkCount, what, why, mend)])
    }

    /// Whether a record of a table that belongs to an inode has one. In this order: they go in one batch.
    fn look_at_owner(&self, table: Table, ino: Ino) -> Result<Vec<Finding>, Error> {
        if self.stored_inode(ino)?.is_some() {
            return Ok(Vec::new());
        }
        let found = self.database.scan(table, &ino.0.to_be_bytes(), b"", limits::FSCK_PAGE)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for (key, _) in &found {
            batch.delete(table, &[&ino.0.to_be_bytes(), key]);
        }
        let (what, why) = (format!("{table:?} of inode {ino}"), format!("{} records, and no inode", found.len()));
        // Extents have accounts in their chunks: those are settled where the chunks are looked at.
        Ok(vec![Finding::new(FsckKind::StrayRecord, what, why, Mend::Batch(batch))])
    }
}

impl Check {
    pub(super) fn check_entries(&mut self) -> Result<(), Error> {
        self.each(Table::Entry, "names", |check, key, _| {
            let (parent, name) = (Ino(number(key)?), key.get(8..).unwrap_or_default());
            check.report.names += 1;
            check.judge(Order::Names, |inner| inner.look_at_entry(parent, name))
        })
    }

    pub(super) fn check_directory_order(&mut self) -> Result<(), Error> {
        self.each(Table::Cookie, "order of directories", |check, key, _| {
            let (parent, cookie) = (Ino(number(key)?), number(key.get(8..).unwrap_or_default())?);
            check.note_id(cookie);
            check.judge(Order::Names, |inner| inner.look_at_place(parent, cookie))
        })
    }

    pub(super) fn check_orphans(&mut self) -> Result<(), Error> {
        self.each(Table::Orphan, "orphans", |check, key, _| {
            let ino = Ino(number(key)?);
            check.judge(Order::Names, |inner| inner.look_at_orphan(ino))
        })
    }

    /// Records of inodes that are not there; each inode is looked at once.
    pub(super) fn check_owners(&mut self, table: Table) -> Result<(), Error> {
        let mut last = None;
        self.each(table, "records of inodes", |check, key, _| {
            let ino = Ino(number(key)?);
            if last.replace(ino) == Some(ino) {
                return Ok(());
            }
            check.judge(Order::Accounts, |inner| inner.look_at_owner(table, ino))
        })
    }

    /// Counts the names of all inodes, some inodes at a time.
    pub(super) fn check_links(&mut self) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let (mut counts, next) = self.read_inodes(from)?;
            self.count_names(&mut counts)?;
            // Names that changed meanwhile are seen right the second time, as a rule.
            let mut doubtful = self.doubtful(counts)?;
            if !doubtful.is_empty() {
                self.recount(&mut doubtful)?;
                doubtful = self.doubtful(doubtful)?;
            }
            if !doubtful.is_empty() {
                let inner = self.inner.clone();
                let mut names = inner.namespace.lock();
                self.recount(&mut doubtful)?;
                // Those without a name last: what is mended of them changes the links of others.
                let (named, nameless): (Vec<_>, Vec<_>) = doubtful.into_iter().partition(|(_, count)| count.names > 0);
                for (ino, count) in named.into_iter().chain(nameless) {
                    for finding in inner.look_at_count(ino, count)? {
                        self.note_count(finding, (ino, count.inner), &mut names)?;
                    }
                }
            }
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// The next inodes, and where those after them begin.
    fn read_inodes(&mut self, from: u64) -> Result<(BTreeMap<Ino, Count>, Option<u64>), Error> {
        let (mut counts, mut from) = (BTreeMap::new(), from);
        while counts.len() < limits::FSCK_INODES {
            self.go_on("inodes", self.report.inodes)?;
            let page = self.inner.database.scan(Table::Inode, b"", &from.to_be_bytes(), limits::FSCK_PAGE)?;
            for (key, value) in &page {
                let ino = Ino(number(key)?);
                self.report.inodes += 1;
                self.note_id(ino.0);
                match Inode::decode(value) {
                    Ok(inode) => {
                        counts.insert(ino, Count { kind: inode.kind, links: inode.links, names: 0, inner: 0 });
                    }
                    Err(error) => {
                        let what = format!("inode {ino}");
                        let damage = Finding::new(FsckKind::DamagedRecord, what, error.to_string(), Mend::Nothing);
                        self.note(damage)?;
                    }
                }
                from = ino.0.saturating_add(1);
            }
            if page.len() < limits::FSCK_PAGE {
                return Ok((counts, None));
            }
        }
        Ok((counts, Some(from)))
    }

    /// Counts the names of these inodes in one pass over all names.
    fn count_names(&mut self, counts: &mut BTreeMap<Ino, Count>) -> Result<(), Error> {
        self.each(Table::Entry, "links", |_, key, value| {
            // Told where the entries are looked at.
            let Ok(entry) = Entry::decode(value) else { return Ok(()) };
            if let Some(count) = counts.get_mut(&entry.ino) {
                count.names += 1;
            }
            if entry.kind == FileKind::Directory
                && let Some(count) = counts.get_mut(&Ino(number(key)?))
            {
                count.inner += 1;
            }
            Ok(())
        })
    }

    /// Reads what these inodes say now, and counts again.
    fn recount(&mut self, counts: &mut BTreeMap<Ino, Count>) -> Result<(), Error> {
        let inodes: Vec<Ino> = counts.keys().copied().collect();
        counts.clear();
        for ino in inodes {
            if let Some(Ok(inode)) = self.inner.stored_inode(ino)? {
                counts.insert(ino, Count { kind: inode.kind, links: inode.links, names: 0, inner: 0 });
            }
        }
        self.count_names(counts)
    }

    /// Those of them that do not look right.
    fn doubtful(&self, counts: BTreeMap<Ino, Count>) -> Result<BTreeMap<Ino, Count>, Error> {
        let mut doubtful = BTreeMap::new();
        for (ino, count) in counts {
            if !count.is_right(ino) || (count.links == 0 && !self.inner.is_removal_known(ino)?) {
                doubtful.insert(ino, count);
            }
        }
        Ok(doubtful)
    }
}
