//! What can be done on the ledger, and what it tells of it.

use super::words::{
    Activation, AgreementId, Challenge, DisputeId, Mandate, MandateId, OfferId, OfferTerms, Party, Placement, Release,
    Revision, Terms, Timestamp, Voucher,
};
use crate::{
    base::Wei,
    chain::{Signature, TxHash},
    keys::EthereumAddress,
};

/// What the account of a ledger does. Each is one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ether of the account goes into the vault, for whoever it names.
    Deposit {
        account: EthereumAddress,
        amount: Wei,
    },
    /// Ether of the account's balance in the vault goes out of it.
    Withdraw {
        amount: Wei,
        to: EthereumAddress,
    },

    Activate {
        activation: Activation,
        signature: Signature,
    },
    WithdrawActivation {
        party: Party,
    },
    CollectActivation {
        account: EthereumAddress,
        party: Party,
    },

    /// The addresses under which the consumer is reached, as text.
    CreateOffer {
        terms: OfferTerms,
        addresses: Vec<String>,
    },
    ChangeOffer {
        offer: OfferId,
        terms: OfferTerms,
        addresses: Vec<String>,
    },
    CancelOffer {
        offer: OfferId,
    },

    AcceptMandate {
        mandate: Mandate,
        signature: Signature,
    },
    RevokeMandate {
        mandate: MandateId,
    },

    Open {
        terms: Box<Terms>,
        producer_signature: Signature,
        consumer_signature: Signature,
    },
    Cancel {
        agreement: AgreementId,
    },
    /// Brings a newer revision on chain; the first one activates.
    Revise {
        revision: Revision,
        producer_signature: Signature,
        consumer_signature: Signature,
    },
    /// A revision of a delegate.
    Place {
        revision: Revision,
        placements: Vec<Placement>,
        delegate_signature: Signature,
        consumer_signature: Signature,
    },
    Release {
        release: Release,
        signature: Signature,
    },
    TopUp {
        agreement: AgreementId,
        held: Wei,
        allowance: Wei,
    },
    Settle {
        agreement: AgreementId,
    },
    Redeem {
        voucher: Voucher,
        signature: Signature,
    },
    End {
        agreement: AgreementId,
    },
    Terminate {
        agreement: AgreementId,
    },
    Finish {
        agreement: AgreementId,
    },

    /// `path` leads from the shard to the root of the revision.
    Challenge {
        challenge: Challenge,
        path: Vec<[u8; 32]>,
        mandate: MandateId,
    },
    /// Exactly 1024 bytes, with their path to the shard's root.
    Answer {
        dispute: DisputeId,
        leaf: Vec<u8>,
        path: Vec<[u8; 32]>,
    },
    Supersede {
        dispute: DisputeId,
    },
    Reprove {
        dispute: DisputeId,
        shard_index: u32,
        path: Vec<[u8; 32]>,
    },
    /// After the deadline of a dispute.
    TimeOut {
        dispute: DisputeId,
    },
    ClaimRepair {
        dispute: DisputeId,
        replacement: AgreementId,
        shard_index: u32,
        path: Vec<[u8; 32]>,
    },
    LapseRepair {
        dispute: DisputeId,
    },

    /// Several actions on agreements in one transaction, of which some may fail.
    Batch(Vec<Action>),
}

impl Action {
    /// What it is, for people.
    pub fn what(&self) -> String {
        match self {
            Action::Deposit { amount, .. } => format!("deposit of {amount}"),
            Action::Withdraw { amount, .. } => format!("withdrawal of {amount}"),
            Action::Activate { activation, .. } => format!("activation for {}", activation.payment),
            Action::WithdrawActivation { .. } => "withdrawal of an activation".to_owned(),
            Action::CollectActivation { .. } => "collection of an activation".to_owned(),
            Action::CreateOffer { .. } => "new offer".to_owned(),
            Action::ChangeOffer { offer, .. } => format!("change of offer {offer}"),
            Action::CancelOffer { offer } => format!("cancellation of offer {offer}"),
            Action::AcceptMandate { .. } => "mandate".to_owned(),
            Action::RevokeMandate { mandate } => format!("revocation of mandate {}", short(&mandate.0)),
            Action::Open { .. } => "opening of an agreement".to_owned(),
            Action::Revise { revision: Revision { agreement, number, .. }, .. }
            | Action::Place { revision: Revision { agreement, number, .. }, .. } => {
                format!("revision {number} of agreement {}", short(&agreement.0))
            }
            Action::Release { release, .. } => format!("release in agreement {}", short(&release.agreement.0)),
            Action::Redeem { voucher, .. } => format!("voucher of agreement {}", short(&voucher.agreement.0)),
            Action::Cancel { agreement } => format!("cancellation of agreement {}", short(&agreement.0)),
            Action::TopUp { agreement, .. } => format!("top-up of agreement {}", short(&agreement.0)),
            Action::Settle { agreement } => format!("settlement of agreement {}", short(&agreement.0)),
            Action::End { agreement } => format!("end of agreement {}", short(&agreement.0)),
            Action::Terminate { agreement } => format!("termination of agreement {}", short(&agreement.0)),
            Action::Finish { agreement } => format!("closing of agreement {}", short(&agreement.0)),
            Action::Challenge { challenge, .. } => format!("challenge of shard {}", short(&challenge.shard.0)),
            Action::Answer { dispute, .. } => format!("answer in dispute {dispute}"),
            Action::Supersede { dispute } => format!("newer revision in dispute {dispute}"),
            Action::Reprove { dispute, .. } => format!("new proof in dispute {dispute}"),
            Action::TimeOut { dispute } => format!("time-out of dispute {dispute}"),
            Action::ClaimRepair { dispute, .. } => format!("repair money of dispute {dispute}"),
            Action::LapseRepair { dispute } => format!("return of the repair money of dispute {dispute}"),
            Action::Batch(actions) => format!("{} actions together", actions.len()),
        }
    }
}

fn short(id: &[u8; 32]) -> String {
    hex::encode(&id[..6])
}

/// What the contracts told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Deposited {
        account: EthereumAddress,
        payer: EthereumAddress,
        amount: Wei,
    },
    Withdrawn {
        account: EthereumAddress,
        to: EthereumAddress,
        amount: Wei,
    },
    ActivationPaid {
        account: EthereumAddress,
        party: Party,
        owner: [u8; 32],
        payment: Wei,
        from: Timestamp,
    },
    ActivationWithdrawn {
        account: EthereumAddress,
        party: Party,
        payment: Wei,
    },
    PaymentCollected {
        account: EthereumAddress,
        party: Party,
        payment: Wei,
    },
    OfferCreated {
        offer: OfferId,
        consumer: EthereumAddress,
        terms: OfferTerms,
        addresses: Vec<String>,
    },
    OfferChanged {
        offer: OfferId,
        consumer: EthereumAddress,
        terms: OfferTerms,
        addresses: Vec<String>,
    },
    OfferCancelled {
        offer: OfferId,
        consumer: EthereumAddress,
    },
    OfferTaken {
        offer: OfferId,
        taken_bytes: u64,
        left_bytes: u64,
        collateral: Wei,
    },
    MandateAccepted {
        mandate: MandateId,
        terms: Mandate,
    },
    MandateRevoked {
        mandate: MandateId,
    },
    MandateUsed {
        mandate: MandateId,
        used_bytes: u64,
    },
    Opened {
        agreement: AgreementId,
        terms: Box<Terms>,
    },
    Cancelled {
        agreement: AgreementId,
        by: EthereumAddress,
    },
    Revised {
        revision: Revision,
    },
    Released {
        agreement: AgreementId,
        number: u64,
        stored_bytes: u64,
        from: Timestamp,
    },
    ToppedUp {
        agreement: AgreementId,
        held: Wei,
        allowance: Wei,
        paid_until: Timestamp,
    },
    Settled {
        agreement: AgreementId,
        consumer: EthereumAddress,
        amount: Wei,
        until: Timestamp,
    },
    Vouched {
        agreement: AgreementId,
        amount: Wei,
    },
    Redeemed {
        agreement: AgreementId,
        consumer: EthereumAddress,
        amount: Wei,
    },
    Ended {
        agreement: AgreementId,
        by: EthereumAddress,
        closes_at: Timestamp,
    },
    Terminated {
        agreement: AgreementId,
        paid_until: Timestamp,
        closes_at: Timestamp,
    },
    /// A newer revision shows that the money was not used up at the termination.
    Reinstated {
        agreement: AgreementId,
        paid_until: Timestamp,
    },
    Finished {
        agreement: AgreementId,
        to_producer: Wei,
        to_consumer: Wei,
    },
    CollateralSlashed {
        agreement: AgreementId,
        to_producer: Wei,
        to_repair: Wei,
    },
    Challenged {
        dispute: DisputeId,
        challenger: EthereumAddress,
        challenge: Challenge,
        claim: Wei,
        deadline: Timestamp,
    },
    Answered {
        dispute: DisputeId,
        agreement: AgreementId,
    },
    Superseded {
        dispute: DisputeId,
        agreement: AgreementId,
        number: u64,
        deadline: Timestamp,
    },
    Reproved {
        dispute: DisputeId,
        agreement: AgreementId,
        number: u64,
        deadline: Timestamp,
    },
    DisputeSlashed {
        dispute: DisputeId,
        agreement: AgreementId,
        claim: Wei,
        repair: Wei,
    },
    Dismissed {
        dispute: DisputeId,
        agreement: AgreementId,
    },
    RepairClaimed {
        dispute: DisputeId,
        replacement: AgreementId,
        opener: EthereumAddress,
        amount: Wei,
    },
    RepairLapsed {
        dispute: DisputeId,
        producer: EthereumAddress,
        amount: Wei,
    },
    /// A call of a batch came to nothing.
    ItemFailed {
        index: u64,
    },
}

/// An event, and where it is on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedEvent {
    pub event: Event,
    pub block: u64,
    /// Among all logs of the block.
    pub index: u64,
    pub transaction: TxHash,
}
