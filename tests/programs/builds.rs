//! A program is built on the mount, and only what changed is built again.

use std::{fs, path::Path};

use crate::{
    devnet::{run_to_end, text},
    fixture::{Place, User, from_cold, start},
};

#[test]
fn cargo_builds_on_the_mount_and_knows_what_is_fresh() {
    let Some(mut cluster) = start() else { return };
    let place = Place::new(&cluster, User::Own, "cargo");
    for (path, text) in [
        ("Cargo.toml", "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n"),
        ("src/lib.rs", "pub mod words;\npub fn number() -> u32 { 1 }\n"),
        ("src/words.rs", "pub fn word() -> &'static str { \"one\" }\n"),
        ("src/main.rs", "fn main() { println!(\"{} {}\", small::words::word(), small::number()); }\n"),
        ("tests/all.rs", "#[test]\nfn adds() { assert!(small::number() > 0); }\n"),
    ] {
        let path = place.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert!(cargo(&place, "build").contains("Compiling small"));
    assert_eq!(place.ok("target/debug/small"), "one 1\n");
    assert!(!cargo(&place, "build").contains("Compiling"), "nothing has changed");
    cargo(&place, "test");
    from_cold(&cluster, || {
        assert!(!cargo(&place, "build").contains("Compiling"), "nothing has changed by being uploaded");
        assert_eq!(place.ok("target/debug/small"), "one 1\n");
    });
    fs::write(place.dir.join("src/words.rs"), "pub fn word() -> &'static str { \"two\" }\n").unwrap();
    assert!(cargo(&place, "build").contains("Compiling small"));
    assert_eq!(place.ok("target/debug/small"), "two 1\n", "built again from what was kept");
    assert!(!cargo(&place, "build").contains("Compiling"));
    cargo(&place, "clean");
    assert!(!place.dir.join("target").exists());
    cluster.down();
}

/// Runs cargo, which needs no network; what it says.
fn cargo(place: &Place, words: &str) -> String {
    let home = std::env::var("HOME").unwrap();
    let of_home =
        |name: &str, folder: &str| std::env::var(name).unwrap_or_else(|_| text(&Path::new(&home).join(folder)));
    let mut command = place.command("sh");
    command.arg("-euc").arg(format!("exec cargo {words} --offline"));
    command.env("PATH", std::env::var("PATH").unwrap());
    command.env("CARGO_HOME", of_home("CARGO_HOME", ".cargo")).env("RUSTUP_HOME", of_home("RUSTUP_HOME", ".rustup"));
    let outcome = run_to_end(command, b"", std::time::Duration::from_secs(200));
    assert!(outcome.status.success(), "cargo {words}: {}\n{}", outcome.status, outcome.stderr);
    outcome.stderr
}
