//! What each verb prints and leaves on the disk.

use std::{fs, os::unix::fs::MetadataExt};

use openbucket::keys::{EncryptedKey, Password};
use serde_json::{Value, json};

use crate::home::{ACCOUNTS, Home, PASSWORD, owner, phrase_in, succeeded};

#[test]
fn a_wallet_is_created_once_and_restored_from_its_phrase_or_a_bucket_s() {
    let home = Home::new();
    let password = home.private("password", "secret\n");
    let output = home.run(&["-vv", "wallet", "create", "--yes", "--password-file", &password]);
    let logged = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = succeeded(output);
    let phrase = phrase_in(&text);
    let address = owner(&phrase);
    let directory = home.wallet().display().to_string();
    assert!(text.ends_with(&format!("\n\ncreated: {directory}\naccount: {address}\n")), "{text}");
    assert!(!logged.contains("secret") && !logged.contains(&phrase), "{logged}");
    assert_eq!(fs::metadata(home.wallet()).unwrap().mode() & 0o777, 0o700);
    for file in ["wallet.json", "lock", "keys-1/phrase.json", &format!("keys-1/accounts/{address}.json")] {
        assert_eq!(fs::metadata(home.wallet().join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }
    assert!(home.opens("secret"));
    let key = fs::read_to_string(home.wallet().join(format!("keys-1/accounts/{address}.json"))).unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    assert!(key.pointer("/crypto/kdfparams/n").unwrap().as_u64().unwrap() >= 1 << 17, "{key}");

    let before = fs::read(home.wallet().join("wallet.json")).unwrap();
    let again = home.run(&["wallet", "create", "--yes", "--password-file", &password]);
    crate::home::refused(again, 1, &["holds a wallet already", "nothing was changed"]);
    assert_eq!(fs::read(home.wallet().join("wallet.json")).unwrap(), before);

    // The same phrase is a bucket's, and a bucket's phrase a wallet's.
    let elsewhere = home.text("elsewhere");
    let restore = ["wallet", "restore", "--wallet", &elsewhere, "--password-file", &password];
    let text = succeeded(home.feed(&restore, &phrase));
    assert_eq!(text, format!("restored: {elsewhere}\naccount: {address}\n"));
    let state = home.text("state");
    succeeded(home.feed(&["init", "--restore", "--state", &state], &phrase));
    let of_a_bucket = phrase_in(&home.ok(&["init", "--state", &home.text("other-state")]));
    let third = home.text("third");
    let restore = ["wallet", "restore", "--wallet", &third, "--password-file", &password];
    let text = succeeded(home.feed(&restore, &of_a_bucket));
    assert_eq!(text, format!("restored: {third}\naccount: {}\n", owner(&of_a_bucket)));
}

/// What earlier releases wrote is read: `tests/golden/wallet-v1` is the wallet of the phrase "abandon ... art".
#[test]
fn the_wallet_of_the_first_release_opens_with_its_password_alone() {
    let home = Home::with_wallet();
    assert!(home.opens(PASSWORD) && !home.opens("correct hors"));
    assert_eq!(ACCOUNTS[0], owner(&format!("{}art", "abandon ".repeat(23))).to_string());
}

#[test]
fn accounts_are_listed_and_added() {
    let home = Home::with_wallet();
    let expected = format!(
        "INDEX  ADDRESS                                     PATH\n\
         0      {}  openbucket/1/ethereum\n\
         1      {}  m/44'/60'/0'/0/0       default\n\
         2      {}  m/44'/60'/0'/0/1\n",
        ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[2]
    );
    assert_eq!(home.ok(&["wallet", "accounts"]), expected);
    let listed: Value = serde_json::from_str(&home.ok(&["wallet", "accounts", "--json"])).unwrap();
    let account = |index: usize, path: &str, is_default: bool| json!({ "index": index, "address": ACCOUNTS[index], "path": path, "is_default": is_default });
    let accounts = [
        account(0, "openbucket/1/ethereum", false),
        account(1, "m/44'/60'/0'/0/0", true),
        account(2, "m/44'/60'/0'/0/1", false),
    ];
    assert_eq!(listed, json!({ "directory": home.wallet().display().to_string(), "accounts": accounts }));

    let password = home.text("password");
    let text = home.ok(&["wallet", "accounts", "--add", "--password-file", &password]);
    // The third of "abandon ... art", as other wallets show it.
    let third = "0x60Af1c6A5D03F9f1B1b74931499bC99E72fF8DA9";
    assert_eq!(text, format!("{expected}3      {third}  m/44'/60'/0'/0/2\n"));
    let more = home.ok(&["wallet", "accounts", "--add", "2", "--json", "--password-file", &password]);
    let more: Value = serde_json::from_str(&more).unwrap();
    assert_eq!(more["accounts"][5]["path"], "m/44'/60'/0'/0/4");
    assert!(home.opens(PASSWORD));
}

#[test]
fn the_default_is_chosen_by_index_or_address_and_keys_are_exported_encrypted() {
    let home = Home::with_wallet();
    assert_eq!(home.ok(&["wallet", "default", "2"]), format!("default: {}\n", ACCOUNTS[2]));
    assert_eq!(home.ok(&["wallet", "default", &ACCOUNTS[0].to_lowercase()]), format!("default: {}\n", ACCOUNTS[0]));
    let listed: Value = serde_json::from_str(&home.ok(&["wallet", "accounts", "--json"])).unwrap();
    let defaults: Vec<_> = (0..3).map(|index| listed["accounts"][index]["is_default"].clone()).collect();
    assert_eq!(defaults, [true, false, false]);

    for (words, account) in [(vec![], ACCOUNTS[0]), (vec!["1"], ACCOUNTS[1]), (vec![ACCOUNTS[2]], ACCOUNTS[2])] {
        let text = home.ok(&[vec!["wallet", "export"], words].concat());
        let key = EncryptedKey::parse(text.as_bytes()).ok().unwrap();
        assert_eq!(key.address().map(|address| address.to_string()).as_deref(), Some(account));
        let password = Password::new(PASSWORD.as_bytes().to_vec().into()).ok().unwrap();
        let opened = key.open(&password).ok().unwrap();
        assert_eq!(opened.address().to_string(), account);
        assert!(!text.contains(&hex::encode(opened.as_bytes())));
    }
}

#[test]
fn the_sources_of_a_password_are_taken_in_order() {
    let home = Home::with_wallet();
    let (right, wrong) = (home.text("password"), home.private("wrong", "wrong"));
    let credential = |text: &str| {
        fs::create_dir_all(home.path("credentials")).unwrap();
        home.private("credentials/openbucket-wallet-password", text);
        home.text("credentials")
    };
    let add = |file: Option<&str>, variable: Option<&str>, credential: Option<&str>| {
        let mut words = vec!["wallet", "accounts", "--add"];
        words.extend(file.map(|file| ["--password-file", file]).into_iter().flatten());
        let mut command = home.command(&words);
        if let Some(password) = variable {
            command.env("OPENBUCKET_WALLET_PASSWORD", password);
        }
        if let Some(directory) = credential {
            command.env("CREDENTIALS_DIRECTORY", directory);
        }
        command.output().unwrap().status.code()
    };
    let bad = credential("bad");
    assert_eq!(add(Some(&right), Some("wrong"), Some(&bad)), Some(0));
    assert_eq!(add(Some(&wrong), Some(PASSWORD), None), Some(1));
    assert_eq!(add(None, Some(PASSWORD), Some(&bad)), Some(0));
    assert_eq!(add(None, Some("wrong"), None), Some(1));
    assert_eq!(add(None, None, Some(&bad)), Some(1));
    let good = credential(&format!("{PASSWORD}\n"));
    assert_eq!(add(None, None, Some(&good)), Some(0));
    assert_eq!(add(None, None, Some(&home.text("nowhere"))), Some(2), "no credential, no terminal");
    // The variable is no key of the configuration, and the one of the directory is.
    let mut command = home.command(&["wallet", "accounts"]);
    let output = command.env("OPENBUCKET_WALLET_PASSWORD", "x").env("OPENBUCKET_WALLET", home.text("w")).output();
    crate::home::refused(output.unwrap(), 1, &[&home.text("w"), "holds no wallet", "openbucket wallet create"]);
}

#[test]
fn the_password_is_changed_and_the_old_one_opens_nothing() {
    let home = Home::with_wallet();
    let (old, new) = (home.text("password"), home.private("new", "another one\n"));
    let text = home.ok(&["wallet", "password", "--password-file", &old, "--new-password-file", &new]);
    assert_eq!(text, format!("password changed: {}\n", home.wallet().display()));
    assert!(home.opens("another one") && !home.opens(PASSWORD));
    assert_eq!(home.names(), ["keys-4", "lock", "wallet.json"]);
    let listed: Value = serde_json::from_str(&home.ok(&["wallet", "accounts", "--json"])).unwrap();
    assert_eq!(
        listed["accounts"][1],
        json!({ "index": 1, "address": ACCOUNTS[1], "path": "m/44'/60'/0'/0/0", "is_default": true })
    );
}
