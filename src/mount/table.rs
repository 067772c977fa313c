//! What is mounted where, as the kernel tells it: /proc/self/mountinfo (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::Error;

const TABLE: &str = "/proc/self/mountinfo";

/// The name of the source and the subtype of every mounted bucket.
pub(super) const SOURCE: &str = "openbucket";
/// The file system type of every mounted bucket.
pub(super) const KIND: &str = "fuse.openbucket";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Unique as long as it is mounted.
    pub id: u64,
    /// `major:minor`.
    pub device: String,
    pub mountpoint: PathBuf,
    pub kind: String,
    pub source: String,
    /// Of the mount and of the file system: `rw`, `nosuid`, `sync` ...
    pub options: Vec<String>,
}

impl Entry {
    pub(super) fn is_bucket(&self) -> bool {
        self.kind == KIND
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|word| word == option)
    }
}

/// The uppermost mount at a path that has no symlinks in it. Does not touch the path.
pub(super) fn find(mountpoint: &Path) -> Result<Option<Entry>, Error> {
    Ok(parse(&read()?).filter(|entry| entry.mountpoint == mountpoint).last())
}

/// What is mounted below a path, where it is. Touches none of it.
pub(super) fn below(mountpoint: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_below = |path: &Path| path.starts_with(mountpoint) && path != mountpoint;
    Ok(parse(&read()?).map(|entry| entry.mountpoint).filter(|path| is_below(path)).collect())
}

fn read() -> Result<Vec<u8>, Error> {
    std::fs::read(TABLE).map_err(|source| Error::Io { action: "read", path: TABLE.into(), source })
}

fn parse(text: &[u8]) -> impl Iterator<Item = Entry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line)
}

/// `36 35 98:0 /root /mountpoint options [optional...] - type source options`
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = text(fields.nth(1)?);
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let of_mount = text(fields.next()?);
    fields.find(|field| *field == b"-")?;
    let kind = text(fields.next()?);
    let source = text(fields.next()?);
    let of_system = text(fields.next()?);
    let options = of_mount.split(',').chain(of_system.split(',')).map(str::to_owned).collect();
    Some(Entry { id, device, mountpoint, kind, source, options })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Undoes the kernel's escapes: a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[4..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = b"22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            90 28 0:44 / /home/a\\040b\\134c rw - fuse.openbucket openbucket rw,user_id=0\nnonsense\n";
        let entries: Vec<_> = parse(table).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].mountpoint, Path::new("/sys"));
        assert_eq!((entries[1].id, entries[1].device.as_str()), (90, "0:44"));
        assert_eq!(entries[1].mountpoint, Path::new("/home/a b\\c"));
        assert!(entries[1].is_bucket() && !entries[0].is_bucket());
        assert!(entries[0].has("nosuid") && entries[1].has("user_id=0") && !entries[1].has("ro"));
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(b"a\\9\\04"), b"a\\9\\04");
        assert_eq!(unescape(b"\\377"), b"\xff");
    }

    #[test]
    fn the_machine_has_a_proc() {
        assert_eq!(find(Path::new("/proc")).unwrap().unwrap().kind, "proc");
        assert_eq!(find(Path::new("/no/such/mount")).unwrap(), None);
    }
}
