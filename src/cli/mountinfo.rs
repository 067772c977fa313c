//! What is mounted where, from /proc/self/mountinfo.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub mountpoint: PathBuf,
    pub kind: String,
    pub source: String,
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_openbucket(&self) -> bool {
        self.kind == "fuse.openbucket" || (self.kind.starts_with("fuse") && self.source == "openbucket")
    }
}

/// The topmost file system mounted at exactly this absolute path.
pub fn mounted_at(path: &Path) -> io::Result<Option<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).filter(|mount| mount.mountpoint == path).last())
}

/// `36 35 98:0 /root /mount/point rw - ext4 /dev/sda1 rw`, see proc(5); spaces and such are octal escapes.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(words.nth(4)?)));
    words.find(|word| *word == b"-")?;
    let kind = String::from_utf8_lossy(words.next()?).into_owned();
    let source = String::from_utf8_lossy(&unescape(words.next()?)).into_owned();
    Some(Mount { mountpoint, kind, source })
}

fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &tail[3..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_optional_fields_and_escapes() {
        let line =
            b"61 28 0:53 / /mnt/my\\040bucket rw,nosuid shared:7 master:2 - fuse.openbucket openbucket rw,user_id=0";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.mountpoint, Path::new("/mnt/my bucket"));
        assert!(mount.is_openbucket());
        let other = parse(b"22 1 8:1 / / rw - ext4 /dev/sda1 rw").expect("a mount");
        assert!(!other.is_openbucket());
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_root_is_mounted_and_a_new_directory_is_not() {
        assert!(mounted_at(Path::new("/")).expect("readable").is_some());
        assert_eq!(mounted_at(Path::new("/nothing/here")).expect("readable"), None);
    }
}
