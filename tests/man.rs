//! The manual in the repository is what the program would print.

#[test]
fn the_manual_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/openbucket.1");
    let kept = std::fs::read(path).expect("man/openbucket.1 is there");
    let made = openbucket::cli::manual_pages();
    assert!(kept == made, "man/openbucket.1 is old: write it with `cargo run -- man man`");
}

#[test]
fn every_command_is_in_the_manual() {
    let made = String::from_utf8(openbucket::cli::manual_pages()).expect("text");
    for command in ["mount", "devnet start", "file upload", "cache unpin", "consumer start", "tracker status"] {
        assert!(made.contains(&format!(".SS \"openbucket {command}\"")), "{command}");
    }
}
