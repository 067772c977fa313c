//! The outbox when things go wrong: lost answers, stuck gas, used nonces, forgotten transactions, re-organisations.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use openbucket::{
    base::Wei,
    chain::{Error, OutboxOptions, Progress, Until},
};
use serde_json::json;

use crate::{
    anvil::{Anvil, eventually, node, signer},
    gate::{Fate, Gate},
    outbox::{LIMIT, Sender, account, done, key, open, options, transfer},
};

const GWEI: u128 = Wei::GWEI.0;

/// The note of an action, once it has one with these words.
async fn noted(sender: &Sender, name: &str, words: &str) -> String {
    let look = async || {
        let report = sender.outbox.report();
        report.action(&key(name)).and_then(|action| action.note.clone()).filter(|note| note.contains(words))
    };
    eventually(&format!("{name}: {words}"), look).await
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_pay_twice() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let gate = Gate::start(&anvil.url, move |method, _| {
        let is_lost = method == "eth_sendRawTransaction" && count.fetch_add(1, Ordering::SeqCst) < 3;
        if is_lost { Fate::Swallow } else { Fate::Forward }
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &node(&[&gate.url]), &payer).await.expect("opens");
    done(sender.outbox.perform(&key("pay"), transfer(0xaa, 9), Until::Final, LIMIT).await.expect("done"));
    assert!(lost.load(Ordering::SeqCst) >= 1);
    assert_eq!((anvil.balance(account(0xaa)).await, anvil.nonce(payer.address()).await), (Wei(9), 1));
}

#[tokio::test]
async fn a_stuck_transaction_is_priced_up_to_the_ceiling_and_then_waits() {
    let anvil = Anvil::start(&["--no-mining", "--block-base-fee-per-gas", "1000000000"]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let impatient = OutboxOptions {
        stuck_after: Duration::from_millis(150),
        fee_ceiling: Wei(8 * GWEI),
        ..options(directory.path())
    };
    let sender = open(impatient, &anvil.node, &payer).await.expect("opens");
    sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("sent");
    let note = noted(&sender, "pay", "ceiling is 8 gwei").await;
    assert!(note.contains("waiting until it is cheaper"), "{note}");
    let report = sender.outbox.report();
    let action = report.action(&key("pay")).expect("live");
    assert!(action.attempts > 3 && action.fee.expect("priced").0 <= 8 * GWEI, "{action:?}");
    assert!(action.fee.expect("priced").0 * 9 / 8 + 1 >= 8 * GWEI, "it goes close to the ceiling: {action:?}");
    anvil.mine(1).await;
    done(sender.outbox.wait(&key("pay"), Until::Final, LIMIT).await.expect("any attempt counts"));
    assert_eq!((anvil.balance(account(0xaa)).await, anvil.nonce(payer.address()).await), (Wei(9), 1));
}

#[tokio::test]
async fn nothing_is_signed_while_gas_costs_more_than_the_ceiling() {
    let anvil = Anvil::start(&["--block-base-fee-per-gas", "500000000000"]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let progress = sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("queued");
    let Progress::Queued { note: Some(note) } = progress else { panic!("{progress:?}") };
    assert!(note.contains("the ceiling is 100 gwei"), "{note}");
    anvil.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"])).await;
    anvil.mine(1).await;
    done(sender.outbox.wait(&key("pay"), Until::Final, LIMIT).await.expect("the spike is over"));
}

#[tokio::test]
async fn a_nonce_that_another_program_used_is_replaced_by_a_new_one() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let is_open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&is_open);
    let gate = Gate::start(&anvil.url, move |method, _| {
        let passes = method != "eth_sendRawTransaction" || opened.load(Ordering::SeqCst);
        if passes { Fate::Forward } else { Fate::Close }
    })
    .await;
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let cautious = OutboxOptions { confirmations: 3, ..options(directories[0].path()) };
    let sender = open(cautious, &node(&[&gate.url]), &payer).await.expect("opens");
    let progress = sender.outbox.submit(&key("ours"), transfer(0xaa, 9)).await.expect("signed");
    assert!(matches!(progress, Progress::Signed { nonce: 0, is_sent: false, .. }), "{progress:?}");
    // Another program, on another machine.
    let other = open(options(directories[1].path()), &anvil.node, &payer).await.expect("opens");
    done(other.outbox.perform(&key("theirs"), transfer(0xbb, 7), Until::Final, LIMIT).await.expect("done"));
    is_open.store(true, Ordering::SeqCst);
    noted(&sender, "ours", "nonce 0 was used by another transaction").await;
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(0), "not before the other one is sure");
    anvil.mine(3).await;
    eventually("it is signed anew", async || (anvil.nonce(payer.address()).await == 2).then_some(())).await;
    anvil.mine(3).await;
    done(sender.outbox.wait(&key("ours"), Until::Final, LIMIT).await.expect("done"));
    let paid = (anvil.balance(account(0xaa)).await, anvil.balance(account(0xbb)).await);
    assert_eq!((paid, anvil.nonce(payer.address()).await), ((Wei(9), Wei(7)), 2));
}

#[tokio::test]
async fn a_forgotten_transaction_is_sent_again() {
    let anvil = Anvil::paused();
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &anvil.node, &payer).await.expect("opens");
    let progress = sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("sent");
    let Progress::Signed { hash, is_sent: true, .. } = progress else { panic!("{progress:?}") };
    anvil.ask("anvil_dropAllTransactions", json!([])).await;
    eventually("it is sent again", async || {
        (!anvil.ask("eth_getTransactionByHash", json!([hash.to_string()])).await.is_null()).then_some(())
    })
    .await;
    anvil.mine(1).await;
    done(sender.outbox.wait(&key("pay"), Until::Final, LIMIT).await.expect("done"));
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(9));
}

#[tokio::test]
async fn a_transaction_that_a_reorganisation_takes_out_is_sent_again() {
    let anvil = Anvil::paused();
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    anvil.mine(3).await;
    let directory = tempfile::tempdir().expect("a directory");
    let cautious = OutboxOptions { confirmations: 3, ..options(directory.path()) };
    let sender = open(cautious, &anvil.node, &payer).await.expect("opens");
    sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("sent");
    anvil.mine(2).await;
    let progress = sender.outbox.wait(&key("pay"), Until::Mined, LIMIT).await.expect("mined");
    assert!(matches!(progress, Progress::Mined { block: 4, .. }), "{progress:?}");
    anvil.rewrite(2).await;
    assert_eq!(anvil.balance(account(0xaa)).await, Wei(0), "the chain has forgotten it");
    eventually("it is taken back", async || {
        let progress = sender.outbox.progress(&key("pay")).await.expect("known");
        matches!(progress, Progress::Signed { is_sent: true, .. }).then_some(())
    })
    .await;
    anvil.mine(3).await;
    let (block, _) = done(sender.outbox.wait(&key("pay"), Until::Final, LIMIT).await.expect("done"));
    assert!(block > 5, "in a block after the rewriting: {block}");
    assert_eq!((anvil.balance(account(0xaa)).await, anvil.nonce(payer.address()).await), (Wei(9), 1));
}

#[tokio::test]
async fn nothing_goes_to_another_chain() {
    let anvil = Anvil::start(&["--chain-id", "1337"]);
    let payer = signer(1);
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &node(&[&anvil.url]), &payer).await.expect("opens");
    let progress = sender.outbox.submit(&key("pay"), transfer(0xaa, 9)).await.expect("queued");
    let Progress::Queued { note: Some(note) } = progress else { panic!("{progress:?}") };
    assert!(note.contains("is of chain 1337, not of chain 31337"), "{note}");
}

#[tokio::test]
async fn a_node_that_hangs_or_lies_costs_time_and_nothing_else() {
    let anvil = Anvil::start(&[]);
    let payer = signer(1);
    anvil.give(payer.address(), Wei::ETHER).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let liar = Gate::start(&anvil.url, move |method, _| match (method, count.fetch_add(1, Ordering::SeqCst) % 3) {
        ("eth_chainId", _) => Fate::Forward,
        (_, 0) => Fate::Body("200 OK", json!({ "jsonrpc": "2.0", "id": 1, "result": "0x0" }).to_string()),
        ("eth_sendRawTransaction", _) => Fate::Result(json!(format!("0x{}", "11".repeat(32)))),
        _ => Fate::Forward,
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let sender = open(options(directory.path()), &node(&[&liar.url, &anvil.url]), &payer).await.expect("opens");
    let paid = sender.outbox.perform(&key("pay"), transfer(0xaa, 9), Until::Final, LIMIT).await;
    done(paid.unwrap_or_else(|error: Error| panic!("{error}")));
    assert_eq!((anvil.balance(account(0xaa)).await, anvil.nonce(payer.address()).await), (Wei(9), 1));
}
