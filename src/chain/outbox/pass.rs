//! One look at the chain: what is mined, what is gone, what is stuck.

use super::{
    record::{End, Flight, Mined},
    report::Outcome,
    task::OutboxTask,
};
use crate::{
    base::limits,
    chain::{
        Call, Error, TxHash,
        node::{At, CallError, Header, Sent},
        revert,
    },
    runtime::failpoint,
};

impl OutboxTask {
    /// Follows every transaction, then signs what waits. Ends at the first failure of the way to the chain.
    pub async fn pass(&mut self) -> Result<(), Error> {
        self.refusals.clear();
        if self.live.is_empty() {
            return Ok(());
        }
        let head = self.parts.node.head().await?;
        self.head = Some(head.number);
        let account = self.parts.signer.address();
        let count = self.parts.node.transaction_count(account, At::Latest).await?;
        let flight = |(sequence, action): (&u64, &super::record::Action)| {
            action.flight.as_ref().map(|flight| (flight.nonce, *sequence))
        };
        let mut flights: Vec<(u64, u64)> = self.live.iter().filter_map(flight).collect();
        flights.sort_unstable();
        for (_, sequence) in flights {
            match self.follow(sequence, &head, count).await {
                // The node works, and does not like this one question.
                Err(error @ Error::Node { .. }) => self.note(sequence, Some(error.to_string())),
                other => other?,
            }
        }
        self.sign_queued(&head, count).await
    }

    async fn follow(&mut self, sequence: u64, head: &Header, count: u64) -> Result<(), Error> {
        let mut flight = self.live[&sequence].flight.clone().expect("an action that was signed");
        if count > flight.nonce {
            return match flight.find_mined(&self.parts.node).await? {
                Some(mined) => self.mined(sequence, flight, mined, head).await,
                None => self.nonce_taken(sequence, &flight, head).await,
            };
        }
        if let Some(mined) = flight.mined.take() {
            tracing::warn!(tx = %mined.hash, "a re-organisation took a transaction out of its block; it is sent again");
            flight.last_mut().is_sent = false;
            self.set_flight(sequence, Some(flight.clone())).await?;
        }
        self.watched.entry(sequence).or_default().taken_seen = 0;
        self.keep_sending(sequence, flight, head, count).await
    }

    async fn mined(&mut self, sequence: u64, mut flight: Flight, mined: Mined, head: &Header) -> Result<(), Error> {
        if mined.depth(head.number) < self.options.confirmations {
            if flight.mined != Some(mined) {
                failpoint("transaction-mined");
                flight.mined = Some(mined);
                self.set_flight_soon(sequence, flight).await?;
            }
            self.watched.insert(sequence, Default::default());
            return Ok(());
        }
        let outcome = if mined.is_success {
            Outcome::Done { hash: mined.hash, block: mined.block, fee: mined.fee }
        } else {
            let why = self.why_reverted(sequence, &mined).await?;
            Outcome::Reverted { hash: mined.hash, block: mined.block, fee: mined.fee, why }
        };
        failpoint("transaction-confirmed");
        self.finish(sequence, End::Final(outcome)).await?;
        failpoint("outcome-stored");
        Ok(())
    }

    /// Asks again, in the state before its block, what the contract refused; as well as that can be told.
    async fn why_reverted(&self, sequence: u64, mined: &Mined) -> Result<String, Error> {
        let call = Call::from(&self.live[&sequence].call);
        let before = At::Block(mined.block.saturating_sub(1));
        match self.parts.node.call(self.parts.signer.address(), &call, before).await {
            Err(CallError::Reverted(data, message)) => Ok(revert::explain(&data).unwrap_or(message)),
            Err(CallError::Other(error)) if !matches!(error, Error::Node { .. }) => Err(error),
            _ => Ok("it did not say why; maybe something else came before it in its block".to_owned()),
        }
    }

    /// Another transaction has the nonce, or a node does not show ours yet. When it is sure, the action is signed anew.
    async fn nonce_taken(&mut self, sequence: u64, flight: &Flight, head: &Header) -> Result<(), Error> {
        let settled = (head.number + 1).saturating_sub(self.options.confirmations.max(1));
        let account = self.parts.signer.address();
        let count = self.parts.node.transaction_count(account, At::Block(settled)).await?;
        let watched = self.watched.entry(sequence).or_default();
        watched.note = Some(format!("nonce {} was used by another transaction of the account", flight.nonce));
        // Twice, since a node may count a block before it shows its receipts.
        watched.taken_seen = if count > flight.nonce { watched.taken_seen + 1 } else { 0 };
        if watched.taken_seen < 2 {
            return Ok(());
        }
        tracing::warn!(nonce = flight.nonce, "another program sends from this account; an action is signed anew");
        watched.taken_seen = 0;
        self.set_flight(sequence, None).await?;
        failpoint("flight-given-up");
        Ok(())
    }

    async fn keep_sending(&mut self, sequence: u64, flight: Flight, head: &Header, count: u64) -> Result<(), Error> {
        let now = self.parts.clock.now();
        if !flight.last().is_sent {
            return self.send(sequence, flight).await;
        }
        let is_next = flight.nonce == count;
        if is_next && now.since(flight.last().signed_at) >= self.options.stuck_after {
            return self.replace(sequence, flight, head).await;
        }
        if now.since(self.watched.entry(sequence).or_default().looked_at) < self.options.resend {
            return Ok(());
        }
        if self.parts.node.knows(flight.last().hash).await? {
            self.watched.entry(sequence).or_default().looked_at = now;
            return Ok(());
        }
        tracing::info!(tx = %flight.last().hash, "a node has forgotten a transaction; it is sent again");
        self.send(sequence, flight).await
    }

    /// Hands the newest attempt to a node.
    pub async fn send(&mut self, sequence: u64, mut flight: Flight) -> Result<(), Error> {
        let (raw, hash) = (flight.last().raw.clone(), flight.last().hash);
        let sent = self.parts.node.send_raw(&raw, hash).await?;
        failpoint("transaction-sent");
        let now = self.parts.clock.now();
        let watched = self.watched.entry(sequence).or_default();
        watched.looked_at = now;
        match sent {
            Sent::Taken => {
                watched.note = None;
                tracing::debug!(tx = %hash, nonce = flight.nonce, "sent");
                flight.last_mut().is_sent = true;
                self.set_flight_soon(sequence, flight).await?;
                failpoint("transaction-marked");
            }
            // The next pass sees whose it is.
            Sent::NonceUsed => {
                watched.note = Some("its nonce is used: by itself, or by another transaction".to_owned())
            }
            Sent::Refused(why) => {
                watched.note = Some(format!("the node does not take it: {why}"));
                self.outbid(sequence, flight, hash).await?;
            }
        }
        Ok(())
    }

    /// A node that refuses an attempt may hold another of the same nonce: time makes it stuck, and it is priced higher.
    async fn outbid(&mut self, sequence: u64, mut flight: Flight, hash: TxHash) -> Result<(), Error> {
        let is_old = self.parts.clock.now().since(flight.last().signed_at) >= self.options.stuck_after;
        if is_old && flight.attempts.len() < limits::OUTBOX_ATTEMPTS {
            tracing::info!(tx = %hash, "a refused transaction is priced anew");
            flight.last_mut().is_sent = true;
            self.set_flight_soon(sequence, flight).await?;
        }
        Ok(())
    }
}
