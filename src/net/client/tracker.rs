//! The client of `/openbucket/tracker/1`, for one or several trackers.

use std::sync::Arc;

use super::calls::Calls;
use crate::{
    base::{Mutex, PeerId, limits},
    keys::Certificate,
    net::{
        Beat, Candidate, CandidateQuery, Contact, Error, Network, Protocol, Registration, parse_address,
        service::refused,
        wire::{TrackerAnswer, TrackerRequest},
    },
};

/// Talks to trackers, known by address, with or without their peer ids.
///
/// Every call to one tracker ends within `limits::REQUEST_TIMEOUT` and may be cancelled by dropping it.
pub struct TrackerClient {
    calls: Calls,
    trackers: Vec<Tracker>,
}

struct Tracker {
    address: String,
    /// Given with the address, or learnt at the first contact and forgotten when it fails.
    peer: Mutex<Option<PeerId>>,
    is_given: bool,
}

impl TrackerClient {
    /// A client of the trackers at these addresses (as [`parse_address`] reads them), which shows this certificate.
    pub fn new(network: Arc<dyn Network>, certificate: Certificate, addresses: &[String]) -> Result<Self, Error> {
        let trackers = addresses.iter().map(|text| {
            let (address, peer) = parse_address(text)?;
            Ok(Tracker { address, is_given: peer.is_some(), peer: Mutex::new(peer) })
        });
        let trackers = trackers.collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { calls: Calls::new(network, Protocol::Tracker, certificate), trackers })
    }

    /// How many trackers there are.
    pub fn len(&self) -> usize {
        self.trackers.len()
    }

    /// Whether there is none: every call then fails with [`Error::Unreachable`].
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    /// Announces this consumer to every tracker. Fails, with the first error, when none accepted.
    pub async fn register(&self, registration: &Registration) -> Result<(), Error> {
        self.tell_all(&TrackerRequest::Register(registration.clone())).await
    }

    /// Tells every tracker that this consumer is here; registers where it is not known (yet, or any more).
    /// Fails, with the first error, when none accepted.
    pub async fn beat(&self, beat: Beat, registration: &Registration) -> Result<(), Error> {
        let told = self.trackers.iter().map(|tracker| async move {
            match self.ask(tracker, &TrackerRequest::Beat(beat)).await.and_then(done) {
                Err(Error::Refused { kind: crate::base::ErrorKind::NotFound, .. }) => {
                    self.ask(tracker, &TrackerRequest::Register(registration.clone())).await.and_then(done)
                }
                result => result,
            }
        });
        any_ok(futures::future::join_all(told).await)
    }

    /// Tells every tracker that this consumer goes.
    pub async fn leave(&self) -> Result<(), Error> {
        self.tell_all(&TrackerRequest::Leave).await
    }

    /// Candidates of the first tracker that answers, in the order of the addresses.
    pub async fn candidates(&self, query: &CandidateQuery) -> Result<Vec<Candidate>, Error> {
        self.list(&TrackerRequest::Candidates(query.clone())).await
    }

    /// What the first tracker that answers knows of these consumers, at most `limits::CANDIDATES`.
    pub async fn find(&self, peers: Vec<PeerId>) -> Result<Vec<Candidate>, Error> {
        self.list(&TrackerRequest::Find(peers)).await
    }

    async fn list(&self, request: &TrackerRequest) -> Result<Vec<Candidate>, Error> {
        let mut first_error = None;
        for tracker in &self.trackers {
            let answer = self.ask(tracker, request).await;
            match answer.and_then(|(peer, answer)| match answer {
                TrackerAnswer::Candidates(list) => check_candidates(peer, list),
                other => Err(not_expected(peer, other)),
            }) {
                Ok(list) => return Ok(list),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.unwrap_or_else(none))
    }

    async fn tell_all(&self, request: &TrackerRequest) -> Result<(), Error> {
        let told = self.trackers.iter().map(|tracker| async move { self.ask(tracker, request).await.and_then(done) });
        any_ok(futures::future::join_all(told).await)
    }

    async fn ask(&self, tracker: &Tracker, request: &TrackerRequest) -> Result<(PeerId, TrackerAnswer), Error> {
        let known = *tracker.peer.lock();
        let peer = match known {
            Some(peer) => peer,
            None => {
                let peer = self.calls.network().identify(&tracker.address).await?;
                *tracker.peer.lock() = Some(peer);
                peer
            }
        };
        let contact = Contact { peer, addresses: vec![tracker.address.clone()] };
        let answer = self
            .calls
            .within_deadline(peer, 0, async {
                let (session, answer) = self.calls.call(&contact, request).await?;
                self.calls.keep(peer, session);
                Ok((peer, answer))
            })
            .await;
        if answer.is_err() && !tracker.is_given {
            // Another tracker, with another key, may have taken its place.
            *tracker.peer.lock() = None;
        }
        answer
    }
}

fn done((peer, answer): (PeerId, TrackerAnswer)) -> Result<(), Error> {
    match answer {
        TrackerAnswer::Done => Ok(()),
        other => Err(not_expected(peer, other)),
    }
}

fn not_expected(peer: PeerId, answer: TrackerAnswer) -> Error {
    match answer {
        TrackerAnswer::Refused(answer) => refused(peer, answer.into()),
        _ => Error::Misbehaved { peer, why: "its answer is not one to this request".into() },
    }
}

fn check_candidates(peer: PeerId, list: Vec<Candidate>) -> Result<Vec<Candidate>, Error> {
    let is_ok =
        list.len() <= limits::CANDIDATES && list.iter().all(|candidate| addresses_ok(&candidate.contact.addresses));
    match is_ok {
        true => Ok(list),
        false => Err(Error::Misbehaved { peer, why: "its candidates are outside the limits".into() }),
    }
}

/// Whether a peer's addresses are within their limits.
pub(in crate::net) fn addresses_ok(addresses: &[String]) -> bool {
    addresses.len() <= limits::ADDRESSES && addresses.iter().all(|address| address.len() <= limits::ADDRESS_BYTES)
}

fn any_ok(results: Vec<Result<(), Error>>) -> Result<(), Error> {
    let (mut first_error, mut is_ok) = (None, false);
    for result in results {
        match result {
            Ok(()) => is_ok = true,
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    match first_error {
        Some(error) if is_ok => tracing::debug!(%error, "one of several trackers did not accept"),
        Some(error) => return Err(error),
        None if is_ok => {}
        None => return Err(none()),
    }
    Ok(())
}

fn none() -> Error {
    Error::Unreachable { to: "the tracker".into(), why: "no tracker address is configured".into() }
}
