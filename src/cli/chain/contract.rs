//! `contract deploy|show|offers|settle|topup|withdraw`.

use serde_json::{Value, json};

use super::{
    Actor, Addresses, Chain, ContractCommand, Done,
    args::{ContractDeployArgs, ContractSettleArgs, ContractShowArgs, ContractTopupArgs},
    money, offer, random_key,
};
use crate::{
    base::{Wei, format_bytes},
    chain::{Action, Agreement, AgreementState, Deployment, Ledger, Timestamp, deploy as deploy_contracts},
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
    let actor = Actor::begin(global, &args.act, words).await?;
    let with = Deployment {
        treasury: args.treasury.unwrap_or(actor.account()),
        minimum_payment: args.minimum_payment,
        activation_wait_seconds: u64::from(args.activation_wait_hours) * 3600,
        bond: args.bond,
    };
    let made = deploy_contracts(&actor.chain.node, &actor.outbox, &with, args.act.timeout).await;
    let chain = actor.chain.node.chain();
    actor.end().await;
    let contracts = made?;
    if args.act.json {
        return output::line(&Addresses::of(chain, &contracts).to_json());
    }
    let names = ["vault", "registry", "mandates", "agreements", "disputes"];
    for (name, address) in names.into_iter().zip(contracts.all()) {
        output::line(&format!("{name}: {address}"))?;
    }
    Ok(())
}

async fn show(global: &Global, args: &ContractShowArgs) -> anyhow::Result<()> {
    let chain = Chain::of(global, &args.chain, Layer::default())?;
    let ledger = chain.reader(EthereumAddress([0; 20])).await?;
    let agreement = ledger.agreement(args.agreement).await?;
    if agreement.state == AgreementState::None {
        anyhow::bail!("there is no agreement {} on chain {}", args.agreement, chain.node.chain());
    }
    let now = ledger.now().await?;
    if args.json {
        return output::line(&as_json(&agreement, now).to_string());
    }
    let until = match agreement.paid_until() {
        Timestamp::ENDLESS => "for ever".to_owned(),
        until => offer::time(until),
    };
    let lines = [
        ("agreement", args.agreement.to_string()),
        ("state", state(&agreement).to_owned()),
        ("producer", agreement.producer.to_string()),
        ("consumer", agreement.consumer.to_string()),
        ("revision", agreement.number.to_string()),
        ("stored", format_bytes(agreement.basis_bytes)),
        ("shards", agreement.shard_count.to_string()),
        ("storage price", format!("{} a GiB-month", agreement.storage_price)),
        ("egress price", format!("{} a GiB", agreement.egress_price)),
        ("funded", agreement.funded.to_string()),
        ("paid", agreement.paid.to_string()),
        ("owed by now", agreement.owed_at(now).to_string()),
        ("paid until", until),
        ("allowance left", agreement.allowance_left().to_string()),
        ("collateral", agreement.collateral.to_string()),
        ("open disputes", agreement.open_disputes.to_string()),
    ];
    for (name, value) in lines {
        output::line(&format!("{name}: {value}"))?;
    }
    Ok(())
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

fn as_json(agreement: &Agreement, now: Timestamp) -> Value {
    let wei = |amount: Wei| amount.0.to_string();
    json!({
        "state": state(agreement),
        "producer": agreement.producer.to_string(),
        "consumer": agreement.consumer.to_string(),
        "number": agreement.number,
        "stored_bytes": agreement.basis_bytes,
        "shard_count": agreement.shard_count,
        "storage_price_wei": wei(agreement.storage_price),
        "egress_price_wei": wei(agreement.egress_price),
        "funded_wei": wei(agreement.funded),
        "paid_wei": wei(agreement.paid),
        "owed_wei": wei(agreement.owed_at(now)),
        "paid_until": agreement.paid_until().0,
        "allowance_left_wei": wei(agreement.allowance_left()),
        "collateral_wei": wei(agreement.collateral),
        "open_disputes": agreement.open_disputes,
    })
}

async fn settle(global: &Global, args: &ContractSettleArgs) -> anyhow::Result<()> {
    let agreement = args.agreement;
    let actor =
        Actor::begin(global, &args.act, |account| format!("settle agreement {agreement} from {account}")).await?;
    let done = act(&actor, &Action::Settle { agreement }, Wei(0)).await;
    actor.end().await;
    done?.print(args.act.json, &json!({ "settled": agreement.to_string() }))
}

async fn top_up(global: &Global, args: &ContractTopupArgs) -> anyhow::Result<()> {
    let (agreement, held, allowance) = (args.agreement, args.held, args.allowance);
    let sum = held.checked_add(allowance).filter(|sum| sum.0 > 0);
    let sum = sum.ok_or_else(|| UsageError::of("a top-up of 0 changes nothing"))?;
    let words = |account| format!("put {sum} of {account} into agreement {agreement}");
    let actor = Actor::begin(global, &args.act, words).await?;
    let done = act(&actor, &Action::TopUp { agreement, held, allowance }, sum).await;
    actor.end().await;
    done?.print(args.act.json, &json!({ "added": sum.to_string(), "agreement": agreement.to_string() }))
}

/// Does something with an agreement; what it takes from the vault is deposited first.
async fn act(actor: &Actor, action: &Action, needed: Wei) -> anyhow::Result<Done> {
    let ledger = actor.ledger().await?;
    if let Action::TopUp { agreement, .. } | Action::Settle { agreement } = action
        && ledger.agreement(*agreement).await?.state == AgreementState::None
    {
        anyhow::bail!("there is no agreement {agreement} on chain {}", actor.chain.node.chain());
    }
    actor.deposit_missing(&ledger, needed).await?;
    actor.act(&ledger, &random_key("agreement"), action).await
}
