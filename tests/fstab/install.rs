//! scripts/install and scripts/uninstall: what is put where, that it is right, and that nothing stays.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::fixture::{System, alone, script, text};

/// Everything below a directory: files, links and directories, relative.
fn listed(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            found.insert(text(entry.path().strip_prefix(root).unwrap()));
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn what_is_installed_is_complete_and_goes_again() {
    let base = tempfile::tempdir().unwrap();
    let destdir = base.path().join("dest");
    let run = |name: &str, more: &[&str]| {
        let mut command = Command::new(script(name));
        let output = command.args(["--prefix", "/opt/ob", "--destdir"]).arg(&destdir).args(more).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // Somebody else's file in a shared directory.
    let other = destdir.join("opt/ob/share/man/man1/other.1");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "x").unwrap();
    let before = listed(&destdir);
    run("install", &["--binary", env!("CARGO_BIN_EXE_openbucket")]);
    let found = listed(&destdir);
    for path in [
        "opt/ob/bin/openbucket",
        "opt/ob/share/man/man1/openbucket.1",
        "opt/ob/share/man/man8/mount.openbucket.8",
        "opt/ob/share/bash-completion/completions/openbucket",
        "opt/ob/share/zsh/site-functions/_openbucket",
        "opt/ob/share/fish/vendor_completions.d/openbucket.fish",
        "opt/ob/lib/systemd/system/openbucket@.service",
        "opt/ob/lib/systemd/system/openbucket-consumer.service",
        "opt/ob/lib/systemd/system/openbucket-tracker.service",
        "opt/ob/share/systemd/user/openbucket@.service",
    ] {
        assert!(found.contains(path), "{path} is not installed: {found:?}");
        assert!(fs::metadata(destdir.join(path)).unwrap().len() > 100, "{path} is empty");
    }
    let helper = found.iter().find(|path| path.ends_with("sbin/mount.openbucket")).expect("a helper");
    assert_eq!(fs::read_link(destdir.join(helper)).unwrap(), Path::new("/opt/ob/bin/openbucket"));
    let completions = fs::read_to_string(destdir.join("opt/ob/share/bash-completion/completions/openbucket")).unwrap();
    for word in ["umount", "--cache-size", "consumer"] {
        assert!(completions.contains(word), "{word} is not completed");
    }
    let completions = destdir.join("opt/ob/share/bash-completion/completions/openbucket");
    let syntax = Command::new("bash").arg("-n").arg(completions).status().unwrap();
    assert!(syntax.success(), "bash cannot read its completions");

    // Again: the same. Then nothing but what was there before.
    run("install", &["--binary", env!("CARGO_BIN_EXE_openbucket")]);
    assert_eq!(listed(&destdir), found);
    run("uninstall", &[]);
    assert_eq!(listed(&destdir), before);
}

/// Sections and keys of a unit: what can be seen without systemd.
fn check_unit(path: &Path) {
    let unit = fs::read_to_string(path).unwrap();
    let shown = path.display();
    assert!(!unit.contains('@') || !unit.contains("@BINDIR@"), "{shown} has a place to fill in");
    let mut section = "";
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name;
            assert!(["Unit]", "Service]", "Install]"].contains(&name), "{shown}: {line}");
        } else {
            assert!(line.split_once('=').is_some() && !section.is_empty(), "{shown}: {line}");
        }
    }
    for line in ["Type=notify", "WantedBy=", "ExecStart=/"] {
        assert!(unit.lines().any(|known| known.starts_with(line)), "{shown} has no {line}");
    }
}

#[test]
fn the_units_are_right() {
    alone("install::the_units_are_right", |system: &System| {
        for (scope, directory) in [("system", "usr/lib/systemd/system"), ("user", "usr/share/systemd/user")] {
            let directory = system.path(directory);
            let units: Vec<_> = fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.path()).collect();
            assert_eq!(units.len(), 3, "{units:?}");
            for unit in &units {
                check_unit(unit);
            }
            if system.sh("command -v systemd-analyze").code != 0 {
                println!("skipped: systemd-analyze is not here to verify the units of {scope}");
                continue;
            }
            let mount = directory.join("openbucket@mnt-photos.service");
            std::os::unix::fs::symlink("openbucket@.service", &mount).unwrap();
            let paths =
                [mount, directory.join("openbucket-consumer.service"), directory.join("openbucket-tracker.service")];
            let paths: Vec<String> = paths.iter().map(|path| text(path)).collect();
            let ended = system.sh(&format!(
                "HOME=/root XDG_RUNTIME_DIR=/run systemd-analyze verify --man=no --{scope} {}",
                paths.join(" ")
            ));
            let ours: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("openbucket")).collect();
            assert!(ended.code == 0 && ours.is_empty(), "{ended:?}");
        }
        // What is in /sbin goes, too.
        assert!(Path::new("/sbin/mount.openbucket").exists());
        system.ok(&format!("{} --prefix {}", script("uninstall"), system.path("usr").display()));
        assert!(fs::symlink_metadata("/sbin/mount.openbucket").is_err());
    });
}
