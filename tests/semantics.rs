//! The page openbucket-semantics(7) and the program say the same: every example of the page is run.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "devnet/fixture.rs"]
mod fixture;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fixture::Cluster;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// What the examples need beside the usual, and the package that has it.
const TOOLS: &[(&str, &str)] =
    &[("setfacl", "acl"), ("setfattr", "attr"), ("chattr", "e2fsprogs"), ("flock", "util-linux")];

/// A command of the page and what it prints.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    prints: String,
}

fn page() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/openbucket-semantics.7");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The examples between `.EX` and `.EE`, without roff's escapes.
fn examples(page: &str) -> Vec<Vec<Step>> {
    let mut examples = Vec::new();
    let mut example: Option<Vec<Step>> = None;
    for line in page.lines() {
        match (line, &mut example) {
            (".EX", _) => example = Some(Vec::new()),
            (".EE", _) => examples.extend(example.take()),
            (_, None) => {}
            (line, Some(steps)) => {
                let line = line.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\");
                match line.strip_prefix("$ ") {
                    Some(command) => steps.push(Step { command: command.to_owned(), ..Step::default() }),
                    None => {
                        let step = steps.last_mut().expect("an example begins with a command");
                        step.prints += &line;
                        step.prints += "\n";
                    }
                }
            }
        }
    }
    examples
}

/// Whether text is as the page has it, where `...` is anything.
fn is_as_said(prints: &str, text: &str) -> bool {
    let mut parts = prints.trim_end().split("...");
    let Some(mut rest) = text.trim_end().strip_prefix(parts.next().unwrap_or("")) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || prints.trim_end().ends_with("...")
}

/// Runs a command as the reader of the page would; all that it prints.
fn run(cluster: &Cluster, directory: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_openbucket")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OPENBUCKET_")) {
        shell.env_remove(name);
    }
    let script = format!("umask 022; exec 2>&1; {command}");
    shell.args(["-c", &script]).current_dir(directory).stdin(Stdio::null());
    shell.env("PATH", path).env("HOME", cluster.path("home")).env("STATE", cluster.state());
    shell.env("LC_ALL", "C").env("TZ", "UTC").env_remove("XDG_CONFIG_HOME");
    String::from_utf8_lossy(&shell.output().unwrap().stdout).into_owned()
}

fn missing() -> Option<String> {
    let is_there = |tool: &str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let missing = TOOLS.iter().find(|(tool, _)| !is_there(tool));
    missing.map(|(tool, package)| format!("{tool} is missing: package {package}"))
}

#[test]
fn every_example_of_the_page_is_as_it_says() {
    if let Some(why) = missing() {
        return println!("skipped: {why}");
    }
    let Some(mut cluster) = Cluster::start(6, &["-o", "read-timeout=5s"]) else { return };
    let (_, page) = page();
    let examples = examples(&page);
    assert!(examples.len() >= 7, "the page has its examples");
    for (number, example) in examples.iter().enumerate() {
        let directory = cluster.file(&format!("example-{number}"));
        fs::create_dir(&directory).unwrap();
        for Step { command, prints } in example {
            let text = run(&cluster, &directory, command);
            assert!(is_as_said(prints, &text), "$ {command}\n-- the page\n{prints}-- here\n{text}");
        }
    }
    check_differences(&cluster.mount());
    cluster.down();
}

/// What the page says that programs have to do without.
fn check_differences(mount: &Path) {
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    assert_eq!(rustix::fs::open(mount, flags, Mode::RUSR).unwrap_err(), Errno::OPNOTSUPP);
    // A library that wants one makes a name and removes it.
    let file = tempfile::tempfile_in(mount).unwrap();
    rustix::io::write(&file, b"text").unwrap();
    assert_eq!(rustix::fs::fstat(&file).unwrap().st_nlink, 0);
}

#[test]
fn the_page_renders_without_a_warning() {
    let (path, _) = page();
    match Command::new("groff").args(["-man", "-ww", "-z"]).arg(&path).output() {
        Ok(output) => {
            let warnings = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && warnings.is_empty(), "{warnings}");
        }
        Err(error) => println!("skipped: groff: {error}"),
    }
}

#[test]
fn examples_are_found_and_compared() {
    let page = "text\n.EX\n$ printf 'a\\-b\\en'\na\\-b\n$ true\n.EE\nmore\n.EX\n$ x\n1\n\n2\n.EE\n";
    let step = |command: &str, prints: &str| Step { command: command.into(), prints: prints.into() };
    let expected = [vec![step("printf 'a-b\\n'", "a-b\n"), step("true", "")], vec![step("x", "1\n\n2\n")]];
    assert_eq!(examples(page), expected);
    for (prints, text, is_same) in [
        ("", "", true),
        ("", "x\n", false),
        ("a\n", "a", true),
        ("a\n", "a\nb", false),
        ("a (...)\n", "a (5 B)\n", true),
        ("a (...)\n", "a (5 B) b\n", false),
        ("a ...\n", "a b\nc\n", true),
    ] {
        assert_eq!(is_as_said(prints, text), is_same, "{prints:?} {text:?}");
    }
}
