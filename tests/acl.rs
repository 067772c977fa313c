//! Permissions as on a disk: each script runs on a mount and on the plain directory below, and both must say the same.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "mount_smoke/fixture.rs"]
mod fixture;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use fixture::Fixture;
use openbucket::base::{Ino, limits};
use rustix::{fs::XattrFlags, io::Errno};

/// What the scripts need, and the package that has it.
const TOOLS: &[(&str, &str)] =
    &[("setfacl", "acl"), ("setfattr", "attr"), ("setcap", "libcap2-bin"), ("setpriv", "util-linux"), ("tar", "tar")];

/// Why the scripts cannot run here; None when they can.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root becomes other users".to_owned());
    }
    let is_there = |tool: &str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    TOOLS
        .iter()
        .find(|(tool, _)| !is_there(tool))
        .map(|(tool, package)| format!("{tool} is missing: package {package}"))
}

/// All that a script says, run in a directory.
fn transcript(script: &str, directory: &Path) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acl");
    let output = Command::new("sh")
        .arg(scripts.join(script))
        .env("STEPS", scripts.join("steps.sh"))
        .env("LC_ALL", "C")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}: {complained}", output.status);
    format!("{said}{complained}")
}

/// Runs a script at both places and compares.
fn compare(script: &str) {
    if let Some(why) = missing() {
        return println!("skipped: {why}");
    }
    let Some(fixture) = Fixture::new(|options| {
        options.allow_other = true;
        options.nosuid = false;
    }) else {
        return;
    };
    let plain = tempfile::tempdir().unwrap();
    let (wanted, found) = (transcript(script, plain.path()), transcript(script, fixture.dir.path()));
    let (wanted, found): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    if let Some(at) = (0..wanted.len().max(found.len())).find(|at| wanted.get(*at) != found.get(*at)) {
        let around =
            |lines: &[&str]| lines[at.saturating_sub(12).min(lines.len())..(at + 3).min(lines.len())].join("\n");
        panic!("{script}, line {at}\n-- the plain directory\n{}\n-- the mount\n{}", around(&wanted), around(&found));
    }
    assert!(wanted.len() > 50, "{script} has done something");
    fixture.unmount();
}

#[test]
fn access_control_lists_work_as_on_a_disk() {
    compare("access.sh");
}

#[test]
fn privileges_are_lost_as_on_a_disk() {
    compare("privileges.sh");
}

#[test]
fn name_spaces_of_attributes_are_those_of_a_disk() {
    compare("attributes.sh");
}

/// A disk has less room than Linux allows; here is what xattr(7) says.
#[test]
fn attributes_are_as_large_as_linux_allows() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&file, name, value, XattrFlags::empty());
    let largest = vec![7; limits::XATTR_BYTES];
    set("user.largest", &largest).unwrap();
    assert_eq!(set("user.larger", &[7; limits::XATTR_BYTES + 1]), Err(Errno::TOOBIG));
    let mut value = vec![0; limits::XATTR_BYTES];
    assert_eq!(rustix::fs::getxattr(&file, "user.largest", value.as_mut_slice()), Ok(value.len()));
    assert!(value == largest);
    assert_eq!(rustix::fs::getxattr(&file, "user.largest", &mut value[1..]), Err(Errno::RANGE));

    let name = |number: usize| format!("user.{number:0>250}");
    assert_eq!(set(&name(0)[1..], b""), Err(Errno::OPNOTSUPP), "another name space");
    assert_eq!(set(&format!("{}x", name(0)), b""), Err(Errno::RANGE));
    rustix::fs::removexattr(&file, "user.largest").unwrap();
    let fitting = limits::XATTR_LIST_BYTES / 256;
    for number in 0..fitting {
        set(&name(number), b"x").unwrap();
    }
    assert_eq!(set(&name(fitting), b"x"), Err(Errno::NOSPC));
    set(&name(0), b"another value").unwrap();
    let mut names = vec![0; limits::XATTR_LIST_BYTES];
    assert_eq!(rustix::fs::listxattr(&file, names.as_mut_slice()), Ok(names.len()), "as long as a list may be");
    assert_eq!(rustix::fs::listxattr(&file, &mut names[1..]), Err(Errno::RANGE));
    rustix::fs::removexattr(&file, name(0).as_str()).unwrap();
    set(&name(fitting), b"x").unwrap();
    fixture.unmount();
}

#[test]
fn lists_are_kept_by_the_bucket_not_by_the_kernel() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    let acl = "0200000001000600ffffffff02000700e803000004000400ffffffff10000500ffffffff20000400ffffffff";
    let (acl, name) = (hex::decode(acl).unwrap(), "system.posix_acl_access");
    rustix::fs::setxattr(&file, name, &acl, XattrFlags::empty()).unwrap();
    fixture.invalidate(&file);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o654, "the mask is the group's part of the mode");
    let mut value = vec![0; 1024];
    let length = rustix::fs::getxattr(&file, name, value.as_mut_slice()).unwrap();
    assert_eq!(value[..length], acl);
    assert_eq!(fixture.bucket.getxattr(Ino(meta.ino()), name.as_bytes()).unwrap(), acl);
    fixture.unmount();
}

/// Where the mode is not the stored one, a list could not go with it.
#[test]
fn there_are_no_lists_where_permissions_are_put_over() {
    if let Some(why) = missing() {
        return println!("skipped: {why}");
    }
    let Some(fixture) = Fixture::new(|options| options.umask = Some(0o027)) else { return };
    let file = fixture.path("file");
    fs::write(&file, "x").unwrap();
    let acl = hex::decode("0200000001000600ffffffff04000400ffffffff20000400ffffffff").unwrap();
    let name = "system.posix_acl_access";
    assert_eq!(rustix::fs::setxattr(&file, name, &acl, XattrFlags::empty()), Err(Errno::OPNOTSUPP));
    let shown = Command::new("getfacl").args(["-cE", "file"]).current_dir(fixture.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "user::rwx\ngroup::r-x\nother::---\n\n");
    fixture.unmount();
}
