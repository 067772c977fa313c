//! Which consumers get the shards of one chunk: random by free space, distinct owners and networks first.

use std::{collections::HashSet, net::Ipv6Addr, sync::Arc};

use crate::{
    base::{OwnerId, PeerId},
    net::Candidate,
    runtime::Chance,
};

/// Hands out the consumers for one chunk, each once, and knows which owners and networks hold a part already.
pub(super) struct Chooser {
    /// In the order of choice; the best last, so that taking is cheap.
    pool: Vec<(Arc<Candidate>, String)>,
    used: Vec<(PeerId, OwnerId, String)>,
}

impl Chooser {
    /// Draws an order of these candidates: those with more free space are more likely to come early.
    pub(super) fn new(candidates: Vec<Arc<Candidate>>, chance: &dyn Chance) -> Self {
        let mut drawn: Vec<(f64, Arc<Candidate>)> =
            candidates.into_iter().map(|candidate| (draw(candidate.free_bytes, chance), candidate)).collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        let pool = drawn.into_iter().map(|(_, candidate)| (Arc::clone(&candidate), network(&candidate))).collect();
        Self { pool, used: Vec::new() }
    }

    /// Counts a holder that was chosen earlier, so that its owner and network are avoided.
    pub(super) fn hold(&mut self, candidate: &Candidate) {
        self.used.push((candidate.contact.peer, candidate.owner, network(candidate)));
    }

    /// More candidates, behind the ones at hand. Those that were ever in the pool are the caller's to leave out.
    pub(super) fn extend(&mut self, later: Chooser) {
        self.pool.splice(0..0, later.pool);
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.pool.len()
    }

    /// Who is left.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.pool.iter().map(|(candidate, _)| candidate.contact.peer)
    }

    /// The next consumer: of a new owner and a new network, else of a new owner, else any. Never the same twice.
    pub(super) fn take(&mut self) -> Option<Arc<Candidate>> {
        let owners: HashSet<OwnerId> = self.used.iter().map(|used| used.1).collect();
        let networks: HashSet<&str> = self.used.iter().map(|used| used.2.as_str()).collect();
        let new_owner = |entry: &(Arc<Candidate>, String)| !owners.contains(&entry.0.owner);
        let new_network = |entry: &(Arc<Candidate>, String)| !networks.contains(entry.1.as_str());
        let index = self
            .pool
            .iter()
            .rposition(|entry| new_owner(entry) && new_network(entry))
            .or_else(|| self.pool.iter().rposition(new_owner))
            .or_else(|| self.pool.len().checked_sub(1))?;
        let (candidate, network) = self.pool.remove(index);
        self.used.push((candidate.contact.peer, candidate.owner, network));
        Some(candidate)
    }

    /// This consumer holds nothing after all: its owner and network are free again. It is not taken again.
    pub(super) fn release(&mut self, peer: PeerId) {
        self.used.retain(|used| used.0 != peer);
    }
}

/// A random key of which the smallest come first: exponential with the weight as rate (Efraimidis and Spirakis).
fn draw(weight: u64, chance: &dyn Chance) -> f64 {
    let uniform = (chance.u64() >> 11) as f64 / (1u64 << 53) as f64;
    -(1.0 - uniform).ln() / (weight.max(1) as f64)
}

/// What addresses must not share to count as different networks: IPv4 /24, IPv6 /48, else the name, else the peer.
fn network(candidate: &Candidate) -> String {
    let Some(address) = candidate.contact.addresses.first() else {
        return candidate.contact.peer.to_string();
    };
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("ip4"), Some(ip)) => ip.rsplit_once('.').map_or(ip, |(prefix, _)| prefix).to_owned(),
        (Some("ip6"), Some(ip)) => match ip.parse::<Ipv6Addr>() {
            Ok(ip) => format!("{:x?}", &ip.segments()[..3]),
            Err(_) => ip.to_owned(),
        },
        (_, Some(name)) => name.to_owned(),
        _ => address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::UnixMillis, net::Contact, runtime::SeededChance};

    fn candidate(peer: u8, owner: u8, address: &str, free_bytes: u64) -> Arc<Candidate> {
        Arc::new(Candidate {
            contact: Contact { peer: PeerId([peer; 32]), addresses: vec![address.to_owned()] },
            owner: OwnerId([owner; 32]),
            limit_bytes: free_bytes,
            free_bytes,
            last_beat: UnixMillis(0),
            uptime_permille: 1000,
            is_online: true,
        })
    }

    #[test]
    fn new_owners_and_networks_come_first() {
        let chance = SeededChance::new(1);
        for _ in 0..50 {
            let pool = vec![
                candidate(1, 1, "/ip4/10.0.0.1/tcp/1", 100),
                candidate(2, 1, "/ip4/10.0.1.1/tcp/1", 100),
                candidate(3, 2, "/ip4/10.0.0.2/tcp/1", 100),
                candidate(4, 3, "/ip6/2001:db8:1::7/tcp/1", 1),
                candidate(5, 4, "/ip6/2001:db8:1::8/tcp/1", 1),
            ];
            let mut chooser = Chooser::new(pool, &chance);
            let taken: Vec<_> = std::iter::from_fn(|| chooser.take()).collect();
            let peers: HashSet<_> = taken.iter().map(|c| c.contact.peer).collect();
            assert_eq!(peers.len(), 5, "each once");
            let owners: HashSet<_> = taken[..4].iter().map(|c| c.owner).collect();
            assert_eq!(owners.len(), 4, "all owners before one comes twice");
            let networks: HashSet<_> = taken[..2].iter().map(|c| network(c)).collect();
            assert_eq!(networks.len(), 2);
        }
    }

    #[test]
    fn more_free_space_is_chosen_more_often() {
        let chance = SeededChance::new(2);
        let first = (0..1000)
            .filter(|_| {
                let pool =
                    vec![candidate(1, 1, "/ip4/10.0.0.1/tcp/1", 900), candidate(2, 2, "/ip4/10.0.0.2/tcp/1", 100)];
                Chooser::new(pool, &chance).take().is_some_and(|c| c.owner == OwnerId([1; 32]))
            })
            .count();
        assert!((850..950).contains(&first), "{first} of 1000");
    }

    #[test]
    fn a_released_owner_may_come_again() {
        let chance = SeededChance::new(3);
        let pool = vec![candidate(1, 1, "/ip4/10.0.0.1/tcp/1", u64::MAX), candidate(2, 1, "/ip4/10.0.0.2/tcp/1", 5)];
        let mut chooser = Chooser::new(pool, &chance);
        chooser.extend(Chooser::new(vec![candidate(3, 2, "/ip4/10.0.9.1/tcp/1", 1)], &chance));
        let first = chooser.take().expect("three");
        chooser.release(first.contact.peer);
        assert_eq!(chooser.take().map(|c| c.owner), Some(OwnerId([1; 32])));
        assert_eq!(chooser.take().map(|c| c.owner), Some(OwnerId([2; 32])));
        assert!(chooser.take().is_none());
    }
}
