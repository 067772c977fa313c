//! `mount -o`: ours, the kernel's, and the words of fstab that are for others.

use std::path::PathBuf;

use super::{Error, Layer, Origin};
use crate::daemon::MountOptions;

/// What a list of mount options says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParsedOptions {
    /// Ours: over the configuration, as flags are.
    pub layer: Layer,
    /// The kernel's; the mount point is still to be set.
    pub mount: MountOptions,
    /// `config=FILE`.
    pub config: Option<PathBuf>,
}

/// Keys of the configuration that are also mount options.
const OURS: [&str; 11] = [
    "state",
    "bucket",
    "group",
    "listen",
    "mdns",
    "staging-size",
    "cache-size",
    "cache-memory",
    "read-timeout",
    "tier",
    "durability",
];

/// Words that fstab has for mount(8), systemd and people: taken and not used.
const IGNORED: [&str; 16] = [
    "_netdev", "nofail", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "async", "suid",
    "dev", "exec", "relatime", "atime",
];

/// Reads lists such as `bucket=photos,ro,_netdev`. An option that nobody knows is refused by name.
pub fn parse_mount_options<'a>(lists: impl IntoIterator<Item = &'a str>) -> Result<ParsedOptions, Error> {
    let mut parsed = ParsedOptions::default();
    let mut trackers = Vec::new();
    let words = lists.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty());
    for word in words {
        match word.split_once('=') {
            Some(("tracker", value)) => trackers.push(value.to_owned()),
            Some((name, value)) => set_valued(&mut parsed, name, value)?,
            None => set_plain(&mut parsed.mount, word)?,
        }
    }
    if !trackers.is_empty() {
        set_ours(&mut parsed.layer, "trackers", &trackers).map_err(|why| option("tracker", why))?;
    }
    if parsed.mount.allow_other && parsed.mount.allow_root {
        return Err(option("allow_root", "cannot be used with allow_other: choose one".into()));
    }
    Ok(parsed)
}

fn option(option: &str, why: String) -> Error {
    Error::Option { option: option.to_owned(), why }
}

fn set_plain(mount: &mut MountOptions, word: &str) -> Result<(), Error> {
    match word {
        "ro" => mount.is_read_only = true,
        "rw" => mount.is_read_only = false,
        "allow_other" => mount.allow_other = true,
        "allow_root" => mount.allow_root = true,
        // Always on: without it nobody would check permissions.
        "default_permissions" => {}
        "noatime" => mount.noatime = true,
        "nosuid" => mount.nosuid = true,
        "nodev" => mount.nodev = true,
        "noexec" => mount.noexec = true,
        // The daemon always unmounts when it ends; after a crash `openbucket umount` or the next mount clears it.
        "auto_unmount" => {}
        _ if IGNORED.contains(&word) || word.starts_with("x-") => {}
        _ => return Err(Error::UnknownOption(word.to_owned())),
    }
    Ok(())
}

fn set_valued(parsed: &mut ParsedOptions, name: &str, value: &str) -> Result<(), Error> {
    let id = || value.parse::<u32>().map_err(|_| option(name, format!("'{value}' is not a number")));
    match name {
        "uid" => parsed.mount.uid = Some(id()?),
        "gid" => parsed.mount.gid = Some(id()?),
        "umask" => match u32::from_str_radix(value, 8) {
            Ok(umask) if umask <= 0o777 => parsed.mount.umask = Some(umask),
            _ => return Err(option(name, format!("'{value}' is not an octal number up to 777"))),
        },
        "config" => parsed.config = Some(PathBuf::from(value)),
        "comment" => {}
        _ if name.starts_with("x-") => {}
        _ if OURS.contains(&name) => {
            set_ours(&mut parsed.layer, name, &[value.to_owned()]).map_err(|why| option(name, why))?;
        }
        _ => return Err(Error::UnknownOption(name.to_owned())),
    }
    Ok(())
}

fn set_ours(layer: &mut Layer, key: &str, texts: &[String]) -> Result<(), String> {
    layer.set(key, texts, &Origin::Flags).map_err(|error| match error {
        Error::Value { why, .. } => why,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ByteSize, Scheme};

    #[test]
    fn an_fstab_line_is_read() {
        let list = "bucket=photos,_netdev,nofail,x-systemd.automount,x-a=b,ro,allow_other,uid=1000,gid=100,umask=022";
        let more = "tracker=127.0.0.1:1,tracker=127.0.0.1:2,cache-size=5 GB,tier=8+4,comment=mine,rw,noatime";
        let parsed = parse_mount_options([list, more]).expect("all known");
        assert_eq!(parsed.layer.bucket.as_deref(), Some("photos"));
        assert_eq!(parsed.layer.trackers.as_ref().map(Vec::len), Some(2));
        assert_eq!(parsed.layer.cache_size, Some(ByteSize(5_000_000_000)));
        assert_eq!(parsed.layer.tier, Some(Scheme::PLUS));
        let mount = parsed.mount;
        assert!(!mount.is_read_only && mount.allow_other && mount.noatime && !mount.nosuid);
        assert_eq!((mount.uid, mount.gid, mount.umask), (Some(1000), Some(100), Some(0o22)));
    }

    #[test]
    fn what_nobody_knows_is_refused_by_name() {
        let cases = [
            ("ro,quux", "'quux'"),
            ("buckets=a", "'buckets'"),
            ("uid=me", "'me' is not a number"),
            ("umask=999", "octal"),
            ("cache-size=big", "'big' is not a size"),
            ("tracker=nowhere", "'nowhere' is not an address"),
            ("consumer.dir=/x", "'consumer.dir'"),
            ("allow_other,allow_root", "choose one"),
        ];
        for (list, words) in cases {
            let error = parse_mount_options([list]).unwrap_err().to_string();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
