//! Actions as calls of the contracts.

use ethers::abi::AbiEncode;

use super::{
    bindings::{
        agreements::{self, OpenCall},
        disputes, mandates, registry, vault,
    },
    records::Abi,
};
use crate::{
    base::Wei,
    chain::{
        Call, Error, Signature,
        ledger::{Action, Contracts},
    },
};

/// The call that does it.
pub(super) fn call(contracts: &Contracts, action: &Action) -> Result<Call, Error> {
    let (to, value, data) = match action {
        Action::Deposit { account, amount } => {
            (contracts.vault, *amount, vault::DepositCall { account: account.write() }.encode())
        }
        Action::Withdraw { amount, to } => {
            (contracts.vault, Wei(0), vault::WithdrawCall { amount: amount.0.into(), to: to.write() }.encode())
        }
        Action::Activate { .. }
        | Action::WithdrawActivation { .. }
        | Action::CollectActivation { .. }
        | Action::CreateOffer { .. }
        | Action::ChangeOffer { .. }
        | Action::CancelOffer { .. } => (contracts.registry, Wei(0), of_registry(action)),
        Action::AcceptMandate { mandate, signature } => {
            let call = mandates::AcceptCall { mandate: mandate.write(), signature: bytes(signature) };
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
            registry::ActivateCall { activation: activation.write(), signature: bytes(signature) }.encode()
        }
        Action::WithdrawActivation { party } => registry::WithdrawActivationCall { role: party.write() }.encode(),
        Action::CollectActivation { account, party } => {
            registry::CollectCall { account: account.write(), role: party.write() }.encode()
        }
        Action::CreateOffer { terms, addresses } => {
            registry::CreateOfferCall { terms: terms.write(), addresses: addresses.clone() }.encode()
        }
        Action::ChangeOffer { offer, terms, addresses } => {
            registry::ChangeOfferCall { id: offer.0, terms: terms.write(), addresses: addresses.clone() }.encode()
        }
        Action::CancelOffer { offer } => registry::CancelOfferCall { id: offer.0 }.encode(),
        other => unreachable!("no call of the registry: {other:?}"),
    }
}

fn of_disputes(action: &Action) -> Vec<u8> {
    match action {
        Action::Challenge { challenge, path, mandate } => {
            disputes::ChallengeCall { challenge: challenge.write(), path: path.clone(), mandate: mandate.0 }.encode()
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
            terms: terms.write(),
            producer_signature: bytes(producer_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Cancel { agreement } => agreements::CancelCall { id: agreement.0 }.encode(),
        Action::Revise { revision, producer_signature, consumer_signature } => agreements::SubmitCall {
            revision: revision.write(),
            producer_signature: bytes(producer_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Place { revision, placements, delegate_signature, consumer_signature } => agreements::PlaceCall {
            revision: revision.write(),
            placements: placements.iter().map(Abi::write).collect(),
            delegate_signature: bytes(delegate_signature),
            consumer_signature: bytes(consumer_signature),
        }
        .encode(),
        Action::Release { release, signature } => {
            agreements::ReleaseCall { release: release.write(), producer_signature: bytes(signature) }.encode()
        }
        Action::TopUp { agreement, held, allowance } => {
            agreements::TopUpCall { id: agreement.0, held: held.0, allowance: allowance.0 }.encode()
        }
        Action::Settle { agreement } => agreements::SettleCall { id: agreement.0 }.encode(),
        Action::Redeem { voucher, signature } => {
            agreements::RedeemCall { voucher: voucher.write(), producer_signature: bytes(signature) }.encode()
        }
        Action::End { agreement } => agreements::EndCall { id: agreement.0 }.encode(),
        Action::Terminate { agreement } => agreements::TerminateCall { id: agreement.0 }.encode(),
        Action::Finish { agreement } => agreements::FinishCall { id: agreement.0 }.encode(),
        other => return Err(Error::Invalid(format!("{}: only actions on agreements go together", other.what()))),
    })
}

fn bytes(signature: &Signature) -> ethers::types::Bytes {
    signature.0.to_vec().into()
}
