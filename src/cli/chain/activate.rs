//! `producer activate`, `consumer activate`: an account takes part, for an owner whose keys are on this machine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{
    Actor, ConsumerActivateArgs, Done, WithoutNode,
    args::{ActivateArgs, ProducerActivateArgs},
    offer::time,
    random_key,
};
use crate::{
    base::{OwnerId, Wei},
    chain::{Action, Activation, Ledger, Party, RealLedger, Timestamp},
    cli::{UsageError, args::Global, init::keys_directory, locate},
    config::Layer,
    keys::{Fresh, KeyStore, Role},
    runtime::{Chance, Clock, SystemChance, SystemClock},
    store::StateLock,
};

/// A signed activation that is not submitted within this is void.
const DEADLINE_SECONDS: u64 = 24 * 3600;

pub async fn activate_producer(global: &Global, args: &ProducerActivateArgs) -> anyhow::Result<()> {
    let settings = locate::settings(global, Layer { state: args.state.clone(), ..Layer::default() })?;
    let root = match keys_directory(&settings.state).exists() {
        true => KeyStore::open(keys_directory(&settings.state))?.root()?,
        false => None,
    };
    let missing = || format!("{} has no keys yet: run openbucket init", settings.state.display());
    let owner = root.with_context(missing)?.owner_key().id();
    activate(global, &args.activate, Party::Producer, owner).await
}

pub async fn activate_consumer(global: &Global, args: &ConsumerActivateArgs) -> anyhow::Result<()> {
    let settings = locate::settings(global, Layer { consumer_dir: args.dir.clone(), ..Layer::default() })?;
    let missing = || UsageError::of("which consumer? name its directory with --dir, or set consumer.dir");
    let owner = owner_of(&settings.consumer_dir.ok_or_else(missing)?)?;
    activate(global, &args.activate, Party::Consumer, owner).await
}

/// The owner of a consumer: told by its certificate, or made now when it has never run.
pub fn owner_of(directory: &Path) -> anyhow::Result<OwnerId> {
    let keys = keys_directory(directory);
    let certificate = |keys: PathBuf| KeyStore::open(keys)?.known_owner();
    if keys.exists()
        && let Some(owner) = certificate(keys.clone())?
    {
        return Ok(owner);
    }
    let _lock = StateLock::acquire(directory, "activate")?;
    let chance = SystemChance::default();
    let fresh = Fresh { peer: chance.bytes32().into(), owner: chance.bytes32().into() };
    Ok(KeyStore::open(keys)?.identity(Role::Consumer, fresh, SystemClock.now())?.certificate.owner)
}

async fn activate(global: &Global, args: &ActivateArgs, party: Party, owner: OwnerId) -> anyhow::Result<()> {
    let ActivateArgs { payment, act } = args;
    let payment = *payment;
    let name = name_of(party);
    let words = |account| match payment {
        Some(payment) => format!("activate {account} as a {name} for {payment}"),
        None => format!("activate {account} as a {name} for the least payment"),
    };
    let actor = Actor::begin(global, act, WithoutNode::Refuse, words).await?;
    let done = match actor.ledger().await {
        Ok(ledger) => pay_activation(&actor, &ledger, party, owner, payment).await,
        Err(error) => Err(error),
    };
    let account = actor.account();
    actor.end().await;
    let (done, payment, from) = done?;
    done.print(
        act.sign.ask.json,
        &json!({
            "activated": account.to_string(),
            "as": name,
            "payment": payment.to_string(),
            "counts_from": if act.sign.ask.json { json!(from) } else { json!(time(Timestamp(from))) },
        }),
    )
}

fn name_of(party: Party) -> &'static str {
    match party {
        Party::Producer => "producer",
        Party::Consumer => "consumer",
    }
}

/// Pays for an account to take part: what is missing in the vault is deposited first. Gives the payment and when it counts.
pub async fn pay_activation(
    actor: &Actor,
    ledger: &RealLedger,
    party: Party,
    owner: OwnerId,
    payment: Option<Wei>,
) -> anyhow::Result<(Done, Wei, u64)> {
    let account = actor.account();
    if ledger.activation(account, party).await?.is_some() {
        anyhow::bail!("the account {account} is activated as a {} already", name_of(party));
    }
    let least = ledger.minimum_payment().await?;
    let payment = payment.unwrap_or(least);
    if payment < least {
        anyhow::bail!("an activation costs {least} at least: {payment} is too little");
    }
    let key = random_key("activate");
    actor.deposit_missing(ledger, payment, &key).await?;
    let deadline = ledger.now().await?.plus(DEADLINE_SECONDS);
    let activation = Activation { account, owner: *owner.as_bytes(), party, payment, deadline };
    let signature = ledger.domains().registry.sign(&activation, &actor.signer);
    let done = actor.act(ledger, &key, &Action::Activate { activation, signature }).await?;
    let state = ledger.activation(account, party).await?.context("the activation is not on the chain")?;
    Ok((done, payment, state.from.0))
}
