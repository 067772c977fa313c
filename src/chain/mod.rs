//! Talk to Ethereum: the `Ledger` seam, the wallet, the contracts' bindings, the outbox, a simulated chain.
//!
//! A layer of its own above `store`: what is to be sent is kept there before it is sent. From the wire upwards:
//! `transport` asks nodes, `node` types what is asked, `outbox` sends transactions once, `follower` hands over events once,
//! `ledger` is the seam, with `real`, `simulated` and `faulty` behind it.

mod blocking;
mod deploy;
mod error;
mod faulty;
mod fees;
mod follower;
mod ledger;
mod node;
mod outbox;
mod real;
mod revert;
mod signer;
mod simulated;
mod transport;
mod wallet;
mod words;

pub use deploy::{Deployment, deploy};
pub use error::Error;
pub use faulty::{FaultyLedger, LedgerFaults};
pub use follower::{Cursor, EventHandler, Follower, FollowerOptions, FollowerReport, Mark, Step};
pub use ledger::{
    Action, Activation, ActivationState, Agreement, AgreementId, AgreementState, Challenge, Contracts, Dispute,
    DisputeId, DisputeState, Domain, Domains, Event, HeldShard, HoldingRoot, HoldingTree, Ledger, LedgerHandler,
    Mandate, MandateId, MandateState, Message, Offer, OfferId, OfferTerms, Party, PlacedEvent, Placement, Release,
    Revision, Terms, Timestamp, Voucher, holds, perform, price_of_bytes, storage_charge, windows,
};
pub use node::{At, Header, Node, RawLog, Receipt};
pub use outbox::{
    ActionReport, EndedReport, Outbox, OutboxOptions, OutboxParts, OutboxPlace, OutboxReport, OutboxView, Outcome,
    Progress, Until,
};
pub use real::{RealLedger, RealLedgerParts};
pub use signer::{Signature, Signer};
pub use simulated::{SimulatedChain, SimulatedChainOptions, SimulatedLedger};
pub use transport::{Transport, TransportError, TransportOptions};
pub use wallet::{Account, AccountPath, Vacancy, Wallet, WalletError};
pub use words::{ActionKey, BlockHash, Call, ChainId, TxHash};
