//! `wallet pending`: what an account has sent or is to send, as far as each is; and what becomes of it.

use serde_json::{Value, json};

use super::{Actor, Chain, WalletPendingArgs, WithoutNode, actor::outbox_of, offer};
use crate::{
    base::UnixMillis,
    chain::{
        ActionKey, ActionReport, EndedReport, OutboxPlace, OutboxReport, OutboxView, Outcome, Progress, Timestamp,
    },
    cli::{args::Global, output, wallet},
    keys::EthereumAddress,
    runtime::SystemClock,
};

pub async fn run(global: &Global, args: &WalletPendingArgs) -> anyhow::Result<()> {
    let sign = &args.sign;
    let (wallet, account) = wallet::account(global, &sign.wallet, args.account.as_deref())?;
    let chain = Chain::of(global, &sign.ask.chain, sign.wallet.layer())?;
    let place = OutboxPlace { directory: outbox_of(wallet.directory()), chain: chain.node.chain(), account };
    if let Some(key) = &args.cancel {
        place.cancel(key, &SystemClock).await?;
        return print_cancelled(key, sign.ask.json);
    }
    if args.resume {
        chain.check(WithoutNode::Refuse).await?;
        let actor = Actor::unlock(chain, (&wallet, account), sign).await?;
        return resume(actor, sign.ask.json).await;
    }
    let view = place.look(&chain.node, chain.confirmations()).await?;
    if sign.ask.json {
        return output::line(&as_json(&view, args.all).to_string());
    }
    print(&view, args.all)
}

/// How many actions of an account are not final; 0 for one that is not of this wallet.
pub async fn count(chain: &Chain, account: EthereumAddress) -> anyhow::Result<usize> {
    let Some(wallet) = &chain.settings.wallet else { return Ok(0) };
    let place = OutboxPlace { directory: outbox_of(wallet), chain: chain.node.chain(), account };
    Ok(place.look(&chain.node, chain.confirmations()).await?.report.actions.len())
}

fn print_cancelled(key: &ActionKey, is_json: bool) -> anyhow::Result<()> {
    match is_json {
        true => output::line(&json!({ "cancelled": key.to_string() }).to_string()),
        false => output::line(&format!("cancelled: {key}")),
    }
}

/// Sends what waits, and tells how each ended.
async fn resume(mut actor: Actor, is_json: bool) -> anyhow::Result<()> {
    let mut failed = 0usize;
    let mut ended = Vec::new();
    let earlier = std::mem::take(&mut actor.earlier);
    let count = earlier.len();
    for (key, what) in earlier {
        let state = match actor.follow(&key, &what).await {
            Ok(done) => format!("{what}: done in block {}, transaction {}", done.block, done.hash),
            Err(error) => {
                failed += 1;
                output::explain(&error)
            }
        };
        match is_json {
            true => ended.push(json!({ "key": key.to_string(), "state": state })),
            false => output::line(&state)?,
        }
    }
    actor.end().await;
    if is_json {
        output::line(&json!({ "resumed": ended }).to_string())?;
    } else if count == 0 {
        output::line("nothing is pending")?;
    }
    match failed {
        0 => Ok(()),
        failed => anyhow::bail!("{failed} of {count} transactions are not done"),
    }
}

fn print(view: &OutboxView, is_all: bool) -> anyhow::Result<()> {
    let OutboxReport { account, chain, head, trouble, actions } = &view.report;
    let block = head.map(|number| format!(", block {number}")).unwrap_or_default();
    output::line(&format!("account: {account}"))?;
    output::line(&format!("chain: {chain}{block}"))?;
    if let Some(trouble) = trouble {
        output::line(&format!("trouble: {}", output::one_line(trouble)))?;
    }
    if let Some(holder) = &view.holder {
        output::line(&format!("in use by: {holder}"))?;
    }
    if actions.is_empty() {
        output::line("nothing is pending")?;
    }
    for action in actions {
        output::line(&format!("{}: {}", action.what, output::one_line(&action.to_string())))?;
        let since = time(action.accepted_at);
        let fee = action.fee.map(|fee| format!(", gas at {fee}")).unwrap_or_default();
        output::line(&format!("  since {since}{fee}, key {}", action.key))?;
        if let Some(hash) = hash_of(&action.progress) {
            output::line(&format!("  transaction {hash}"))?;
        }
    }
    for ended in view.ended.iter().filter(|_| is_all) {
        output::line(&format!("{}: {}", ended.what, output::one_line(&ended.to_string())))?;
        output::line(&format!("  ended {}, key {}", time(ended.ended_at), ended.key))?;
        if let Ok(Outcome::Done { hash, fee, .. } | Outcome::Reverted { hash, fee, .. }) = &ended.outcome {
            output::line(&format!("  transaction {hash}"))?;
            output::line(&format!("  paid for gas: {fee}"))?;
        }
    }
    if is_all && view.holder.is_some() {
        output::line("what has ended is listed when that process does not use the account any more")?;
    }
    Ok(())
}

fn as_json(view: &OutboxView, is_all: bool) -> Value {
    let OutboxReport { account, chain, head, trouble, actions } = &view.report;
    let mut all = json!({
        "account": account.to_string(),
        "chain_id": chain.0,
        "block": head,
        "trouble": trouble,
        "held_by": view.holder,
        "pending": actions.iter().map(action_as_json).collect::<Vec<_>>(),
    });
    if is_all {
        all["ended"] = view.ended.iter().map(ended_as_json).collect();
    }
    all
}

fn action_as_json(action: &ActionReport) -> Value {
    let (state, nonce, block) = match &action.progress {
        Progress::Queued { .. } => ("queued", None, None),
        Progress::Signed { nonce, is_sent: false, .. } => ("signed", Some(*nonce), None),
        Progress::Signed { nonce, .. } => ("sent", Some(*nonce), None),
        Progress::Mined { block, is_success: true, .. } => ("mined", None, Some(*block)),
        Progress::Mined { block, .. } => ("mined, refused", None, Some(*block)),
        Progress::Final(_) => ("final", None, None),
    };
    let depths = match action.progress {
        Progress::Mined { depth, needed, .. } => Some((depth, needed)),
        _ => None,
    };
    json!({
        "key": action.key.to_string(),
        "what": action.what,
        "state": state,
        "since": time(action.accepted_at),
        "transaction": hash_of(&action.progress),
        "nonce": nonce,
        "block": block,
        "confirmations": depths.map(|depths| depths.0),
        "confirmations_needed": depths.map(|depths| depths.1),
        "attempts": action.attempts,
        "gas_price_wei": action.fee.map(|fee| fee.0.to_string()),
        "note": action.note,
    })
}

fn ended_as_json(ended: &EndedReport) -> Value {
    let (state, why) = match &ended.outcome {
        Ok(Outcome::Done { .. }) => ("done", None),
        Ok(Outcome::Reverted { why, .. }) => ("refused by the contract", Some(why)),
        Err(why) => ("not sent", Some(why)),
    };
    let on_chain = match &ended.outcome {
        Ok(Outcome::Done { hash, block, fee } | Outcome::Reverted { hash, block, fee, .. }) => {
            Some((hash.to_string(), block, fee.0.to_string()))
        }
        Err(_) => None,
    };
    json!({
        "key": ended.key.to_string(),
        "what": ended.what,
        "state": state,
        "why": why,
        "ended": time(ended.ended_at),
        "transaction": on_chain.as_ref().map(|known| &known.0),
        "block": on_chain.as_ref().map(|known| known.1),
        "fee_wei": on_chain.as_ref().map(|known| &known.2),
    })
}

fn hash_of(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Signed { hash, .. } | Progress::Mined { hash, .. } => Some(hash.to_string()),
        Progress::Queued { .. } | Progress::Final(_) => None,
    }
}

fn time(at: UnixMillis) -> String {
    offer::time(Timestamp(at.0 / 1000))
}
