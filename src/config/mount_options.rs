//! `mount -o`: ours, the kernel's, and the words of fstab that are for others; one table feeds the parser and the manual.

use std::path::PathBuf;

use super::{Error, Layer, Origin};
use crate::daemon::MountOptions;

/// What a list of mount options says.
#[derive(Clone, Debug, Default)]
pub struct ParsedOptions {
    /// Ours: over the configuration, as flags are.
    pub layer: Layer,
    /// The kernel's; the mount point is still to be set.
    pub mount: MountOptions,
    /// `config=FILE`.
    pub config: Option<PathBuf>,
    /// `remount`: what is mounted is to be changed.
    pub is_remount: bool,
    /// Every option that was given and is not for others, in order.
    pub given: Vec<&'static MountOption>,
    /// Options that nobody knows; empty unless these were to be tolerated.
    pub unknown: Vec<String>,
}

/// One mount option.
#[derive(Clone, Copy, Debug)]
pub struct MountOption {
    pub name: &'static str,
    /// What its value is called; None when it has none.
    pub value: Option<&'static str>,
    /// For the manual.
    pub help: &'static str,
    /// Whether `remount` may change it.
    pub is_changeable: bool,
    /// Whose it is.
    pub owner: OptionOwner,
    take: Take,
}

/// Whose an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionOwner {
    /// The bucket and its daemon.
    Bucket,
    /// The kernel, which is told.
    Kernel,
    /// mount(8), systemd and people: taken and not used.
    Others,
}

impl MountOption {
    /// Whether it is known only to be refused, with its help as the reason.
    pub fn is_refused(&self) -> bool {
        matches!(self.take, Take::Refuse(_))
    }
}

impl ParsedOptions {
    /// Sets what was given and may change, over what a mount has.
    pub fn change(&self, mount: &mut MountOptions) {
        for option in &self.given {
            if let Take::Switch(set) = option.take {
                set(mount);
            }
        }
    }
}

type Read = fn(&str) -> Result<u32, String>;
type Field = fn(&mut MountOptions) -> &mut Option<u32>;

#[derive(Clone, Copy, Debug)]
enum Take {
    Switch(fn(&mut MountOptions)),
    Number(Read, Field),
    /// A key of the configuration; those of a repeated option are put together.
    Key(&'static str),
    Config,
    Remount,
    Nothing,
    /// A word that other file systems have: the reason why we do not.
    Refuse(&'static str),
}

const fn kernel(name: &'static str, take: fn(&mut MountOptions), help: &'static str) -> MountOption {
    let owner = OptionOwner::Kernel;
    MountOption { name, value: None, help, is_changeable: true, owner, take: Take::Switch(take) }
}

/// One that is fixed as long as it is mounted.
const fn fixed(option: MountOption) -> MountOption {
    MountOption { is_changeable: false, ..option }
}

const fn shown(name: &'static str, value: (&'static str, Read), field: Field, help: &'static str) -> MountOption {
    let (take, value) = (Take::Number(value.1, field), Some(value.0));
    MountOption { name, value, help, is_changeable: false, owner: OptionOwner::Kernel, take }
}

const fn bucket(name: &'static str, value: &'static str, help: &'static str) -> MountOption {
    let (value, owner) = (Some(value), OptionOwner::Bucket);
    MountOption { name, value, help, is_changeable: false, owner, take: Take::Key(name) }
}

const fn others(name: &'static str, value: Option<&'static str>, help: &'static str) -> MountOption {
    let owner = OptionOwner::Others;
    MountOption { name, value, help, is_changeable: true, owner, take: Take::Nothing }
}

const fn refused(name: &'static str, why: &'static str) -> MountOption {
    let owner = OptionOwner::Kernel;
    MountOption { name, value: None, help: why, is_changeable: false, owner, take: Take::Refuse(why) }
}

/// Every option that is known. What begins with `x-` or `X-` is taken and not used, as fstab(5) has it.
pub const MOUNT_OPTIONS: &[MountOption] = &[
    bucket("bucket", "NAME", "The bucket's name; default without it."),
    bucket(
        "state",
        "DIR",
        "The state directory: keys, metadata, what is staged. Name it for a mount at boot, which has no home.",
    ),
    MountOption {
        take: Take::Config,
        ..bucket("config", "FILE", "Read this configuration file over the system's and the user's.")
    },
    MountOption {
        take: Take::Key("trackers"),
        ..bucket("tracker", "ADDR", "A tracker (host:port or multiaddr); may be repeated.")
    },
    bucket("group", "NAME", "Talk to peers of this group only."),
    bucket("listen", "ADDR", "Listen here (host:port or multiaddr)."),
    bucket("mdns", "BOOL", "Whether to look for peers in the local network: true or false."),
    bucket("tier", "TIER", "How new files are kept: free, basic, plus, premium, or k+m."),
    bucket("staging-size", "SIZE", "Bytes waiting for upload, at most."),
    bucket("cache-size", "SIZE", "Bytes of local copies on disk, at most."),
    bucket("cache-memory", "SIZE", "Bytes of local copies in memory, at most."),
    bucket("read-timeout", "TIME", "A read that consumers cannot answer fails with EIO after this."),
    bucket("durability", "WHERE", "When fsync is done: local (on this disk) or network (with consumers)."),
    bucket("wallet", "DIR", "The wallet's directory: its default account pays. Not used without a chain."),
    bucket("rpc", "URL", "An Ethereum node; the configuration takes several. Not used without a chain."),
    bucket("chain-id", "ID", "The chain that the node must be of: 1 is Ethereum, 31337 a development chain."),
    bucket("contracts", "FILE", "The addresses of the contracts, as openbucket contract deploy prints them."),
    bucket("confirmations", "N", "A transaction counts when its block and those after it are so many."),
    bucket("gas-ceiling", "AMOUNT", "A unit of gas costs this, at most."),
    kernel("ro", |mount| mount.is_read_only = true, "Nobody writes."),
    kernel("rw", |mount| mount.is_read_only = false, "Reading and writing; the default."),
    fixed(kernel(
        "allow_other",
        |mount| mount.allow_other = true,
        "All users may enter, not only the one who mounts. An ordinary user needs the line user_allow_other in /etc/fuse.conf.",
    )),
    fixed(kernel("allow_root", |mount| mount.allow_root = true, "Root may enter, too. Not together with allow_other.")),
    fixed(kernel(
        "default_permissions",
        |_| {},
        "The kernel checks owner, group and mode. Always on: without it nobody would.",
    )),
    shown("uid", ("ID", id), |mount| &mut mount.uid, "Everything seems to belong to this user (a number)."),
    shown("gid", ("ID", id), |mount| &mut mount.gid, "Everything seems to belong to this group (a number)."),
    shown("umask", ("OCTAL", umask), |mount| &mut mount.umask, "Permissions seem to be 0777 without these bits."),
    kernel(
        "nosuid",
        |mount| mount.nosuid = true,
        "Set-user-id and set-group-id bits have no effect. Always on for an ordinary user.",
    ),
    kernel("suid", |mount| mount.nosuid = false, "They have; the default for root, and only root may ask for it."),
    kernel("nodev", |mount| mount.nodev = true, "Device nodes cannot be opened. Always on for an ordinary user."),
    kernel("dev", |mount| mount.nodev = false, "They can; the default for root, and only root may ask for it."),
    kernel("noexec", |mount| mount.noexec = true, "Programs cannot be started from here."),
    kernel("exec", |mount| mount.noexec = false, "They can; the default."),
    kernel("sync", |mount| mount.sync = true, "Every write is followed by an fsync of the file."),
    kernel("async", |mount| mount.sync = false, "Not so; the default."),
    kernel(
        "noatime",
        |mount| mount.noatime = true,
        "Reading does not change access times. It never does here: they change when they are set.",
    ),
    kernel("atime", |mount| mount.noatime = false, "As mount(8) has it; access times stay as under noatime."),
    kernel("relatime", |_| {}, "The same."),
    kernel("nodiratime", |_| {}, "The same, for directories."),
    refused("strictatime", "reading does not change access times here: leave it out"),
    refused("dirsync", "directories cannot be made synchronous: use fsync, or sync for what is written"),
    refused("mand", "there are no mandatory locks"),
    MountOption {
        take: Take::Remount,
        ..kernel(
            "remount",
            |_| {},
            "Change what is mounted: ro, rw, sync, async and the words of suid, dev, exec and atime. Another option that differs from what is mounted is refused by name.",
        )
    },
    others(
        "auto_unmount",
        None,
        "Nothing: the daemon always unmounts when it ends, and the next mount clears the remains of one that was killed.",
    ),
    others("defaults", None, "The defaults, which are in force anyway."),
    others("auto", None, "mount -a mounts it."),
    others("noauto", None, "mount -a does not."),
    others("nofail", None, "Boot goes on without it."),
    others("_netdev", None, "It is mounted when the network is up, and unmounted before that goes."),
    others(
        "user",
        Some("NAME"),
        "An ordinary user may mount it, with a state directory of their own; mount(8) adds noexec. A value is its own note.",
    ),
    others("users", None, "The same, and any user may unmount it."),
    others("owner", None, "The same for the owner of SOURCE."),
    others("group", None, "The same for the group of SOURCE; with a value it is the group of peers, above."),
    others("nouser", None, "Only root may mount it; the default."),
    others("silent", None, "mount(8)'s own."),
    others("loud", None, "mount(8)'s own."),
    others("comment", Some("TEXT"), "A note for people."),
];

/// What the kernel shows of a mount and mount(8) gives back at a remount.
const SHOWN_BY_THE_KERNEL: [&str; 6] = ["user_id", "group_id", "rootmode", "max_read", "blksize", "seclabel"];

/// Reads lists such as `bucket=photos,ro,_netdev`. An option that nobody knows is refused by name, or with `is_sloppy`
/// (mount -s) put into `unknown`; a bad value never passes.
pub fn parse_mount_options<'a>(
    lists: impl IntoIterator<Item = &'a str>,
    is_sloppy: bool,
) -> Result<ParsedOptions, Error> {
    let mut parsed = ParsedOptions::default();
    let mut trackers = Vec::new();
    let words = lists.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    parsed.is_remount = words.contains(&"remount");
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match find(name, value) {
            Some(known) if known.is_refused() && is_sloppy => parsed.unknown.push(word.to_owned()),
            Some(known) => take(&mut parsed, known, value.unwrap_or_default(), &mut trackers)?,
            None if is_for_others(name) => {}
            None if parsed.is_remount && SHOWN_BY_THE_KERNEL.contains(&name) => {}
            None if is_sloppy => parsed.unknown.push(word.to_owned()),
            None => return Err(unknown(name, value)),
        }
    }
    if parsed.mount.allow_other && parsed.mount.allow_root {
        return Err(option("allow_root", "cannot be used with allow_other: choose one".into()));
    }
    Ok(parsed)
}

fn is_for_others(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X-")
}

/// The option of this name that takes a value, or none, as given. mount(8) writes `user` with and without.
fn find(name: &str, value: Option<&str>) -> Option<&'static MountOption> {
    let fits = |known: &&MountOption| known.value.is_some() == value.is_some() || known.name == "user";
    MOUNT_OPTIONS.iter().filter(|known| known.name == name).find(fits)
}

/// Unknown by its name, or known but with a value too few or too many.
fn unknown(name: &str, value: Option<&str>) -> Error {
    match (MOUNT_OPTIONS.iter().find(|known| known.name == name), value) {
        (Some(known), None) => option(name, format!("a value is missing: write {name}={}", known.value.unwrap_or(""))),
        (Some(_), Some(_)) => option(name, "it takes no value".into()),
        (None, _) => Error::UnknownOption(name.to_owned()),
    }
}

fn option(option: &str, why: String) -> Error {
    Error::Option { option: option.to_owned(), why }
}

fn take(
    parsed: &mut ParsedOptions,
    known: &'static MountOption,
    value: &str,
    trackers: &mut Vec<String>,
) -> Result<(), Error> {
    let fail = |why| option(known.name, why);
    match known.take {
        Take::Switch(set) => set(&mut parsed.mount),
        Take::Number(read, field) => *field(&mut parsed.mount) = Some(read(value).map_err(fail)?),
        Take::Key("trackers") => {
            trackers.push(value.to_owned());
            set_ours(&mut parsed.layer, "trackers", trackers).map_err(fail)?;
        }
        Take::Key(key) => set_ours(&mut parsed.layer, key, &[value.to_owned()]).map_err(fail)?,
        Take::Config => parsed.config = Some(PathBuf::from(value)),
        Take::Remount | Take::Nothing => {}
        Take::Refuse(why) => return Err(fail(why.into())),
    }
    if known.owner != OptionOwner::Others {
        parsed.given.push(known);
    }
    Ok(())
}

fn id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}

fn umask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(umask) if umask <= 0o777 => Ok(umask),
        _ => Err(format!("'{text}' is not an octal number up to 777")),
    }
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
        let more = "tracker=127.0.0.1:1,tracker=127.0.0.1:2,cache-size=5 GB,tier=8+4,comment=mine,rw,noatime,user=me";
        let parsed = parse_mount_options([list, more], false).expect("all known");
        assert_eq!(parsed.layer.bucket.as_deref(), Some("photos"));
        assert_eq!(parsed.layer.trackers.as_ref().map(Vec::len), Some(2));
        assert_eq!(parsed.layer.cache_size, Some(ByteSize(5_000_000_000)));
        assert_eq!(parsed.layer.tier, Some(Scheme::PLUS));
        let given: Vec<&str> = parsed.given.iter().map(|option| option.name).collect();
        assert!(given.contains(&"umask") && !given.contains(&"user"), "{given:?}");
        let mount = parsed.mount;
        assert!(!mount.is_read_only && mount.allow_other && mount.noatime && !mount.nosuid);
        assert_eq!((mount.uid, mount.gid, mount.umask), (Some(1000), Some(100), Some(0o22)));
    }

    #[test]
    fn the_last_word_wins() {
        let mount = |list: &str| parse_mount_options([list], false).expect("all known").mount;
        assert!(mount("suid,nosuid,dev,noexec,sync,ro").nosuid);
        assert_eq!(mount("nosuid,nodev,noexec,sync,ro,suid,dev,exec,async,rw"), MountOptions::default());
        assert_eq!(mount("group,defaults"), MountOptions::default());
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
            ("bucket", "write bucket=NAME"),
            ("ro=1", "'ro': it takes no value"),
            ("dirsync", "'dirsync'"),
            ("user_id=0", "'user_id'"),
        ];
        for (list, words) in cases {
            let error = parse_mount_options([list], false).unwrap_err().to_string();
            assert!(error.contains(words), "{list}: {error}");
        }
    }

    #[test]
    fn mount_s_tolerates_unknown_names_but_no_bad_values() {
        let parsed = parse_mount_options(["ro,quux,foo=1,dirsync"], true).expect("tolerated");
        assert_eq!(parsed.unknown, ["quux", "foo=1", "dirsync"]);
        assert!(parse_mount_options(["uid=me"], true).is_err());
    }

    #[test]
    fn a_remount_takes_what_the_kernel_shows() {
        let parsed = parse_mount_options(["remount,ro,relatime,user_id=0,group_id=0,default_permissions"], false);
        let parsed = parsed.expect("as mount(8) gives it");
        assert!(parsed.is_remount && parsed.mount.is_read_only);
    }

    #[test]
    fn every_key_of_a_mount_is_an_option_and_every_option_stands_once() {
        for key in Layer::KEYS.iter().filter(|key| !key.contains('.')) {
            let name = if *key == "trackers" { "tracker" } else { key };
            assert!(find(name, Some("x")).is_some(), "{key} cannot be given in fstab");
        }
        for (index, one) in MOUNT_OPTIONS.iter().enumerate() {
            let is_same = |other: &MountOption| other.name == one.name && other.value.is_some() == one.value.is_some();
            assert!(!MOUNT_OPTIONS[..index].iter().any(is_same), "{} stands twice", one.name);
        }
    }
}
