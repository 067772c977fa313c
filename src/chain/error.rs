//! What can go wrong between this program and the chain.

use crate::{
    base::{ErrorKind, Kinded, Wei},
    keys::EthereumAddress,
    store,
};

use super::{ActionKey, ChainId};

/// A failure of the chain, of a node on the way to it, or of an action. Never names more of a node than its host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node answered.
    #[error("no Ethereum node answers ({0}): nothing was lost, what is queued goes out when one does")]
    NodeDown(String),
    /// A node of another chain.
    #[error(
        "the node at {host} is of chain {found}, not of chain {expected}: correct its URL or the chain; \
         nothing was sent to it"
    )]
    WrongChain { host: String, found: ChainId, expected: ChainId },
    /// A node that says what cannot be.
    #[error("the node at {host} gives answers that cannot be true: {why}")]
    Lying { host: String, why: String },
    /// An answer larger than is taken.
    #[error("the node at {host} answers with more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    /// A node answered with an error.
    #[error("the node at {host} refuses {method}: {message} (code {code})")]
    Node { host: String, method: String, code: i64, message: String },
    /// The options of the transport are no good.
    #[error("{0}")]
    Options(String),
    /// A contract said no, or would.
    #[error("{what}: the contract refuses: {why}")]
    Reverted { what: String, why: String },
    /// The account cannot pay for it.
    #[error(
        "{what}: the account {account} lacks {missing}: it needs {needed} with gas and has {balance}; send it ether"
    )]
    InsufficientFunds { what: String, account: EthereumAddress, missing: Wei, needed: Wei, balance: Wei },
    /// The action was refused before anything was signed.
    #[error("{why}")]
    Refused { kind: ErrorKind, why: String },
    /// Another process owns the account's nonces.
    #[error(
        "the account {account} on chain {chain} is in use by {holder}: two processes that send from one account \
         would undo each other; stop that one, or use another account"
    )]
    AccountInUse { account: EthereumAddress, chain: ChainId, holder: String },
    /// One key for two actions.
    #[error("the action {0} was submitted before with another content: use another key")]
    KeyReused(ActionKey),
    /// A key that cannot be one.
    #[error("an action's key has 1 to {limit} printable ASCII characters", limit = crate::base::limits::ACTION_KEY_BYTES)]
    BadKey,
    /// Too much is waiting.
    #[error("{waiting} actions wait for the chain already, more are not taken: {why}")]
    QueueFull { waiting: usize, why: String },
    /// Not done yet; it goes on.
    #[error("the action {key} is not done yet: {state}; it goes on by itself")]
    Pending { key: ActionKey, state: String },
    /// No such action.
    #[error("no action {0} is known")]
    UnknownAction(ActionKey),
    /// A re-organisation that nobody can follow.
    #[error(
        "the chain was rewritten below block {block}, deeper than is kept: events that were counted may not exist any more"
    )]
    DeepReorg { block: u64 },
    /// What is asked for is outside of what may be.
    #[error("{0}")]
    Invalid(String),
    /// What is asked for is not on the chain.
    #[error("{0}")]
    NotFound(String),
    /// A signature that is not by whom it must be.
    #[error("{what} is signed by {found}, not by {expected}")]
    WrongSigner { what: &'static str, found: EthereumAddress, expected: EthereumAddress },
    /// The local state.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The outbox was stopped.
    #[error("the outbox is closed: {0}")]
    Closed(String),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NodeDown(_) | Error::AccountInUse { .. } | Error::Pending { .. } => ErrorKind::Unavailable,
            Error::WrongChain { .. } | Error::Lying { .. } => ErrorKind::Unavailable,
            Error::Node { .. } | Error::TooLarge { .. } => ErrorKind::Unavailable,
            Error::Options(_) | Error::Reverted { .. } | Error::BadKey | Error::Invalid(_) => ErrorKind::Invalid,
            Error::Refused { kind, .. } => *kind,
            Error::InsufficientFunds { .. } => ErrorKind::Unpaid,
            Error::KeyReused(_) => ErrorKind::Exists,
            Error::QueueFull { .. } => ErrorKind::Full,
            Error::UnknownAction(_) | Error::NotFound(_) => ErrorKind::NotFound,
            Error::DeepReorg { .. } => ErrorKind::Corrupt,
            Error::WrongSigner { .. } => ErrorKind::Denied,
            Error::Store(error) => error.kind(),
            Error::Closed(_) => ErrorKind::Closed,
        }
    }
}

impl Error {
    /// Whether it is the way to the chain that failed, and not the chain or the caller: to be tried again later.
    pub fn is_of_the_way(&self) -> bool {
        matches!(
            self,
            Error::NodeDown(_)
                | Error::WrongChain { .. }
                | Error::Lying { .. }
                | Error::TooLarge { .. }
                | Error::Node { .. }
        )
    }
}
