//! What a person does: pays, deploys, takes part, offers, withdraws; every wei is where it should be.

use openbucket::{base::Wei, keys::EthereumAddress};

use crate::{
    desk::{Desk, account, wei},
    home::PASSWORD,
    person::Person,
};

const PAYEE: &str = "0x00000000000000000000000000000000000a11ce";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_made_once_and_costs_its_gas() {
    let desk = Desk::new().await;
    let before = wei(&desk.asks(&["wallet", "balance"])["balance_wei"]);
    assert_eq!(before, 100 * Wei::ETHER.0);
    let done = desk.done(&["wallet", "send", PAYEE, "0.25 ETH"]);
    let hash = done["transaction"].as_str().unwrap();
    assert!(hash.starts_with("0x") && hash.len() == 66, "{done}");
    let after = wei(&desk.asks(&["wallet", "balance", "1"])["balance_wei"]);
    assert_eq!(after + wei(&done["fee_wei"]) + Wei::ETHER.0 / 4, before);
    let paid = desk.asks(&["wallet", "balance", PAYEE]);
    assert_eq!(wei(&paid["balance_wei"]), Wei::ETHER.0 / 4);
    assert_eq!(desk.anvil.nonce(account()).await, 1);
    assert!(desk.home.path(".local/share/openbucket/wallet/outbox").is_dir(), "beside the wallet");
    let shown = desk.acts(&["wallet", "send", PAYEE, "5 gwei"]);
    assert!(shown.contains("paid: 5 gwei") && shown.contains("transaction: 0x"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked() {
    let desk = Desk::new().await;
    let line = format!("openbucket wallet send {PAYEE} '1 ETH'");
    let mut person = Person::new(&desk.home, &line);
    person.sees("send 1 ETH from");
    person.sees("? [y/N] ");
    person.types("n\n");
    let (code, screen) = person.ends();
    assert!(code == Some(1) && screen.contains("nothing was sent"), "{screen}");
    assert_eq!(desk.anvil.nonce(account()).await, 0);
    let mut person = Person::new(&desk.home, &line);
    person.sees("? [y/N] ");
    person.types("yes\n");
    person.sees("Password of the wallet: ");
    person.types(&format!("{PASSWORD}\n"));
    person.sees("transaction: 0x");
    assert_eq!(person.ends().0, Some(0));
    let payee: EthereumAddress = PAYEE.parse().unwrap();
    assert_eq!(desk.anvil.balance(payee).await, Wei::ETHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_take_part_and_offer() {
    let desk = Desk::new().await;
    desk.deploy();
    desk.home.ok(&["init"]);
    let done = desk.done(&["producer", "activate"]);
    assert_eq!(done["payment"], "0.001 ETH");
    let directory = desk.home.text("consumer");
    desk.done(&["consumer", "activate", "--dir", &directory, "--payment", "0.002 ETH"]);
    let offer = ["consumer", "offer", "create", "--capacity", "10 GiB", "--storage-price", "1 gwei", "--collateral"];
    let done = desk.done(&[&offer[..], &["0.001 ETH", "--address", "/ip4/192.0.2.7/tcp/4101"]].concat());
    assert_eq!((&done["offer"], &done["collateral"]), (&1.into(), &"0.01 ETH".into()));
    let offers = desk.asks(&["contract", "offers"]);
    let found = &offers["offers"][0];
    assert_eq!(found["consumer"].as_str().unwrap(), account().to_string());
    assert_eq!((found["left_bytes"].as_u64(), wei(&found["storage_price_wei"])), (Some(10 << 30), 1_000_000_000));
    assert_eq!(desk.asks(&["consumer", "offer", "ls"]), offers);
    let table = desk.home.ok(&["contract", "offers"]);
    assert!(table.contains("standing") && table.contains("10.0 GiB"), "{table}");

    desk.fails(&["consumer", "offer", "cancel", "2"], 1, &["the contract refuses"]);
    desk.done(&["consumer", "offer", "cancel", "1"]);
    assert_eq!(desk.asks(&["contract", "offers"])["offers"], serde_json::json!([]));
    desk.fails(&["consumer", "offer", "cancel", "1"], 1, &["the contract refuses: not standing (offer 1)"]);
    assert_eq!(wei(&desk.asks(&["wallet", "balance"])["vault_wei"]), Wei::ETHER.0 / 100);
    desk.fails(&["consumer", "withdraw", "1 ETH"], 1, &["has 0.01 ETH in the vault", "0.99 ETH less"]);
    let payee = ["contract", "withdraw", "0.004 ETH", "--to", PAYEE];
    assert_eq!(desk.done(&payee)["withdrawn"], "0.004 ETH");
    assert_eq!(desk.done(&["consumer", "withdraw"])["withdrawn"], "0.006 ETH");
    assert_eq!(wei(&desk.asks(&["wallet", "balance", PAYEE])["balance_wei"]), 4 * Wei::ETHER.0 / 1000);
    desk.fails(&["consumer", "withdraw"], 1, &["has nothing in the vault"]);
    desk.fails(&["producer", "activate"], 1, &["is activated as a producer already"]);
}
