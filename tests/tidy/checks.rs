//! The rules catch what breaks them, and nothing else.

use crate::{
    rules::{self, FILE_LINES, FUNCTION_LINES, Layers, Violation},
    source::{Source, blank, mark_test_files},
};

fn layers() -> Layers {
    Layers::read(&Source::new(
        "src/lib.rs",
        "pub mod base;\n\n// pub mod no;\npub mod net;\npub mod store;\n\npub mod cli;\n",
    ))
}

fn lines(found: &[Violation]) -> Vec<usize> {
    found.iter().map(|it| it.line).collect()
}

fn in_store(text: &str) -> Vec<usize> {
    lines(&rules::layers(&Source::new("src/store/log.rs", text), &layers()))
}

#[test]
fn comments_and_strings_are_no_code() {
    assert_eq!(blank("a // b\nc"), "a     \nc");
    assert_eq!(blank("a /* b /* c */ d */ e"), "a                   e");
    assert_eq!(blank(r#"f("a\"b", 'c', '\'', '\\')"#), "f(      ,    ,     ,     )");
    assert_eq!(blank("r#\"a\"b\"# + br\"c\" + r#type"), "         + b     + r#type");
    assert_eq!(blank("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
    assert_eq!(blank("\"never closed"), "             ");
}

#[test]
fn layers_are_held() {
    assert_eq!(in_store("use crate::base::Sha256;\nuse crate::store::x;\n"), []);
    assert_eq!(in_store("use crate::net::Error;\n"), [1]);
    assert_eq!(in_store("use crate::cli::Error;\n"), [1]);
    assert_eq!(in_store("let x = crate::cli::y();\n"), [1]);
    assert_eq!(in_store("pub(crate) fn f() {}\n// crate::cli\n"), []);
    assert_eq!(in_store("use crate::{\n    base::{a, cli::b},\n    cli,\n    net::{c, d},\n};\n"), [3, 4]);
    assert_eq!(in_store("#[cfg(test)]\nmod tests {\n    use crate::net::x;\n}\n"), [3]);
    assert_eq!(in_store("use super::x;\n"), []);
    assert_eq!(in_store("use super::super::cli;\n"), [1]);
    assert_eq!(in_store("#[cfg(test)]\nmod tests {\n    use super::super::x;\n}\n"), []);
    assert_eq!(in_store("#[cfg(test)]\nmod tests {\n    use super::super::super::x;\n}\n"), [3]);
    assert_eq!(lines(&rules::layers(&Source::new("src/odd/mod.rs", ""), &layers())), [1]);
    assert!(rules::layers(&Source::new("src/main.rs", "openbucket::cli::run()"), &layers()).is_empty());
}

#[test]
fn doors_are_held() {
    let doors = |path: &str, text: &str| lines(&rules::doors(&Source::new(path, text)));
    assert_eq!(doors("src/store/trees.rs", "use sled::Tree;\n"), []);
    assert_eq!(doors("src/bucket/tree.rs", "\nuse sled::Tree;\n"), [2]);
    assert_eq!(doors("src/bucket/tree.rs", "fn f(x: sled::Tree) {}\nuse sled;\n"), [1, 2]);
    assert_eq!(doors("src/bucket/tree.rs", "let sled = my::sled::x; sled.x(); // sled::Tree\n"), []);
    assert_eq!(doors("src/keys/sign.rs", "use ring::{rand::X, signature::Y};\n"), []);
    assert_eq!(doors("src/coding/seal.rs", "use ring::{\n    aead::X,\n    signature::Y,\n};\n"), [3]);
    assert_eq!(doors("src/main.rs", "clap::x()"), [1]);
    assert_eq!(doors("tests/coding.rs", "use zstd::x;"), []);
}

#[test]
fn files_begin_with_their_story() {
    let first = |text: &str| rules::first_line(&Source::new("src/a.rs", text)).len();
    assert_eq!(first("//! Says what it is for.\n"), 0);
    for bad in ["", "use x;\n", "//!\n", "//! a\n", "// Says what it is for.\n", "\n//! Says what it is for.\n"] {
        assert_eq!(first(bad), 1, "{bad:?}");
    }
}

#[test]
fn files_and_functions_are_short() {
    let length = |text: String| rules::file_length(&Source::new("src/a.rs", &text)).len();
    let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(FILE_LINES));
    assert_eq!(length("x\n".repeat(FILE_LINES)), 0);
    assert_eq!(length("x\n".repeat(FILE_LINES + 1)), 1);
    assert_eq!(length("x\n".repeat(FILE_LINES) + &test), 0);
    assert_eq!(length("x\n".repeat(FILE_LINES) + &test + "x\n"), 1);

    let function = |body: usize, head: &str| {
        let text = format!("struct S;\n{head} {{\n{}}}\nfn next() {{}}\n", "    x;\n\n    // y\n".repeat(body));
        lines(&rules::function_length(&Source::new("src/a.rs", &text)))
    };
    for head in ["fn f()", "pub async fn f<T>(x: [u8; 3], y: fn(u8)) -> [u8; 2]\nwhere\n    T: X,"] {
        let lines = head.lines().count() + 1;
        assert_eq!(function(FUNCTION_LINES - lines, head), []);
        assert_eq!(function(FUNCTION_LINES - lines + 1, head), [2]);
    }
    assert_eq!(lines(&rules::function_length(&Source::new("src/a.rs", "trait T {\n    fn f();\n}\n"))), []);
}

#[test]
fn what_is_banned_is_found_in_code_only() {
    let banned = |text: &str| lines(&rules::banned(&Source::new("tests/a.rs", text)));
    assert_eq!(banned("todo!()\n\nunimplemented!()\ndbg!(x)\n#[ignore]\n#[ignore = \"slow\"]\n"), [1, 3, 4, 5, 6]);
    assert_eq!(banned("let (a, b) = mpsc::unbounded_channel();\n"), [1]);
    assert_eq!(banned("// todo!\nlet x = \"dbg!\";\n"), []);
}

#[test]
fn unwrap_is_for_tests() {
    let unwrap = |path: &str, text: &str| lines(&rules::unwrap(&Source::new(path, text)));
    assert_eq!(
        unwrap("src/a.rs", "x.unwrap();\nx.unwrap_or(1);\n#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\n"),
        [1]
    );
    assert_eq!(unwrap("src/a.rs", "#[cfg(test)]\nuse x;\nx.unwrap();\n"), [3]);
    assert_eq!(unwrap("tests/a.rs", "x.unwrap();\n"), []);
    let mut both =
        [Source::new("src/a/mod.rs", "#[cfg(test)]\nmod b;\nmod c;\n"), Source::new("src/a/b.rs", "x.unwrap();\n")];
    mark_test_files(&mut both);
    assert_eq!(rules::unwrap(&both[1]), []);
    let mut other = [Source::new("src/a/mod.rs", "mod b;\n"), Source::new("src/a/b.rs", "x.unwrap();\n")];
    mark_test_files(&mut other);
    assert_eq!(lines(&rules::unwrap(&other[1])), [1]);
}

#[test]
fn sleeps_and_allowances_need_a_reason() {
    let sleeps = |path: &str, text: &str| lines(&rules::sleep(&Source::new(path, text)));
    assert_eq!(sleeps("tests/a.rs", "tokio::time::sleep(x).await;\nstd::thread::sleep(x);\n"), [1, 2]);
    assert_eq!(sleeps("tests/a.rs", "sleep(x).await; // the kernel tells nobody when it is done\n"), []);
    assert_eq!(sleeps("tests/a.rs", "// The kernel tells nobody when it is done.\nsleep(x).await;\nsleep(x);\n"), [3]);
    assert_eq!(sleeps("src/a.rs", "sleep(x);\n#[cfg(test)]\nfn f() {\n    sleep(x);\n}\n"), [4]);
    let allow = |text: &str| lines(&rules::allow(&Source::new("src/a.rs", text)));
    assert_eq!(allow("#[allow(dead_code)]\n#![allow(x)]\n#[expect(x)]\n"), [1, 2, 3]);
    assert_eq!(allow("#[allow(x)] // the kernel's own name\n// The kernel's own name.\n#[allow(x)]\n"), []);
    assert_eq!(allow("#[allow(x, reason = \"the kernel's own name\")]\n#[allow(x)] // why\n"), [2]);
}

#[test]
fn submodules_are_private_and_scripts_run() {
    let public = |path: &str, text: &str| lines(&rules::private_submodules(&Source::new(path, text)));
    assert_eq!(public("src/a/mod.rs", "mod b;\npub mod c;\npub(crate) mod d;\npub use b::X;\n"), [2, 3]);
    assert_eq!(public("src/lib.rs", "pub mod c;\n"), []);
    assert_eq!(rules::script("scripts/a", b"#!/bin/sh\n", true), []);
    assert_eq!(rules::script("scripts/a", b"#!/bin/sh\n", false).len(), 1);
    assert_eq!(rules::script("scripts/a", b"echo\n", true).len(), 1);
}
