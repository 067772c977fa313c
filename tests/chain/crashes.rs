//! The process ends at each failpoint of the outbox; repeating the action changes nothing on the chain.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use openbucket::{
    base::Wei,
    chain::{OutboxOptions, Until},
    runtime::FAILPOINTS,
};
use serde_json::json;

use crate::{
    anvil::{Anvil, node, signer},
    outbox::{LIMIT, account, done, key, open, options, transfer},
};

const URL: &str = "OPENBUCKET_TEST_CHAIN_URL";
const STATE: &str = "OPENBUCKET_TEST_CHAIN_STATE";
const AMOUNT: u128 = 1_000_003;

/// Not a test by itself: what the tests below run in a process of its own, which they let end anywhere.
#[tokio::test]
async fn child_that_pays_once() {
    let (Ok(url), Ok(state)) = (std::env::var(URL), std::env::var(STATE)) else { return };
    let cautious =
        OutboxOptions { confirmations: 2, stuck_after: Duration::from_millis(1500), ..options(&PathBuf::from(state)) };
    let sender = open(cautious, &node(&[&url]), &signer(1)).await.expect("opens");
    let paid = sender.outbox.perform(&key("pay/once"), transfer(0xaa, AMOUNT), Until::Final, LIMIT).await;
    done(paid.expect("done"));
    sender.stop().await;
}

async fn run_child(anvil: &Anvil, state: &Path, failpoint: Option<&str>) -> ExitStatus {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command
        .args(["--exact", "crashes::child_that_pays_once", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.env(URL, &anvil.url).env(STATE, state).env_remove("OPENBUCKET_FAILPOINT");
    if let Some(name) = failpoint {
        command.env("OPENBUCKET_FAILPOINT", name);
    }
    tokio::task::spawn_blocking(move || command.status()).await.expect("no panic").expect("it runs")
}

async fn dies_at(anvil: &Anvil, state: &Path, failpoint: &str) {
    let status = run_child(anvil, state, Some(failpoint)).await;
    assert_eq!(status.signal(), Some(9), "{failpoint} is reached: {status}");
}

async fn was_paid_once(anvil: &Anvil, transactions: u64) {
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(AMOUNT));
    assert_eq!(anvil.nonce(signer(1).address()).await, transactions);
}

#[tokio::test]
async fn a_crash_at_any_step_and_a_repeat_pay_once() {
    let usual = FAILPOINTS.iter().filter(|(_, meaning)| meaning.starts_with("chain: ")).map(|(name, _)| *name);
    let usual: Vec<&str> = usual.filter(|name| !["replacement-stored", "flight-given-up"].contains(name)).collect();
    assert_eq!(usual.len(), 8, "the others have their tests below");
    for name in usual {
        let anvil = Anvil::start(&["--block-time", "1"]);
        anvil.give(signer(1).address(), Wei::ETHER).await;
        let state = tempfile::tempdir().expect("a directory");
        dies_at(&anvil, state.path(), name).await;
        for _ in 0..2 {
            let status = run_child(&anvil, state.path(), None).await;
            assert!(status.success(), "{name}: {status}");
        }
        was_paid_once(&anvil, 1).await;
    }
}

#[tokio::test]
async fn a_crash_between_two_prices_pays_once() {
    let anvil = Anvil::paused();
    anvil.give(signer(1).address(), Wei::ETHER).await;
    let state = tempfile::tempdir().expect("a directory");
    dies_at(&anvil, state.path(), "replacement-stored").await;
    dies_at(&anvil, state.path(), "replacement-stored").await;
    anvil.ask("evm_setIntervalMining", json!([1])).await;
    assert!(run_child(&anvil, state.path(), None).await.success());
    was_paid_once(&anvil, 1).await;
}

#[tokio::test]
async fn a_crash_while_a_used_nonce_is_replaced_pays_once() {
    let anvil = Anvil::start(&["--block-time", "1"]);
    anvil.give(signer(1).address(), Wei::ETHER).await;
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    dies_at(&anvil, ours.path(), "transaction-stored").await;
    let other = open(options(theirs.path()), &anvil.node, &signer(1)).await.expect("opens");
    done(other.outbox.perform(&key("theirs"), transfer(0xbb, 7), Until::Final, LIMIT).await.expect("done"));
    other.stop().await;
    dies_at(&anvil, ours.path(), "flight-given-up").await;
    dies_at(&anvil, ours.path(), "transaction-sent").await;
    assert!(run_child(&anvil, ours.path(), None).await.success());
    was_paid_once(&anvil, 2).await;
}
