//! The manual in the repository is what the program would print.

#[test]
fn the_manual_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/openbucket.1");
    let kept = std::fs::read(path).expect("man/openbucket.1 is there");
    let made = openbucket::cli::manual_pages();
    assert!(kept == made, "man/openbucket.1 is old: write it with `cargo run -- man man`");
}

#[test]
fn the_manual_of_the_mount_helper_is_fresh_and_has_every_option() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/mount.openbucket.8");
    let kept = std::fs::read(path).expect("man/mount.openbucket.8 is there");
    let made = openbucket::cli::mount_manual();
    assert!(kept == made, "man/mount.openbucket.8 is old: write it with `cargo run -- man man`");
    let made = String::from_utf8(made).expect("text");
    for option in openbucket::config::MOUNT_OPTIONS {
        let name = option.name.replace('-', "\\-");
        let value = option.value.map(|value| format!("=\\fI{value}\\fR")).unwrap_or_default();
        let entry = format!(".TP\n\\fB{name}\\fR{value}\n");
        assert!(made.contains(&entry), "{} is not in the manual", option.name);
        assert!(option.help.ends_with('.') || option.is_refused(), "{}: '{}'", option.name, option.help);
    }
}

#[test]
fn every_command_is_in_the_manual() {
    let made = String::from_utf8(openbucket::cli::manual_pages()).expect("text");
    for command in ["mount", "devnet start", "file upload", "cache unpin", "consumer start", "tracker status"] {
        assert!(made.contains(&format!(".SS \"openbucket {command}\"")), "{command}");
    }
}
