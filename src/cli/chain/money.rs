//! `wallet balance`, `wallet send`, and what takes money out of the vault.

use serde_json::json;

use super::{Actor, Chain, WalletBalanceArgs, WalletSendArgs, WithdrawArgs, WithoutNode, pending, random_key};
use crate::{
    base::Wei,
    chain::{Action, At, Call, Ledger, RealLedger},
    cli::{UsageError, args::Global, output, wallet},
    keys::EthereumAddress,
};

/// What an account has, also in the vault when the contracts are known.
pub async fn balance(global: &Global, args: &WalletBalanceArgs) -> anyhow::Result<()> {
    let account = match args.address.as_deref().map(str::parse::<EthereumAddress>) {
        Some(Ok(address)) => address,
        _ => wallet::account(global, &args.wallet, args.address.as_deref())?.1,
    };
    let chain = Chain::of(global, &args.ask.chain, args.wallet.layer())?;
    let purse = chain.node.balance(account, At::Latest).await?;
    let vault = match chain.find_contracts()? {
        Some(_) => Some(chain.reader(account).await?.balance(account).await?),
        None => None,
    };
    let pending = pending::count(&chain, account).await?;
    if args.ask.json {
        let text = |amount: Wei| amount.0.to_string();
        let found = json!({
            "address": account.to_string(),
            "chain_id": chain.node.chain().0,
            "balance_wei": text(purse),
            "vault_wei": vault.map(text),
            "pending": pending,
        });
        return output::line(&found.to_string());
    }
    output::line(&format!("account: {account}"))?;
    output::line(&format!("balance: {purse}"))?;
    if let Some(vault) = vault {
        output::line(&format!("in the vault: {vault}"))?;
    }
    match pending {
        0 => Ok(()),
        count => output::line(&format!("pending: {count}; openbucket wallet pending shows them")),
    }
}

/// Pays an account.
pub async fn send(global: &Global, args: &WalletSendArgs) -> anyhow::Result<()> {
    let (to, amount) = (args.to, args.amount);
    if amount == Wei(0) {
        return Err(UsageError::of("an amount of 0 pays nobody: give one, for example \"0.01 ETH\""));
    }
    if to.0 == [0; 20] {
        return Err(UsageError::of("the address 0x0 is nobody's: what is sent there is lost"));
    }
    let words = |account| format!("send {amount} from {account} to {to}");
    let actor = Actor::begin(global, &args.act, WithoutNode::Keep, words).await?;
    let what = format!("payment of {amount} to {to}");
    let key = args.key.key.clone().unwrap_or_else(|| random_key("send"));
    let done = actor.send(&key, Call { to, value: amount, data: Vec::new(), what }).await;
    let from = actor.account();
    actor.end().await;
    done?.print(
        args.act.sign.ask.json,
        &json!({ "paid": amount.to_string(), "from": from.to_string(), "to": to.to_string() }),
    )
}

/// Takes money of the account out of the vault.
pub async fn withdraw(global: &Global, args: &WithdrawArgs) -> anyhow::Result<()> {
    if args.amount == Some(Wei(0)) {
        return Err(UsageError::of("an amount of 0 withdraws nothing"));
    }
    if args.amount.is_none() && args.key.key.is_some() {
        return Err(UsageError::of("--key needs an AMOUNT: everything may be another amount the next time"));
    }
    let words = |account: EthereumAddress| {
        let amount = args.amount.map_or("everything".to_owned(), |amount| amount.to_string());
        format!("withdraw {amount} of {account} from the vault to {}", args.to.unwrap_or(account))
    };
    let without_node = if args.amount.is_some() { WithoutNode::Keep } else { WithoutNode::Refuse };
    let actor = Actor::begin(global, &args.act, without_node, words).await?;
    let done = take_out(&actor, args).await;
    actor.end().await;
    let (done, facts) = done?;
    done.print(args.act.sign.ask.json, &facts)
}

async fn take_out(actor: &Actor, args: &WithdrawArgs) -> anyhow::Result<(super::Done, serde_json::Value)> {
    let ledger = actor.ledger().await?;
    let key = args.key.key.clone().unwrap_or_else(|| random_key("withdraw"));
    let amount = match args.amount {
        Some(amount) if actor.offline.is_some() || actor.knows(&key).await => amount,
        asked => available(&ledger, asked).await?,
    };
    let to = args.to.unwrap_or(actor.account());
    let done = actor.act(&ledger, &key, &Action::Withdraw { amount, to }).await?;
    Ok((done, json!({ "withdrawn": amount.to_string(), "to": to.to_string() })))
}

/// How much of the vault can be taken out: what is asked for, or everything.
async fn available(ledger: &RealLedger, asked: Option<Wei>) -> anyhow::Result<Wei> {
    let account = ledger.account();
    let held = ledger.balance(account).await?;
    let amount = asked.unwrap_or(held);
    if let Some(missing) = amount.checked_sub(held).filter(|missing| missing.0 > 0) {
        anyhow::bail!("the account {account} has {held} in the vault, {missing} less than {amount}");
    }
    if amount == Wei(0) {
        anyhow::bail!("the account {account} has nothing in the vault");
    }
    Ok(amount)
}
