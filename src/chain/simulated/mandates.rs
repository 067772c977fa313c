//! Mandates, as `contracts/src/Mandates.sol` has them.

use super::state::{Refusal, Turn, require};
use crate::{
    base::limits,
    chain::{
        Signature,
        ledger::{
            AgreementId, Event, HeldShard, HoldingRoot, HoldingTree, Mandate, MandateId, MandateState, Placement,
            Terms, holds, storage_charge,
        },
    },
    keys::EthereumAddress,
};

impl Turn<'_> {
    pub fn accept(&mut self, mandate: &Mandate, signature: &Signature) -> Result<(), Refusal> {
        let id = MandateId(self.domains.mandates.digest(mandate));
        self.check(&self.domains.mandates, mandate, signature, mandate.producer)?;
        require(!self.state.mandates.contains_key(&id), "AlreadyAccepted")?;
        let kept = MandateState { terms: mandate.clone(), used_bytes: 0, is_revoked: false };
        self.state.mandates.insert(id, kept);
        self.tell(Event::MandateAccepted { mandate: id, terms: mandate.clone() });
        Ok(())
    }

    pub fn revoke(&mut self, id: MandateId) -> Result<(), Refusal> {
        let caller = self.caller;
        let kept = self.state.mandates.get_mut(&id).filter(|kept| kept.terms.producer == caller);
        kept.ok_or(Refusal("NotProducer"))?.is_revoked = true;
        self.tell(Event::MandateRevoked { mandate: id });
        Ok(())
    }

    /// The delegate of a mandate that counts now, for this producer and bucket.
    pub fn delegate_of(
        &self,
        id: MandateId,
        producer: EthereumAddress,
        bucket: [u8; 32],
    ) -> Result<EthereumAddress, Refusal> {
        let kept = self.state.mandates.get(&id).ok_or(Refusal("UnknownMandate"))?;
        require(!kept.is_revoked && self.now <= kept.terms.expiry, "MandateOver")?;
        require(kept.terms.producer == producer && kept.terms.bucket.0 == bucket, "OutsideMandate")?;
        Ok(kept.terms.delegate)
    }

    /// Takes the bytes of an agreement out of its mandate; gives who must sign for the producer.
    pub fn take_mandate(&mut self, terms: &Terms) -> Result<EthereumAddress, Refusal> {
        if terms.mandate == MandateId::default() {
            return Ok(terms.producer);
        }
        require(terms.allowance.0 == 0 && terms.earliest_end <= self.now, "OutsideMandate")?;
        let delegate = self.delegate_of(terms.mandate, terms.producer, terms.bucket.0)?;
        let now = self.now;
        let kept = self.state.mandates.get_mut(&terms.mandate).expect("it has a delegate");
        let left = kept.terms.capacity_bytes - kept.used_bytes;
        require(terms.storage_price <= kept.terms.storage_price && terms.capacity_bytes <= left, "OutsideMandate")?;
        let most = storage_charge(terms.capacity_bytes, terms.storage_price, kept.terms.expiry.0 - now.0);
        require(terms.held <= most, "OutsideMandate")?;
        kept.used_bytes += terms.capacity_bytes;
        let used_bytes = kept.used_bytes;
        self.tell(Event::MandateUsed { mandate: terms.mandate, used_bytes });
        Ok(delegate)
    }

    pub fn give_back(&mut self, id: MandateId, bytes: u64) {
        let kept = self.state.mandates.get_mut(&id).expect("bytes were taken from it");
        kept.used_bytes -= bytes;
        let used_bytes = kept.used_bytes;
        self.tell(Event::MandateUsed { mandate: id, used_bytes });
    }

    /// The root and the bytes of placements, each of a shard that is held already.
    pub fn check_placements(&self, id: MandateId, placements: &[Placement]) -> Result<(HoldingRoot, u64), Refusal> {
        require(placements.len() <= limits::SHARDS, "TooManyPlacements")?;
        let mandate = &self.state.mandates.get(&id).ok_or(Refusal("UnknownMandate"))?.terms;
        let mut shards = Vec::new();
        for placement in placements {
            let held = HeldShard { shard: placement.shard, leaf_count: placement.leaf_count };
            let source = self.agreement(placement.source);
            let is_theirs = source.producer == mandate.producer && source.bucket == mandate.bucket && source.number > 0;
            let is_held = holds(source.root, source.shard_count, placement.source_index, &held, &placement.source_path);
            require(is_theirs && is_held, "NotHeld")?;
            shards.push(held);
        }
        let tree = HoldingTree::new(&shards).map_err(|_| Refusal("TooManyPlacements"))?;
        let leaves: u64 = shards.iter().map(|held| u64::from(held.leaf_count)).sum();
        Ok((tree.root(), leaves * limits::LEAF_BYTES as u64))
    }

    /// Whether a shard is in the newest co-signed root of an agreement, at this place.
    pub fn is_held(&self, id: AgreementId, held: &HeldShard, index: u32, path: &[[u8; 32]]) -> bool {
        let agreement = self.agreement(id);
        holds(agreement.root, agreement.shard_count, index, held, path)
    }
}
