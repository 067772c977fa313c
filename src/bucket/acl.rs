//! POSIX access control lists: what they look like, and what they have to do with the mode (acl(5)).
//!
//! A list is kept in the form in which the kernel sends it: as the extended attribute `system.posix_acl_access` or
//! `system.posix_acl_default`, version 2. An access list of three entries says no more than the mode and is not kept.
//! The others agree with the mode at all times: the owner's entry with the owner's bits, the mask (without one the
//! owning group's entry) with the group's, the others' with the others'. Whom they let in is the kernel's work.

use super::{Error, FileKind, Inner, NewInode, cell::CellState, records::Inode};
use crate::{
    base::{Ino, limits},
    store::{Batch, Table},
};

pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
const PERMISSIONS: u32 = 0o7;
const MODE_PERMISSIONS: u32 = 0o777;

/// Whom an entry is about, in the order in which entries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

impl Tag {
    fn of(number: u16) -> Option<Self> {
        let all = [Self::Owner, Self::User, Self::OwningGroup, Self::Group, Self::Mask, Self::Other];
        all.into_iter().find(|tag| *tag as u16 == number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    /// 0..=0o7.
    permissions: u32,
    /// Of a user or group; of the others what the kernel puts there.
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Acl(Vec<Entry>);

impl Acl {
    /// Reads an attribute's value. None is the list without entries, which stands for no list.
    fn decode(value: &[u8]) -> Result<Option<Self>, Error> {
        let (version, entries) =
            value.split_first_chunk::<HEADER_BYTES>().ok_or(Error::Invalid("an access control list is cut off"))?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Error::Unsupported);
        }
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(Error::Invalid("an access control list is cut off"));
        }
        if entries.len() > limits::ACL_ENTRIES {
            return Err(Error::AttributeTooLarge);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Self(entries.iter().map(decode_entry).collect::<Result<_, _>>()?);
        if !acl.is_valid() {
            return Err(Error::Invalid("an access control list needs owner, group and others, in order, and a mask"));
        }
        Ok(Some(acl))
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend((entry.tag as u16).to_le_bytes());
            value.extend((entry.permissions as u16).to_le_bytes());
            value.extend(entry.id.to_le_bytes());
        }
        value
    }

    fn count(&self, tag: Tag) -> usize {
        self.0.iter().filter(|entry| entry.tag == tag).count()
    }

    /// As the kernel has it (`posix_acl_valid`): in order, one entry for each class, a mask if anybody is named.
    fn is_valid(&self) -> bool {
        let is_named = self.count(Tag::User) + self.count(Tag::Group) > 0;
        self.0.is_sorted_by_key(|entry| entry.tag)
            && [Tag::Owner, Tag::OwningGroup, Tag::Other].iter().all(|tag| self.count(*tag) == 1)
            && self.count(Tag::Mask) <= 1
            && (!is_named || self.count(Tag::Mask) == 1)
    }

    /// Whether the mode says as much.
    fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// Where in a mode the permissions of an entry are; None for those that the mask bounds.
    fn shift(&self, tag: Tag) -> Option<u32> {
        match tag {
            Tag::Owner => Some(6),
            Tag::Mask => Some(3),
            Tag::OwningGroup if self.count(Tag::Mask) == 0 => Some(3),
            Tag::Other => Some(0),
            Tag::OwningGroup | Tag::User | Tag::Group => None,
        }
    }

    /// The list with other permissions where the mode shows them; `change` takes those of the entry and of the mode.
    fn with_mode(&self, mode: u32, change: impl Fn(u32, u32) -> u32) -> Self {
        let entry = |entry: &Entry| match self.shift(entry.tag) {
            Some(shift) => Entry { permissions: change(entry.permissions, mode >> shift & PERMISSIONS), ..*entry },
            None => *entry,
        };
        Self(self.0.iter().map(entry).collect())
    }

    /// What chmod(2) makes of it.
    fn changed_to(&self, mode: u32) -> Self {
        self.with_mode(mode, |_, of_mode| of_mode)
    }

    /// What a file made with this mode inherits of it.
    fn inherited_by(&self, mode: u32) -> Self {
        self.with_mode(mode, |own, of_mode| own & of_mode)
    }

    /// The mode with the permissions of the list.
    fn apply(&self, mode: u32) -> u32 {
        let shown = |entry: &Entry| self.shift(entry.tag).map_or(0, |shift| entry.permissions << shift);
        mode & !MODE_PERMISSIONS | self.0.iter().map(shown).fold(0, |sum, bits| sum | bits)
    }
}

fn decode_entry(bytes: &[u8; ENTRY_BYTES]) -> Result<Entry, Error> {
    let [tag_low, tag_high, low, high, id @ ..] = *bytes;
    let tag = Tag::of(u16::from_le_bytes([tag_low, tag_high]));
    let tag = tag.ok_or(Error::Invalid("an access control list has an entry of an unknown kind"))?;
    let permissions = u32::from(u16::from_le_bytes([low, high]));
    if permissions & !PERMISSIONS != 0 {
        return Err(Error::Invalid("an access control list grants what is no permission"));
    }
    let id = u32::from_le_bytes(id);
    // The number that stands for nobody.
    if matches!(tag, Tag::User | Tag::Group) && id == u32::MAX {
        return Err(Error::Invalid("an access control list names nobody"));
    }
    Ok(Entry { tag, permissions, id })
}

pub(super) fn is_acl(name: &[u8]) -> bool {
    matches!(name, ACCESS | DEFAULT)
}

impl Inner {
    /// Whether a locked inode may have extended attributes. Most have none, and are not looked up twice.
    pub fn has_attributes(&self, ino: Ino, state: &mut CellState) -> Result<bool, Error> {
        if let Some(known) = state.has_attributes {
            return Ok(known);
        }
        let found = !self.database.scan(Table::Xattr, &ino.0.to_be_bytes(), b"", 1)?.is_empty();
        state.has_attributes = Some(found);
        Ok(found)
    }

    fn acl(&self, ino: Ino, name: &[u8], state: &mut CellState) -> Result<Option<Acl>, Error> {
        if !self.has_attributes(ino, state)? {
            return Ok(None);
        }
        match self.database.get(Table::Xattr, &[&ino.0.to_be_bytes(), name])? {
            Some(value) => Acl::decode(&value),
            None => Ok(None),
        }
    }

    /// Gives a new inode its permissions: those asked for without the umask, or, if the locked directory has a default
    /// list, as far as that one goes. Returns whether it has a list.
    pub fn inherit_acl(
        &self,
        (parent, directory): (Ino, &mut CellState),
        (ino, inode): (Ino, &mut Inode),
        new: &NewInode,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        if new.kind == FileKind::Symlink {
            return Ok(false);
        }
        let Some(default) = self.acl(parent, DEFAULT, directory)? else {
            inode.mode &= !(new.umask & MODE_PERMISSIONS);
            return Ok(false);
        };
        let access = default.inherited_by(inode.mode);
        inode.mode = access.apply(inode.mode);
        let key = ino.0.to_be_bytes();
        if !access.is_minimal() {
            batch.put(Table::Xattr, &[&key, ACCESS], access.encode());
        }
        if new.kind == FileKind::Directory {
            batch.put(Table::Xattr, &[&key, DEFAULT], default.encode());
        }
        Ok(!access.is_minimal() || new.kind == FileKind::Directory)
    }

    /// The access list of a locked inode follows a change of its mode.
    pub fn chmod_acl(&self, ino: Ino, state: &mut CellState, mode: u32, batch: &mut Batch) -> Result<(), Error> {
        if let Some(acl) = self.acl(ino, ACCESS, state)? {
            batch.put(Table::Xattr, &[&ino.0.to_be_bytes(), ACCESS], acl.changed_to(mode).encode());
        }
        Ok(())
    }

    /// Sets a list of a locked inode, and the mode with it. The caller stores the inode.
    pub fn set_acl(
        &self,
        ino: Ino,
        state: &mut CellState,
        (name, value): (&[u8], &[u8]),
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let acl = Acl::decode(value)?;
        match state.inode.kind {
            FileKind::Symlink => return Err(Error::Unsupported),
            FileKind::Directory => {}
            _ if name == DEFAULT && acl.is_some() => return Err(Error::Denied),
            _ => {}
        }
        let mut kept = acl;
        if name == ACCESS
            && let Some(acl) = &kept
        {
            state.inode.mode = acl.apply(state.inode.mode);
            kept = kept.filter(|acl| !acl.is_minimal());
        }
        let key = ino.0.to_be_bytes();
        match kept {
            Some(acl) => batch.put(Table::Xattr, &[&key, name], acl.encode()),
            None => batch.delete(Table::Xattr, &[&key, name]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(tag: Tag, permissions: u32, id: u32) -> Entry {
        Entry { tag, permissions, id }
    }

    /// Valid lists of any shape.
    fn lists() -> impl Strategy<Value = Acl> {
        let named = || proptest::collection::vec((0u32..8, 0u32..u32::MAX), 0..5);
        let mask = proptest::option::of(0u32..8);
        (0u32..8, named(), 0u32..8, named(), mask, 0u32..8).prop_map(|(owner, users, group, groups, mask, other)| {
            let is_named = !users.is_empty() || !groups.is_empty();
            let mut entries = vec![entry(Tag::Owner, owner, u32::MAX)];
            entries.extend(users.into_iter().map(|(permissions, id)| entry(Tag::User, permissions, id)));
            entries.push(entry(Tag::OwningGroup, group, u32::MAX));
            entries.extend(groups.into_iter().map(|(permissions, id)| entry(Tag::Group, permissions, id)));
            let mask = if is_named { Some(mask.unwrap_or(7)) } else { mask };
            entries.extend(mask.map(|permissions| entry(Tag::Mask, permissions, u32::MAX)));
            entries.push(entry(Tag::Other, other, u32::MAX));
            Acl(entries)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(acl in lists()) {
            prop_assert!(acl.is_valid());
            prop_assert_eq!(Acl::decode(&acl.encode()).expect("valid"), Some(acl));
        }

        #[test]
        fn nothing_is_read_that_would_be_written_in_another_way(value in proptest::collection::vec(0u8..40, 0..64)) {
            let value = [&VERSION.to_le_bytes()[..], &value].concat();
            if let Ok(Some(acl)) = Acl::decode(&value) {
                prop_assert!(acl.is_valid());
                prop_assert_eq!(acl.encode(), value);
            }
        }

        #[test]
        fn entries_in_another_order_are_no_list(acl in lists(), a in 0usize..16, b in 0usize..16) {
            let mut mixed = acl.clone();
            let (a, b) = (a % acl.0.len(), b % acl.0.len());
            mixed.0.swap(a, b);
            let is_same_class = acl.0[a].tag == acl.0[b].tag;
            prop_assert_eq!(Acl::decode(&mixed.encode()).is_ok(), is_same_class);
            mixed = acl.clone();
            let removed = mixed.0.remove(a);
            let is_needed = match removed.tag {
                Tag::Owner | Tag::OwningGroup | Tag::Other => true,
                Tag::Mask => acl.0.len() > 4,
                Tag::User | Tag::Group => false,
            };
            prop_assert_eq!(Acl::decode(&mixed.encode()).is_err(), is_needed);
        }

        #[test]
        fn chmod_and_the_list_agree(acl in lists(), mode in 0u32..0o10000) {
            let changed = acl.changed_to(mode);
            prop_assert_eq!(changed.apply(mode), mode);
            prop_assert!(changed.is_valid());
            // What the mask bounds is as it was.
            for (before, after) in acl.0.iter().zip(&changed.0) {
                prop_assert!(before == after || acl.shift(before.tag).is_some());
            }
            prop_assert_eq!(acl.changed_to(acl.apply(0)), acl);
        }

        #[test]
        fn a_new_file_gets_no_more_than_both_allow(acl in lists(), mode in 0u32..0o10000) {
            let made = acl.inherited_by(mode);
            let shown = made.apply(mode);
            prop_assert_eq!(shown & !MODE_PERMISSIONS, mode & !MODE_PERMISSIONS);
            prop_assert_eq!(shown & MODE_PERMISSIONS, acl.apply(0) & mode & MODE_PERMISSIONS);
            prop_assert!(made.is_valid() && made.is_minimal() == acl.is_minimal());
            prop_assert_eq!(made.inherited_by(0o777), made);
        }
    }

    #[test]
    fn the_form_is_the_kernels() {
        // setfacl -m u:1000:rw on a file of mode 0640.
        let value = hex::decode(concat!(
            "02000000",
            "01000600ffffffff",
            "02000600e8030000",
            "04000400ffffffff",
            "10000600ffffffff",
            "20000000ffffffff"
        ))
        .expect("hex");
        let acl = Acl::decode(&value).expect("valid").expect("a list");
        assert_eq!(acl.apply(0o4640), 0o4660);
        assert_eq!(acl.0[1], entry(Tag::User, 6, 1000));
        assert_eq!(acl.encode(), value);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let version = VERSION.to_le_bytes();
        let entries = |entries: &[Entry]| Acl(entries.to_vec()).encode();
        let minimal = [entry(Tag::Owner, 6, 0), entry(Tag::OwningGroup, 4, 0), entry(Tag::Other, 0, 0)];
        assert!(matches!(Acl::decode(&version), Ok(None)));
        assert!(matches!(Acl::decode(&entries(&minimal)), Ok(Some(acl)) if acl.is_minimal()));
        assert!(matches!(Acl::decode(b""), Err(Error::Invalid(_))));
        assert!(matches!(Acl::decode(&entries(&minimal)[..27]), Err(Error::Invalid(_))));
        assert!(matches!(Acl::decode(&[&[3, 0, 0, 0], &entries(&minimal)[4..]].concat()), Err(Error::Unsupported)));
        let odd = [entry(Tag::Owner, 8, 0), minimal[1], minimal[2]];
        assert!(matches!(Acl::decode(&entries(&odd)), Err(Error::Invalid(_))));
        let nobody = [minimal[0], entry(Tag::User, 4, u32::MAX), minimal[1], entry(Tag::Mask, 4, 0), minimal[2]];
        assert!(matches!(Acl::decode(&entries(&nobody)), Err(Error::Invalid(_))));
        let many = |users: usize| {
            let users = (0..users as u32).map(|id| entry(Tag::User, 4, id));
            let head = [minimal[0]].into_iter().chain(users);
            entries(&head.chain([minimal[1], entry(Tag::Mask, 4, 0), minimal[2]]).collect::<Vec<_>>())
        };
        assert!(matches!(Acl::decode(&many(limits::ACL_ENTRIES - 4)), Ok(Some(_))));
        assert!(matches!(Acl::decode(&many(limits::ACL_ENTRIES - 3)), Err(Error::AttributeTooLarge)));
    }
}
