//! Puts the contracts on a chain, as `contracts/script/Deployment.sol` does: five transactions of one account, one after another.

use std::time::Duration;

use ethers::{
    abi::{Token, encode},
    types::H160,
};
use serde::Deserialize;

use super::{ActionKey, Call, Contracts, Error, Node, Outbox, Outcome, Progress, Until, node::At};
use crate::{base::Wei, keys::EthereumAddress};

/// What the contracts are made with.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// Gets the payments of activations.
    pub treasury: EthereumAddress,
    /// An activation costs this, at least.
    pub minimum_payment: Wei,
    /// An activation counts after this.
    pub activation_wait_seconds: u64,
    /// What a challenge costs until it succeeds.
    pub bond: Wei,
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: String,
}

/// Makes all contracts from the account of an outbox that has nothing else to do, and waits until they are final. Were it cut
/// short, the contracts that are there already are of no use: it is done anew, and costs the gas of another one.
pub async fn deploy(node: &Node, outbox: &Outbox, with: &Deployment, timeout: Duration) -> Result<Contracts, Error> {
    let report = outbox.report();
    if !report.actions.is_empty() {
        let why = format!("{} transactions of the account are not final: deploy after them", report.actions.len());
        return Err(Error::Invalid(why));
    }
    let first = node.transaction_count(report.account, At::Latest).await?;
    let contracts = Contracts::of_deployer(report.account, first);
    let mut keys = Vec::new();
    for (name, arguments, artifact) in parts(&contracts, with) {
        let key = ActionKey::new(format!("deploy/{first}/{name}"))?;
        let artifact: Artifact = serde_json::from_str(artifact).expect("what the compiler wrote is JSON");
        let code = hex::decode(artifact.bytecode.trim_start_matches("0x")).expect("bytecode is hexadecimal");
        let data = [code, encode(&arguments)].concat();
        let what = format!("deployment of {name}");
        outbox.submit(&key, Call { to: Call::NEW_CONTRACT, value: Wei(0), data, what }).await?;
        keys.push(key);
    }
    for key in keys {
        if let Progress::Final(Outcome::Reverted { why, .. }) = outbox.wait(&key, Until::Final, timeout).await? {
            return Err(Error::Reverted { what: key.to_string(), why });
        }
    }
    for contract in contracts.all() {
        if !node.has_code(contract).await? {
            let why = "another program sent from the account meanwhile, so that the contracts do not know each other: \
                       deploy again, with nothing else sending from it";
            return Err(Error::Invalid(why.to_owned()));
        }
    }
    Ok(contracts)
}

type Part = (&'static str, Vec<Token>, &'static str);

fn parts(it: &Contracts, with: &Deployment) -> [Part; 5] {
    let address = |address: EthereumAddress| Token::Address(H160(address.0));
    let number = |number: u128| Token::Uint(number.into());
    let of_registry = vec![
        address(it.vault),
        address(it.agreements),
        address(with.treasury),
        number(with.minimum_payment.0),
        number(with.activation_wait_seconds.into()),
    ];
    [
        (
            "vault",
            vec![address(it.registry), address(it.agreements), address(it.disputes)],
            include_str!("../../contracts/abi/Vault.json"),
        ),
        ("registry", of_registry, include_str!("../../contracts/abi/Registry.json")),
        ("mandates", vec![address(it.agreements)], include_str!("../../contracts/abi/Mandates.json")),
        (
            "agreements",
            vec![address(it.vault), address(it.registry), address(it.mandates), address(it.disputes)],
            include_str!("../../contracts/abi/Agreements.json"),
        ),
        (
            "disputes",
            vec![address(it.vault), address(it.agreements), address(it.mandates), number(with.bond.0)],
            include_str!("../../contracts/abi/Disputes.json"),
        ),
    ]
}
