//! A bucket without consumers, really mounted: what programs do to files works through the kernel.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "mount_smoke/fixture.rs"]
mod fixture;
#[path = "mount_smoke/listing.rs"]
mod listing;

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use fixture::Fixture;
use openbucket::{base::Ino, mount};
use rustix::fs::{RenameFlags, XattrFlags};

fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&outcome.unwrap_err()).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn what_is_written_is_read_back() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    let data = pattern(5_000_123);
    fs::write(&file, &data).unwrap();
    assert!(fs::read(&file).unwrap() == data);
    fixture.invalidate(&file);
    assert!(fs::read(&file).unwrap() == data, "also when the kernel holds nothing");

    let handle = OpenOptions::new().read(true).write(true).open(&file).unwrap();
    handle.write_all_at(b"overwritten", 4_000_000).unwrap();
    handle.sync_all().unwrap();
    fixture.invalidate(&file);
    let mut part = [0; 13];
    handle.read_exact_at(&mut part, 3_999_999).unwrap();
    assert_eq!(&part[1..12], b"overwritten");
    assert_eq!((part[0], part[12]), (data[3_999_999], data[4_000_011]));
    drop(handle);
    fixture.unmount();
}

#[test]
fn append_truncate_and_holes() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    for part in ["one ", "two ", "three"] {
        OpenOptions::new().append(true).create(true).open(&file).unwrap().write_all(part.as_bytes()).unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), b"one two three");
    let mut handle = OpenOptions::new().read(true).write(true).open(&file).unwrap();
    handle.set_len(3).unwrap();
    handle.set_len(10_000).unwrap();
    handle.seek(SeekFrom::End(5)).unwrap();
    handle.write_all(b"end").unwrap();
    drop(handle);
    fixture.invalidate(&file);
    let data = fs::read(&file).unwrap();
    assert_eq!((data.len(), &data[..3], &data[10_005..]), (10_008, &b"one"[..], &b"end"[..]));
    assert!(data[3..10_005].iter().all(|byte| *byte == 0));
    File::create(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 0, "O_TRUNC");
    fixture.unmount();
}

#[test]
fn names_links_and_renames() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let (a, b, dir) = (fixture.path("a"), fixture.path("b"), fixture.path("dir"));
    assert_eq!(errno(File::open(&a)), rustix::io::Errno::NOENT);
    fs::write(&a, "a").unwrap();
    fs::hard_link(&a, &b).unwrap();
    assert_eq!((fs::metadata(&a).unwrap().nlink(), fs::metadata(&b).unwrap().nlink()), (2, 2));
    assert_eq!(fs::metadata(&a).unwrap().ino(), fs::metadata(&b).unwrap().ino());
    fs::remove_file(&a).unwrap();
    assert_eq!(fs::metadata(&b).unwrap().nlink(), 1);
    fs::create_dir(&dir).unwrap();
    fs::rename(&b, dir.join("c")).unwrap();
    assert_eq!(errno(fs::remove_dir(&dir)), rustix::io::Errno::NOTEMPTY);
    assert_eq!(fs::read(dir.join("c")).unwrap(), b"a");
    symlink("dir/c", &a).unwrap();
    assert_eq!(fs::read_link(&a).unwrap(), Path::new("dir/c"));
    assert_eq!(fs::read(&a).unwrap(), b"a");
    fs::write(&b, "b").unwrap();
    let cwd = rustix::fs::CWD;
    let refused = rustix::fs::renameat_with(cwd, &b, cwd, dir.join("c"), RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(rustix::io::Errno::EXIST));
    rustix::fs::renameat_with(cwd, &b, cwd, dir.join("c"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(&b).unwrap(), fs::read(&a).unwrap()), (b"a".to_vec(), b"b".to_vec()));
    assert_eq!(errno(fs::write(fixture.path(&"n".repeat(256)), "")), rustix::io::Errno::NAMETOOLONG);
    fixture.unmount();
}

#[test]
fn a_file_lives_until_it_is_closed() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    let mut handle = OpenOptions::new().read(true).write(true).create_new(true).open(&file).unwrap();
    handle.write_all(b"still here").unwrap();
    fs::remove_file(&file).unwrap();
    assert!(!file.exists());
    assert_eq!(handle.metadata().unwrap().nlink(), 0);
    handle.rewind().unwrap();
    let mut text = String::new();
    handle.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    handle.sync_all().unwrap();
    assert!(fixture.bucket.staged_bytes() > 0);
    drop(handle);
    // The kernel releases and forgets after close has returned.
    let until = SystemTime::now() + Duration::from_secs(10);
    while fixture.bucket.staged_bytes() > 0 {
        assert!(SystemTime::now() < until, "the inode is let go");
        std::thread::yield_now();
    }
    fixture.unmount();
}

#[test]
fn what_the_kernel_knows_stays_known() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    // Without a handle at the bucket: only the kernel's count keeps the inode.
    let known = rustix::fs::open(&file, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(rustix::fs::fstat(&known).unwrap().st_nlink, 0);
    drop(known);
    fixture.unmount();
}

#[test]
fn the_kernel_holds_pages_until_they_are_dropped() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "as it was").unwrap();
    File::open(&file).unwrap().sync_all().unwrap();
    let ino = Ino(fs::metadata(&file).unwrap().ino());
    let change = fixture.bucket.write(ino, 0, "is".into());
    fixture.runtime.block_on(change).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"as it was", "pages stay across opens");
    fixture.invalidate(&file);
    assert_eq!(fs::read(&file).unwrap(), b"is it was");

    let other = fixture.path("other");
    assert!(!other.exists());
    fixture.bucket.link(ino, Ino::ROOT, b"other").unwrap();
    assert!(!other.exists(), "absence is remembered too");
    let asked_again = fixture.mounted().invalidator();
    fixture.runtime.block_on(asked_again.invalidate_entry(Ino::ROOT, b"other".to_vec())).unwrap();
    assert!(other.exists());
    fixture.unmount();
}

#[test]
fn large_directories_are_listed_whole() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let dir = fixture.path("many");
    fs::create_dir(&dir).unwrap();
    let names: BTreeSet<String> = (0..5000).map(|index| format!("file-{index}")).collect();
    for name in &names {
        File::create(dir.join(name)).unwrap();
    }
    let list = || -> BTreeSet<String> {
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(list() == names);
    let sizes = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(sizes, 0);
    // Removing while listing skips nothing.
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(list().is_empty());
    fs::remove_dir(&dir).unwrap();
    fixture.unmount();
}

#[test]
fn a_listing_ends_for_who_changes_what_is_listed() {
    const COUNT: usize = 3000;
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let dir = fixture.path("many");
    fs::create_dir(&dir).unwrap();
    for index in 0..COUNT {
        fs::write(dir.join(format!("{index}")), "old").unwrap();
    }
    // Shown once each, whatever becomes of them, and nothing that was not there.
    let each = |change: &dyn Fn(&Path)| {
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            change(&path);
            assert!(seen.insert(path) && seen.len() <= COUNT);
        }
        assert_eq!(seen.len(), COUNT);
    };
    each(&|path| fs::rename(path, path.with_extension("renamed")).unwrap());
    each(&|path| {
        fs::write(dir.join("new"), "new").unwrap();
        fs::rename(dir.join("new"), path).unwrap();
    });
    each(&|path| {
        fs::write(path.with_extension("beside"), "new").unwrap();
        fs::remove_file(path).unwrap();
    });
    // One that begins anew shows what there is then.
    let mut listing = rustix::fs::Dir::new(File::open(&dir).unwrap()).unwrap();
    let count = |listing: &mut rustix::fs::Dir| {
        listing.filter(|entry| entry.as_ref().unwrap().file_name().to_bytes()[0] != b'.').count()
    };
    assert_eq!(count(&mut listing), COUNT);
    File::create(dir.join("late")).unwrap();
    listing.rewind();
    assert_eq!(count(&mut listing), COUNT + 1);
    drop(listing);
    fs::remove_dir_all(&dir).unwrap();
    fixture.unmount();
}

#[test]
fn attributes_are_kept() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let epoch = SystemTime::UNIX_EPOCH;
    for (time, seconds, nanos) in [
        (epoch + Duration::new(1_000_000_000, 123_456_789), 1_000_000_000, 123_456_789),
        (epoch - Duration::new(1, 200_000_000), -2, 800_000_000),
    ] {
        File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        fixture.invalidate(&file);
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(meta.modified().unwrap(), time);
        let kept = fixture.bucket.getattr(Ino(meta.ino())).unwrap().modified;
        assert_eq!((kept.seconds, kept.nanos), (seconds, nanos));
    }
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    let space = rustix::fs::statvfs(fixture.dir.path()).unwrap();
    // Without consumers: what can be staged here, cut to whole blocks.
    let total = fixture.bucket.statfs().total_bytes;
    assert_eq!(space.f_blocks, total / space.f_frsize);
    assert!(space.f_bavail <= space.f_blocks && space.f_bavail > 0);
    assert_eq!(space.f_namemax, 255);
    fixture.unmount();
}

#[test]
fn privileges_and_groups_follow_the_rules() {
    let Some(fixture) = Fixture::new(|options| options.nosuid = false) else { return };
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root gives files away");
    }
    let (file, dir) = (fixture.path("file"), fixture.path("dir"));
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
    std::os::unix::fs::chown(&file, Some(1000), Some(1000)).unwrap();
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 1000, 0o755));
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, None, Some(1000)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775)).unwrap();
    fs::create_dir(dir.join("below")).unwrap();
    fs::write(dir.join("file"), "x").unwrap();
    assert_eq!(fs::metadata(dir.join("below")).unwrap().gid(), 1000);
    assert_eq!(fs::metadata(dir.join("below")).unwrap().mode() & 0o2000, 0o2000);
    assert_eq!(fs::metadata(dir.join("file")).unwrap().gid(), 1000);
    fixture.unmount();
}

#[test]
fn extended_attributes() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    let get = |path: &Path, name: &str| {
        let mut value = vec![0; 100];
        rustix::fs::getxattr(path, name, value.as_mut_slice()).map(|length| value[..length].to_vec())
    };
    for path in [&file, fixture.dir.path()] {
        assert_eq!(get(path, mount::SOCKET_ATTRIBUTE).unwrap(), b"/run/ob/api.sock");
    }
    let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&file, name, value, flags);
    assert_eq!(set(mount::SOCKET_ATTRIBUTE, b"x", XattrFlags::empty()), Err(rustix::io::Errno::PERM));
    set("user.a", b"1", XattrFlags::CREATE).unwrap();
    assert_eq!(set("user.a", b"1", XattrFlags::CREATE), Err(rustix::io::Errno::EXIST));
    assert_eq!(set("user.b", b"1", XattrFlags::REPLACE), Err(rustix::io::Errno::NODATA));
    assert_eq!(get(&file, "user.a").unwrap(), b"1");
    assert_eq!(get(&file, "user.b"), Err(rustix::io::Errno::NODATA));
    let mut names = vec![0; 100];
    let length = rustix::fs::listxattr(&file, names.as_mut_slice()).unwrap();
    assert_eq!(&names[..length], b"user.a\0");
    let mut small = [0; 3];
    assert_eq!(rustix::fs::listxattr(&file, &mut small[..]), Err(rustix::io::Errno::RANGE));
    rustix::fs::removexattr(&file, "user.a").unwrap();
    assert_eq!(rustix::fs::listxattr(&file, names.as_mut_slice()), Ok(0));
    fixture.unmount();
}

/// A program that maps a file, changes a byte through the map, and exits.
const MAP: &str = "import mmap,sys
f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0)
assert m[0:4]==b'mapp', m[0:4]
m[0:4]=b'MAPP'; m.flush()";

#[test]
fn a_file_is_mapped() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "mapped").unwrap();
    fixture.invalidate(&file);
    match std::process::Command::new("python3").args(["-c", MAP]).arg(&file).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => println!("skipped: python3: {error}"),
    }
    fixture.invalidate(&file);
    assert!(fs::read(&file).unwrap().eq_ignore_ascii_case(b"mapped"));
    fixture.unmount();
}

#[test]
fn a_busy_mount_stays_and_a_lazy_unmount_goes() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    let mut handle = File::create(&file).unwrap();
    let error = fixture.runtime.block_on(fixture.mounted().unmount()).unwrap_err();
    assert!(matches!(error, mount::Error::Busy(_)), "{error}");
    handle.write_all(b"x").unwrap();
    let again = mount::check_mountpoint(fixture.dir.path()).unwrap_err();
    assert!(again.to_string().contains("already a mount point, fuse.openbucket on openbucket"), "{again}");
    fixture.runtime.block_on(async {
        let lazily = fixture.mounted().unmount_lazily();
        tokio::pin!(lazily);
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut lazily).await.is_err(), "a file is open");
        handle.write_all(b"y").unwrap();
        drop(handle);
        lazily.await.unwrap();
    });
    assert!(!file.exists());
    mount::check_mountpoint(fixture.dir.path()).unwrap();
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    fs::write(fixture.path("file"), "x").unwrap();
    assert!(std::process::Command::new("umount").arg(fixture.dir.path()).status().unwrap().success());
    let ended = async { tokio::time::timeout(Duration::from_secs(10), fixture.mounted().wait_unmounted()).await };
    fixture.runtime.block_on(ended).unwrap();
    fixture.unmount();
}

#[test]
fn read_only_and_shown_owners() {
    let Some(fixture) = Fixture::new(|options| {
        options.is_read_only = true;
        options.uid = Some(1234);
        options.umask = Some(0o022);
    }) else {
        return;
    };
    assert_eq!(errno(File::create(fixture.path("file"))), rustix::io::Errno::ROFS);
    let meta = fs::metadata(fixture.dir.path()).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (1234, 0o755));
    fixture.unmount();
}

/// Set, it makes [`a_daemon_of_its_own`] a daemon that mounts there until its standard input ends.
const DAEMON: &str = "OPENBUCKET_TEST_DAEMON";
/// Set, it makes [`an_ordinary_user`] do its work, as whoever runs it.
const USER: &str = "OPENBUCKET_TEST_USER";

fn again(test: &str, variable: &str, value: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(variable, value);
    command
}

#[test]
fn a_daemon_of_its_own() {
    let Some(dir) = std::env::var_os(DAEMON) else { return };
    let Some(fixture) = Fixture::new(|options| options.mountpoint = dir.into()) else { return };
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    fixture.runtime.block_on(fixture.mounted().unmount()).unwrap();
}

#[test]
fn the_remains_of_a_dead_daemon_are_cleared() {
    let dir = tempfile::tempdir().unwrap();
    if mount::check_mountpoint(dir.path()).is_err() {
        return println!("skipped: nothing can be mounted");
    }
    let mut daemon = again("a_daemon_of_its_own", DAEMON, dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(daemon.stdout.take().unwrap());
    assert!(std::io::BufRead::lines(output).any(|line| line.unwrap() == "ready"));
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(mount::check_mountpoint(dir.path()), Err(mount::Error::Mounted { .. })));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(errno(File::open(&file)), rustix::io::Errno::NOTCONN);
    mount::check_mountpoint(dir.path()).unwrap();
    assert!(!file.exists());
    fs::write(&file, "x").unwrap();
}

#[test]
fn an_ordinary_user() {
    use std::os::unix::process::CommandExt;
    if rustix::process::geteuid().is_root() {
        let status = again("an_ordinary_user", USER, Path::new("1")).uid(65534).gid(65534).status().unwrap();
        return assert!(status.success());
    }
    if std::env::var_os(USER).is_none() {
        return println!("skipped: run by root, or with {USER}");
    }
    let Some(fixture) = Fixture::new(|options| options.nosuid = false) else { return };
    let owned = fixture.path("");
    assert_eq!(fs::metadata(owned).unwrap().uid(), 0, "the root of the bucket is root's");
    assert_eq!(errno(File::create(fixture.path("file"))), rustix::io::Errno::ACCESS, "permissions are checked");
    fixture.unmount();

    let Some(fixture) = Fixture::new(|options| options.uid = Some(65534)) else { return };
    let file = fixture.path("file");
    fs::write(&file, "some text").unwrap();
    let mode = || fs::metadata(&file).unwrap().mode() & 0o7777;
    let taken_by = |change: &dyn Fn()| {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
        assert_eq!(mode(), 0o6755);
        change();
        fixture.invalidate(&file);
        assert_eq!(mode(), 0o755);
    };
    taken_by(&|| File::options().append(true).open(&file).unwrap().write_all(b" and more").unwrap());
    taken_by(&|| File::options().write(true).open(&file).unwrap().set_len(4).unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"some");
    taken_by(&|| drop(File::create(&file).unwrap()));
    let error = fixture.runtime.block_on(async {
        let _open = File::open(&file).unwrap();
        fixture.mounted().unmount().await.unwrap_err()
    });
    assert!(matches!(error, mount::Error::Busy(_)), "{error}");
    fixture.unmount();
}
