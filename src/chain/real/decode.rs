//! What the contracts tell, in the words of the ledger.

use ethers::{
    abi::RawLog as AbiLog,
    contract::EthLogDecode,
    types::{H256, U256},
};

use super::{
    bindings::{
        agreements::AgreementsEvents, disputes::DisputesEvents, mandates::MandatesEvents, registry::RegistryEvents,
        vault::VaultEvents,
    },
    records::Abi,
};
use crate::{
    base::Wei,
    chain::{
        Error, RawLog,
        ledger::{Contracts, Event},
    },
};

/// An event: its name here, and its fields, then those of another name there.
macro_rules! event {
    ($name:ident($it:ident): $($field:ident),+ $(; $($ours:ident is $their:ident),+)?) => {
        Event::$name { $($field: Abi::read($it.$field)?,)+ $($($ours: Abi::read($it.$their)?,)+)? }
    };
}

/// The event of a log; None for what only the contracts among themselves need.
pub(super) fn event(contracts: &Contracts, log: &RawLog) -> Result<Option<Event>, Error> {
    let raw = AbiLog { topics: log.topics.iter().map(|topic| H256(*topic)).collect(), data: log.data.clone() };
    let fail = |error: ethers::abi::Error| {
        Error::Invalid(format!("a log in block {} does not decode: {error}; upgrade openbucket", log.block))
    };
    let address = log.address;
    if address == contracts.vault {
        VaultEvents::decode_log(&raw).map_err(fail).and_then(of_vault)
    } else if address == contracts.registry {
        RegistryEvents::decode_log(&raw).map_err(fail).and_then(of_registry)
    } else if address == contracts.mandates {
        MandatesEvents::decode_log(&raw).map_err(fail).and_then(of_mandates)
    } else if address == contracts.agreements {
        AgreementsEvents::decode_log(&raw).map_err(fail).and_then(of_agreements)
    } else {
        DisputesEvents::decode_log(&raw).map_err(fail).and_then(of_disputes)
    }
}

/// There is not so much ether that it would not fit.
pub(super) fn wei(amount: U256) -> Result<Wei, Error> {
    let amount = u128::try_from(amount);
    amount.map(Wei).map_err(|_| Error::Invalid("the node tells of more ether than there is".to_owned()))
}

fn of_vault(event: VaultEvents) -> Result<Option<Event>, Error> {
    Ok(Some(match event {
        VaultEvents::DepositedFilter(it) => {
            Event::Deposited { account: Abi::read(it.account)?, payer: Abi::read(it.payer)?, amount: wei(it.amount)? }
        }
        VaultEvents::WithdrawnFilter(it) => {
            Event::Withdrawn { account: Abi::read(it.account)?, to: Abi::read(it.to)?, amount: wei(it.amount)? }
        }
        _ => return Ok(None),
    }))
}

fn of_registry(event: RegistryEvents) -> Result<Option<Event>, Error> {
    Ok(Some(match event {
        RegistryEvents::ActivationPaidFilter(it) => {
            event!(ActivationPaid(it): account, payment, from; party is role, owner is id)
        }
        RegistryEvents::ActivationWithdrawnFilter(it) => {
            event!(ActivationWithdrawn(it): account, payment; party is role)
        }
        RegistryEvents::PaymentCollectedFilter(it) => event!(PaymentCollected(it): account, payment; party is role),
        RegistryEvents::OfferCreatedFilter(it) => event!(OfferCreated(it): offer, consumer, terms, addresses),
        RegistryEvents::OfferChangedFilter(it) => event!(OfferChanged(it): offer, consumer, terms, addresses),
        RegistryEvents::OfferCancelledFilter(it) => event!(OfferCancelled(it): offer, consumer),
        RegistryEvents::OfferTakenFilter(it) => event!(OfferTaken(it): offer, taken_bytes, left_bytes, collateral),
        _ => return Ok(None),
    }))
}

fn of_mandates(event: MandatesEvents) -> Result<Option<Event>, Error> {
    Ok(Some(match event {
        MandatesEvents::MandateAcceptedFilter(it) => event!(MandateAccepted(it): mandate, terms),
        MandatesEvents::MandateRevokedFilter(it) => event!(MandateRevoked(it): mandate),
        MandatesEvents::MandateUsedFilter(it) => event!(MandateUsed(it): mandate, used_bytes),
        _ => return Ok(None),
    }))
}

fn of_agreements(event: AgreementsEvents) -> Result<Option<Event>, Error> {
    Ok(Some(match event {
        AgreementsEvents::OpenedFilter(it) => event!(Opened(it): agreement, terms),
        AgreementsEvents::CancelledFilter(it) => event!(Cancelled(it): agreement, by),
        AgreementsEvents::RevisedFilter(it) => event!(Revised(it): revision),
        AgreementsEvents::ReleasedFilter(it) => event!(Released(it): agreement, number, stored_bytes, from),
        AgreementsEvents::ToppedUpFilter(it) => event!(ToppedUp(it): agreement, held, allowance, paid_until),
        AgreementsEvents::SettledFilter(it) => event!(Settled(it): agreement, consumer, amount, until),
        AgreementsEvents::VouchedFilter(it) => event!(Vouched(it): agreement, amount),
        AgreementsEvents::RedeemedFilter(it) => event!(Redeemed(it): agreement, consumer, amount),
        AgreementsEvents::EndedFilter(it) => event!(Ended(it): agreement, by, closes_at),
        AgreementsEvents::TerminatedFilter(it) => event!(Terminated(it): agreement, paid_until, closes_at),
        AgreementsEvents::ReinstatedFilter(it) => event!(Reinstated(it): agreement, paid_until),
        AgreementsEvents::FinishedFilter(it) => event!(Finished(it): agreement, to_producer, to_consumer),
        AgreementsEvents::SlashedFilter(it) => event!(CollateralSlashed(it): agreement, to_producer, to_repair),
        AgreementsEvents::ItemFailedFilter(it) => Event::ItemFailed { index: it.index.low_u64() },
        _ => return Ok(None),
    }))
}

fn of_disputes(event: DisputesEvents) -> Result<Option<Event>, Error> {
    Ok(Some(match event {
        DisputesEvents::ChallengedFilter(it) => event!(Challenged(it): dispute, challenger, challenge, claim, deadline),
        DisputesEvents::AnsweredFilter(it) => event!(Answered(it): dispute, agreement),
        DisputesEvents::SupersededFilter(it) => event!(Superseded(it): dispute, agreement, number, deadline),
        DisputesEvents::ReprovedFilter(it) => event!(Reproved(it): dispute, agreement, number, deadline),
        DisputesEvents::SlashedFilter(it) => event!(DisputeSlashed(it): dispute, agreement, claim, repair),
        DisputesEvents::DismissedFilter(it) => event!(Dismissed(it): dispute, agreement),
        DisputesEvents::RepairClaimedFilter(it) => event!(RepairClaimed(it): dispute, replacement, opener, amount),
        DisputesEvents::RepairLapsedFilter(it) => event!(RepairLapsed(it): dispute, producer, amount),
        DisputesEvents::ItemFailedFilter(it) => Event::ItemFailed { index: it.index.low_u64() },
    }))
}
