//! Prices and signs: the first attempt of an action, and replacements of what is stuck.

use super::{
    record::{Attempt, Flight},
    task::OutboxTask,
};
use crate::{
    base::{Wei, limits},
    chain::{
        Call, Error,
        fees::{Fees, Market},
        node::{At, CallError, Header},
        signer::Envelope,
    },
    runtime::failpoint,
};

/// What can be done with a queued action now.
enum Ready {
    /// It can be signed: with this gas, at this price.
    Yes(u64, Fees),
    /// It has to wait for this.
    Wait(String),
    /// It cannot be done.
    No(Error),
}

/// A transfer costs exactly this.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call is taken to need when a node cannot tell, since there is not even enough ether for its value.
const CALL_GAS: u64 = 250_000;

impl OutboxTask {
    /// Signs and sends queued actions, in their order, until one has to wait.
    pub async fn sign_queued(&mut self, head: &Header, count: u64) -> Result<(), Error> {
        let queued = self.live.iter().filter(|(_, action)| action.flight.is_none()).map(|(sequence, _)| *sequence);
        let queued: Vec<u64> = queued.collect();
        if queued.is_empty() {
            return Ok(());
        }
        let market = Market::new(head, self.parts.node.tip().await?);
        let mut is_blocked = false;
        for sequence in queued {
            if is_blocked {
                self.note(sequence, Some("what was accepted before it waits".to_owned()));
                continue;
            }
            let ready = match market.first(self.options.fee_ceiling) {
                Ok(fees) => self.is_ready(sequence, fees, count).await?,
                Err(above) => Ready::Wait(above.to_string()),
            };
            match ready {
                Ready::Yes(gas, fees) => self.sign_first(sequence, gas, fees, count).await?,
                Ready::No(error) => self.refuse(sequence, error).await?,
                Ready::Wait(why) => {
                    self.note(sequence, Some(why));
                    is_blocked = true;
                }
            }
        }
        Ok(())
    }

    fn flights(&self) -> impl Iterator<Item = (&Flight, Wei)> {
        self.live.values().filter_map(|action| action.flight.as_ref().map(|flight| (flight, action.call.value())))
    }

    fn next_nonce(&self, count: u64) -> u64 {
        self.flights().map(|(flight, _)| flight.nonce + 1).max().unwrap_or(0).max(count)
    }

    async fn is_ready(&self, sequence: u64, fees: Fees, count: u64) -> Result<Ready, Error> {
        let action = &self.live[&sequence];
        let under_way = self.flights().count();
        if under_way >= limits::OUTBOX_FLIGHTS {
            return Ok(Ready::Wait(format!("{under_way} transactions before it are not final")));
        }
        let node = &self.parts.node;
        let account = self.parts.signer.address();
        let pending = node.transaction_count(account, At::Pending).await?;
        let waited = self.parts.clock.now().since(action.accepted_at);
        if pending > self.next_nonce(count) && waited < self.options.stuck_after {
            return Ok(Ready::Wait("another program has sent from this account, that is not mined yet".to_owned()));
        }
        let balance = node.balance(account, At::Latest).await?;
        let call = Call::from(&action.call);
        // What waits may bring money, or make a call possible: nothing is refused before it is mined.
        let not_yet = |error: Error| if under_way == 0 { Ready::No(error) } else { Ready::Wait(error.to_string()) };
        let least = if call.data.is_empty() { TRANSFER_GAS } else { CALL_GAS };
        let reserved: u128 = self.flights().filter(|it| it.0.mined.is_none()).map(|it| it.0.cost(it.1)).sum();
        let lacks = |gas: u64| {
            let cost = u128::from(gas).saturating_mul(fees.max).saturating_add(call.value.0);
            let needed = Wei(cost.saturating_add(reserved));
            let missing = needed.checked_sub(balance).filter(|missing| missing.0 > 0)?;
            Some(Error::InsufficientFunds { what: call.what.clone(), account, missing, needed, balance })
        };
        if call.value.0.saturating_add(reserved) > balance.0
            && let Some(error) = lacks(least)
        {
            return Ok(not_yet(error));
        }
        let gas = match node.estimate_gas(account, &call).await {
            Ok(TRANSFER_GAS) => TRANSFER_GAS,
            // What comes before it in its block may make it dearer.
            Ok(gas) => (gas + gas / 5).min(limits::TRANSACTION_GAS),
            Err(error @ CallError::Reverted(..)) => return Ok(not_yet(error.explain(&call.what))),
            Err(CallError::Other(error @ Error::Node { .. })) => {
                return Ok(lacks(least).map_or_else(|| Ready::Wait(error.to_string()), not_yet));
            }
            Err(CallError::Other(error)) => return Err(error),
        };
        Ok(lacks(gas).map_or(Ready::Yes(gas, fees), not_yet))
    }

    async fn sign_first(&mut self, sequence: u64, gas: u64, fees: Fees, count: u64) -> Result<(), Error> {
        let nonce = self.next_nonce(count);
        let attempt = self.sign(sequence, nonce, gas, fees);
        failpoint("transaction-signed");
        let flight = Flight { nonce, gas, attempts: vec![attempt], mined: None };
        self.note(sequence, None);
        self.set_flight(sequence, Some(flight.clone())).await?;
        failpoint("transaction-stored");
        self.send(sequence, flight).await
    }

    fn sign(&self, sequence: u64, nonce: u64, gas: u64, fees: Fees) -> Attempt {
        let call = Call::from(&self.live[&sequence].call);
        let envelope = Envelope { chain: self.parts.node.chain(), nonce, gas, fees };
        let signed = self.parts.signer.sign_call(&call, envelope);
        Attempt { raw: signed.raw, hash: signed.hash, fees, signed_at: self.parts.clock.now(), is_sent: false }
    }

    /// Prices a stuck transaction higher, under the same nonce.
    pub async fn replace(&mut self, sequence: u64, mut flight: Flight, head: &Header) -> Result<(), Error> {
        let market = Market::new(head, self.parts.node.tip().await?);
        let above = match market.next(flight.last().fees, self.options.fee_ceiling) {
            Ok(fees) if flight.attempts.len() < limits::OUTBOX_ATTEMPTS => {
                let attempt = self.sign(sequence, flight.nonce, flight.gas, fees);
                tracing::info!(tx = %attempt.hash, nonce = flight.nonce, fee = %Wei(fees.max), "a stuck transaction is replaced");
                flight.attempts.push(attempt);
                self.set_flight(sequence, Some(flight.clone())).await?;
                failpoint("replacement-stored");
                return self.send(sequence, flight).await;
            }
            Ok(_) => format!("it was priced {} times and is not mined: it waits", flight.attempts.len()),
            Err(above) => above.to_string(),
        };
        self.note(sequence, Some(above));
        // It waits, but not in a forgotten place.
        if self.parts.node.knows(flight.last().hash).await? { Ok(()) } else { self.send_again(sequence, flight).await }
    }

    async fn send_again(&mut self, sequence: u64, flight: Flight) -> Result<(), Error> {
        let note = self.watched.get(&sequence).and_then(|watched| watched.note.clone());
        self.send(sequence, flight).await?;
        if let Some(watched) = self.watched.get_mut(&sequence) {
            watched.note = watched.note.take().or(note);
        }
        Ok(())
    }
}
