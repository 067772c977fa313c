//! The outbox on a chain that works: every action once, whatever is repeated.

use std::{path::Path, sync::Arc, time::Duration};

use openbucket::{
    base::{ErrorKind, Kinded, Wei},
    chain::{ActionKey, Call, Error, Node, Outbox, OutboxOptions, OutboxParts, Outcome, Progress, Signer, Until},
    keys::EthereumAddress,
    runtime::{Shutdown, SystemClock, Tasks},
};
use serde_json::json;

use crate::anvil::{Anvil, eventually, node, signer};

pub const LIMIT: Duration = Duration::from_secs(60);

/// An outbox and the tasks that it lives in.
pub struct Sender {
    pub outbox: Outbox,
    pub tasks: Tasks,
}

impl Sender {
    /// Ends it as the end of its process would.
    pub async fn stop(self) {
        assert!(self.tasks.stop(LIMIT).await, "an outbox stops");
    }
}

pub fn options(directory: &Path) -> OutboxOptions {
    let mut options = OutboxOptions::new(directory.to_owned(), "test");
    options.confirmations = 1;
    options.poll = Duration::from_millis(50);
    options.resend = Duration::from_millis(200);
    options
}

pub async fn open(options: OutboxOptions, node: &Node, signer: &Arc<Signer>) -> Result<Sender, Error> {
    let tasks = Tasks::new(Shutdown::new());
    let parts = OutboxParts { node: node.clone(), signer: Arc::clone(signer), clock: Arc::new(SystemClock) };
    let outbox = Outbox::open(options, parts, &tasks).await?;
    Ok(Sender { outbox, tasks })
}

pub fn key(name: &str) -> ActionKey {
    ActionKey::new(name).expect("a key")
}

pub fn account(number: u8) -> EthereumAddress {
    EthereumAddress([number; 20])
}

pub fn transfer(to: u8, amount: u128) -> Call {
    Call { to: account(to), value: Wei(amount), data: Vec::new(), what: format!("transfer of {}", Wei(amount)) }
}

pub fn done(progress: Progress) -> (u64, Wei) {
    match progress {
        Progress::Final(Outcome::Done { block, fee, .. }) => (block, fee),
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test]
async fn an_action_is_done_once_and_paid_to_the_wei() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let call = transfer(0xaa, 1_000_003);
    let first = sender.outbox.perform(&key("pay/1"), call.clone(), Until::Final, LIMIT).await.expect("done");
    let (_, fee) = done(first.clone());
    for _ in 0..3 {
        assert_eq!(sender.outbox.submit(&key("pay/1"), call.clone()).await.expect("known"), first);
    }
    sender.stop().await;
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens again");
    assert_eq!(sender.outbox.submit(&key("pay/1"), call).await.expect("known"), first, "also after a restart");
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(1_000_003));
    assert_eq!(anvil.balance(payer.address()).await, Wei(Wei::ETHER.0 - 1_000_003 - fee.0));
    assert_eq!(anvil.nonce(payer.address()).await, 1);

    let error = sender.outbox.submit(&key("pay/1"), transfer(0xaa, 7)).await.expect_err("another call");
    assert!(matches!(error, Error::KeyReused(_)), "{error}");
    let error = sender.outbox.progress(&key("never")).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn many_actions_keep_their_order_and_are_all_done() {
    let anvil = Anvil::paused();
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    for number in 0..20u8 {
        let progress = sender.outbox.submit(&key(&format!("pay/{number}")), transfer(0x80 + number, 1)).await;
        let progress = progress.expect("taken");
        match (number, progress) {
            (0..16, Progress::Signed { nonce, is_sent: true, .. }) => assert_eq!(nonce, u64::from(number)),
            (16, Progress::Queued { note: Some(note) }) => assert!(note.contains("16 transactions"), "{note}"),
            (17.., Progress::Queued { note: Some(note) }) => assert!(note.contains("before it waits"), "{note}"),
            (_, other) => panic!("{number}: {other:?}"),
        }
    }
    anvil.ask("evm_setAutomine", json!([true])).await;
    anvil.mine(1).await;
    for number in 0..20u8 {
        done(sender.outbox.wait(&key(&format!("pay/{number}")), Until::Final, LIMIT).await.expect("done"));
        assert_eq!(anvil.balance(account(0x80 + number)).await, Wei(1));
    }
    assert!(sender.outbox.report().actions.is_empty());
}

#[tokio::test]
async fn an_action_is_final_no_sooner_than_its_block_is_deep_enough() {
    const NEEDED: u64 = 4;
    let anvil = Anvil::paused();
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let cautious = OutboxOptions { confirmations: NEEDED, ..options(directory.path()) };
    let sender = open(cautious, &anvil.node, &payer).await.expect("opens");
    sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("sent");
    for now in 1..NEEDED {
        anvil.mine(1).await;
        let head = anvil.node.head().await.expect("a head").number;
        eventually("the block is looked at", async || (sender.outbox.report().head == Some(head)).then_some(())).await;
        let progress = sender.outbox.progress(&key("pay")).await.expect("known");
        let Progress::Mined { depth, needed, .. } = progress else { panic!("{now} deep: {progress:?}") };
        assert_eq!((depth, needed), (now, NEEDED));
        assert_eq!(progress.to_string(), format!("in block 1, {now} of {NEEDED} confirmations"));
    }
    anvil.mine(1).await;
    done(sender.outbox.wait(&key("pay"), Until::Final, LIMIT).await.expect("deep enough"));
}

#[tokio::test]
async fn who_cannot_pay_is_told_how_much_is_missing_and_may_come_again() {
    let anvil = Anvil::start(&["--block-base-fee-per-gas", "1000000000"]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei(500)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let error = sender.outbox.submit(&key("pay"), transfer(0xaa, 800)).await.expect_err("too poor");
    let Error::InsufficientFunds { missing, needed, balance, .. } = error else { panic!("{error}") };
    assert_eq!((balance, missing.0), (Wei(500), needed.0 - 500));
    assert_eq!(error_kind(sender.outbox.progress(&key("pay")).await), ErrorKind::Unpaid);
    assert_eq!(anvil.nonce(payer.address()).await, 0);
    // Exactly what was said to be missing is enough.
    anvil.give(payer.address(), Wei(500 + missing.0)).await;
    done(sender.outbox.perform(&key("pay"), transfer(0xaa, 800), Until::Final, LIMIT).await.expect("rich enough"));
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(800));
}

fn error_kind(progress: Result<Progress, Error>) -> ErrorKind {
    progress.expect_err("refused").kind()
}

#[tokio::test]
async fn what_a_contract_refuses_costs_nothing_when_it_can_be_seen_before() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    // Gives Error("closed") back: copies what follows the code, and reverts with it.
    let error = format!("08c379a0{:064x}{:064x}{}", 32, 6, hex::encode("closed") + &"0".repeat(52));
    let code = format!("0x6064600c60003960646000fd{error}");
    anvil.set_code(account(0xcc), &code).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let call = Call { data: vec![1, 2, 3, 4], ..transfer(0xcc, 5) };
    let error = sender.outbox.submit(&key("call"), call.clone()).await.expect_err("refused");
    assert!(matches!(&error, Error::Reverted { why, .. } if why == "closed"), "{error:?}");
    assert_eq!((anvil.nonce(payer.address()).await, anvil.balance(payer.address()).await), (0, Wei::ETHER));
    anvil.set_code(account(0xcc), "0x00").await;
    done(sender.outbox.perform(&key("call"), call, Until::Final, LIMIT).await.expect("now it is taken"));
}

#[tokio::test]
async fn what_is_refused_in_its_block_is_told_with_what_it_cost() {
    let anvil = Anvil::paused();
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    anvil.set_code(account(0xcc), "0x00").await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let call = Call { data: vec![1, 2, 3, 4], ..transfer(0xcc, 5) };
    sender.outbox.submit(&key("call"), call.clone()).await.expect("sent");
    // Meanwhile the contract changes its mind: it reverts with Panic(0x11).
    anvil.set_code(account(0xcc), &format!("0x6024600c60003960246000fd4e487b71{:064x}", 0x11)).await;
    anvil.mine(1).await;
    let progress = sender.outbox.wait(&key("call"), Until::Final, LIMIT).await.expect("final");
    let Progress::Final(Outcome::Reverted { fee, .. }) = progress.clone() else { panic!("{progress:?}") };
    assert_eq!(anvil.balance(payer.address()).await, Wei(Wei::ETHER.0 - fee.0), "only gas is paid");
    assert_eq!(sender.outbox.submit(&key("call"), call.clone()).await.expect("known"), progress);
    let error = sender.outbox.perform(&key("call"), call, Until::Final, LIMIT).await.expect_err("it stays refused");
    assert!(matches!(error, Error::Reverted { .. }), "{error}");
}

#[tokio::test]
async fn a_second_owner_of_the_nonces_is_refused() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let error = open(options(directory.path()), &anvil.node, &payer).await.map(drop).expect_err("taken");
    let said = error.to_string();
    assert!(said.contains("in use by openbucket test, process") && said.contains("31337"), "{said}");
    let other = open(options(directory.path()), &anvil.node, &signer(2)).await.expect("another account is free");
    other.stop().await;
    sender.stop().await;
    open(options(directory.path()), &anvil.node, &payer).await.expect("free again").stop().await;
}

#[tokio::test]
async fn actions_queue_while_no_node_answers_up_to_a_bound() {
    let payer = signer(1);
    let directory = tempfile::tempdir().expect("a directory");
    let mut bounded = options(directory.path());
    bounded.queue = 3;
    let sender = open(bounded.clone(), &node(&["http://127.0.0.1:1"]), &payer).await.expect("opens without a node");
    for number in 0..3 {
        let progress = sender.outbox.submit(&key(&format!("pay/{number}")), transfer(0xaa, 1)).await.expect("queued");
        assert!(matches!(progress, Progress::Queued { note: Some(_) }), "{progress:?}");
    }
    let error = sender.outbox.submit(&key("pay/3"), transfer(0xaa, 1)).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full);
    let report = sender.outbox.report();
    assert_eq!(report.actions.len(), 3);
    assert!(report.trouble.as_ref().is_some_and(|why| why.contains("no Ethereum node answers")), "{report:?}");
    let waited = sender.outbox.wait(&key("pay/0"), Until::Sent, Duration::from_millis(100)).await;
    assert!(matches!(waited, Err(Error::Pending { .. })), "{waited:?}");
    sender.stop().await;

    let anvil = Anvil::start(&[]);
    anvil.give(payer.address(), Wei::ETHER).await;
    let sender = open(bounded, &anvil.node, &payer).await.expect("opens");
    for number in 0..3 {
        done(sender.outbox.wait(&key(&format!("pay/{number}")), Until::Final, LIMIT).await.expect("done"));
    }
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(3));
    eventually("the trouble is over", async || sender.outbox.report().trouble.is_none().then_some(())).await;
}
