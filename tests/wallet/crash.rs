//! The end of the process at every failpoint of the wallet: it opens with one password, wholly, and what was not said to be
//! done can be done again.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, process::Output};

use openbucket::{chain::Wallet, runtime::FAILPOINTS};

use crate::home::{Home, PASSWORD, owner, phrase_in, refused, succeeded};

const NEW: &str = "another one";

/// Runs the program until it ends at a failpoint.
fn killed(home: &Home, point: &str, words: &[&str]) -> Output {
    let output = home.command(words).env("OPENBUCKET_FAILPOINT", point).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // setsid(1) is replaced by the program, or tells its end as a shell does.
    assert!(output.status.signal() == Some(9) || output.status.code() == Some(128 + 9), "{point}: {stderr}");
    let name = point.split(':').next().unwrap();
    assert!(stderr.contains(&format!("openbucket: failpoint {name}")), "{point}: {stderr}");
    output
}

#[test]
fn a_change_of_the_password_that_is_cut_short_leaves_one_that_opens_everything() {
    for (point, expected) in [
        ("wallet-key-written", PASSWORD),
        ("wallet-key-written:3", PASSWORD),
        ("wallet-keys-written", PASSWORD),
        ("wallet-keys-switched", NEW),
    ] {
        let home = Home::with_wallet();
        let (old, new) = (home.text("password"), home.private("new", NEW));
        killed(&home, point, &["wallet", "password", "--password-file", &old, "--new-password-file", &new]);
        for password in [PASSWORD, NEW] {
            assert_eq!(home.opens(password), password == expected, "{point}: {password}");
        }
        assert_eq!(home.names().len(), 4, "both sets of keys are there: {:?}", home.names());
        // Whoever changes something next takes away what is left over.
        home.ok(&["wallet", "default", "0"]);
        let number = Wallet::open(home.wallet()).unwrap();
        assert_eq!(number.accounts().len(), 3);
        assert_eq!(home.names().len(), 3, "{point}: {:?}", home.names());
        assert!(home.opens(expected), "{point}");
    }
}

#[test]
fn an_account_that_was_half_added_is_added_again() {
    let home = Home::with_wallet();
    let password = home.text("password");
    let add = ["wallet", "accounts", "--add", "--password-file", &password];
    killed(&home, "wallet-accounts-written", &add);
    assert_eq!(Wallet::open(home.wallet()).unwrap().accounts().len(), 3);
    assert!(home.opens(PASSWORD));
    home.ok(&add);
    assert_eq!(Wallet::open(home.wallet()).unwrap().accounts().len(), 4);
    assert!(home.opens(PASSWORD));
}

#[test]
fn a_wallet_that_was_half_made_is_restored_from_its_phrase() {
    for point in ["wallet-key-written", "wallet-keys-written", "wallet-keys-switched"] {
        let home = Home::new();
        let password = home.private("password", "secret");
        let create = ["wallet", "create", "--yes", "--password-file", &password];
        let output = killed(&home, point, &create);
        let phrase = phrase_in(&String::from_utf8(output.stdout).unwrap());
        match point {
            "wallet-keys-written" => refused(home.run(&create), 1, &["wallet.json is missing", "wallet restore"]),
            "wallet-keys-switched" => refused(home.run(&create), 1, &["holds a wallet already"]),
            _ => {}
        }
        let text = succeeded(home.feed(&["wallet", "restore", "--password-file", &password], &phrase));
        assert!(text.contains(&owner(&phrase).to_string()), "{point}: {text}");
        assert!(home.opens("secret"), "{point}");
        assert_eq!(home.names().len(), 3, "{point}: {:?}", home.names());
    }
}

#[test]
fn every_failpoint_of_the_wallet_is_reached_here() {
    let reached = ["wallet-key-written", "wallet-keys-written", "wallet-keys-switched", "wallet-accounts-written"];
    let known = FAILPOINTS.iter().filter(|(_, meaning)| meaning.starts_with("wallet: ")).map(|(name, _)| *name);
    assert_eq!(known.collect::<BTreeSet<_>>(), BTreeSet::from(reached));
}
