//! `contract deploy|show|offers|settle|topup|withdraw`.

use serde_json::{Value, json};

use super::{
    Actor, Addresses, Chain, ContractCommand, Done, WithoutNode,
    args::{AgreementActArgs, ContractDeployArgs, ContractShowArgs, ContractTopupArgs, KeyArgs},
    money, offer, random_key,
};
use crate::{
    base::{Wei, format_bytes},
    chain::{
        Action, Agreement, AgreementId, AgreementState, Deployment, Ledger, RealLedger, Timestamp,
        deploy as deploy_contracts,
    },
    cli::{UsageError, args::Global, output},
    config::Layer,
    keys::EthereumAddress,
};

pub async fn run(global: &Global, command: ContractCommand) -> anyhow::Result<()> {
    match command {
        ContractCommand::Deploy(args) => deploy(global, &args).await,
        ContractCommand::Show(args) => show(global, &args).await,
        ContractCommand::Offers(args) => offer::list_all(global, &args).await,
        ContractCommand::Settle(args) => settle(global, &args).await,
        ContractCommand::Topup(args) => top_up(global, &args).await,
        ContractCommand::Withdraw(args) => money::withdraw(global, &args).await,
    }
}

async fn deploy(global: &Global, args: &ContractDeployArgs) -> anyhow::Result<()> {
    let words = |account: EthereumAddress| format!("deploy all contracts from {account}");
    let actor = Actor::begin(global, &args.act, WithoutNode::Refuse, words).await?;
    let with = Deployment {
        treasury: args.treasury.unwrap_or(actor.account()),
        minimum_payment: args.minimum_payment,
        activation_wait_seconds: u64::from(args.activation_wait_hours) * 3600,
        bond: args.bond,
    };
    let before = actor.chain.node.head().await;
    let made = deploy_contracts(&actor.chain.node, &actor.outbox, &with, args.act.sign.timeout).await;
    let chain = actor.chain.node.chain();
    actor.end().await;
    let contracts = made?;
    if args.act.sign.ask.json {
        return output::line(&Addresses::of(chain, &contracts, before?.number).to_json());
    }
    let names = ["vault", "registry", "mandates", "agreements", "disputes"];
    for (name, address) in names.into_iter().zip(contracts.all()) {
        output::line(&format!("{name}: {address}"))?;
    }
    Ok(())
}

async fn show(global: &Global, args: &ContractShowArgs) -> anyhow::Result<()> {
    let chain = Chain::of(global, &args.ask.chain, Layer::default())?;
    let ledger = chain.reader(EthereumAddress([0; 20])).await?;
    let agreement = ledger.agreement(args.agreement).await?;
    if agreement.state == AgreementState::None {
        anyhow::bail!("there is no agreement {} on chain {}", args.agreement, chain.node.chain());
    }
    let now = ledger.now().await?;
    if args.ask.json {
        return output::line(&as_json(args.agreement, &agreement, now).to_string());
    }
    for (name, value) in lines(args.agreement, &agreement, now) {
        output::line(&format!("{name}: {value}"))?;
    }
    Ok(())
}

/// What a person wants to know of an agreement.
fn lines(id: AgreementId, it: &Agreement, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("agreement", id.to_string()),
        ("state", state_in_words(it, now)),
        ("producer", it.producer.to_string()),
        ("consumer", it.consumer.to_string()),
        ("revision", it.number.to_string()),
        ("stored", format!("{} of {}", format_bytes(it.basis_bytes), format_bytes(it.capacity_bytes))),
        ("shards", it.shard_count.to_string()),
        ("storage price", format!("{} a GiB-month", it.storage_price)),
        ("egress price", format!("{} a GiB", it.egress_price)),
        ("earliest end", offer::time(it.earliest_end)),
        ("open disputes", it.open_disputes.to_string()),
    ];
    // Its pots are empty once it is over; what the record says of them then is not what was paid to whom.
    if is_over(it) {
        lines.push(("money", "shared out: nothing is held any more".to_owned()));
        return lines;
    }
    let until = match it.paid_until() {
        Timestamp::ENDLESS => "for ever".to_owned(),
        until => offer::time(until),
    };
    lines.extend([
        ("funded", it.funded.to_string()),
        ("paid", it.paid.to_string()),
        ("owed by now", it.owed_at(now).to_string()),
        ("paid until", until),
        ("allowance left", it.allowance_left().to_string()),
        ("collateral", it.collateral.to_string()),
    ]);
    lines
}

fn is_over(agreement: &Agreement) -> bool {
    matches!(agreement.state, AgreementState::Cancelled | AgreementState::Finished)
}

/// The state, and what it asks for.
fn state_in_words(it: &Agreement, now: Timestamp) -> String {
    let ends = || match it.closes_at < now {
        true => "can be finished now".to_owned(),
        false => format!("until {}", offer::time(it.closes_at)),
    };
    match it.state {
        AgreementState::Pending => "pending: its first revision is not on the chain".to_owned(),
        AgreementState::Active if it.is_lapsed(now) => "active, but the money is used up: it ends".to_owned(),
        AgreementState::Active if it.is_in_grace(now) => "active, in grace: top it up, or it ends".to_owned(),
        AgreementState::Closing => format!("closing: {}", ends()),
        AgreementState::Terminated => format!("terminated: {}", ends()),
        _ => state(it).to_owned(),
    }
}

fn state(agreement: &Agreement) -> &'static str {
    match agreement.state {
        AgreementState::None => "none",
        AgreementState::Pending => "pending",
        AgreementState::Active => "active",
        AgreementState::Closing => "closing",
        AgreementState::Terminated => "terminated",
        AgreementState::Cancelled => "cancelled",
        AgreementState::Finished => "finished",
    }
}

fn as_json(id: AgreementId, agreement: &Agreement, now: Timestamp) -> Value {
    let wei = |amount: Wei| amount.0.to_string();
    // Of what is over, nobody knows from the record what was paid to whom.
    let while_held = |amount: Wei| if is_over(agreement) { None } else { Some(wei(amount)) };
    let some_time = |time: Timestamp| Some(time.0).filter(|seconds| *seconds != 0);
    let is_active = agreement.state == AgreementState::Active;
    json!({
        "agreement": id.to_string(),
        "state": state(agreement),
        "is_in_grace": agreement.is_in_grace(now),
        "is_lapsed": is_active && agreement.is_lapsed(now),
        "closes_at": some_time(agreement.closes_at),
        "earliest_end": agreement.earliest_end.0,
        "producer": agreement.producer.to_string(),
        "consumer": agreement.consumer.to_string(),
        "number": agreement.number,
        "stored_bytes": agreement.basis_bytes,
        "capacity_bytes": agreement.capacity_bytes,
        "shard_count": agreement.shard_count,
        "storage_price_wei": wei(agreement.storage_price),
        "egress_price_wei": wei(agreement.egress_price),
        "funded_wei": while_held(agreement.funded),
        "paid_wei": while_held(agreement.paid),
        "owed_wei": while_held(agreement.owed_at(now)),
        "paid_until": agreement.paid_until().0,
        "allowance_left_wei": while_held(agreement.allowance_left()),
        "collateral_wei": while_held(agreement.collateral),
        "open_disputes": agreement.open_disputes,
    })
}

async fn settle(global: &Global, args: &AgreementActArgs) -> anyhow::Result<()> {
    let agreement = args.agreement;
    let words = |account| format!("settle agreement {agreement} from {account}");
    let actor = Actor::begin(global, &args.act, WithoutNode::Keep, words).await?;
    let done = act(&actor, &args.key, &Action::Settle { agreement }, Wei(0)).await;
    actor.end().await;
    done?.print(args.act.sign.ask.json, &json!({ "settled": agreement.to_string() }))
}

async fn top_up(global: &Global, args: &ContractTopupArgs) -> anyhow::Result<()> {
    let ContractTopupArgs { of: AgreementActArgs { agreement, key, act: by }, held, allowance } = args;
    let (agreement, held, allowance) = (*agreement, *held, *allowance);
    let sum = held.checked_add(allowance).filter(|sum| sum.0 > 0);
    let sum = sum.ok_or_else(|| UsageError::of("a top-up of 0 changes nothing"))?;
    let words = |account| format!("put {sum} of {account} into agreement {agreement}");
    let actor = Actor::begin(global, by, WithoutNode::Keep, words).await?;
    let done = act(&actor, key, &Action::TopUp { agreement, held, allowance }, sum).await;
    actor.end().await;
    done?.print(by.sign.ask.json, &json!({ "added": sum.to_string(), "agreement": agreement.to_string() }))
}

/// Does something with an agreement; what it takes from the vault is deposited first.
async fn act(actor: &Actor, key: &KeyArgs, action: &Action, needed: Wei) -> anyhow::Result<Done> {
    let ledger = actor.ledger().await?;
    let key = key.key.clone().unwrap_or_else(|| random_key("agreement"));
    // Without a node nothing can be looked at: what lacks something is refused when one answers, and costs nothing.
    if actor.offline.is_none() && !actor.knows(&key).await {
        check(&ledger, action).await?;
        actor.deposit_missing(&ledger, needed, &key).await?;
    }
    actor.act(&ledger, &key, action).await
}

/// Refuses what the contract would refuse, before a deposit is made for it.
async fn check(ledger: &RealLedger, action: &Action) -> anyhow::Result<()> {
    let (Action::TopUp { agreement: id, .. } | Action::Settle { agreement: id }) = action else { return Ok(()) };
    let found = ledger.agreement(*id).await?;
    if found.state == AgreementState::None {
        anyhow::bail!("there is no agreement {id} on this chain");
    }
    if !matches!(action, Action::TopUp { .. }) {
        return Ok(());
    }
    if found.producer != ledger.account() {
        anyhow::bail!("only the producer {} can top up agreement {id}", found.producer);
    }
    let now = ledger.now().await?;
    let takes_money = matches!(found.state, AgreementState::Pending | AgreementState::Active);
    if !takes_money || found.is_lapsed(now) {
        anyhow::bail!("agreement {id} takes no more money: it is {}", state_in_words(&found, now));
    }
    Ok(())
}
