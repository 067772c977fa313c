//! The house rules, held: layers, doors, lengths, and what is not written.
//!
//! An exception is one line of [`EXCEPTIONS`] with its reason; one that is no
//! longer needed fails too.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use rules::{Layers, Violation};
use source::Source;

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

/// (file, rule, reason)
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/base/mod.rs", "submodules", "limits are named with their module: limits::CHUNK_BYTES says what it is"),
    ("src/coding/mod.rs", "submodules", "merkle::root and merkle::verify_range would say nothing without merkle"),
];

#[test]
fn the_house_rules_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = source::sources(root);
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("a library");
    let layers = Layers::read(lib);
    let mut found: Vec<Violation> = sources.iter().flat_map(|source| check(source, &layers)).collect();
    found.extend(scripts(root));

    let excepted: BTreeSet<(&str, &str)> = EXCEPTIONS.iter().map(|(path, rule, _)| (*path, *rule)).collect();
    let broken: BTreeSet<(&str, &str)> = found.iter().map(|it| (it.path.as_str(), it.rule)).collect();
    let mut said: Vec<String> = found
        .iter()
        .filter(|it| !excepted.contains(&(it.path.as_str(), it.rule)))
        .map(|it| format!("{}:{}: {}: {}", it.path, it.line, it.rule, it.what))
        .collect();
    said.extend(excepted.difference(&broken).map(|(path, rule)| format!("{path}: {rule}: an exception for nothing")));
    assert!(said.is_empty(), "{} house rules are broken:\n{}", said.len(), said.join("\n"));
}

#[test]
fn every_exception_has_its_reason() {
    for (path, rule, reason) in EXCEPTIONS {
        assert!(reason.len() > 20, "{path}: {rule}: '{reason}' is no reason");
    }
}

fn check(source: &Source, layers: &Layers) -> Vec<Violation> {
    let each: [fn(&Source) -> Vec<Violation>; 9] = [
        rules::doors,
        rules::first_line,
        rules::file_length,
        rules::function_length,
        rules::banned,
        rules::unwrap,
        rules::sleep,
        rules::allow,
        rules::private_submodules,
    ];
    let mut found = rules::layers(source, layers);
    found.extend(each.iter().flat_map(|rule| rule(source)));
    found
}

fn scripts(root: &Path) -> Vec<Violation> {
    let mut paths = Vec::new();
    source::collect(&root.join("scripts"), &mut paths);
    let checked = paths.iter().flat_map(|path| {
        let text = fs::read(path).expect("a readable script");
        let mode = fs::metadata(path).expect("a script that is there").permissions().mode();
        rules::script(&path.strip_prefix(root).expect("below the root").to_string_lossy(), &text, mode & 0o111 != 0)
    });
    checked.collect()
}
