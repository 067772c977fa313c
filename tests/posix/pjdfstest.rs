//! pjdfstest, as root, with everything that it can be asked: the tests that do not pass are exactly the expected ones.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use crate::{
    fixture::{Cluster, run_to_end},
    suite,
};

/// The suite has more tests than this; fewer mean that some did not run.
const FEWEST: usize = 390;
/// It takes half a minute on an idle machine: it sleeps between changes of times.
const LIMIT: Duration = Duration::from_secs(300);

/// The users are there on every machine. Features of other systems have no tests on this one.
const CONFIGURATION: &str = r#"
[features]
chflags = {}
chflags_sf_snapshot = {}
nfsv4_acls = {}
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.01
allow_remount = REMOUNT

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

/// What the kernel does when a file system is remounted, without the helper of the file system.
const MOUNT: &str = "#!/bin/sh\nPATH=/usr/bin:/bin:/usr/sbin:/sbin exec mount -i \"$@\"\n";

#[test]
fn pjdfstest_passes() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: pjdfstest changes users, which is root's to do");
    }
    let Some(mut cluster) = Cluster::start_for(2 * LIMIT, 6, &["-o", "allow_other,dev,suid"]) else { return };
    cluster.open_to_others();
    for name in ["other-disk", "bin"] {
        fs::create_dir(cluster.path(name)).unwrap();
    }
    let mount = cluster.path("bin/mount");
    fs::write(&mount, MOUNT).unwrap();
    fs::set_permissions(&mount, fs::Permissions::from_mode(0o755)).unwrap();

    let mut results = run(&cluster, false);
    // In a process of their own: the suite keeps files open that it has removed, and then nothing can be remounted.
    let remounted = run(&cluster, true);
    assert!(remounted.len() > 10, "tests that remount: {}", remounted.len());
    results.extend(remounted);
    assert!(results.len() > FEWEST, "only {} tests", results.len());

    let expected = expected();
    let failed: BTreeMap<&String, &Ended> = results.iter().filter(|(_, ended)| ended.word != "ok").collect();
    for (name, Ended { word, why }) in &failed {
        assert!(expected.contains_key(*name), "{name}: {word}: {why}\n{} failed: {:?}", failed.len(), failed.keys());
    }
    for name in expected.keys() {
        assert!(results.contains_key(name), "no test has the name {name}: take it out of expected-failures");
        assert!(failed.contains_key(name), "{name} passes now: take it out of expected-failures");
    }
    println!("pjdfstest: {} tests, {} of them expected not to pass", results.len(), failed.len());
    assert_eq!(fs::read_dir(cluster.mount()).unwrap().count(), 0, "the suite leaves nothing behind");
    cluster.down();
}

/// How a test ended, in the suite's words.
struct Ended {
    word: String,
    why: String,
}

/// The tests that remount, or all others.
fn run(cluster: &Cluster, is_remounting: bool) -> BTreeMap<String, Ended> {
    let configuration = cluster.path("pjdfstest.toml");
    fs::write(&configuration, CONFIGURATION.replace("REMOUNT", &is_remounting.to_string())).unwrap();
    let mut command: Command = suite::tool("pjdfstest");
    let path = format!("{}:{}", cluster.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).arg("--configuration-file").arg(configuration);
    command.arg("--path").arg(cluster.mount()).arg("--secondary-fs").arg(cluster.path("other-disk"));
    if is_remounting {
        command.arg("erofs");
    }
    let outcome = run_to_end(command, b"", LIMIT);
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let mut results = read(&text);
    let total = text
        .lines()
        .find(|line| line.starts_with("Summary"))
        .and_then(|line| line.strip_suffix(" total")?.rsplit(' ').next()?.parse::<usize>().ok());
    assert_eq!(total, Some(results.len()), "it did not run to its end: {}\n{text}{}", outcome.status, outcome.stderr);
    if !is_remounting {
        results.retain(|name, ended| !(name.contains("erofs") && ended.word == "skipped"));
    }
    results
}

/// Lines of a name and a word, each followed by lines that say why.
fn read(text: &str) -> BTreeMap<String, Ended> {
    let mut results = BTreeMap::<String, Ended>::new();
    let mut last = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(name), Some(word @ ("ok" | "skipped" | "FAILED")), None) if name.contains("::") => {
                results.insert(name.to_owned(), Ended { word: word.to_owned(), why: String::new() });
                last = Some(name.to_owned());
            }
            _ => {
                if let Some(ended) = last.as_ref().and_then(|name| results.get_mut(name)) {
                    ended.why.push_str(line.trim());
                    ended.why.push(' ');
                }
            }
        }
    }
    results
}

/// The list in the file: name and reason.
fn expected() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/posix/expected-failures");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (name, why) = line.split_once(' ').unwrap_or_else(|| panic!("no reason in: {line}"));
        (name.to_owned(), why.trim().to_owned())
    };
    lines.map(split).collect()
}
