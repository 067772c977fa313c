//! The program under the name `mount.openbucket`: what mount(8) calls for a line of fstab becomes an `openbucket mount`.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::Path};

/// The names by which mount(8) looks for the helper: by the type in fstab, and by that in the kernel's table.
const NAMES: [&str; 2] = ["mount.openbucket", "mount.fuse.openbucket"];
/// What stands for the source in fstab and in the kernel's table, so that `mount -a` knows what is mounted already.
const SOURCE: &str = "openbucket";

/// Whether this is a call of the helper.
pub fn is_helper(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| NAMES.iter().any(|known| name == *known))
}

/// `SOURCE DIR [-sfnv] [-t TYPE] [-o LIST]`, in any order, as a command line of `openbucket mount`. An error is a wrong use.
pub fn rewrite(arguments: &[OsString]) -> Result<Vec<OsString>, String> {
    let mut rewritten: Vec<OsString> = vec!["openbucket".into(), "mount".into()];
    let mut places = Vec::new();
    let mut rest = arguments.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("--help" | "--version" | "-h" | "-V") => rewritten.push(word.clone()),
            Some("--foreground" | "--background-child") => rewritten.push(word.clone()),
            Some(letters) if letters.len() > 1 && letters.starts_with('-') => {
                let mut letters = letters[1..].chars();
                while let Some(letter) = letters.next() {
                    match letter {
                        's' => rewritten.push("--sloppy".into()),
                        'f' => rewritten.push("--fake".into()),
                        'v' => rewritten.push("-v".into()),
                        // There is no /etc/mtab to be written.
                        'n' => {}
                        'o' | 't' => {
                            let own = letters.as_str();
                            let next = if own.is_empty() { rest.next().cloned() } else { Some(own.into()) };
                            let value = next.ok_or_else(|| format!("-{letter} needs a value"))?;
                            if letter == 'o' {
                                rewritten.extend(["-o".into(), complete(value)]);
                            }
                            break;
                        }
                        'N' => return Err("-N: enter the other mount namespace first, with nsenter -m".into()),
                        other => {
                            return Err(format!("unknown option -{other}: SOURCE DIR [-sfnv] [-o LIST] are known"));
                        }
                    }
                }
            }
            _ => places.push(word),
        }
    }
    match places.as_slice() {
        [source, directory] if source.as_bytes() == SOURCE.as_bytes() => rewritten.push((*directory).clone()),
        [source, _] => {
            let source = source.to_string_lossy();
            return Err(format!(
                "the source is '{source}': write {SOURCE}, and name the bucket with the option bucket="
            ));
        }
        [] if rewritten.len() > 2 => {}
        _ => return Err("SOURCE DIR [-sfnv] [-o LIST] are wanted: this is the helper of mount(8)".into()),
    }
    Ok(rewritten)
}

/// mount(8) leaves out words that are defaults of its own: at a remount a missing nosuid is a suid.
fn complete(list: OsString) -> OsString {
    if !list.to_string_lossy().split(',').any(|word| word == "remount") {
        return list;
    }
    let mut complete = OsString::from("suid,dev,exec,async,atime,");
    complete.push(list);
    complete
}

/// The exit code by the rules of mount(8): 1 wrong use, 32 failed.
pub fn exit_code(code: u8) -> u8 {
    match code {
        0 => 0,
        2 => 1,
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_call_of_mount_becomes_a_mount() {
        let cases = [
            ("/sbin/mount.openbucket openbucket /mnt/b -s -o ro,bucket=a", "--sloppy -o ro,bucket=a /mnt/b"),
            ("mount.openbucket openbucket /mnt/b -sfnv -o ro", "--sloppy --fake -v -o ro /mnt/b"),
            ("mount.fuse.openbucket -n openbucket -oro,rw /mnt/b -t fuse.openbucket", "-o ro,rw /mnt/b"),
            ("mount.openbucket openbucket /mnt/b", "/mnt/b"),
            ("mount.openbucket openbucket /m -o ro,remount", "-o suid,dev,exec,async,atime,ro,remount /m"),
        ];
        for (call, expected) in cases {
            assert!(is_helper(&words(call)));
            let rewritten = rewrite(&words(call)).unwrap();
            assert_eq!(rewritten, words(&format!("openbucket mount {expected}")), "{call}");
        }
        assert!(!is_helper(&words("/usr/bin/openbucket status")) && !is_helper(&[]));
    }

    #[test]
    fn wrong_calls_are_told_what_is_wrong() {
        let cases = [
            ("mount.openbucket openbucket", "DIR"),
            ("mount.openbucket photos /mnt/b", "bucket="),
            ("mount.openbucket openbucket /mnt/b -o", "-o needs a value"),
            ("mount.openbucket openbucket /mnt/b -x", "-x"),
            ("mount.openbucket openbucket /mnt/b -N /proc/1/ns/mnt", "nsenter"),
        ];
        for (call, expected) in cases {
            let error = rewrite(&words(call)).unwrap_err();
            assert!(error.contains(expected), "{call}: {error}");
        }
    }
}
