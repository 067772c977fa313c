//! Challenges, answers, slashing, money for repair, as `contracts/src/Disputes.sol` has them.

use super::state::{Refusal, Turn, require};
use crate::{
    base::{Wei, limits},
    chain::ledger::{
        Agreement, AgreementId, AgreementState, Challenge, Dispute, DisputeId, DisputeState, Event, HeldShard,
        MandateId, price_of_bytes, windows,
    },
    coding::merkle,
};

impl Turn<'_> {
    pub fn challenge(&mut self, challenge: &Challenge, path: &[[u8; 32]], mandate: MandateId) -> Result<(), Refusal> {
        let id = challenge.agreement;
        let mut agreement = self.agreement(id);
        let challenger = if mandate == MandateId::default() {
            agreement.producer
        } else {
            self.delegate_of(mandate, agreement.producer, agreement.bucket.0)?
        };
        require(self.caller == challenger && self.caller != agreement.consumer, "NotChallenger")?;
        self.require_fair(challenge, &agreement, path)?;
        let dispute = DisputeId(self.state.disputes.len() as u64 + 1);
        require(agreement.is_disputable(self.now), "NotDisputable")?;
        let asked = full_claim(&agreement, challenge.leaf_count);
        let claim = Wei(asked.0.min(agreement.collateral.0 - agreement.claimed.0));
        require(claim.0 > 0, "CollateralExhausted")?;
        agreement.claimed = Wei(agreement.claimed.0 + claim.0);
        agreement.open_disputes += 1;
        self.keep(id, agreement);
        let deadline = self.now.plus(windows::ANSWER_SECONDS);
        let bond = self.options.bond;
        let record = Dispute {
            agreement: id,
            shard: challenge.shard,
            challenger: self.caller,
            state: DisputeState::Open,
            leaf_count: challenge.leaf_count,
            leaf_index: challenge.leaf_index,
            number: challenge.number,
            deadline,
            claim,
            bond,
            repair: Wei(0),
        };
        self.state.disputes.insert(dispute, record);
        self.state.open_disputes.insert((id, challenge.shard), dispute);
        self.hold(self.caller, bond)?;
        let (challenger, challenge) = (self.caller, challenge.clone());
        self.tell(Event::Challenged { dispute, challenger, challenge, claim, deadline });
        Ok(())
    }

    /// Only what the consumer signed for can be asked, once at a time.
    fn require_fair(&self, asked: &Challenge, agreement: &Agreement, path: &[[u8; 32]]) -> Result<(), Refusal> {
        let place = (asked.agreement, asked.shard);
        require(!self.state.open_disputes.contains_key(&place), "AlreadyDisputed")?;
        require(asked.number == agreement.number, "WrongRevision")?;
        let slashed = self.state.slashed.get(&place).copied().unwrap_or(0);
        require(slashed < asked.number, "AlreadySlashed")?;
        require(asked.leaf_index < asked.leaf_count, "LeafOutOfRange")?;
        let held = HeldShard { shard: asked.shard, leaf_count: asked.leaf_count };
        require(self.is_held(asked.agreement, &held, asked.shard_index, path), "NotHeld")
    }

    pub fn answer(&mut self, id: DisputeId, leaf: &[u8], path: &[[u8; 32]]) -> Result<(), Refusal> {
        let dispute = self.in_time(id, DisputeState::Open)?;
        let is_right = leaf.len() == limits::LEAF_BYTES && is_leaf(&dispute, leaf, path);
        require(is_right, "WrongLeaf")?;
        let agreement = dispute.agreement;
        self.clear(id, dispute, DisputeState::Answered);
        self.tell(Event::Answered { dispute: id, agreement });
        Ok(())
    }

    pub fn supersede(&mut self, id: DisputeId) -> Result<(), Refusal> {
        let mut dispute = self.in_time(id, DisputeState::Open)?;
        let agreement = self.agreement(dispute.agreement);
        require(agreement.newest_number() > dispute.number, "NotSuperseded")?;
        if agreement.release_number != 0 {
            let agreement = dispute.agreement;
            self.clear(id, dispute, DisputeState::Dismissed);
            self.tell(Event::Dismissed { dispute: id, agreement });
            return Ok(());
        }
        let deadline = self.now.plus(windows::REPROOF_SECONDS);
        (dispute.state, dispute.deadline) = (DisputeState::Superseded, deadline);
        let number = agreement.newest_number();
        self.tell(Event::Superseded { dispute: id, agreement: dispute.agreement, number, deadline });
        self.state.disputes.insert(id, dispute);
        Ok(())
    }

    pub fn reprove(&mut self, id: DisputeId, index: u32, path: &[[u8; 32]]) -> Result<(), Refusal> {
        let mut dispute = self.in_time(id, DisputeState::Superseded)?;
        let agreement = self.agreement(dispute.agreement);
        require(agreement.release_number == 0, "NotDisputable")?;
        let held = HeldShard { shard: dispute.shard, leaf_count: dispute.leaf_count };
        require(self.is_held(dispute.agreement, &held, index, path), "NotHeld")?;
        let (number, deadline) = (agreement.number, self.now.plus(windows::ANSWER_SECONDS));
        (dispute.state, dispute.number, dispute.deadline) = (DisputeState::Open, number, deadline);
        self.tell(Event::Reproved { dispute: id, agreement: dispute.agreement, number, deadline });
        self.state.disputes.insert(id, dispute);
        Ok(())
    }

    /// Slashes, or dismisses what was not proven again.
    pub fn time_out(&mut self, id: DisputeId) -> Result<(), Refusal> {
        let dispute = self.state.disputes.get(&id).cloned().ok_or(Refusal("WrongDisputeState"))?;
        let is_open = matches!(dispute.state, DisputeState::Open | DisputeState::Superseded);
        require(is_open, "WrongDisputeState")?;
        require(dispute.deadline < self.now, "TooEarly")?;
        if dispute.state == DisputeState::Open {
            self.slash(id, dispute);
        } else {
            let agreement = dispute.agreement;
            self.clear(id, dispute, DisputeState::Dismissed);
            self.tell(Event::Dismissed { dispute: id, agreement });
        }
        Ok(())
    }

    pub fn claim_repair(
        &mut self,
        id: DisputeId,
        replacement: AgreementId,
        (index, path): (u32, &[[u8; 32]]),
    ) -> Result<(), Refusal> {
        let mut dispute = self.in_time(id, DisputeState::Slashed)?;
        let (lost, found) = (self.agreement(dispute.agreement), self.agreement(replacement));
        let is_replaced = found.state == AgreementState::Active
            && found.release_number == 0
            && found.producer == lost.producer
            && found.consumer != lost.consumer;
        require(dispute.repair.0 > 0 && is_replaced, "NoReplacement")?;
        let held = HeldShard { shard: dispute.shard, leaf_count: dispute.leaf_count };
        require(self.is_held(replacement, &held, index, path), "NotHeld")?;
        let amount = std::mem::take(&mut dispute.repair);
        self.pay(found.opener, amount);
        self.state.disputes.insert(id, dispute);
        self.tell(Event::RepairClaimed { dispute: id, replacement, opener: found.opener, amount });
        Ok(())
    }

    pub fn lapse_repair(&mut self, id: DisputeId) -> Result<(), Refusal> {
        let dispute = self.state.disputes.get(&id).cloned().filter(|dispute| dispute.repair.0 > 0);
        let mut dispute = dispute.ok_or(Refusal("WrongDisputeState"))?;
        require(dispute.deadline < self.now, "TooEarly")?;
        let producer = self.agreement(dispute.agreement).producer;
        let amount = std::mem::take(&mut dispute.repair);
        self.pay(producer, amount);
        self.state.disputes.insert(id, dispute);
        self.tell(Event::RepairLapsed { dispute: id, producer, amount });
        Ok(())
    }

    /// The dispute, which must be in this state and not past its deadline.
    fn in_time(&self, id: DisputeId, state: DisputeState) -> Result<Dispute, Refusal> {
        let dispute = self.state.disputes.get(&id).filter(|dispute| dispute.state == state);
        let dispute = dispute.ok_or(Refusal("WrongDisputeState"))?;
        require(self.now <= dispute.deadline, "TooLate")?;
        Ok(dispute.clone())
    }

    /// Ends a dispute in the consumer's favour.
    fn clear(&mut self, id: DisputeId, mut dispute: Dispute, state: DisputeState) {
        let mut agreement = self.agreement(dispute.agreement);
        agreement.claimed = Wei(agreement.claimed.0 - dispute.claim.0);
        agreement.open_disputes -= 1;
        self.pay(agreement.consumer, dispute.bond);
        self.keep(dispute.agreement, agreement);
        self.close(id, &mut dispute, state);
    }

    fn close(&mut self, id: DisputeId, dispute: &mut Dispute, state: DisputeState) {
        dispute.state = state;
        self.state.open_disputes.remove(&(dispute.agreement, dispute.shard));
        self.state.disputes.insert(id, dispute.clone());
    }

    fn slash(&mut self, id: DisputeId, mut dispute: Dispute) {
        let mut agreement = self.agreement(dispute.agreement);
        let to_producer = Wei(dispute.claim.0 / 2);
        let to_repair = Wei(dispute.claim.0 - to_producer.0);
        agreement.claimed = Wei(agreement.claimed.0 - dispute.claim.0);
        agreement.collateral = Wei(agreement.collateral.0 - dispute.claim.0);
        agreement.open_disputes -= 1;
        self.pay(agreement.producer, to_producer);
        self.pay(dispute.challenger, dispute.bond);
        self.keep(dispute.agreement, agreement);
        dispute.repair = to_repair;
        dispute.deadline = self.now.plus(windows::REPAIR_SECONDS);
        self.state.slashed.insert((dispute.agreement, dispute.shard), dispute.number);
        self.close(id, &mut dispute, DisputeState::Slashed);
        let Dispute { agreement, claim, .. } = dispute;
        self.tell(Event::CollateralSlashed { agreement, to_producer, to_repair });
        self.tell(Event::DisputeSlashed { dispute: id, agreement, claim, repair: to_repair });
    }
}

fn full_claim(agreement: &Agreement, leaf_count: u32) -> Wei {
    price_of_bytes(u64::from(leaf_count) * limits::LEAF_BYTES as u64, agreement.collateral_per_gib)
}

/// Whether the leaf and its path lead to the shard's root.
fn is_leaf(dispute: &Dispute, leaf: &[u8], path: &[[u8; 32]]) -> bool {
    let leaf_index = dispute.leaf_index;
    merkle::verify_range(dispute.shard, dispute.leaf_count, leaf_index..leaf_index + 1, leaf, path).is_ok()
}
