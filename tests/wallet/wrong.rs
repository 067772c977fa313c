//! Bad input: one clear line each, the right exit code, and a wallet that is as it was.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use crate::home::{ACCOUNTS, Home, PASSWORD, refused};

/// Everything in the wallet, but for the text of its lock.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with("lock") {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn wrong_words_and_passwords_leave_the_wallet_as_it_was() {
    let home = Home::with_wallet();
    let before = contents(&home.wallet());
    let (right, wrong) = (home.text("password"), home.private("wrong", "wrong"));
    let (empty, open) = (home.private("empty", "\n"), home.private("open", PASSWORD));
    let long = home.private("long", &"x".repeat(1026));
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let absent = home.text("absent");
    let add = |file: &str| home.run(&["wallet", "accounts", "--add", "--password-file", file]);
    refused(add(&wrong), 1, &["phrase.json", "wrong password"]);
    refused(add(&empty), 1, &[&empty, "the password is empty"]);
    refused(add(&open), 1, &[&open, "may be read by others (mode 640)", "chmod 600"]);
    refused(add(&long), 1, &[&long, "is too long"]);
    refused(add(&absent), 1, &[&absent, "does not exist"]);
    let none = ["no password", "--password-file", "OPENBUCKET_WALLET_PASSWORD", "openbucket-wallet-password"];
    refused(home.run(&["wallet", "accounts", "--add"]), 2, &none);
    refused(home.run(&["wallet", "password"]), 2, &none);
    refused(home.run(&["wallet", "password", "--password-file", &right]), 2, &["--new-password-file"]);
    let change =
        |old: &str, new: &str| home.run(&["wallet", "password", "--password-file", old, "--new-password-file", new]);
    refused(change(&wrong, &right), 1, &["wrong password"]);
    refused(change(&right, &empty), 1, &[&empty, "the password is empty"]);
    refused(change(&right, &open), 1, &["chmod 600"]);

    let run = |words: &[&str]| home.run(&[&["wallet"], words].concat());
    refused(run(&["default", "3"]), 1, &["no account 3", "its last one is 2"]);
    refused(run(&["default", "0x0000000000000000000000000000000000000001"]), 1, &["no account 0x"]);
    refused(run(&["default", "me"]), 2, &["'me'", "no address"]);
    refused(run(&["default", &ACCOUNTS[0].replace("0xAd", "0xad")]), 2, &["checksum"]);
    refused(run(&["export", "9"]), 1, &["no account 9"]);
    refused(run(&["default"]), 2, &["<ACCOUNT>"]);
    refused(run(&["accounts", "--add", "0"]), 2, &["--add"]);
    refused(run(&["accounts", "--add", "65"]), 2, &["--add"]);
    refused(run(&["export", "--phrase"]), 2, &["--phrase"]);
    assert_eq!(contents(&home.wallet()), before);
}

#[test]
fn a_wrong_phrase_restores_nothing() {
    let home = Home::with_wallet();
    let before = contents(&home.wallet());
    let password = home.text("password");
    let there = |phrase: &str| home.feed(&["wallet", "restore", "--password-file", &password], phrase);
    let elsewhere = home.text("elsewhere");
    let new =
        |phrase: &str| home.feed(&["wallet", "restore", "--wallet", &elsewhere, "--password-file", &password], phrase);
    let checksum = "abandon ".repeat(24);
    let unknown = format!("{}art", "abandon ".repeat(23)).replacen("abandon abandon", "abandon abandoned", 1);
    let other = format!("{}vote", "zoo ".repeat(23));
    for restore in [&there as &dyn Fn(&str) -> _, &new] {
        refused(restore(&checksum), 1, &["checksum does not match"]);
        refused(restore(&unknown), 1, &["word 2 of the phrase"]);
        refused(restore("test test junk"), 1, &["has 3 words", "24"]);
        refused(restore(" \n"), 1, &["no phrase on standard input"]);
    }
    refused(there(&other), 1, &["the wallet of another phrase", "nothing was changed"]);
    refused(home.feed(&["wallet", "restore"], &other), 2, &["no password"]);
    assert_eq!(contents(&home.wallet()), before);
    assert!(!home.path("elsewhere").exists());
}

#[test]
fn without_a_wallet_or_a_terminal_it_is_said_what_to_do() {
    let home = Home::new();
    let password = home.private("password", "secret");
    for words in [&["accounts"] as &[&str], &["default", "0"], &["export"], &["password"]] {
        let words = [&["wallet"], words].concat();
        refused(home.run(&words), 1, &["holds no wallet", "openbucket wallet create", "openbucket wallet restore"]);
    }
    assert!(!home.wallet().exists(), "to look makes nothing");
    refused(home.run(&["wallet", "create", "--password-file", &password]), 2, &["no terminal to confirm", "--yes"]);
    refused(home.run(&["wallet", "create", "--yes"]), 2, &["no password"]);
    assert_eq!(home.names(), ["lock"], "no wallet was made");
}

#[test]
fn damaged_files_are_named_with_what_to_do() {
    let home = Home::with_wallet();
    let password = home.text("password");
    let (list, keys) = (home.wallet().join("wallet.json"), home.wallet().join("keys-3"));
    let account = keys.join(format!("accounts/{}.json", ACCOUNTS[1]));
    let phrase = keys.join("phrase.json");
    let with = |path: &Path, text: &[u8], words: &[&str], expected: &[&str]| {
        let good = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        let name = path.display().to_string();
        refused(home.run(&[&["wallet"], words].concat()), 1, &[&[name.as_str()], expected].concat());
        fs::write(path, good).unwrap();
    };
    let add = ["accounts", "--add", "--password-file", &password];
    let key = fs::read_to_string(&account).unwrap();
    with(&list, b"", &["accounts"], &["no list of a wallet's accounts", "restore the wallet with its phrase"]);
    let newer = fs::read_to_string(&list).unwrap().replace("\"version\": 1", "\"version\": 2");
    with(&list, newer.as_bytes(), &["accounts"], &["is of version 2", "upgrade openbucket"]);
    with(&account, b"{", &["export"], &["no key of the Web3 Secret Storage", "restore it"]);
    with(&account, key.replace("\"version\":3", "\"version\":1").as_bytes(), &["export"], &["not of version 3"]);
    with(&account, key.replace("\"n\":16", "\"n\":17").as_bytes(), &["export"], &["none of scrypt"]);
    with(&account, key.replace("\"n\":16", "\"n\":16777216").as_bytes(), &["export"], &["more memory or time"]);
    with(&phrase, key.as_bytes(), &add, &["no encrypted phrase"]);
    let sealed = fs::read_to_string(&phrase).unwrap();
    with(
        &phrase,
        sealed.replace("\"mac\":\"5", "\"mac\":\"6").as_bytes(),
        &add,
        &["wrong password (or the file is damaged)"],
    );
    fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).unwrap();
    refused(home.run(&["wallet", "accounts"]), 1, &["wallet.json", "mode 644", "chmod 600"]);
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(&list).unwrap();
    refused(home.run(&["wallet", "accounts"]), 1, &["wallet.json is missing", "openbucket wallet restore"]);
    refused(home.run(&["wallet", "create", "--yes", "--password-file", &password]), 1, &["wallet.json is missing"]);
    assert_eq!(fs::read_to_string(&account).unwrap(), key);
}

#[test]
fn a_wallet_that_is_being_changed_is_said_to_be() {
    let home = Home::with_wallet();
    let _lock = openbucket::store::StateLock::acquire(&home.wallet(), "test").unwrap();
    refused(home.run(&["wallet", "default", "0"]), 1, &["is in use by openbucket test, process"]);
    assert!(home.ok(&["wallet", "accounts"]).contains(ACCOUNTS[0]), "to look is always possible");
}
