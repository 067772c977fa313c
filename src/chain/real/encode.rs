//! Actions as calls of the contracts.

use ethers::{abi::AbiEncode, types::H160};

use super::bindings::{
    agreements::{self, OpenCall},
    disputes, mandates, registry, vault,
};
use crate::{
    base::Wei,
    chain::{
        Call, Error, Signature,
        ledger::{
            Action, Activation, Challenge, Contracts, Mandate, OfferTerms, Placement, Release, Revision, Terms, Voucher,
        },
    },
    keys::EthereumAddress,
};

/// The call that does it.
pub(super) fn call(contracts: &Contracts, action: &Action) -> Result<Call, Error> {
    let (to, value, data) = match action {
        Action::Deposit { account, amount } => {
            (contracts.vault, *amount, vault::DepositCall { account: h160(*account) }.encode())
        }
        Action::Withdraw { amount, to } => {
            (contracts.vault, Wei(0), vault::WithdrawCall { amount: amount.0.into(), to: h160(*to) }.encode())
        }
        Action::Activate { .. }
        | Action::WithdrawActivation { .. }
        | Action::CollectActivation { .. }
        | Action::CreateOffer { .. }
        | Action::ChangeOffer { .. }
        | Action::CancelOffer { .. } => (contracts.registry, Wei(0), of_registry(action)),
        Action::AcceptMandate { mandate, signature } => {
            let call = mandates::AcceptCall { mandate: mandate.into(), signature: bytes(signature) };
            (contracts.mandates, Wei(0), call.encode())
        }
        Action::RevokeMandate { mandate } => {
            (contracts.mandates, Wei(0), mandates::RevokeCall { id: mandate.0 }.encode())
        }
        Action::Challenge { .. }
        | Action::Answer { .. }
        | Action::Supersede { .. }
        | Action::Reprove { .. }
        | Action::TimeOut { .. }
        | Action::ClaimRepair { .. }
        | Action::LapseRepair { .. } => (contracts.disputes, Wei(0), of_disputes(action)),
        Action::Batch(actions) => {
            let calls = actions.iter().map(|action| of_agreements(action).map(Into::into));
            let calls = calls.collect::<Result<Vec<_>, _>>()?;
            (contracts.agreements, Wei(0), agreements::BatchCall { calls }.encode())
        }
        of => (contracts.agreements, Wei(0), of_agreements(of)?),
    };
    Ok(Call { to, value, data, what: action.what() })
}

fn of_registry(action: &Action) -> Vec<u8> {
    match action {
        Action::Activate { activation, signature } => {
            registry::ActivateCall { activation: activation.into(), signature: bytes(signature) }.encode()
        }
        Action::WithdrawActivation { party } => registry::WithdrawActivationCall { role: *party as u8 }.encode(),
        Action::CollectActivation { account, party } => {
            registry::CollectCall { account: h160(*account), role: *party as u8 }.encode()
        }
        Action::CreateOffer { terms, addresses } => {
            registry::CreateOfferCall { terms: terms.into(), addresses: addresses.clone() }.encode()
        }
        Action::ChangeOffer { offer, terms, addresses } => {
            registry::ChangeOfferCall { id: offer.0, terms: terms.into(), addresses: addresses.clone() }.encode()
        }
        Action::CancelOffer { offer } => registry::CancelOfferCall { id: offer.0 }.encode(),
        other => unreachable!("no call of the registry: {other:?}"),
    }
}

fn of_disputes(action: &Action) -> Vec<u8> {
    match action {
        Action::Challenge { challenge, path, mandate } => {
            disputes::ChallengeCall { challenge: challenge.into(), path: path.clone(), mandate: mandate.0 }.encode()
        }
        Action::Answer { dispute, leaf, path } => {
            disputes::AnswerCall { id: dispute.0, leaf: leaf.clone().into(), path: path.clone() }.encode()
        }
        Action::Supersede { dispute } => disputes::SupersedeCall { id: dispute.0 }.encode(),
        Action::Reprove { dispute, shard_index, path } => {
            disputes::ReproveCall { id: dispute.0, shard_index: *shard_index, path: path.clone() }.encode()
        }
        Action::TimeOut { dispute } => disputes::ExpireCall { id: dispute.0 }.encode(),
        Action::ClaimRepair { dispute, replacement, shard_index, path } => disputes::ClaimRepairCall {
            id: dispute.0,
            replacement: replacement.0,
            shard_index: *shard_index,
            path: path.clone(),
        }
        .encode(),
        Action::LapseRepair { dispute } => disputes::LapseRepairCall { id: dispute.0 }.encode(),
        other => unreachable!("no call of the disputes: {other:?}"),
    }
}

/// Also what may stand in a batch.
fn of_agreements(action: &Action) -> Result<Vec<u8>, Error> {
    Ok(match action {
        Action::Open { terms, producer_signature, consumer_signature } => OpenCall {
            terms: (&**terms).into(),
            producer_signature: bytes(producer_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Cancel { agreement } => agreements::CancelCall { id: agreement.0 }.encode(),
        Action::Revise { revision, producer_signature, consumer_signature } => agreements::SubmitCall {
            revision: revision.into(),
            producer_signature: bytes(producer_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Place { revision, placements, delegate_signature, consumer_signature } => agreements::PlaceCall {
            revision: revision.into(),
            placements: placements.iter().map(Into::into).collect(),
            delegate_signature: bytes(delegate_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Release { release, signature } => {
            agreements::ReleaseCall { release: release.into(), producer_signature: bytes(signature) }.encode()
        }
        Action::TopUp { agreement, held, allowance } => {
            agreements::TopUpCall { id: agreement.0, held: held.0, allowance: allowance.0 }.encode()
        }
        Action::Settle { agreement } => agreements::SettleCall { id: agreement.0 }.encode(),
        Action::Redeem { voucher, signature } => {
            agreements::RedeemCall { voucher: voucher.into(), producer_signature: bytes(signature) }.encode()
        }
        Action::End { agreement } => agreements::EndCall { id: agreement.0 }.encode(),
        Action::Terminate { agreement } => agreements::TerminateCall { id: agreement.0 }.encode(),
        Action::Finish { agreement } => agreements::FinishCall { id: agreement.0 }.encode(),
        other => return Err(Error::Invalid(format!("{}: only actions on agreements go together", other.what()))),
    })
}

pub(super) fn h160(address: EthereumAddress) -> H160 {
    H160(address.0)
}

fn bytes(signature: &Signature) -> ethers::types::Bytes {
    signature.0.to_vec().into()
}

impl From<&Activation> for registry::Activation {
    fn from(it: &Activation) -> Self {
        Self {
            account: h160(it.account),
            id: it.owner,
            role: it.party as u8,
            payment: it.payment.0,
            deadline: it.deadline.0,
        }
    }
}

impl From<&OfferTerms> for registry::OfferTerms {
    fn from(it: &OfferTerms) -> Self {
        Self {
            storage_price: it.storage_price.0,
            egress_price: it.egress_price.0,
            capacity_bytes: it.capacity_bytes,
            collateral_per_gi_b: it.collateral_per_gib.0,
            earliest_end: it.earliest_end.0,
            expiry: it.expiry.0,
        }
    }
}

impl From<&Mandate> for mandates::Mandate {
    fn from(it: &Mandate) -> Self {
        Self {
            producer: h160(it.producer),
            delegate: h160(it.delegate),
            bucket: it.bucket.0,
            storage_price: it.storage_price.0,
            capacity_bytes: it.capacity_bytes,
            expiry: it.expiry.0,
            salt: it.salt,
        }
    }
}

impl From<&Terms> for agreements::Terms {
    fn from(it: &Terms) -> Self {
        Self {
            producer: h160(it.producer),
            consumer: h160(it.consumer),
            offer: it.offer.0,
            bucket: it.bucket.0,
            mandate: it.mandate.0,
            storage_price: it.storage_price.0,
            egress_price: it.egress_price.0,
            collateral_per_gi_b: it.collateral_per_gib.0,
            capacity_bytes: it.capacity_bytes,
            held: it.held.0,
            allowance: it.allowance.0,
            earliest_end: it.earliest_end.0,
            deadline: it.deadline.0,
            salt: it.salt,
        }
    }
}

impl From<&Revision> for agreements::Revision {
    fn from(it: &Revision) -> Self {
        Self {
            agreement: it.agreement.0,
            number: it.number,
            root: it.root.0,
            shard_count: it.shard_count,
            stored_bytes: it.stored_bytes,
            storage_price: it.storage_price.0,
            egress_price: it.egress_price.0,
            as_of: it.as_of.0,
            earned: it.earned.0,
        }
    }
}

impl From<&Placement> for agreements::Placement {
    fn from(it: &Placement) -> Self {
        Self {
            shard: it.shard.0,
            leaf_count: it.leaf_count,
            source: it.source.0,
            source_index: it.source_index,
            source_path: it.source_path.clone(),
        }
    }
}

impl From<&Release> for agreements::Release {
    fn from(it: &Release) -> Self {
        Self { agreement: it.agreement.0, number: it.number, stored_bytes: it.stored_bytes }
    }
}

impl From<&Voucher> for agreements::Voucher {
    fn from(it: &Voucher) -> Self {
        Self { agreement: it.agreement.0, amount: it.amount.0 }
    }
}

impl From<&Challenge> for disputes::Challenge {
    fn from(it: &Challenge) -> Self {
        Self {
            agreement: it.agreement.0,
            number: it.number,
            shard: it.shard.0,
            leaf_count: it.leaf_count,
            shard_index: it.shard_index,
            leaf_index: it.leaf_index,
        }
    }
}
