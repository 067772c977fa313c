//! The contracts on an Anvil, in the time that a test sets.

use ethers::abi::{Token, encode};
use openbucket::{
    base::Wei,
    chain::{Contracts, SimulatedChainOptions},
    keys::EthereumAddress,
};
use serde_json::{Value, json};

use crate::{
    anvil::{Anvil, CHAIN},
    outbox::account,
};

/// What the contracts are made with, on both chains.
pub fn settings(contracts: Contracts) -> SimulatedChainOptions {
    SimulatedChainOptions {
        chain: CHAIN,
        contracts,
        treasury: account(0x77),
        minimum_payment: Wei(1_000),
        activation_wait_seconds: 3_600,
        bond: Wei(5_000),
    }
}

fn bytecode(name: &str) -> Vec<u8> {
    let path = format!("{}/contracts/abi/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}; run scripts/contracts abi"));
    let artifact: Value = serde_json::from_str(&text).expect("JSON");
    let code = artifact["bytecode"].as_str().expect("bytecode");
    hex::decode(code.trim_start_matches("0x")).expect("hexadecimal")
}

fn address(address: EthereumAddress) -> Token {
    Token::Address(ethers::types::H160(address.0))
}

fn number(number: u128) -> Token {
    Token::Uint(number.into())
}

/// Makes all five, from the first account of Anvil.
pub async fn deploy(anvil: &Anvil) -> Contracts {
    let accounts = anvil.ask("eth_accounts", json!([])).await;
    let deployer: EthereumAddress = {
        let text = accounts[0].as_str().expect("an account").trim_start_matches("0x");
        EthereumAddress(hex::decode(text).expect("hexadecimal").try_into().expect("20 bytes"))
    };
    let it = Contracts::of_deployer(deployer, anvil.nonce(deployer).await);
    let with = settings(it);
    let made_with = [
        ("Vault", vec![address(it.registry), address(it.agreements), address(it.disputes)]),
        (
            "Registry",
            vec![
                address(it.vault),
                address(it.agreements),
                address(with.treasury),
                number(with.minimum_payment.0),
                number(with.activation_wait_seconds.into()),
            ],
        ),
        ("Mandates", vec![address(it.agreements)]),
        ("Agreements", vec![address(it.vault), address(it.registry), address(it.mandates), address(it.disputes)]),
        ("Disputes", vec![address(it.vault), address(it.agreements), address(it.mandates), number(with.bond.0)]),
    ];
    for ((name, arguments), expected) in made_with.into_iter().zip(it.all()) {
        let data = format!("0x{}{}", hex::encode(bytecode(name)), hex::encode(encode(&arguments)));
        let call = json!({ "from": accounts[0], "data": data });
        anvil.transact(call).await;
        assert!(anvil.node.has_code(expected).await.expect("asked"), "{name} is made");
    }
    it
}
