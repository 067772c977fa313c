//! Mistakes: one clear line each, nothing spent.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
};

use openbucket::{base::Wei, keys::Password, store::StateLock};

use crate::{
    desk::{Desk, account},
    home::{Home, refused},
};

const PAYEE: &str = "0x00000000000000000000000000000000000a11ce";

#[test]
fn what_is_missing_is_named_with_its_flag() {
    let home = Home::with_wallet();
    let run = |words: &[&str]| home.run(words);
    refused(run(&["wallet", "balance"]), 2, &["which chain?", "--chain-id", "--contracts"]);
    refused(run(&["wallet", "balance", "--chain-id", "1"]), 2, &["which Ethereum node?", "--rpc"]);
    refused(run(&["wallet", "balance", "--chain-id", "0"]), 2, &["--chain-id"]);
    refused(run(&["wallet", "send", PAYEE, "1"]), 2, &["'1' is not an amount", "0.01 ETH"]);
    refused(run(&["wallet", "send", "0x12", "1 ETH"]), 2, &["address"]);
    refused(run(&["wallet", "send", PAYEE, "0"]), 2, &["an amount of 0 pays nobody"]);
    let nobody = "0x0000000000000000000000000000000000000000";
    refused(run(&["wallet", "send", nobody, "1 ETH"]), 2, &["is nobody's"]);
    refused(run(&["contract", "show", "12"]), 2, &["64 hexadecimal digits"]);
    refused(run(&["consumer", "offer", "create", "--capacity", "0"]), 2, &["0 bytes offers nothing"]);
    refused(run(&["consumer", "offer", "create", "--capacity", "many"]), 2, &["'many' is not a size"]);
    let long = ["consumer", "offer", "create", "--capacity", "1 GiB", "--term-days", "30", "--expires-days", "3"];
    refused(run(&long), 2, &["--term-days is more than --expires-days"]);
    refused(run(&["consumer", "offer", "cancel", "0"]), 2, &["numbered from 1"]);
    refused(run(&["consumer", "activate"]), 2, &["--dir"]);
    refused(run(&["producer", "activate"]), 1, &["has no keys yet", "openbucket init"]);
    let mut keyed = home.command(&["wallet", "balance", "--chain-id", "1"]);
    refused(keyed.env("OPENBUCKET_RPC", "secret-key").output().unwrap(), 1, &["OPENBUCKET_RPC", "http://127.0.0.1"]);
}

#[test]
fn a_node_that_is_not_there_is_said_without_its_secrets_and_nothing_is_sent() {
    let home = Home::with_wallet();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let url = format!("http://{host}/secret-key");
    let chain = ["--rpc", &url, "--chain-id", "31337", "--yes", "--password-file", &home.text("password")];
    let deployed = home.run(&[&["contract", "deploy"], &chain[..]].concat());
    assert!(!String::from_utf8_lossy(&deployed.stderr).contains("secret-key"));
    refused(deployed, 1, &["nothing was sent", &host]);
    assert!(!home.wallet().join("outbox").exists());
    let sent = home.run(&[&["wallet", "send", PAYEE, "1 ETH"], &chain[..]].concat());
    assert!(!String::from_utf8_lossy(&sent.stderr).contains("secret-key"));
    refused(sent, 1, &["kept, not sent", &host]);
    let listed = home.ok(&[&["wallet", "pending"], &chain[..4]].concat());
    assert!(listed.contains(": queued") && listed.contains(&host) && !listed.contains("secret-key"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_on_a_chain_cost_nothing() {
    let desk = Desk::new().await;
    let send = ["wallet", "send", PAYEE, "1 ETH"];
    let other = [&send[..], &["--chain-id", "1"]].concat();
    desk.fails(&other, 1, &["is of chain 31337, not of chain 1"]);
    let much = ["wallet", "send", PAYEE, "100 ETH"];
    desk.fails(&much, 1, &[&account().to_string(), "lacks 0.0000", "with gas and has 100 ETH"]);
    refused(desk.home.run(&send), 2, &["no terminal to ask on", "--yes"]);
    refused(desk.home.run(&[&send[..], &["--yes"]].concat()), 2, &["no password"]);
    let wrong = desk.home.private("wrong", "wrong");
    let with = [&send[..], &["--yes", "--password-file", &wrong]].concat();
    refused(desk.home.run(&with), 1, &["wrong password"]);
    desk.fails(&[&send[..], &["--account", "7"]].concat(), 1, &["no account 7"]);
    let empty = desk.home.text("no-wallet");
    desk.fails(&[&send[..], &["--wallet", &empty]].concat(), 1, &["no-wallet", "openbucket wallet create"]);

    desk.fails(&["consumer", "withdraw"], 2, &["where are the contracts?", "--contracts"]);
    let file = desk.home.text("contracts.json");
    fs::write(&file, "{}").unwrap();
    let with = |words: &[&'static str]| [words, &["--contracts"]].concat();
    desk.fails(&[&with(&["consumer", "withdraw"])[..], &[&file]].concat(), 1, &["contracts.json", "chain_id"]);
    assert_eq!(desk.anvil.nonce(account()).await, 0, "nothing was sent");

    desk.deploy();
    let text = fs::read_to_string(&file).unwrap();
    let nonce = desk.anvil.nonce(account()).await;
    fs::write(&file, text.replace("31337", "5")).unwrap();
    desk.fails(&["consumer", "withdraw"], 2, &["the contracts are on chain 5, not on chain 31337"]);
    let at = text.find("0x").unwrap();
    fs::write(&file, text.replace(&text[at..at + 42], PAYEE)).unwrap();
    desk.fails(&["consumer", "withdraw"], 1, &["there is no contract at 0x"]);
    fs::write(&file, &text).unwrap();
    let id = "00".repeat(32);
    desk.fails(&["contract", "settle", &id], 1, &["there is no agreement"]);
    desk.fails(&["contract", "topup", &id, "1 gwei"], 1, &["there is no agreement"]);
    desk.fails(&["contract", "topup", &id, "0"], 2, &["changes nothing"]);
    refused(desk.home.run(&["contract", "show", &id]), 1, &["there is no agreement"]);
    let offer = ["consumer", "offer", "create", "--capacity", "1 GiB"];
    desk.fails(&offer, 1, &["is not activated", "openbucket consumer activate"]);
    desk.home.ok(&["init"]);
    desk.fails(&["producer", "activate", "--payment", "1 wei"], 1, &["0.001 ETH at least"]);
    assert_eq!(desk.anvil.nonce(account()).await, nonce, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_an_account_is_refused_by_name() {
    let desk = Desk::new().await;
    let digits = account().to_string().to_lowercase();
    let directory = desk.home.wallet().join("outbox").join(format!("31337-{digits}"));
    let lock = StateLock::acquire(&directory, "mount").unwrap();
    let send = ["wallet", "send", PAYEE, "1 ETH"];
    desk.fails(&send, 1, &["is in use by openbucket mount", "two processes"]);
    drop(lock);
    desk.acts(&send);
    assert_eq!(desk.anvil.balance(PAYEE.parse().unwrap()).await, Wei::ETHER);
    // The wallet still opens: nobody touched its keys.
    let password = fs::read(desk.home.text("password")).unwrap();
    assert!(Password::new(password.into()).is_ok());
}
