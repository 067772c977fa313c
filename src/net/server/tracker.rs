//! The server of `/openbucket/tracker/1`.

use std::{io, sync::Arc};

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;

use super::accept::{Answerer, Client, ServerIdentity, serve};
use crate::{
    base::{ErrorKind, limits},
    keys::Role,
    net::{
        BoxStream, Candidate, CandidateQuery, Error, Network, Protocol, Refusal, Registration, TrackerService,
        parse_address,
        wire::{TrackerAnswer, TrackerRequest, write_frame},
    },
    runtime::Tasks,
};

/// Serves the directory to anyone certified, until the tasks' shutdown.
///
/// # Errors
/// When this network serves a tracker already, or is closed.
pub fn serve_tracker(
    network: &Arc<dyn Network>,
    service: Arc<dyn TrackerService>,
    identity: ServerIdentity,
    tasks: &Tasks,
) -> Result<(), Error> {
    let server = TrackerServer { service, identity };
    serve(network.as_ref(), Protocol::Tracker, Arc::new(server), tasks.clone())
}

struct TrackerServer {
    service: Arc<dyn TrackerService>,
    identity: ServerIdentity,
}

#[async_trait]
impl Answerer for TrackerServer {
    type Request = TrackerRequest;

    const ROLES: &'static [Role] = &[Role::Producer, Role::Consumer, Role::Tracker];

    fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    async fn answer(&self, stream: &mut BoxStream, client: Client, request: TrackerRequest) -> io::Result<()> {
        match self.decide(client, request).await {
            Ok(answer) => send(stream, &answer).await,
            Err(refusal) => self.refuse(stream, refusal).await,
        }
    }

    async fn refuse(&self, stream: &mut BoxStream, refusal: Refusal) -> io::Result<()> {
        send(stream, &TrackerAnswer::Refused(refusal.into())).await
    }
}

impl TrackerServer {
    async fn decide(&self, client: Client, request: TrackerRequest) -> Result<TrackerAnswer, Refusal> {
        let is_query = matches!(request, TrackerRequest::Candidates(_) | TrackerRequest::Find(_));
        if !is_query && client.role != Role::Consumer {
            return Err((ErrorKind::Denied, format!("only consumers register, not a {}", client.role)));
        }
        match request {
            TrackerRequest::Register(registration) => {
                check_registration(&registration)?;
                self.service.register(client.peer, client.owner, registration).await?;
            }
            TrackerRequest::Beat(beat) => self.service.beat(client.peer, beat).await?,
            TrackerRequest::Leave => self.service.leave(client.peer).await?,
            TrackerRequest::Candidates(query) => {
                check_query(&query)?;
                let list = self.service.candidates(query).await?;
                return Ok(TrackerAnswer::Candidates(fit(list)));
            }
            TrackerRequest::Find(peers) if peers.len() > limits::CANDIDATES => {
                let why = format!("at most {} consumers are found at a time", limits::CANDIDATES);
                return Err((ErrorKind::Invalid, why));
            }
            TrackerRequest::Find(peers) => {
                let list = self.service.find(peers).await?;
                return Ok(TrackerAnswer::Candidates(fit(list)));
            }
        }
        Ok(TrackerAnswer::Done)
    }
}

fn check_registration(registration: &Registration) -> Result<(), Refusal> {
    let invalid = |why: String| Err((ErrorKind::Invalid, why));
    let count = registration.addresses.len();
    if count == 0 || count > limits::ADDRESSES {
        return invalid(format!("a consumer has 1 to {} addresses, not {count}", limits::ADDRESSES));
    }
    if registration.version.len() > limits::VERSION_BYTES {
        return invalid(format!("the version is longer than {} bytes", limits::VERSION_BYTES));
    }
    for address in &registration.addresses {
        if let Err(error) = parse_address(address) {
            return invalid(error.to_string());
        }
    }
    Ok(())
}

fn check_query(query: &CandidateQuery) -> Result<(), Refusal> {
    if usize::from(query.count) > limits::CANDIDATES || query.exclude.len() > limits::EXCLUDED_PEERS {
        let (most, excluded) = (limits::CANDIDATES, limits::EXCLUDED_PEERS);
        let why = format!("a query asks for at most {most} consumers and excludes at most {excluded}");
        return Err((ErrorKind::Invalid, why));
    }
    Ok(())
}

/// As many candidates, from the first on, as an answer may have and a frame holds.
fn fit(mut list: Vec<Candidate>) -> Vec<Candidate> {
    let mut room = limits::FRAME_BYTES - 16;
    list.truncate(limits::CANDIDATES);
    let fitting = list.iter().take_while(|candidate| {
        let size = postcard::to_stdvec(candidate).map_or(usize::MAX, |bytes| bytes.len());
        let is_room = size <= room;
        room = room.saturating_sub(size);
        is_room
    });
    let count = fitting.count();
    list.truncate(count);
    list
}

async fn send(stream: &mut BoxStream, answer: &TrackerAnswer) -> io::Result<()> {
    write_frame(stream, answer).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{OwnerId, PeerId, UnixMillis},
        net::Contact,
    };

    #[test]
    fn an_answer_fits_its_frame() {
        let contact = Contact { peer: PeerId([1; 32]), addresses: vec!["x".repeat(limits::ADDRESS_BYTES); 16] };
        let candidate = Candidate {
            contact,
            owner: OwnerId([2; 32]),
            limit_bytes: u64::MAX,
            free_bytes: u64::MAX,
            last_beat: UnixMillis(u64::MAX),
            uptime_permille: 1000,
            is_online: true,
        };
        let list = fit(vec![candidate; 1000]);
        let answer = TrackerAnswer::Candidates(list.clone());
        let bytes = postcard::to_stdvec(&answer).unwrap().len();
        assert!(bytes <= limits::FRAME_BYTES && bytes > limits::FRAME_BYTES - 6000, "{bytes}");
        assert!(list.len() > 50);
    }

    #[test]
    fn registrations_outside_the_limits_are_refused() {
        let good = Registration {
            addresses: vec!["/ip4/192.0.2.7/tcp/1".into()],
            limit_bytes: 1,
            free_bytes: 1,
            version: "1".into(),
        };
        assert!(check_registration(&good).is_ok());
        let bad = [
            Registration { addresses: vec![], ..good.clone() },
            Registration { addresses: vec!["nonsense".into()], ..good.clone() },
            Registration { addresses: vec![good.addresses[0].clone(); 17], ..good.clone() },
            Registration { version: "x".repeat(100), ..good },
        ];
        assert!(bad.iter().all(|registration| check_registration(registration).is_err()));
    }
}
