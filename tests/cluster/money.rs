//! A devnet with a chain: everybody has ether and takes part, and a restart keeps all of it.

use serde_json::Value;

use crate::fixture::{Cluster, text};

fn ask(cluster: &Cluster, words: &[&str]) -> Value {
    let config = text(&cluster.state().join("chain.toml"));
    cluster.json(&[words, &["--config", &config]].concat())
}

#[test]
fn a_devnet_with_a_chain_has_money_and_offers() {
    let Some(mut cluster) = Cluster::start(2, &["--chain", "anvil", "--tier", "1+1"]) else { return };
    assert_eq!(cluster.process("chain")["role"], "chain");
    let offers = ask(&cluster, &["contract", "offers"]);
    let list = offers["offers"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{offers}");
    assert!(list.iter().all(|offer| offer["storage_price_wei"] == "0" && offer["left_bytes"] == 10_000_000_000u64));
    for name in ["mount", "tracker", "consumer-1", "consumer-2"] {
        let wallet = text(&cluster.state().join(name).join("wallet"));
        let balance = ask(&cluster, &["wallet", "balance", "--wallet", &wallet]);
        let wei: u128 = balance["balance_wei"].as_str().unwrap().parse().unwrap();
        assert!(wei > 99 * 10u128.pow(18), "{name}: {balance}");
    }
    let state = text(&cluster.state());
    cluster.ok(&["devnet", "stop", "chain", "--state", &state]);
    let config = text(&cluster.state().join("chain.toml"));
    cluster.refused(&["contract", "offers", "--config", &config], &["127.0.0.1"]);
    std::fs::write(cluster.file("without"), "a chain, files work").unwrap();
    cluster.sync();
    cluster.ok(&["devnet", "start", "chain", "--state", &state]);
    assert_eq!(ask(&cluster, &["contract", "offers"]), offers, "the chain was kept");
    cluster.down();
    cluster.up();
    assert_eq!(ask(&cluster, &["contract", "offers"]), offers, "nothing is made twice");
}
