//! How agreements end, as `contracts/src/agreements/Ending.sol` has it.

use super::state::{Refusal, Turn, require};
use crate::{
    base::Wei,
    chain::ledger::{Agreement, AgreementId, AgreementState, Event, Timestamp, payable_now, windows},
};

impl Turn<'_> {
    pub fn end(&mut self, id: AgreementId) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Active])?;
        let is_consumer = self.caller == agreement.consumer;
        require(is_consumer || self.caller == agreement.producer, "NotParty")?;
        let closes_at = self.now.plus(windows::CLOSING_SECONDS);
        agreement.state = AgreementState::Closing;
        agreement.is_ended_by_consumer = is_consumer;
        (agreement.closes_at, agreement.accrues_until) = (closes_at, closes_at);
        self.keep(id, agreement);
        self.tell(Event::Ended { agreement: id, by: self.caller, closes_at });
        Ok(())
    }

    pub fn terminate(&mut self, id: AgreementId) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Active])?;
        let paid_until = agreement.paid_until();
        require(paid_until < self.now, "NotLapsed")?;
        let closes_at = self.now.plus(windows::CLOSING_SECONDS);
        agreement.state = AgreementState::Terminated;
        (agreement.closes_at, agreement.accrues_until) = (closes_at, paid_until);
        self.keep(id, agreement);
        self.tell(Event::Terminated { agreement: id, paid_until, closes_at });
        Ok(())
    }

    /// By a newer revision the money was not used up at the termination: then the agreement goes on.
    pub fn review_termination(&mut self, id: AgreementId, agreement: &mut Agreement) {
        let paid_until = agreement.paid_until();
        if paid_until.0 < agreement.closes_at.0 - windows::CLOSING_SECONDS {
            agreement.accrues_until = paid_until;
            return;
        }
        agreement.state = AgreementState::Active;
        (agreement.closes_at, agreement.accrues_until) = (Timestamp(0), Timestamp(0));
        self.tell(Event::Reinstated { agreement: id, paid_until });
    }

    pub fn finish(&mut self, id: AgreementId) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Closing, AgreementState::Terminated])?;
        require(agreement.closes_at < self.now, "StillClosing")?;
        require(agreement.open_disputes == 0, "DisputesOpen")?;
        let (to_producer, to_consumer) = self.share_out(id, &mut agreement);
        agreement.state = AgreementState::Finished;
        self.keep(id, agreement);
        self.tell(Event::Finished { agreement: id, to_producer, to_consumer });
        Ok(())
    }

    /// Empties the pots: what the producer gets, and the consumer.
    fn share_out(&mut self, id: AgreementId, agreement: &mut Agreement) -> (Wei, Wei) {
        let (producer, consumer) = (agreement.producer, agreement.consumer);
        let owed = agreement.owed_at(agreement.accrues_until);
        let storage_fee = payable_now(owed, agreement.funded, agreement.paid).0;
        let rest = agreement.funded.0 - agreement.paid.0 - storage_fee;
        let collateral = agreement.collateral.0;
        let by_consumer = agreement.is_ended_by_consumer;
        let forfeit = forfeit(agreement, if by_consumer { collateral } else { rest });
        let (from_consumer, from_producer) = if by_consumer { (forfeit, 0) } else { (0, forfeit) };

        agreement.paid = Wei(agreement.paid.0 + storage_fee + from_producer);
        agreement.collateral = Wei(0);
        let egress_fee = self.pay_egress(id, agreement).0;
        let unused = agreement.allowance.0 - agreement.redeemed.0;
        // As if what goes back had never been put in, so that both sums say what the consumer got.
        (agreement.funded, agreement.allowance) = (agreement.paid, agreement.redeemed);
        let to_producer = rest - from_producer + unused + from_consumer;
        let to_consumer = storage_fee + from_producer + collateral - from_consumer;
        self.pay(producer, Wei(to_producer));
        self.pay(consumer, Wei(to_consumer));
        (Wei(to_producer), Wei(to_consumer + egress_fee))
    }
}

/// What who ended before the earliest end owes the other.
fn forfeit(agreement: &Agreement, limit: u128) -> u128 {
    let ended = agreement.closes_at;
    if agreement.state != AgreementState::Closing || agreement.earliest_end <= ended {
        return 0;
    }
    let mut covered = agreement.billed_by(ended).0;
    if !agreement.is_ended_by_consumer {
        // What the producer paid too much is a credit for this time.
        covered = covered.max(agreement.paid.0);
    }
    agreement.billed_by(agreement.earliest_end).0.saturating_sub(covered).min(limit)
}
