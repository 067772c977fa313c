//! The money of a devnet: contracts, a wallet with ether for every role, activations, offers at price zero.
//!
//! Everything is done once: what is on the chain already is left as it is. STATE/chain.toml names it all, for
//! `openbucket --config STATE/chain.toml ...`; the password of all its wallets is in STATE/wallet-password.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::try_join_all;
use zeroize::Zeroizing;

use super::plan::{Plan, Process, Role};
use crate::{
    base::{OwnerId, Wei},
    chain::{
        At, Call, Deployment, Ledger, OfferId, OfferTerms, Party, RealLedger, Signer, Wallet, WalletError, deploy,
    },
    cli::{
        chain::{Actor, Addresses, Chain, DEVELOPMENT_CHAIN, owner_of, pay_activation, publish, random_key},
        init::keys_directory,
        output,
    },
    config::{Layer, NodeUrls, Sources},
    keys::{EthereumKey, KeyStore, Password, Phrase, ScryptCost, Sealing},
    runtime::{Chance, SystemChance, read_private, write_private},
};

/// The key of the first account of every development chain, which everybody knows.
const RICH_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Every role has this at least, and gets twice as much when it has less.
const LEAST: Wei = Wei(50 * Wei::ETHER.0);
/// Each transaction is final within this.
const LIMIT: Duration = Duration::from_secs(60);
/// These keys open nothing of worth.
const SCRYPT_LOG_N: u8 = 12;
const DAY_SECONDS: u64 = 24 * 3600;
const PASSWORD_BYTES: usize = 64;

/// Makes everything that is missing on a chain that runs. `phrase` is that of the mount, when it is new.
pub async fn prepare(plan: &Plan, limit_bytes: u64, phrase: Option<&str>) -> anyhow::Result<()> {
    let rich = Zeroizing::new(<[u8; 32]>::try_from(hex::decode(RICH_KEY)?).expect("64 digits"));
    let rich = Signer::from_bytes(&rich).context("the key of the development chain")?;
    let directory = plan.state.join("chain/outbox");
    if !is_deployed(plan).await? && directory.exists() {
        // What it remembers was on a chain that is no more.
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    let actor = Actor::open_at(chain(plan, None)?, directory, rich, LIMIT).await?;
    let done = equip(plan, &actor, phrase).await;
    actor.end().await;
    let wallets = done?;
    let members = plan.processes.iter().zip(&wallets).filter(|(process, _)| process.role != Role::Tracker);
    let joins = members.filter_map(|(process, key)| key.as_ref().map(|key| join(plan, process, key, limit_bytes)));
    try_join_all(joins).await?;
    output::line(&format!("chain: {}", url(plan)?))?;
    output::line(&format!("configuration: {}", config_file(plan).display()))
}

/// Deploys, and gives every role a wallet with ether; the keys of the wallets, by process.
async fn equip(plan: &Plan, rich: &Actor, phrase: Option<&str>) -> anyhow::Result<Vec<Option<EthereumKey>>> {
    if !is_deployed(plan).await? {
        let with = Deployment {
            treasury: rich.account(),
            minimum_payment: Wei(Wei::ETHER.0 / 1000),
            activation_wait_seconds: 0,
            bond: Wei(Wei::ETHER.0 / 1000),
        };
        let before = rich.chain.node.head().await?.number;
        let contracts = deploy(&rich.chain.node, &rich.outbox, &with, LIMIT).await?;
        let text = Addresses::of(DEVELOPMENT_CHAIN, &contracts, before).to_json();
        write(&contracts_file(plan), &text)?;
    }
    write(&config_file(plan), &config_text(plan)?)?;
    let password = password(&plan.state)?;
    let mut keys = Vec::new();
    for process in &plan.processes {
        if process.role == Role::Chain {
            keys.push(None);
            continue;
        }
        let phrase = phrase.filter(|_| process.role == Role::Mount);
        let key = wallet(&process.dir.join("wallet"), &password, phrase)?;
        let (to, amount) = (key.address(), Wei(2 * LEAST.0));
        if rich.chain.node.balance(to, At::Latest).await? < LEAST {
            let what = format!("funds of {}", process.name);
            rich.send(&random_key("fund"), Call { to, value: amount, data: Vec::new(), what }).await?;
        }
        keys.push(Some(key));
    }
    Ok(keys)
}

/// Activates a producer or consumer, and publishes a consumer's offer.
async fn join(plan: &Plan, process: &Process, key: &EthereumKey, limit_bytes: u64) -> anyhow::Result<()> {
    let chain = chain(plan, Some(contracts_file(plan)))?;
    let outbox = process.dir.join("wallet/outbox");
    let mut actor = Actor::open_at(chain, outbox, Signer::new(key), LIMIT).await?;
    actor.tells_deposits = false;
    let joined = take_part(&actor, process, limit_bytes).await;
    actor.end().await;
    joined.with_context(|| format!("{} cannot take part on the chain", process.name))
}

async fn take_part(actor: &Actor, process: &Process, limit_bytes: u64) -> anyhow::Result<()> {
    let ledger = actor.ledger().await?;
    let (party, owner) = match process.role {
        Role::Consumer => (Party::Consumer, owner_of(&process.dir)?),
        _ => (Party::Producer, producer(&process.dir)?),
    };
    if ledger.activation(actor.account(), party).await?.is_none() {
        pay_activation(actor, &ledger, party, owner, None).await?;
    }
    if party == Party::Consumer && !has_offer(actor, &ledger).await? {
        let now = ledger.now().await?;
        let terms = OfferTerms {
            storage_price: Wei(0),
            egress_price: Wei(0),
            capacity_bytes: limit_bytes,
            collateral_per_gib: Wei(0),
            earliest_end: now,
            expiry: now.plus(36_500 * DAY_SECONDS),
        };
        publish(actor, &ledger, terms, vec![process.addr.clone()]).await?;
    }
    Ok(())
}

async fn has_offer(actor: &Actor, ledger: &RealLedger) -> anyhow::Result<bool> {
    for number in 1..=ledger.offer_count().await? {
        let offer = ledger.offer(OfferId(number)).await?;
        if offer.is_some_and(|offer| offer.consumer == actor.account() && offer.is_standing) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn producer(directory: &Path) -> anyhow::Result<OwnerId> {
    let root = KeyStore::open(keys_directory(directory))?.root()?;
    Ok(root.context("the mount has no keys")?.owner_key().id())
}

/// The key of a wallet's default account; the wallet is made when it is missing.
fn wallet(directory: &Path, password: &Zeroizing<Vec<u8>>, phrase: Option<&str>) -> anyhow::Result<EthereumKey> {
    let chance = SystemChance::default();
    let password = Password::new(password.clone())?;
    let wallet = match Wallet::open(directory) {
        Err(WalletError::NotFound { .. }) => {
            let fresh = || Phrase::from_entropy(chance.bytes32());
            let phrase = phrase.map_or_else(|| Ok(fresh()), Phrase::parse)?;
            let cost = ScryptCost::of_log_n(SCRYPT_LOG_N).expect("it can be read again");
            let sealing = Sealing { password: &password, cost, chance: &chance };
            Wallet::vacancy(directory)?.fill(&phrase, &sealing)?
        }
        opened => opened?,
    };
    Ok(wallet.unlock(wallet.default_account().address, &password)?)
}

/// The password of all wallets of a devnet.
fn password(state: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let path = state.join("wallet-password");
    let words = || format!("cannot use {}", path.display());
    if let Some(password) = read_private(&path, PASSWORD_BYTES).with_context(words)? {
        return Ok(password);
    }
    let password = Zeroizing::new(hex::encode(&SystemChance::default().bytes32()[..16]).into_bytes());
    write_private(&path, &password, false).with_context(words)?;
    Ok(password)
}

/// Whether the chain has the contracts that were put there once.
async fn is_deployed(plan: &Plan) -> anyhow::Result<bool> {
    let path = contracts_file(plan);
    if !path.exists() {
        return Ok(false);
    }
    let chain = chain(plan, Some(path))?;
    Ok(chain.node.has_code(chain.contracts()?.vault).await?)
}

/// The chain of a devnet, whatever else this machine is configured for.
pub fn chain(plan: &Plan, contracts: Option<PathBuf>) -> anyhow::Result<Chain> {
    let flags = Layer {
        state: Some(plan.mount().dir.clone()),
        rpc: Some(NodeUrls(vec![url(plan)?])),
        chain_id: Some(DEVELOPMENT_CHAIN.0),
        contracts,
        ..Layer::default()
    };
    Chain::of_settings(Sources { flags, ..Sources::default() }.load()?)
}

fn url(plan: &Plan) -> anyhow::Result<String> {
    let chain = plan.chain().context("this devnet has no chain")?;
    Ok(format!("http://127.0.0.1:{}", chain.port()?))
}

fn contracts_file(plan: &Plan) -> PathBuf {
    plan.state.join("contracts.json")
}

fn config_file(plan: &Plan) -> PathBuf {
    plan.state.join("chain.toml")
}

fn config_text(plan: &Plan) -> anyhow::Result<String> {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    let mount = &plan.mount().dir;
    Ok(format!(
        "# The chain of this devnet. The wallets of the others are in their directories.\n\
         state = {}\nwallet = {}\nrpc = [\"{}\"]\nchain-id = {DEVELOPMENT_CHAIN}\ncontracts = {}\n",
        quoted(mount),
        quoted(&mount.join("wallet")),
        url(plan)?,
        quoted(&contracts_file(plan)),
    ))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private(path, text.as_bytes(), true).with_context(|| format!("cannot write {}", path.display()))
}
