//! An outbox seen from outside: what waits and what became of the rest, without the account's key.

use std::path::PathBuf;

use super::{
    record::{Action, End, Past},
    report::{EndedReport, OutboxReport, Progress},
    store::{Live, OutboxStore, directory_of, told},
};
use crate::{
    base::{ErrorKind, limits},
    chain::{ActionKey, Call, ChainId, Error, Node, blocking::blocking},
    keys::EthereumAddress,
    runtime::Clock,
    store,
};

/// Whose outbox is looked at.
#[derive(Clone, Debug)]
pub struct OutboxPlace {
    /// As in the options of the outbox.
    pub directory: PathBuf,
    pub chain: ChainId,
    pub account: EthereumAddress,
}

/// What is seen of an outbox.
#[derive(Clone, Debug)]
pub struct OutboxView {
    pub report: OutboxReport,
    /// The process that has the outbox now: what it told last is what is seen.
    pub holder: Option<String>,
    /// What ended last, the newest first; nothing is seen of it while another process has the outbox.
    pub ended: Vec<EndedReport>,
}

/// What lies in the directory.
enum Found {
    Nothing,
    /// Nobody has it.
    Free(Live, Vec<EndedReport>),
    /// Another process has it.
    Held(String, Option<OutboxReport>),
}

impl OutboxPlace {
    /// Looks, and makes nothing. How far transactions are is asked of the node, which may be down, unless another process has
    /// the outbox and knows. A transaction counts at so many confirmations.
    pub async fn look(&self, node: &Node, confirmations: u64) -> Result<OutboxView, Error> {
        let place = self.clone();
        let found = blocking(move || place.find()).await?;
        let mut report =
            OutboxReport { account: self.account, chain: self.chain, head: None, trouble: None, actions: Vec::new() };
        let (live, ended) = match found {
            Found::Nothing => (Live::new(), Vec::new()),
            Found::Free(live, ended) => (live, ended),
            Found::Held(holder, told) => {
                return Ok(OutboxView { report: told.unwrap_or(report), holder: Some(holder), ended: Vec::new() });
            }
        };
        match node.head().await {
            Ok(head) => report.head = Some(head.number),
            Err(error) => report.trouble = Some(error.to_string()),
        }
        for action in live.into_values() {
            let progress = match &report.trouble {
                None => progress_of(&action, node, (report.head, confirmations)).await,
                Some(_) => Ok(known_of(&action, (None, confirmations))),
            };
            let progress = progress.unwrap_or_else(|error| {
                report.trouble = Some(error.to_string());
                known_of(&action, (report.head, confirmations))
            });
            report.actions.push(action.report(progress, None));
        }
        Ok(OutboxView { report, holder: None, ended })
    }

    fn path(&self) -> PathBuf {
        directory_of(&self.directory, self.chain, self.account)
    }

    /// Whether the account has an outbox here. What cannot be looked at may be one.
    fn is_there(&self) -> Result<bool, Error> {
        let path = self.path();
        Ok(path.try_exists().map_err(store::Error::io("cannot look for", &path))?)
    }

    fn find(&self) -> Result<Found, Error> {
        if !self.is_there()? {
            return Ok(Found::Nothing);
        }
        match OutboxStore::open(&self.directory, "wallet pending", self.chain, self.account) {
            Ok((store, live)) => Ok(Found::Free(live, store.ended(limits::OUTBOX_SHOWN)?)),
            Err(Error::AccountInUse { holder, .. }) => Ok(Found::Held(holder, told(&self.path()))),
            Err(error) => Err(error),
        }
    }

    /// Takes an action back of which nothing is signed. Refused while another process has the outbox.
    pub async fn cancel(&self, key: &ActionKey, clock: &dyn Clock) -> Result<(), Error> {
        let (place, key, now) = (self.clone(), key.clone(), clock.now());
        blocking(move || {
            if !place.is_there()? {
                return Err(Error::UnknownAction(key));
            }
            let (store, live) = OutboxStore::open(&place.directory, "wallet pending", place.chain, place.account)?;
            let found = live.iter().find(|(_, action)| action.key == key);
            let (sequence, action) = found.ok_or_else(|| Error::UnknownAction(key.clone()))?;
            if action.flight.is_some() {
                let why =
                    format!("{}: it is signed and may be on the chain: nobody can take it back", action.call.what());
                return Err(Error::Invalid(why));
            }
            let end = End::Refused { kind: ErrorKind::Closed, why: "it was taken back".to_owned() };
            let call_digest = Call::from(&action.call).digest();
            let past = Past { call_digest, what: action.call.what().to_owned(), ended_at: now, end };
            store.finish(*sequence, &key, &past)
        })
        .await
    }
}

/// How far an action is, by what was stored of it.
fn known_of(action: &Action, (head, confirmations): (Option<u64>, u64)) -> Progress {
    match &action.flight {
        None => Progress::Queued { note: None },
        Some(flight) => match &flight.mined {
            Some(mined) => mined.progress(head, confirmations),
            None => flight.signed(),
        },
    }
}

/// The same, as the chain has it now.
async fn progress_of(action: &Action, node: &Node, depth: (Option<u64>, u64)) -> Result<Progress, Error> {
    let Some(flight) = &action.flight else { return Ok(Progress::Queued { note: None }) };
    let mined = flight.find_mined(node).await?;
    Ok(mined.map_or_else(|| flight.signed(), |mined| mined.progress(depth.0, depth.1)))
}
