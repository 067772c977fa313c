//! `contract show|settle|topup|withdraw` with real agreements: in each of their states, and with each mistake.

use openbucket::{
    base::Wei,
    chain::{Action, AgreementId, Ledger},
};
use serde_json::Value;

use crate::{
    anvil::Anvil,
    desk::{Desk, account, wei},
    home::refused,
    parties::{DAY, HELD, PRICE, Parties, wait},
};

/// What a person sees, which fits a terminal, and the same as JSON.
fn show(desk: &Desk, id: AgreementId, expected: &[&str]) -> Value {
    let id = id.to_string();
    let text = desk.home.ok(&["contract", "show", &id]);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for words in expected {
        assert!(text.contains(words), "'{words}' is not in\n{text}");
    }
    let found = desk.asks(&["contract", "show", &id]);
    assert_eq!(found["agreement"], id);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_is_shown_settled_and_topped_up_until_it_is_over() {
    let desk = Desk::new().await;
    let parties = Parties::meet(&desk).await;
    let id = parties.open(1).await;
    let shown = show(&desk, id, &["state: pending: its first revision is not on the chain", "funded: 0.06 ETH"]);
    assert_eq!((&shown["state"], &shown["number"]), (&"pending".into(), &0.into()));
    let at_first = parties.earned().await;
    parties.begin(id).await;
    let shown = show(&desk, id, &["state: active\n", "stored: 1.00 GiB of 2.00 GiB", "allowance left: 0.01 ETH"]);
    // Blocks are a second or more apart.
    let minute = PRICE.0 / (30 * DAY as u128) * 60;
    assert_eq!(wei(&shown["funded_wei"]), HELD.0);
    assert!(wei(&shown["paid_wei"]) < minute, "{shown}");
    let left = shown["paid_until"].as_u64().unwrap() - parties.ledger.now().await.unwrap().0;
    assert!((60 * DAY - 60..=60 * DAY).contains(&left), "{left} s");

    wait(&desk, 30 * DAY).await;
    let before = parties.earned().await;
    let id_text = id.to_string();
    desk.done(&["contract", "settle", &id_text]);
    let paid = parties.earned().await.0 - before.0;
    assert!((PRICE.0..PRICE.0 + minute).contains(&paid), "{paid} for 30 days");
    let paid = parties.earned().await.0 - at_first.0;
    assert_eq!(wei(&show(&desk, id, &["state: active\n"])["paid_wei"]), paid);

    // What was asked for under one key is done once.
    let top_up = ["contract", "topup", &id_text, "0.03 ETH", "--key", "more/1"];
    let first = desk.done(&top_up);
    assert_eq!(desk.done(&top_up), first);
    let other = ["contract", "topup", &id_text, "0.04 ETH", "--key", "more/1"];
    desk.fails(&other, 1, &["more/1 was submitted before with another content"]);
    assert_eq!(wei(&show(&desk, id, &["funded: 0.09 ETH"])["funded_wei"]), HELD.0 + PRICE.0);

    wait(&desk, 59 * DAY).await;
    let shown = show(&desk, id, &["state: active, in grace: top it up, or it ends"]);
    assert_eq!((&shown["is_in_grace"], &shown["is_lapsed"]), (&true.into(), &false.into()));
    desk.done(&["contract", "topup", &id_text, "0.03 ETH", "--allowance", "0.01 ETH"]);
    show(&desk, id, &["state: active\n", "funded: 0.12 ETH", "allowance left: 0.02 ETH"]);
    wait(&desk, 40 * DAY).await;
    let shown = show(&desk, id, &["state: active, but the money is used up"]);
    assert_eq!(shown["is_lapsed"], true);
    let nonce = desk.anvil.nonce(account()).await;
    desk.fails(&["contract", "topup", &id_text, "0.03 ETH"], 1, &["takes no more money", "used up"]);
    assert_eq!(desk.anvil.nonce(account()).await, nonce, "nothing is deposited for what comes too late");
    desk.done(&["contract", "settle", &id_text]);
    let shown = show(&desk, id, &[]);
    assert_eq!(wei(&shown["paid_wei"]), 4 * PRICE.0, "all that was held");
    parties.act("terminate", Action::Terminate { agreement: id }).await;
    show(&desk, id, &["state: terminated: until 20"]);
    desk.fails(&["contract", "settle", &id_text], 1, &["the contract refuses: wrong state"]);
    wait(&desk, 3 * DAY).await;
    show(&desk, id, &["state: terminated: can be finished now"]);
    parties.act("finish", Action::Finish { agreement: id }).await;
    let shown = show(&desk, id, &["state: finished", "money: shared out"]);
    assert!(shown["paid_wei"].is_null() && shown["collateral_wei"].is_null(), "{shown}");
    desk.fails(&["contract", "topup", &id_text, "0.03 ETH"], 1, &["takes no more money", "finished"]);
    // The allowance came back.
    assert_eq!(wei(&desk.asks(&["wallet", "balance"])["vault_wei"]), Wei::ETHER.0 * 2 / 100);
    let withdraw = ["contract", "withdraw", "0.01 ETH", "--key", "out/1"];
    let first = desk.done(&withdraw);
    assert_eq!(desk.done(&withdraw), first, "one key, one withdrawal");
    assert_eq!(wei(&desk.asks(&["wallet", "balance"])["vault_wei"]), Wei::ETHER.0 / 100);
    assert_eq!(desk.done(&["contract", "withdraw"])["withdrawn"], "0.01 ETH");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_that_a_side_ends_is_closing_and_a_cancelled_one_gives_all_back() {
    let desk = Desk::new().await;
    let parties = Parties::meet(&desk).await;
    let (kept, dropped) = (parties.open(1).await, parties.open(2).await);
    parties.act("cancel", Action::Cancel { agreement: dropped }).await;
    show(&desk, dropped, &["state: cancelled", "money: shared out"]);
    parties.begin(kept).await;
    parties.act("end", Action::End { agreement: kept }).await;
    let shown = show(&desk, kept, &["state: closing: until 20"]);
    assert!(shown["closes_at"].as_u64() > Some(parties.ledger.now().await.unwrap().0), "{shown}");
    wait(&desk, 3 * DAY).await;
    show(&desk, kept, &["state: closing: can be finished now"]);

    let offers = desk.home.ok(&["contract", "offers"]);
    assert!(offers.contains(" at /ip4/192.0.2.7/tcp/4101 (+1)"), "{offers}");
    assert!(offers.lines().all(|line| line.chars().count() <= 80), "{offers}");
    let found = desk.asks(&["contract", "offers"]);
    assert_eq!(found["offers"][0]["addresses"][1], "/ip6/2001:db8::7/tcp/4101", "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_with_an_agreement_cost_nothing() {
    let desk = Desk::new().await;
    let parties = Parties::meet(&desk).await;
    let id = parties.open(1).await;
    parties.begin(id).await;
    let id = id.to_string();
    let (nonce, purse) = (desk.anvil.nonce(account()).await, desk.anvil.balance(account()).await);
    let much = ["contract", "topup", &id, "1000 ETH"];
    desk.fails(&much, 1, &["deposit of 1000 ETH", "lacks 90", "send it ether"]);
    let settle = ["contract", "settle", &id];
    let wrong = desk.home.private("wrong", "wrong");
    let with = [&settle[..], &["--yes", "--password-file", &wrong]].concat();
    refused(desk.home.run(&with), 1, &["wrong password"]);
    refused(desk.home.run(&[&settle[..], &["--yes"]].concat()), 2, &["no password"]);
    let open_to_all = desk.home.private("open", "correct horse");
    std::fs::set_permissions(&open_to_all, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let with = [&settle[..], &["--yes", "--password-file", &open_to_all]].concat();
    refused(desk.home.run(&with), 1, &[&open_to_all]);
    let unknown = "ab".repeat(32);
    refused(desk.home.run(&["contract", "show", &unknown]), 1, &["there is no agreement abab", "on chain 31337"]);
    let stranger = ["contract", "topup", &id, "1 gwei", "--account", "0"];
    desk.fails(&stranger, 1, &["only the producer", "can top up"]);
    let withdraw = ["contract", "withdraw", "--key", "all"];
    desk.fails(&withdraw, 2, &["--key needs an AMOUNT"]);
    desk.fails(&["contract", "settle", &id, "--key", "two words"], 2, &["--key"]);

    // The same id on another chain, and where no contracts are.
    let other = Anvil::start(&["--chain-id", "1337"]);
    refused(
        desk.home.run(&["contract", "show", &id, "--rpc", &other.url]),
        1,
        &["is of chain 1337, not of chain 31337"],
    );
    desk.fails(&[&settle[..], &["--rpc", &other.url]].concat(), 1, &["is of chain 1337", "nothing was sent"]);
    let empty = Anvil::start(&[]);
    let elsewhere = ["contract", "show", &id, "--rpc", &empty.url];
    refused(desk.home.run(&elsewhere), 1, &["there is no contract at 0x"]);
    let after = (desk.anvil.nonce(account()).await, desk.anvil.balance(account()).await);
    assert_eq!(after, (nonce, purse), "nothing was sent");
}
