//! A payment under way is seen: queued without a node, sent, in a block, done or refused; and it can be taken back or resumed.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use openbucket::base::Wei;
use serde_json::{Value, json};

use crate::{
    anvil::eventually,
    desk::{Desk, account},
    gate::{Fate, Gate},
    home::{refused, succeeded},
};

const PAYEE: &str = "0x00000000000000000000000000000000000A11cE";

async fn had(desk: &Desk) -> Wei {
    desk.anvil.balance(PAYEE.parse().unwrap()).await
}

fn pending(desk: &Desk) -> Value {
    desk.asks(&["wallet", "pending"])
}

/// Lists what has ended: key, state, why.
fn ended(desk: &Desk) -> Vec<(String, String, String)> {
    let all = desk.asks(&["wallet", "pending", "--all"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |one: &Value| (text(&one["key"]), text(&one["state"]), text(&one["why"]));
    all["ended"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_node_payments_are_kept_shown_and_sent_by_the_next_command() {
    let desk = Desk::new().await;
    desk.deploy();
    let nonce = desk.anvil.nonce(account()).await;
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let judge = move |_: &str, _: &Value| if up.load(Ordering::SeqCst) { Fate::Forward } else { Fate::Close };
    let gate = Gate::start(&desk.anvil.url, judge).await;
    desk.configure_for(&gate.url, &desk.naming_contracts());

    let send = ["wallet", "send", PAYEE, "1 ETH", "--key", "pay/1"];
    for _ in 0..2 {
        let said = ["payment of 1 ETH", "kept, not sent", "no Ethereum node answers", "--cancel pay/1"];
        desk.fails(&send, 1, &said);
    }
    desk.fails(&["wallet", "send", PAYEE, "2 ETH", "--key", "pay/2"], 1, &["kept, not sent"]);
    desk.fails(&["contract", "withdraw", "3 ETH", "--key", "out/1"], 1, &["kept, not sent"]);
    desk.fails(&["contract", "withdraw"], 1, &["nothing was sent"]);
    refused(desk.home.run(&["wallet", "pending", "--resume"]), 1, &["nothing was sent"]);
    let shown = pending(&desk);
    let list = shown["pending"].as_array().unwrap();
    let states: Vec<_> = list.iter().map(|it| (it["key"].as_str().unwrap(), it["state"].as_str().unwrap())).collect();
    assert_eq!(states, [("pay/1", "queued"), ("pay/2", "queued"), ("out/1", "queued")]);
    assert!(shown["trouble"].as_str().unwrap().contains("no Ethereum node answers"), "{shown}");
    let text = desk.home.ok(&["wallet", "pending"]);
    assert!(text.contains(&format!("payment of 1 ETH to {PAYEE}: queued")) && text.contains("trouble: "), "{text}");
    let cancelled = desk.home.ok(&["wallet", "pending", "--cancel", "pay/2"]);
    assert_eq!(cancelled, "cancelled: pay/2\n");
    refused(desk.home.run(&["wallet", "pending", "--cancel", "pay/3"]), 1, &["no action pay/3"]);

    is_up.store(true, Ordering::SeqCst);
    assert_eq!(desk.asks(&["wallet", "balance"])["pending"], 2);
    let text = desk.home.ok(&["wallet", "balance"]);
    assert!(text.contains("pending: 2; openbucket wallet pending"), "{text}");
    let next = desk.tries(&["wallet", "send", PAYEE, "5 gwei"]);
    let said = String::from_utf8_lossy(&next.stderr).into_owned();
    succeeded(next);
    assert!(said.contains(&format!("from before: payment of 1 ETH to {PAYEE}: ")), "{said}");
    assert!(said.contains("from before: withdrawal of 3 ETH: nothing was sent: "), "{said}");
    assert_eq!(had(&desk).await, Wei(Wei::ETHER.0 + 5 * Wei::GWEI.0));
    assert_eq!(desk.anvil.nonce(account()).await, nonce + 2);
    desk.done(&send);
    assert_eq!(desk.anvil.nonce(account()).await, nonce + 2, "the same key is the same payment");
    assert_eq!(pending(&desk)["pending"], json!([]));
    let ended = ended(&desk);
    let of = |key: &str| {
        let found = ended.iter().find(|it| it.0 == key).unwrap_or_else(|| panic!("{key}: {ended:?}"));
        (found.1.as_str(), found.2.as_str())
    };
    assert_eq!((of("pay/1"), of("pay/2")), (("done", ""), ("not sent", "it was taken back")));
    assert!(of("out/1").0 == "not sent" && of("out/1").1.contains("insufficient balance"), "{ended:?}");
    let text = desk.home.ok(&["wallet", "pending", "--all"]);
    assert!(text.contains("nothing is pending") && text.contains("nothing was sent: it was taken back"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_seen_from_its_sending_to_its_last_confirmation() {
    let desk = Desk::new().await;
    desk.configure("confirmations = 3");
    desk.anvil.ask("evm_setAutomine", json!([false])).await;
    let send = ["wallet", "send", PAYEE, "1 ETH", "--timeout", "1s", "--key", "pay"];
    desk.fails(&send, 1, &["not final in time: sent with nonce 0", "do not repeat it", "openbucket wallet pending"]);
    let shown = pending(&desk);
    assert_eq!((&shown["pending"][0]["state"], &shown["pending"][0]["nonce"]), (&"sent".into(), &0.into()));
    refused(desk.home.run(&["wallet", "pending", "--cancel", "pay"]), 1, &["it is signed"]);
    desk.anvil.mine(1).await;
    let shown = pending(&desk);
    let state = |one: &Value| (one["state"].clone(), one["confirmations"].clone(), one["confirmations_needed"].clone());
    assert_eq!(state(&shown["pending"][0]), ("mined".into(), 1.into(), 3.into()));
    let text = desk.home.ok(&["wallet", "pending"]);
    assert!(text.contains("in block 1, 1 of 3 confirmations"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    desk.anvil.mine(2).await;
    let done = desk.acts_plain(&["wallet", "pending", "--resume"]);
    assert!(done.contains("payment of 1 ETH") && done.contains("done in block 1"), "{done}");
    assert_eq!(desk.acts_plain(&["wallet", "pending", "--resume"]), "nothing is pending\n");
    assert_eq!(had(&desk).await, Wei::ETHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_sees_what_the_one_that_pays_does() {
    let desk = Desk::new().await;
    desk.configure("confirmations = 2");
    desk.anvil.ask("evm_setAutomine", json!([false])).await;
    let password = desk.home.text("password");
    // It ends by itself, also when this test fails.
    let words = desk.words(&["wallet", "send", PAYEE, "1 ETH", "--key", "pay", "--timeout", "60s"], &password);
    let mut payer = desk.home.command(&words).stdout(Stdio::null()).spawn().unwrap();
    let seen = async |expected: &'static str| {
        eventually(expected, async || {
            let shown = pending(&desk);
            let is_so = shown["pending"][0]["state"] == expected;
            let holder = shown["held_by"].as_str().unwrap_or_default().to_owned();
            is_so.then_some(holder)
        })
        .await
    };
    assert!(seen("sent").await.starts_with("openbucket wallet, process "));
    desk.anvil.mine(1).await;
    assert!(seen("mined").await.starts_with("openbucket wallet, process "));
    let text = desk.home.ok(&["wallet", "pending", "--all"]);
    assert!(text.contains("in use by: openbucket wallet") && text.contains("1 of 2 confirmations"), "{text}");
    desk.fails(&["wallet", "send", PAYEE, "1 wei"], 1, &["is in use by openbucket wallet"]);
    desk.anvil.mine(1).await;
    assert!(payer.wait().unwrap().success());
    assert_eq!(ended(&desk), [("pay".to_owned(), "done".to_owned(), String::new())]);
}
