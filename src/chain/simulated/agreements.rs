//! Opening, revising and paying agreements, as `contracts/src/agreements` has it.

use super::state::{Refusal, Turn, require};
use crate::{
    base::Wei,
    chain::{
        Signature,
        ledger::{
            Agreement, AgreementId, AgreementState, Event, MandateId, Placement, Release, Revision, Terms, Timestamp,
            Voucher, payable_now, windows,
        },
    },
};

impl Turn<'_> {
    pub fn open(&mut self, terms: &Terms, producer: &Signature, consumer: &Signature) -> Result<(), Refusal> {
        let domain = self.domains.agreements;
        let id = AgreementId(domain.digest(terms));
        require(self.agreement(id).state == AgreementState::None, "AlreadyUsed")?;
        require(self.now <= terms.deadline, "Expired")?;
        let opener = self.take_mandate(terms)?;
        require(terms.producer.0 != [0; 20] && terms.consumer.0 != [0; 20], "NoParty")?;
        require(terms.producer != terms.consumer && opener != terms.consumer, "SameParty")?;
        self.check(&domain, terms, producer, opener)?;
        self.check(&domain, terms, consumer, terms.consumer)?;
        self.hold(terms.producer, terms.held)?;
        self.hold(terms.producer, terms.allowance)?;
        let collateral = self.take_offer(terms)?;
        let agreement = Agreement {
            producer: terms.producer,
            consumer: terms.consumer,
            opener,
            state: AgreementState::Pending,
            earliest_end: terms.earliest_end,
            capacity_bytes: terms.capacity_bytes,
            bucket: terms.bucket,
            mandate: terms.mandate,
            funded: terms.held,
            allowance: terms.allowance,
            collateral,
            collateral_per_gib: terms.collateral_per_gib,
            storage_price: terms.storage_price,
            egress_price: terms.egress_price,
            as_of: self.now,
            basis_at: self.now,
            ..Agreement::none()
        };
        self.keep(id, agreement);
        self.tell(Event::Opened { agreement: id, terms: Box::new(terms.clone()) });
        Ok(())
    }

    pub fn cancel(&mut self, id: AgreementId) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Pending])?;
        let parties = [agreement.producer, agreement.consumer, agreement.opener];
        require(parties.contains(&self.caller), "NotParty")?;
        if agreement.mandate != MandateId::default() {
            self.give_back(agreement.mandate, agreement.capacity_bytes);
        }
        self.pay(agreement.producer, agreement.funded);
        self.pay(agreement.producer, agreement.allowance);
        self.pay(agreement.consumer, agreement.collateral);
        agreement.state = AgreementState::Cancelled;
        (agreement.funded, agreement.allowance, agreement.collateral) = (Wei(0), Wei(0), Wei(0));
        self.keep(id, agreement);
        self.tell(Event::Cancelled { agreement: id, by: self.caller });
        Ok(())
    }

    pub fn revise(&mut self, revision: &Revision, producer: &Signature, consumer: &Signature) -> Result<(), Refusal> {
        let agreement = self.revisable(revision.agreement)?;
        let domain = self.domains.agreements;
        self.check(&domain, revision, producer, agreement.producer)?;
        self.check(&domain, revision, consumer, agreement.consumer)?;
        self.take_revision(agreement, revision)
    }

    pub fn place(
        &mut self,
        revision: &Revision,
        placements: &[Placement],
        (delegate_signature, consumer_signature): (&Signature, &Signature),
    ) -> Result<(), Refusal> {
        let agreement = self.in_state(revision.agreement, &[AgreementState::Pending, AgreementState::Active])?;
        require(agreement.mandate != MandateId::default(), "NotMandated")?;
        // Who released is back: nobody signs over its head.
        require(agreement.release_number == 0, "ReleasePending")?;
        // A delegate takes no shard out of a dispute.
        require(agreement.open_disputes == 0, "DisputesOpen")?;
        let delegate = self.delegate_of(agreement.mandate, agreement.producer, agreement.bucket.0)?;
        let domain = self.domains.agreements;
        self.check(&domain, revision, delegate_signature, delegate)?;
        self.check(&domain, revision, consumer_signature, agreement.consumer)?;
        // One number at a time, so that a delegate cannot use them up.
        require(Some(revision.number) == agreement.number.checked_add(1), "NotNewer")?;
        require(revision.earned <= agreement.owed_at(revision.as_of), "EarnedTooMuch")?;
        let (root, bytes) = self.check_placements(agreement.mandate, placements)?;
        let is_placed = root == revision.root
            && usize::try_from(revision.shard_count) == Ok(placements.len())
            && revision.stored_bytes == bytes
            && (revision.storage_price, revision.egress_price) == (agreement.storage_price, agreement.egress_price);
        require(is_placed, "WrongPlacements")?;
        self.take_revision(agreement, revision)
    }

    fn take_revision(&mut self, mut agreement: Agreement, revision: &Revision) -> Result<(), Refusal> {
        let id = revision.agreement;
        self.require_newer(&agreement, revision.number)?;
        require(revision.as_of <= self.now, "FromTheFuture")?;
        require(agreement.as_of <= revision.as_of && agreement.earned <= revision.earned, "GoesBackwards")?;
        require(revision.stored_bytes <= agreement.capacity_bytes, "CapacityExceeded")?;
        if agreement.state == AgreementState::Pending {
            agreement.state = AgreementState::Active;
        }
        (agreement.number, agreement.root, agreement.shard_count) =
            (revision.number, revision.root, revision.shard_count);
        (agreement.storage_price, agreement.egress_price) = (revision.storage_price, revision.egress_price);
        (agreement.as_of, agreement.earned) = (revision.as_of, revision.earned);
        (agreement.basis_at, agreement.basis_owed) = (revision.as_of, revision.earned);
        agreement.basis_bytes = revision.stored_bytes;
        if agreement.release_number < revision.number {
            forget_release(&mut agreement);
        } else {
            agreement.released_bytes = agreement.released_bytes.min(revision.stored_bytes);
        }
        self.tell(Event::Revised { revision: revision.clone() });
        if agreement.state == AgreementState::Terminated {
            self.review_termination(id, &mut agreement);
        }
        if agreement.state == AgreementState::Active {
            self.settle_now(id, &mut agreement);
        }
        self.keep(id, agreement);
        Ok(())
    }

    /// A release stands in the way only once its notice is over, whatever number it has.
    fn require_newer(&self, agreement: &Agreement, number: u64) -> Result<(), Refusal> {
        let mut newest = agreement.number;
        let is_over = agreement.released_from <= self.now;
        if agreement.release_number != 0 && is_over {
            newest = agreement.release_number;
        }
        require(number > newest, "NotNewer")
    }

    pub fn release(&mut self, release: &Release, signature: &Signature) -> Result<(), Refusal> {
        let id = release.agreement;
        let mut agreement = self.running(id)?;
        self.check(&self.domains.agreements, release, signature, agreement.producer)?;
        require(release.number > agreement.newest_number(), "NotNewer")?;
        self.fold_release(&mut agreement)?;
        require(release.stored_bytes <= agreement.basis_bytes, "ReleaseIncreases")?;
        agreement.release_number = release.number;
        agreement.released_bytes = release.stored_bytes;
        agreement.released_from = self.now.plus(windows::RELEASE_NOTICE_SECONDS);
        let Release { number, stored_bytes, .. } = release.clone();
        self.tell(Event::Released { agreement: id, number, stored_bytes, from: agreement.released_from });
        self.keep(id, agreement);
        Ok(())
    }

    fn fold_release(&self, agreement: &mut Agreement) -> Result<(), Refusal> {
        if agreement.release_number == 0 {
            return Ok(());
        }
        let from = agreement.released_from;
        require(from <= self.now, "ReleasePending")?;
        agreement.number = agreement.release_number;
        if agreement.accrues_until == Timestamp(0) || from <= agreement.accrues_until {
            agreement.basis_owed = agreement.billed_by(from);
            (agreement.basis_at, agreement.basis_bytes) = (from, agreement.released_bytes);
        }
        forget_release(agreement);
        Ok(())
    }

    pub fn top_up(&mut self, id: AgreementId, held: Wei, allowance: Wei) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Pending, AgreementState::Active])?;
        require(self.caller == agreement.producer, "NotParty")?;
        require(!agreement.is_lapsed(self.now), "Lapsed")?;
        agreement.funded = agreement.funded.checked_add(held).ok_or(Refusal("Panic"))?;
        agreement.allowance = agreement.allowance.checked_add(allowance).ok_or(Refusal("Panic"))?;
        self.hold(self.caller, held)?;
        self.hold(self.caller, allowance)?;
        let paid_until = agreement.paid_until();
        self.keep(id, agreement);
        self.tell(Event::ToppedUp { agreement: id, held, allowance, paid_until });
        Ok(())
    }

    pub fn settle(&mut self, id: AgreementId) -> Result<(), Refusal> {
        let mut agreement = self.in_state(id, &[AgreementState::Active])?;
        self.settle_now(id, &mut agreement);
        self.keep(id, agreement);
        Ok(())
    }

    fn settle_now(&mut self, id: AgreementId, agreement: &mut Agreement) {
        let amount = payable_now(agreement.owed_at(self.now), agreement.funded, agreement.paid);
        if amount.0 == 0 {
            return;
        }
        agreement.paid = Wei(agreement.paid.0 + amount.0);
        self.pay(agreement.consumer, amount);
        self.tell(Event::Settled { agreement: id, consumer: agreement.consumer, amount, until: self.now });
    }

    pub fn redeem(&mut self, voucher: &Voucher, signature: &Signature) -> Result<(), Refusal> {
        let id = voucher.agreement;
        let mut agreement = self.running(id)?;
        self.check(&self.domains.agreements, voucher, signature, agreement.producer)?;
        let is_active = agreement.state == AgreementState::Active;
        let is_owed = is_active && voucher.amount == agreement.vouched && egress_owed(&agreement).0 > 0;
        require(voucher.amount > agreement.vouched || is_owed, "VoucherNotNewer")?;
        agreement.vouched = voucher.amount;
        self.tell(Event::Vouched { agreement: id, amount: voucher.amount });
        if is_active {
            self.pay_egress(id, &mut agreement);
        }
        self.keep(id, agreement);
        Ok(())
    }

    /// Pays what vouchers say, as far as the allowance goes.
    pub fn pay_egress(&mut self, id: AgreementId, agreement: &mut Agreement) -> Wei {
        let amount = egress_owed(agreement);
        if amount.0 > 0 {
            agreement.redeemed = Wei(agreement.redeemed.0 + amount.0);
            self.pay(agreement.consumer, amount);
            self.tell(Event::Redeemed { agreement: id, consumer: agreement.consumer, amount });
        }
        amount
    }

    /// The record, which must be in one of these states.
    pub fn in_state(&self, id: AgreementId, states: &[AgreementState]) -> Result<Agreement, Refusal> {
        let agreement = self.agreement(id);
        require(states.contains(&agreement.state), "WrongState")?;
        Ok(agreement)
    }

    /// The record, in which things must still change.
    pub fn running(&self, id: AgreementId) -> Result<Agreement, Refusal> {
        self.in_state(id, &[AgreementState::Active, AgreementState::Closing, AgreementState::Terminated])
    }

    fn revisable(&self, id: AgreementId) -> Result<Agreement, Refusal> {
        match self.agreement(id) {
            agreement if agreement.state == AgreementState::Pending => Ok(agreement),
            _ => self.running(id),
        }
    }
}

fn egress_owed(agreement: &Agreement) -> Wei {
    payable_now(agreement.vouched, agreement.allowance, agreement.redeemed)
}

fn forget_release(agreement: &mut Agreement) {
    (agreement.release_number, agreement.released_bytes, agreement.released_from) = (0, 0, Timestamp(0));
}
