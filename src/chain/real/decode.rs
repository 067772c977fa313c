//! What the contracts tell and keep, in the words of the ledger.

use ethers::{
    abi::RawLog as AbiLog,
    contract::EthLogDecode,
    types::{H160, H256, U256},
};

use super::bindings::{
    agreements::{self, AgreementsEvents},
    disputes::{self, DisputesEvents},
    mandates::{self, MandatesEvents},
    registry::{self, RegistryEvents},
    vault::VaultEvents,
};
use crate::{
    base::{BucketId, ShardId, Wei},
    chain::{
        Error, RawLog,
        ledger::{
            Agreement, AgreementId, AgreementState, Challenge, Contracts, Dispute, DisputeId, DisputeState, Event,
            HoldingRoot, Mandate, MandateId, Offer, OfferId, OfferTerms, Party, Revision, Terms, Timestamp,
        },
    },
    keys::EthereumAddress,
};

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
        MandatesEvents::decode_log(&raw).map(of_mandates).map_err(fail)
    } else if address == contracts.agreements {
        AgreementsEvents::decode_log(&raw).map(of_agreements).map_err(fail)
    } else {
        DisputesEvents::decode_log(&raw).map(of_disputes).map_err(fail)
    }
}

fn of_vault(event: VaultEvents) -> Result<Option<Event>, Error> {
    Ok(match event {
        VaultEvents::DepositedFilter(it) => {
            Some(Event::Deposited { account: address(it.account), payer: address(it.payer), amount: wei(it.amount)? })
        }
        VaultEvents::WithdrawnFilter(it) => {
            Some(Event::Withdrawn { account: address(it.account), to: address(it.to), amount: wei(it.amount)? })
        }
        _ => None,
    })
}

/// There is not so much ether that it would not fit.
pub(super) fn wei(amount: U256) -> Result<Wei, Error> {
    let amount = u128::try_from(amount);
    amount.map(Wei).map_err(|_| Error::Invalid("the node tells of more ether than there is".to_owned()))
}

fn of_registry(event: RegistryEvents) -> Result<Option<Event>, Error> {
    Ok(match event {
        RegistryEvents::ActivationPaidFilter(it) => Some(Event::ActivationPaid {
            account: address(it.account),
            party: party(it.role)?,
            owner: it.id,
            payment: Wei(it.payment),
            from: Timestamp(it.from),
        }),
        RegistryEvents::ActivationWithdrawnFilter(it) => Some(Event::ActivationWithdrawn {
            account: address(it.account),
            party: party(it.role)?,
            payment: Wei(it.payment),
        }),
        RegistryEvents::PaymentCollectedFilter(it) => Some(Event::PaymentCollected {
            account: address(it.account),
            party: party(it.role)?,
            payment: Wei(it.payment),
        }),
        RegistryEvents::OfferCreatedFilter(it) => Some(Event::OfferCreated {
            offer: OfferId(it.offer),
            consumer: address(it.consumer),
            terms: it.terms.into(),
            addresses: it.addresses,
        }),
        RegistryEvents::OfferChangedFilter(it) => Some(Event::OfferChanged {
            offer: OfferId(it.offer),
            consumer: address(it.consumer),
            terms: it.terms.into(),
            addresses: it.addresses,
        }),
        RegistryEvents::OfferCancelledFilter(it) => {
            Some(Event::OfferCancelled { offer: OfferId(it.offer), consumer: address(it.consumer) })
        }
        RegistryEvents::OfferTakenFilter(it) => Some(Event::OfferTaken {
            offer: OfferId(it.offer),
            taken_bytes: it.taken_bytes,
            left_bytes: it.left_bytes,
            collateral: Wei(it.collateral),
        }),
        _ => None,
    })
}

fn of_mandates(event: MandatesEvents) -> Option<Event> {
    match event {
        MandatesEvents::MandateAcceptedFilter(it) => {
            Some(Event::MandateAccepted { mandate: MandateId(it.mandate), terms: it.terms.into() })
        }
        MandatesEvents::MandateRevokedFilter(it) => Some(Event::MandateRevoked { mandate: MandateId(it.mandate) }),
        MandatesEvents::MandateUsedFilter(it) => {
            Some(Event::MandateUsed { mandate: MandateId(it.mandate), used_bytes: it.used_bytes })
        }
        _ => None,
    }
}

fn of_agreements(event: AgreementsEvents) -> Option<Event> {
    let id = AgreementId;
    Some(match event {
        AgreementsEvents::OpenedFilter(it) => {
            Event::Opened { agreement: id(it.agreement), terms: Box::new(it.terms.into()) }
        }
        AgreementsEvents::CancelledFilter(it) => Event::Cancelled { agreement: id(it.agreement), by: address(it.by) },
        AgreementsEvents::RevisedFilter(it) => Event::Revised { revision: it.revision.into() },
        AgreementsEvents::ReleasedFilter(it) => Event::Released {
            agreement: id(it.agreement),
            number: it.number,
            stored_bytes: it.stored_bytes,
            from: Timestamp(it.from),
        },
        AgreementsEvents::ToppedUpFilter(it) => Event::ToppedUp {
            agreement: id(it.agreement),
            held: Wei(it.held),
            allowance: Wei(it.allowance),
            paid_until: Timestamp(it.paid_until),
        },
        AgreementsEvents::SettledFilter(it) => Event::Settled {
            agreement: id(it.agreement),
            consumer: address(it.consumer),
            amount: Wei(it.amount),
            until: Timestamp(it.until),
        },
        AgreementsEvents::VouchedFilter(it) => Event::Vouched { agreement: id(it.agreement), amount: Wei(it.amount) },
        AgreementsEvents::RedeemedFilter(it) => {
            Event::Redeemed { agreement: id(it.agreement), consumer: address(it.consumer), amount: Wei(it.amount) }
        }
        AgreementsEvents::EndingFilter(it) => {
            Event::Ending { agreement: id(it.agreement), by: address(it.by), closes_at: Timestamp(it.closes_at) }
        }
        AgreementsEvents::TerminatedFilter(it) => Event::Terminated {
            agreement: id(it.agreement),
            paid_until: Timestamp(it.paid_until),
            closes_at: Timestamp(it.closes_at),
        },
        AgreementsEvents::ReinstatedFilter(it) => {
            Event::Reinstated { agreement: id(it.agreement), paid_until: Timestamp(it.paid_until) }
        }
        AgreementsEvents::FinishedFilter(it) => Event::Finished {
            agreement: id(it.agreement),
            to_producer: Wei(it.to_producer),
            to_consumer: Wei(it.to_consumer),
        },
        AgreementsEvents::SlashedFilter(it) => Event::CollateralSlashed {
            agreement: id(it.agreement),
            to_producer: Wei(it.to_producer),
            to_repair: Wei(it.to_repair),
        },
        AgreementsEvents::ItemFailedFilter(it) => Event::ItemFailed { index: it.index.low_u64() },
        _ => return None,
    })
}

fn of_disputes(event: DisputesEvents) -> Option<Event> {
    let (id, agreement) = (DisputeId, AgreementId);
    Some(match event {
        DisputesEvents::ChallengedFilter(it) => Event::Challenged {
            dispute: id(it.dispute),
            challenger: address(it.challenger),
            challenge: it.challenge.into(),
            claim: Wei(it.claim),
            deadline: Timestamp(it.deadline),
        },
        DisputesEvents::AnsweredFilter(it) => {
            Event::Answered { dispute: id(it.dispute), agreement: agreement(it.agreement) }
        }
        DisputesEvents::SupersededFilter(it) => Event::Superseded {
            dispute: id(it.dispute),
            agreement: agreement(it.agreement),
            number: it.number,
            deadline: Timestamp(it.deadline),
        },
        DisputesEvents::ReprovedFilter(it) => Event::Reproved {
            dispute: id(it.dispute),
            agreement: agreement(it.agreement),
            number: it.number,
            deadline: Timestamp(it.deadline),
        },
        DisputesEvents::SlashedFilter(it) => Event::DisputeSlashed {
            dispute: id(it.dispute),
            agreement: agreement(it.agreement),
            claim: Wei(it.claim),
            repair: Wei(it.repair),
        },
        DisputesEvents::DismissedFilter(it) => {
            Event::Dismissed { dispute: id(it.dispute), agreement: agreement(it.agreement) }
        }
        DisputesEvents::RepairClaimedFilter(it) => Event::RepairClaimed {
            dispute: id(it.dispute),
            replacement: agreement(it.replacement),
            opener: address(it.opener),
            amount: Wei(it.amount),
        },
        DisputesEvents::RepairLapsedFilter(it) => {
            Event::RepairLapsed { dispute: id(it.dispute), producer: address(it.producer), amount: Wei(it.amount) }
        }
        DisputesEvents::ItemFailedFilter(it) => Event::ItemFailed { index: it.index.low_u64() },
    })
}

pub(super) fn address(address: H160) -> EthereumAddress {
    EthereumAddress(address.0)
}

fn party(role: u8) -> Result<Party, Error> {
    match role {
        0 => Ok(Party::Producer),
        1 => Ok(Party::Consumer),
        other => Err(Error::Invalid(format!("the contract knows a role {other}, this release does not"))),
    }
}

pub(super) fn agreement_state(state: u8) -> Result<AgreementState, Error> {
    use AgreementState::{Active, Cancelled, Closing, Finished, None, Pending, Terminated};
    let states = [None, Pending, Active, Closing, Terminated, Cancelled, Finished];
    let found = states.get(usize::from(state)).copied();
    found.ok_or_else(|| Error::Invalid(format!("the contract knows a state {state}, this release does not")))
}

pub(super) fn dispute_state(state: u8) -> Result<DisputeState, Error> {
    use DisputeState::{Answered, Dismissed, None, Open, Slashed, Superseded};
    let states = [None, Open, Superseded, Answered, Slashed, Dismissed];
    let found = states.get(usize::from(state)).copied();
    found.ok_or_else(|| Error::Invalid(format!("the contract knows a dispute state {state}, this release does not")))
}

impl From<registry::OfferTerms> for OfferTerms {
    fn from(it: registry::OfferTerms) -> Self {
        Self {
            storage_price: Wei(it.storage_price),
            egress_price: Wei(it.egress_price),
            capacity_bytes: it.capacity_bytes,
            collateral_per_gib: Wei(it.collateral_per_gi_b),
            earliest_end: Timestamp(it.earliest_end),
            expiry: Timestamp(it.expiry),
        }
    }
}

impl From<registry::Offer> for Offer {
    fn from(it: registry::Offer) -> Self {
        Self {
            consumer: address(it.consumer),
            is_standing: it.is_standing,
            terms: it.terms.into(),
            collateral: Wei(it.collateral),
        }
    }
}

impl From<mandates::Mandate> for Mandate {
    fn from(it: mandates::Mandate) -> Self {
        Self {
            producer: address(it.producer),
            delegate: address(it.delegate),
            bucket: BucketId(it.bucket),
            storage_price: Wei(it.storage_price),
            capacity_bytes: it.capacity_bytes,
            expiry: Timestamp(it.expiry),
            salt: it.salt,
        }
    }
}

impl From<agreements::Terms> for Terms {
    fn from(it: agreements::Terms) -> Self {
        Self {
            producer: address(it.producer),
            consumer: address(it.consumer),
            offer: OfferId(it.offer),
            bucket: BucketId(it.bucket),
            mandate: MandateId(it.mandate),
            storage_price: Wei(it.storage_price),
            egress_price: Wei(it.egress_price),
            collateral_per_gib: Wei(it.collateral_per_gi_b),
            capacity_bytes: it.capacity_bytes,
            held: Wei(it.held),
            allowance: Wei(it.allowance),
            earliest_end: Timestamp(it.earliest_end),
            deadline: Timestamp(it.deadline),
            salt: it.salt,
        }
    }
}

impl From<agreements::Revision> for Revision {
    fn from(it: agreements::Revision) -> Self {
        Self {
            agreement: AgreementId(it.agreement),
            number: it.number,
            root: HoldingRoot(it.root),
            shard_count: it.shard_count,
            stored_bytes: it.stored_bytes,
            storage_price: Wei(it.storage_price),
            egress_price: Wei(it.egress_price),
            as_of: Timestamp(it.as_of),
            earned: Wei(it.earned),
        }
    }
}

impl From<disputes::Challenge> for Challenge {
    fn from(it: disputes::Challenge) -> Self {
        Self {
            agreement: AgreementId(it.agreement),
            number: it.number,
            shard: ShardId(it.shard),
            leaf_count: it.leaf_count,
            shard_index: it.shard_index,
            leaf_index: it.leaf_index,
        }
    }
}

impl TryFrom<disputes::Dispute> for Dispute {
    type Error = Error;

    fn try_from(it: disputes::Dispute) -> Result<Self, Error> {
        Ok(Self {
            agreement: AgreementId(it.agreement),
            shard: ShardId(it.shard),
            challenger: address(it.challenger),
            state: dispute_state(it.state)?,
            leaf_count: it.leaf_count,
            leaf_index: it.leaf_index,
            number: it.number,
            deadline: Timestamp(it.deadline),
            claim: Wei(it.claim),
            bond: Wei(it.bond),
            repair: Wei(it.repair),
        })
    }
}

impl TryFrom<agreements::Agreement> for Agreement {
    type Error = Error;

    fn try_from(it: agreements::Agreement) -> Result<Self, Error> {
        Ok(Self {
            producer: address(it.producer),
            consumer: address(it.consumer),
            opener: address(it.opener),
            state: agreement_state(it.state)?,
            is_ended_by_consumer: it.is_ended_by_consumer,
            closes_at: Timestamp(it.closes_at),
            earliest_end: Timestamp(it.earliest_end),
            capacity_bytes: it.capacity_bytes,
            bucket: BucketId(it.bucket),
            mandate: MandateId(it.mandate),
            funded: Wei(it.funded),
            paid: Wei(it.paid),
            allowance: Wei(it.allowance),
            redeemed: Wei(it.redeemed),
            vouched: Wei(it.vouched),
            collateral: Wei(it.collateral),
            claimed: Wei(it.claimed),
            collateral_per_gib: Wei(it.collateral_per_gi_b),
            open_disputes: it.open_disputes,
            shard_count: it.shard_count,
            number: it.number,
            as_of: Timestamp(it.as_of),
            earned: Wei(it.earned),
            storage_price: Wei(it.storage_price),
            egress_price: Wei(it.egress_price),
            root: HoldingRoot(it.root),
            basis_owed: Wei(it.basis_owed),
            basis_bytes: it.basis_bytes,
            basis_at: Timestamp(it.basis_at),
            release_number: it.release_number,
            released_bytes: it.released_bytes,
            released_from: Timestamp(it.released_from),
            accrues_until: Timestamp(it.accrues_until),
        })
    }
}
