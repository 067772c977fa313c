//! `wallet balance`, `wallet send`, and what takes money out of the vault.

use serde_json::json;

use super::{Actor, Chain, WalletBalanceArgs, WalletSendArgs, WithdrawArgs, random_key};
use crate::{
    base::Wei,
    chain::{Action, At, Call, Ledger},
    cli::{UsageError, args::Global, output, wallet},
    config::Layer,
    keys::EthereumAddress,
};

/// What an account has, also in the vault when the contracts are known.
pub async fn balance(global: &Global, args: &WalletBalanceArgs) -> anyhow::Result<()> {
    let account = match args.address.as_deref().map(str::parse::<EthereumAddress>) {
        Some(Ok(address)) => address,
        _ => wallet::account(global, &args.wallet, args.address.as_deref())?.1,
    };
    let chain = Chain::of(global, &args.chain, Layer::default())?;
    let purse = chain.node.balance(account, At::Latest).await?;
    let vault = match chain.find_contracts()? {
        Some(_) => Some(chain.reader(account).await?.balance(account).await?),
        None => None,
    };
    if args.json {
        let text = |amount: Wei| amount.0.to_string();
        let vault = vault.map(text);
        let found = json!({ "address": account.to_string(), "chain_id": chain.node.chain().0, "balance_wei": text(purse), "vault_wei": vault });
        return output::line(&found.to_string());
    }
    output::line(&format!("account: {account}"))?;
    output::line(&format!("balance: {purse}"))?;
    match vault {
        Some(vault) => output::line(&format!("in the vault: {vault}")),
        None => Ok(()),
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
    let actor = Actor::begin(global, &args.act, |account| format!("send {amount} from {account} to {to}")).await?;
    let what = format!("payment of {amount} to {to}");
    let done = actor.send(&random_key("send"), Call { to, value: amount, data: Vec::new(), what }).await;
    let from = actor.account();
    actor.end().await;
    done?.print(args.act.json, &json!({ "paid": amount.to_string(), "from": from.to_string(), "to": to.to_string() }))
}

/// Takes money of the account out of the vault.
pub async fn withdraw(global: &Global, args: &WithdrawArgs) -> anyhow::Result<()> {
    if args.amount == Some(Wei(0)) {
        return Err(UsageError::of("an amount of 0 withdraws nothing"));
    }
    let words = |account: EthereumAddress| {
        let amount = args.amount.map_or("everything".to_owned(), |amount| amount.to_string());
        format!("withdraw {amount} of {account} from the vault to {}", args.to.unwrap_or(account))
    };
    let actor = Actor::begin(global, &args.act, words).await?;
    let done = take_out(&actor, args).await;
    actor.end().await;
    let (done, facts) = done?;
    done.print(args.act.json, &facts)
}

async fn take_out(actor: &Actor, args: &WithdrawArgs) -> anyhow::Result<(super::Done, serde_json::Value)> {
    let ledger = actor.ledger().await?;
    let account = actor.account();
    let held = ledger.balance(account).await?;
    let amount = args.amount.unwrap_or(held);
    if let Some(missing) = amount.checked_sub(held).filter(|missing| missing.0 > 0) {
        anyhow::bail!("the account {account} has {held} in the vault, {missing} less than {amount}");
    }
    if amount == Wei(0) {
        anyhow::bail!("the account {account} has nothing in the vault");
    }
    let to = args.to.unwrap_or(account);
    let done = actor.act(&ledger, &random_key("withdraw"), &Action::Withdraw { amount, to }).await?;
    Ok((done, json!({ "withdrawn": amount.to_string(), "to": to.to_string() })))
}
