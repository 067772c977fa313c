//! All that is on the simulated chain, and one turn of it.

use std::collections::{BTreeMap, BTreeSet};

use super::SimulatedChainOptions;
use crate::{
    base::{ShardId, Wei},
    chain::{
        Signature,
        ledger::{
            Action, Agreement, AgreementId, Dispute, DisputeId, DisputeState, Domain, Domains, Event, MandateId,
            MandateState, Message, Offer, OfferId, Party, Timestamp,
        },
    },
    keys::EthereumAddress,
};

/// Why a contract refuses: the name of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub &'static str);

impl Refusal {
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// Refuses unless something holds.
pub(super) fn require(holds: bool, name: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal(name)) }
}

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub owner: [u8; 32],
    pub payment: Wei,
    pub from: Timestamp,
}

#[derive(Clone, Default)]
pub(super) struct State {
    /// Outside of the vault.
    pub purses: BTreeMap<EthereumAddress, u128>,
    /// In the vault, to be withdrawn.
    pub balances: BTreeMap<EthereumAddress, u128>,
    /// The ether of the vault.
    pub vault: u128,
    pub members: BTreeMap<(EthereumAddress, Party), Member>,
    pub used: BTreeSet<[u8; 32]>,
    pub offers: BTreeMap<OfferId, Offer>,
    pub mandates: BTreeMap<MandateId, MandateState>,
    pub agreements: BTreeMap<AgreementId, Agreement>,
    pub disputes: BTreeMap<DisputeId, Dispute>,
    pub open_disputes: BTreeMap<(AgreementId, ShardId), DisputeId>,
    pub slashed: BTreeMap<(AgreementId, ShardId), u64>,
}

impl State {
    /// Whether the vault's ether is the sum of all that somebody has in it.
    pub fn is_conserved(&self) -> bool {
        let free: u128 = self.balances.values().sum();
        let paid: u128 = self.members.values().map(|member| member.payment.0).sum();
        let offered: u128 = self.offers.values().map(|offer| offer.collateral.0).sum();
        let of_agreement = |agreement: &Agreement| {
            let storage = agreement.funded.0 - agreement.paid.0;
            storage + (agreement.allowance.0 - agreement.redeemed.0) + agreement.collateral.0
        };
        let agreed: u128 = self.agreements.values().map(of_agreement).sum();
        let of_dispute = |dispute: &Dispute| match dispute.state {
            DisputeState::Open | DisputeState::Superseded => dispute.bond.0,
            _ => dispute.repair.0,
        };
        let disputed: u128 = self.disputes.values().map(of_dispute).sum();
        self.vault == free + paid + offered + agreed + disputed
    }
}

/// One transaction: who calls, when, and what is told of it.
pub(super) struct Turn<'a> {
    pub state: &'a mut State,
    pub options: &'a SimulatedChainOptions,
    pub domains: &'a Domains,
    pub now: Timestamp,
    pub caller: EthereumAddress,
    pub events: Vec<Event>,
}

impl Turn<'_> {
    /// Does it, or says why not; then the state is of no use.
    pub fn run(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::Deposit { account, amount } => self.deposit(*account, *amount),
            Action::Withdraw { amount, to } => self.withdraw(*amount, *to),
            Action::Activate { activation, signature } => self.activate(activation, signature),
            Action::WithdrawActivation { party } => self.withdraw_activation(*party),
            Action::CollectActivation { account, party } => self.collect(*account, *party),
            Action::CreateOffer { terms, addresses } => self.create_offer(terms, addresses),
            Action::ChangeOffer { offer, terms, addresses } => self.change_offer(*offer, terms, addresses),
            Action::CancelOffer { offer } => self.cancel_offer(*offer),
            Action::AcceptMandate { mandate, signature } => self.accept(mandate, signature),
            Action::RevokeMandate { mandate } => self.revoke(*mandate),
            Action::Challenge { challenge, path, mandate } => self.challenge(challenge, path, *mandate),
            Action::Answer { dispute, leaf, path } => self.answer(*dispute, leaf, path),
            Action::Supersede { dispute } => self.supersede(*dispute),
            Action::Reprove { dispute, shard_index, path } => self.reprove(*dispute, *shard_index, path),
            Action::TimeOut { dispute } => self.time_out(*dispute),
            Action::ClaimRepair { dispute, replacement, shard_index, path } => {
                self.claim_repair(*dispute, *replacement, (*shard_index, path.as_slice()))
            }
            Action::LapseRepair { dispute } => self.lapse_repair(*dispute),
            Action::Batch(actions) => self.batch(actions),
            of_agreements => self.run_agreements(of_agreements),
        }
    }

    /// The actions on agreements.
    fn run_agreements(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::Open { terms, producer_signature, consumer_signature } => {
                self.open(terms, producer_signature, consumer_signature)
            }
            Action::Cancel { agreement } => self.cancel(*agreement),
            Action::Revise { revision, producer_signature, consumer_signature } => {
                self.revise(revision, producer_signature, consumer_signature)
            }
            Action::Place { revision, placements, delegate_signature, consumer_signature } => {
                self.place(revision, placements, (delegate_signature, consumer_signature))
            }
            Action::Release { release, signature } => self.release(release, signature),
            Action::TopUp { agreement, held, allowance } => self.top_up(*agreement, *held, *allowance),
            Action::Settle { agreement } => self.settle(*agreement),
            Action::Redeem { voucher, signature } => self.redeem(voucher, signature),
            Action::End { agreement } => self.end(*agreement),
            Action::Terminate { agreement } => self.terminate(*agreement),
            Action::Finish { agreement } => self.finish(*agreement),
            _ => Err(Refusal("NotOfAgreements")),
        }
    }

    /// Each stands and falls alone.
    fn batch(&mut self, actions: &[Action]) -> Result<(), Refusal> {
        for (action, index) in actions.iter().zip(0u64..) {
            let before = (self.state.clone(), self.events.len());
            if self.run_agreements(action).is_err() {
                *self.state = before.0;
                self.events.truncate(before.1);
                self.tell(Event::ItemFailed { index });
            }
        }
        Ok(())
    }

    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Refuses a message that is not signed by this account.
    pub fn check<M: Message>(
        &self,
        domain: &Domain,
        message: &M,
        signature: &Signature,
        by: EthereumAddress,
    ) -> Result<(), Refusal> {
        let signer = signature.signer_of(domain.digest(message)).ok_or(Refusal("ECDSAInvalidSignature"))?;
        require(signer == by, "WrongSigner")
    }

    fn deposit(&mut self, account: EthereumAddress, amount: Wei) -> Result<(), Refusal> {
        require(amount.0 > 0, "NothingDeposited")?;
        let purse = self.state.purses.entry(self.caller).or_default();
        *purse = purse.checked_sub(amount.0).ok_or(Refusal("OutOfFunds"))?;
        self.state.vault += amount.0;
        self.pay(account, amount);
        self.tell(Event::Deposited { account, payer: self.caller, amount });
        Ok(())
    }

    fn withdraw(&mut self, amount: Wei, to: EthereumAddress) -> Result<(), Refusal> {
        self.hold(self.caller, amount)?;
        self.state.vault -= amount.0;
        *self.state.purses.entry(to).or_default() += amount.0;
        self.tell(Event::Withdrawn { account: self.caller, to, amount });
        Ok(())
    }

    /// From a balance into a pot: the record that has the pot is changed by the caller.
    pub fn hold(&mut self, account: EthereumAddress, amount: Wei) -> Result<(), Refusal> {
        let balance = self.state.balances.entry(account).or_default();
        *balance = balance.checked_sub(amount.0).ok_or(Refusal("InsufficientBalance"))?;
        Ok(())
    }

    /// From a pot into a balance.
    pub fn pay(&mut self, account: EthereumAddress, amount: Wei) {
        *self.state.balances.entry(account).or_default() += amount.0;
    }

    /// The record, which must be in this state.
    pub fn agreement(&self, id: AgreementId) -> Agreement {
        self.state.agreements.get(&id).cloned().unwrap_or_else(Agreement::none)
    }

    /// Keeps a record.
    pub fn keep(&mut self, id: AgreementId, agreement: Agreement) {
        self.state.agreements.insert(id, agreement);
    }
}
