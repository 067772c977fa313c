//! The chapters of the life: begin, offer, run, pay, release, dispute, repair, finish.

use openbucket::{
    base::{BucketId, Wei},
    chain::{
        Action, AgreementId, Challenge, DisputeId, Event, Mandate, MandateId, OfferId, Party, Placement, Release,
        Revision, Signature, Terms, Timestamp,
    },
    coding::merkle,
};

use crate::{
    life::{
        DAY, GIB, HOUR, Life,
        Person::{self, Consumer, Delegate, Other, Producer},
        START, held, shard, tree,
    },
    outbox::account,
};

impl Life<'_> {
    pub async fn begin(&mut self) {
        let deposit =
            |amount: u128, person: Person| Action::Deposit { account: person.signer().address(), amount: Wei(amount) };
        self.refused(Producer, deposit(0, Producer), "nothing deposited").await;
        for (person, amount) in [(Producer, 1u128 << 60), (Consumer, 1 << 50), (Other, 1 << 50), (Delegate, 1 << 40)] {
            self.done(person, deposit(amount, person)).await;
        }
        let take_out = Action::Withdraw { amount: Wei(1 << 41), to: account(0x99) };
        self.refused(Delegate, take_out, "insufficient balance").await;
        let take_out = Action::Withdraw { amount: Wei(1_000_001), to: account(0x99) };
        self.done(Delegate, take_out).await;

        let forged = self.activation(Producer, Party::Producer, 2_000, Other);
        self.refused(Other, forged, "wrong signer").await;
        let cheap = self.activation(Producer, Party::Producer, 999, Producer);
        self.refused(Producer, cheap, "below minimum").await;
        let activation = self.activation(Producer, Party::Producer, 2_000, Producer);
        self.done(Delegate, activation.clone()).await;
        self.refused(Producer, activation, "already used").await;
        let activation = self.activation(Consumer, Party::Consumer, 1_500, Consumer);
        self.done(Consumer, activation).await;
        let activation = self.activation(Other, Party::Consumer, 1_000, Other);
        self.done(Other, activation).await;
        self.done(Other, Action::WithdrawActivation { party: Party::Consumer }).await;
        let activation = self.activation(Other, Party::Consumer, 1_100, Other);
        self.done(Other, activation).await;
        let terms = self.offer_terms(10 * GIB);
        self.refused(Consumer, Action::CreateOffer { terms, addresses: vec![] }, "not activated").await;
        let collect = Action::CollectActivation { account: Consumer.signer().address(), party: Party::Consumer };
        self.refused(Delegate, collect.clone(), "still pending").await;
        self.wait(2 * HOUR);
        self.done(Delegate, collect).await;
    }

    pub async fn offer(&mut self) {
        let addresses = vec!["/ip4/192.0.2.1/tcp/1".to_owned()];
        for consumer in [Consumer, Other, Other] {
            let terms = self.offer_terms(10 * GIB + 5);
            let events = self.done(consumer, Action::CreateOffer { terms, addresses: addresses.clone() }).await;
            assert!(matches!(events[..], [Event::OfferCreated { .. }]), "{events:?}");
        }
        let (offer, addresses) = (OfferId(1), vec!["x".to_owned(); 17]);
        let terms = self.offer_terms(9 * GIB);
        let change = Action::ChangeOffer { offer, terms: terms.clone(), addresses };
        self.refused(Consumer, change, "too many addresses").await;
        let change = Action::ChangeOffer { offer, terms, addresses: vec![] };
        self.refused(Other, change.clone(), "not your offer").await;
        self.done(Consumer, change).await;
        self.done(Other, Action::CancelOffer { offer: OfferId(3) }).await;
        self.refused(Other, Action::CancelOffer { offer: OfferId(3) }, "not standing").await;
    }

    pub async fn run_one(&mut self) -> AgreementId {
        let terms = self.terms(Consumer, 1, 1);
        let (id, open) = self.open(&terms, Producer, Other);
        self.refused(Delegate, open, "wrong signer").await;
        let (_, open) = self.open(&terms, Producer, Consumer);
        self.done(Delegate, open.clone()).await;
        self.refused(Consumer, open, "already used").await;
        let other = self.terms(Consumer, 1, 2);
        let (second, open) = self.open(&other, Producer, Consumer);
        self.done(Consumer, open).await;
        self.refused(Delegate, Action::Cancel { agreement: second }, "not party").await;
        self.done(Consumer, Action::Cancel { agreement: second }).await;
        let expensive = Terms { capacity_bytes: 100 * GIB, ..self.terms(Consumer, 1, 3) };
        let (_, open) = self.open(&expensive, Producer, Consumer);
        self.refused(Producer, open, "capacity exceeded").await;

        self.refused(Producer, Action::Settle { agreement: id }, "wrong state").await;
        let first = self.revision(id, 1, &[1, 2, 3], 0);
        let forged = self.revise(&first, Producer, Producer);
        self.refused(Producer, forged, "wrong signer").await;
        let future = Revision { as_of: self.now().plus(HOUR), ..first.clone() };
        let future = self.revise(&future, Producer, Consumer);
        self.refused(Producer, future, "from the future").await;
        let activate = self.revise(&first, Producer, Consumer);
        self.done(Delegate, activate.clone()).await;
        self.refused(Consumer, activate, "not newer").await;

        // Bytes as if the shards were large, so that something is owed.
        let big = Revision { stored_bytes: 3 * GIB + 17, ..self.revision(id, 2, &[1, 2, 3], 0) };
        let big = self.revise(&big, Producer, Consumer);
        self.done(Consumer, big).await;
        let too_big = Revision { stored_bytes: 3 * GIB + 18, ..self.revision(id, 3, &[1, 2, 3], 0) };
        let too_big = self.revise(&too_big, Producer, Consumer);
        self.refused(Consumer, too_big, "capacity exceeded").await;
        self.wait(10 * DAY);
        self.done(Delegate, Action::Settle { agreement: id }).await;
        self.done(Delegate, Action::Settle { agreement: id }).await;
        let back = Revision { as_of: Timestamp(START), ..self.revision(id, 3, &[1], 0) };
        let back = self.revise(&back, Producer, Consumer);
        self.refused(Consumer, back, "goes backwards").await;
        self.refused(Consumer, Action::TopUp { agreement: id, held: Wei(5), allowance: Wei(0) }, "not party").await;
        self.done(Producer, Action::TopUp { agreement: id, held: Wei(3_000_000), allowance: Wei(7) }).await;
        id
    }

    pub async fn pay_egress(&mut self, id: AgreementId) {
        for (amount, refusal) in [
            (60_000, None),
            (60_000, Some("voucher not newer")),
            (59_000, Some("voucher not newer")),
            (150_000, None),
            (150_000, Some("voucher not newer")),
        ] {
            let redeem = self.redeem(id, amount);
            match refusal {
                None => drop(self.done(Consumer, redeem).await),
                Some(why) => self.refused(Consumer, redeem, why).await,
            }
        }
        self.done(Producer, Action::TopUp { agreement: id, held: Wei(0), allowance: Wei(40_000) }).await;
        let redeem = self.redeem(id, 150_000);
        self.done(Consumer, redeem).await;
    }

    pub async fn release(&mut self, id: AgreementId) {
        let release = |number: u64, stored_bytes: u64| Release { agreement: id, number, stored_bytes };
        let signed = |life: &Self, release: Release| {
            let signature = life.ledger().domains().agreements.sign(&release, &Producer.signer());
            Action::Release { release, signature }
        };
        let more = signed(self, release(4, 4 * GIB));
        self.refused(Producer, more, "release increases").await;
        let less = signed(self, release(4, GIB));
        self.done(Producer, less).await;
        let another = signed(self, release(5, GIB / 2));
        self.refused(Producer, another.clone(), "release pending").await;
        // A revision that was signed before the notice still counts.
        let late = Revision { stored_bytes: 2 * GIB, ..self.revision(id, 3, &[1, 2, 3], 1_000_000) };
        let late = self.revise(&late, Producer, Consumer);
        self.done(Consumer, late).await;
        self.wait(3 * DAY);
        let passed = Revision { stored_bytes: 2 * GIB, ..self.revision(id, 4, &[1, 2, 3], 1_000_000) };
        let passed = self.revise(&passed, Producer, Consumer);
        self.refused(Consumer, passed, "not newer").await;
        self.done(Delegate, Action::Settle { agreement: id }).await;
        // The next release builds on the first, whose number stays used; its own is not taken before its notice is over.
        self.done(Producer, another).await;
        let used = self.revision(id, 4, &[1, 2, 3], 1_400_000);
        let used = self.revise(&used, Producer, Consumer);
        self.refused(Consumer, used, "not newer").await;
        let same = self.revision(id, 5, &[1, 2, 3], 1_400_000);
        let same = self.revise(&same, Producer, Consumer);
        self.done(Consumer, same).await;
        let newer = Revision { stored_bytes: 3 * GIB, ..self.revision(id, 6, &[1, 2, 3], 1_500_000) };
        let newer = self.revise(&newer, Producer, Consumer);
        self.done(Consumer, newer).await;
    }

    pub fn challenge(&self, agreement: AgreementId, number: u64, index: u32, leaf_index: u32) -> Action {
        Self::challenge_of(&[1, 2, 3], (agreement, number), (index, leaf_index), MandateId::default())
    }

    /// Asks for a leaf of one of these shards, which are what the revision has.
    pub fn challenge_of(
        shards: &[u8],
        (agreement, number): (AgreementId, u64),
        (index, leaf_index): (u32, u32),
        mandate: MandateId,
    ) -> Action {
        let of = held(shards[index as usize]);
        let challenge =
            Challenge { agreement, number, shard: of.shard, leaf_count: of.leaf_count, shard_index: index, leaf_index };
        let path = tree(shards).path(index).expect("a shard");
        Action::Challenge { challenge, path, mandate }
    }

    /// The producer lets somebody re-place its shards; the mandate is made known.
    pub async fn empower(&mut self, delegate: Person, days: u64, salt: u8) -> (Mandate, Signature) {
        let mandate = Mandate {
            producer: Producer.signer().address(),
            delegate: delegate.signer().address(),
            bucket: BucketId([8; 32]),
            storage_price: Wei(1_000_003),
            capacity_bytes: 5 * GIB,
            expiry: self.now().plus(days * DAY),
            salt: [salt; 32],
        };
        let signature = self.ledger().domains().mandates.sign(&mandate, &Producer.signer());
        self.done(Delegate, Action::AcceptMandate { mandate: mandate.clone(), signature }).await;
        (mandate, signature)
    }

    pub fn mandate_id(&self, mandate: &Mandate) -> MandateId {
        MandateId(self.ledger().domains().mandates.digest(mandate))
    }

    /// A revision of the delegate and a consumer, of shards that stand in the root of another agreement.
    pub fn place(&self, revision: Revision, consumer: Person, placements: Vec<Placement>) -> Action {
        Action::Place {
            delegate_signature: self.sign(&revision, Delegate),
            consumer_signature: self.sign(&revision, consumer),
            placements,
            revision,
        }
    }

    /// One of the shards that an agreement holds now.
    pub fn from_source(source: AgreementId, shards: &[u8], index: u32) -> Placement {
        let of = held(shards[index as usize]);
        let source_path = tree(shards).path(index).expect("a shard");
        Placement { shard: of.shard, leaf_count: of.leaf_count, source, source_index: index, source_path }
    }

    pub fn answer(dispute: u64, number: u8, leaf: u32) -> Action {
        let data = shard(number);
        let start = leaf as usize * 1024;
        let path = merkle::Tree::build(&data).range_proof(leaf..leaf + 1);
        Action::Answer { dispute: DisputeId(dispute), leaf: data[start..start + 1024].to_vec(), path }
    }

    pub async fn dispute(&mut self, id: AgreementId) {
        let challenge = self.challenge(id, 6, 1, 3);
        self.refused(Delegate, challenge.clone(), "not challenger").await;
        let old = self.challenge(id, 5, 1, 3);
        self.refused(Producer, old, "wrong revision").await;
        self.done(Producer, challenge.clone()).await;
        self.refused(Producer, challenge, "already disputed").await;
        self.refused(Consumer, Self::answer(1, 2, 2), "wrong leaf").await;
        self.refused(Consumer, Self::answer(1, 1, 3), "wrong leaf").await;
        self.refused(Delegate, Action::TimeOut { dispute: DisputeId(1) }, "too early").await;
        self.done(Delegate, Self::answer(1, 2, 3)).await;
        self.refused(Delegate, Self::answer(1, 2, 3), "wrong dispute state").await;

        // The second is superseded, proven again, and lost.
        let challenge = self.challenge(id, 6, 2, 0);
        self.done(Producer, challenge).await;
        self.refused(Consumer, Action::Supersede { dispute: DisputeId(2) }, "not superseded").await;
        let newer = Revision { stored_bytes: 3 * GIB, ..self.revision(id, 7, &[3, 1], 1_600_000) };
        let newer = self.revise(&newer, Producer, Consumer);
        self.done(Consumer, newer).await;
        self.done(Consumer, Action::Supersede { dispute: DisputeId(2) }).await;
        let path = tree(&[3, 1]).path(0).expect("a shard");
        let wrong = Action::Reprove { dispute: DisputeId(2), shard_index: 1, path: path.clone() };
        self.refused(Producer, wrong, "not held").await;
        self.done(Producer, Action::Reprove { dispute: DisputeId(2), shard_index: 0, path }).await;
        self.wait(25 * HOUR);
        self.refused(Consumer, Self::answer(2, 3, 0), "too late").await;
        self.done(Delegate, Action::TimeOut { dispute: DisputeId(2) }).await;
    }

    /// A delegate re-places the lost shard with another consumer, and is paid for it.
    pub async fn repair(&mut self, source: AgreementId) -> AgreementId {
        let (mandate, signature) = self.empower(Delegate, 100, 4).await;
        self.refused(Other, Action::AcceptMandate { mandate: mandate.clone(), signature }, "already accepted").await;
        let mandate = self.mandate_id(&mandate);
        let greedy = Terms { mandate, earliest_end: Timestamp(0), ..self.terms(Other, 2, 5) };
        let (_, open) = self.open(&greedy, Delegate, Other);
        self.refused(Delegate, open, "outside mandate").await;
        let terms = Terms { allowance: Wei(0), held: Wei(2_000_000), ..greedy };
        let (id, open) = self.open(&terms, Delegate, Other);
        self.done(Delegate, open).await;
        let placements = vec![Self::from_source(source, &[3, 1], 0)];
        for (shards, refusal) in [(&[2u8][..], Some("wrong placements")), (&[3][..], None)] {
            let revision = self.revision(id, 1, shards, 0);
            let place = self.place(revision, Other, placements.clone());
            match refusal {
                Some(why) => self.refused(Delegate, place, why).await,
                None => drop(self.done(Delegate, place).await),
            }
        }
        let claim = |replacement: AgreementId| Action::ClaimRepair {
            dispute: DisputeId(2),
            replacement,
            shard_index: 0,
            path: vec![],
        };
        self.refused(Delegate, claim(source), "no replacement").await;
        self.done(Other, claim(id)).await;
        self.refused(Other, claim(id), "no replacement").await;
        self.done(Producer, Action::RevokeMandate { mandate }).await;
        id
    }

    pub async fn finish(&mut self, first: AgreementId, second: AgreementId) {
        let finish = |agreement: AgreementId| Action::Finish { agreement };
        self.refused(Delegate, Action::End { agreement: first }, "not party").await;
        self.refused(Delegate, Action::Terminate { agreement: first }, "not lapsed").await;
        let challenge = self.challenge(first, 7, 2, 0);
        self.refused(Producer, challenge, "already slashed").await;
        self.done(Producer, Action::End { agreement: first }).await;
        let redeem = self.redeem(first, 1_000_000);
        self.done(Consumer, redeem).await;
        self.refused(Delegate, finish(first), "still closing").await;
        // The second one ends before its time, by its consumer, who pays for it; the batch ends what it can.
        self.wait(3 * DAY);
        let batch = vec![finish(second), finish(first), Action::Settle { agreement: second }];
        let events = self.done(Delegate, Action::Batch(batch)).await;
        assert!(events.contains(&Event::ItemFailed { index: 0 }), "{events:?}");
        self.refused(Delegate, finish(first), "wrong state").await;

        let small = |terms: Terms, days: u64| Terms {
            capacity_bytes: GIB,
            earliest_end: Timestamp(terms.deadline.0 + days * DAY),
            ..terms
        };
        let third = Terms { held: Wei(100_000), ..small(self.terms(Consumer, 1, 6), 90) };
        let (third, open) = self.open(&third, Producer, Consumer);
        self.done(Consumer, open).await;
        let revision = Revision { stored_bytes: GIB, ..self.revision(third, 1, &[1], 0) };
        let revise = self.revise(&revision, Producer, Consumer);
        self.done(Consumer, revise).await;
        let fourth = small(self.terms(Consumer, 1, 7), 90);
        let (fourth, open) = self.open(&fourth, Producer, Consumer);
        self.done(Consumer, open).await;
        let revision = Revision { stored_bytes: GIB, ..self.revision(fourth, 1, &[1], 0) };
        let revise = self.revise(&revision, Producer, Consumer);
        self.done(Consumer, revise).await;
        self.done(Consumer, Action::End { agreement: fourth }).await;
        self.wait(5 * DAY);
        self.refused(Producer, Action::TopUp { agreement: third, held: Wei(1), allowance: Wei(0) }, "lapsed").await;
        self.done(Delegate, Action::Terminate { agreement: third }).await;
        // A revision that the termination did not know of: it was paid all the time.
        let fewer = Revision { stored_bytes: 0, ..self.revision(third, 2, &[1], 50_000) };
        let fewer = self.revise(&fewer, Producer, Consumer);
        let events = self.done(Consumer, fewer).await;
        assert!(events.iter().any(|event| matches!(event, Event::Reinstated { .. })), "{events:?}");
        let again = Revision { stored_bytes: 3 * GIB / 4, ..self.revision(third, 3, &[1], 90_000) };
        let again = self.revise(&again, Producer, Consumer);
        self.done(Consumer, again).await;
        self.wait(DAY);
        self.done(Delegate, Action::Terminate { agreement: third }).await;
        self.wait(3 * DAY);
        self.done(Delegate, finish(third)).await;
        self.done(Delegate, finish(fourth)).await;
        self.done(Producer, Action::End { agreement: second }).await;
        self.wait(3 * DAY);
        self.done(Delegate, finish(second)).await;
        self.refused(Delegate, Action::LapseRepair { dispute: DisputeId(2) }, "wrong dispute state").await;
    }
}
