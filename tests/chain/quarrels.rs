//! A life of quarrels on both chains: disputes of a delegate, proofs that come too late, placements in the way of a dispute or
//! a release, ends before their time with a credit.

use openbucket::{
    base::Wei,
    chain::{Action, AgreementId, DisputeId, Event, MandateId, Release, Revision, Terms, Timestamp, windows},
};

use crate::{
    conformance::World,
    life::{
        DAY, GIB, HOUR, Life,
        Person::{self, Consumer, Delegate, Other, Producer},
        tree,
    },
};

const NONE: [u8; 32] = [0; 32];

impl Life<'_> {
    /// An agreement with its first revision, of shards 1, 2 and 3.
    async fn agree(&mut self, terms: Terms) -> AgreementId {
        let stored_bytes = terms.capacity_bytes;
        let (id, open) = self.open(&terms, Producer, Consumer);
        self.done(Consumer, open).await;
        let first = Revision { stored_bytes, ..self.revision(id, 1, &[1, 2, 3], 0) };
        let revise = self.revise(&first, Producer, Consumer);
        self.done(Producer, revise).await;
        id
    }

    async fn time_out(&mut self, dispute: u64) -> Vec<Event> {
        self.done(Other, Action::TimeOut { dispute: DisputeId(dispute) }).await
    }

    /// A delegate disputes: one is answered, one is lost.
    async fn delegated_disputes(&mut self, id: AgreementId, mandate: MandateId) {
        let ask = |index: u32, mandate: MandateId| Self::challenge_of(&[1, 2, 3], (id, 1), (index, 2), mandate);
        self.refused(Delegate, ask(0, MandateId(NONE)), "not challenger").await;
        self.refused(Delegate, ask(0, MandateId([9; 32])), "unknown mandate").await;
        self.refused(Other, ask(0, mandate), "not challenger").await;
        // Nobody disputes with itself, though the producer let it.
        let (own, _) = self.empower(Consumer, 100, 6).await;
        let own = self.mandate_id(&own);
        self.refused(Consumer, ask(0, own), "not challenger").await;
        self.done(Delegate, ask(0, mandate)).await;
        self.refused(Producer, ask(0, MandateId(NONE)), "already disputed").await;
        self.done(Consumer, Self::answer(1, 1, 2)).await;
        self.done(Delegate, ask(1, mandate)).await;
        self.wait(25 * HOUR);
        let events = self.time_out(2).await;
        assert!(events.iter().any(|event| matches!(event, Event::DisputeSlashed { .. })), "{events:?}");
        self.refused(Delegate, ask(1, mandate), "already slashed").await;
        self.refused(Producer, Action::LapseRepair { dispute: DisputeId(2) }, "too early").await;
        self.refused(Producer, Action::LapseRepair { dispute: DisputeId(1) }, "wrong dispute state").await;
    }

    /// A delegate places under a dispute, and after a release.
    async fn placements(&mut self, source: AgreementId, mandate: MandateId) -> AgreementId {
        let terms = Terms {
            mandate,
            earliest_end: Timestamp(0),
            allowance: Wei(0),
            held: Wei(2_000_000),
            ..self.terms(Other, 2, 5)
        };
        let (id, open) = self.open(&terms, Delegate, Other);
        self.done(Delegate, open).await;
        let from = |index: u32| Self::from_source(source, &[1, 2, 3], index);
        let two = vec![from(1), from(2)];
        let place = self.place(self.revision(id, 1, &[2, 3], 0), Other, two.clone());
        self.done(Delegate, place).await;

        // A dispute in the source is in nobody's way, one in the agreement itself is.
        self.done(Producer, Self::challenge_of(&[1, 2, 3], (source, 1), (2, 0), MandateId(NONE))).await;
        let place = self.place(self.revision(id, 2, &[2, 3], 0), Other, two.clone());
        self.done(Delegate, place).await;
        self.done(Consumer, Self::answer(3, 3, 0)).await;
        self.done(Producer, Self::challenge_of(&[2, 3], (id, 2), (0, 1), MandateId(NONE))).await;
        let place = self.place(self.revision(id, 3, &[2, 3], 0), Other, two.clone());
        self.refused(Delegate, place.clone(), "disputes open").await;
        self.done(Other, Self::answer(4, 2, 1)).await;
        self.done(Other, place).await;

        let release = Release { agreement: id, number: 4, stored_bytes: 4096 };
        let signature = self.ledger().domains().agreements.sign(&release, &Producer.signer());
        self.done(Producer, Action::Release { release, signature }).await;
        let place = self.place(self.revision(id, 4, &[2, 3], 0), Other, two.clone());
        self.refused(Delegate, place.clone(), "release pending").await;
        self.refused(Producer, Self::challenge_of(&[2, 3], (id, 3), (0, 1), MandateId(NONE)), "not disputable").await;
        self.wait(3 * DAY);
        self.refused(Delegate, place, "release pending").await;
        let back = self.revision(id, 5, &[2], 0);
        let back = self.revise(&back, Producer, Other);
        self.done(Other, back).await;
        let place = self.place(self.revision(id, 6, &[2, 3], 0), Other, two);
        self.done(Delegate, place).await;
        id
    }

    /// A newer revision answers, and the shard is not proven under it in time; then a release answers.
    async fn late_proofs(&mut self, id: AgreementId) {
        self.done(Producer, Self::challenge_of(&[1, 2, 3], (id, 1), (0, 3), MandateId(NONE))).await;
        let newer = Revision { stored_bytes: 3 * GIB, ..self.revision(id, 2, &[3, 1], 300_000) };
        let newer = self.revise(&newer, Producer, Consumer);
        self.done(Consumer, newer).await;
        self.refused(
            Consumer,
            Action::Reprove { dispute: DisputeId(5), shard_index: 1, path: vec![] },
            "wrong dispute state",
        )
        .await;
        self.done(Other, Action::Supersede { dispute: DisputeId(5) }).await;
        self.refused(Consumer, Self::answer(5, 1, 3), "wrong dispute state").await;
        self.refused(Other, Action::TimeOut { dispute: DisputeId(5) }, "too early").await;
        self.wait(25 * HOUR);
        let path = tree(&[3, 1]).path(1).expect("a shard");
        self.refused(Producer, Action::Reprove { dispute: DisputeId(5), shard_index: 1, path }, "too late").await;
        let events = self.time_out(5).await;
        assert!(matches!(events[..], [Event::Dismissed { .. }]), "{events:?}");
        self.refused(Other, Action::TimeOut { dispute: DisputeId(5) }, "wrong dispute state").await;

        self.done(Producer, Self::challenge_of(&[3, 1], (id, 2), (1, 3), MandateId(NONE))).await;
        let release = Release { agreement: id, number: 3, stored_bytes: GIB };
        let signature = self.ledger().domains().agreements.sign(&release, &Producer.signer());
        self.done(Producer, Action::Release { release, signature }).await;
        let events = self.done(Consumer, Action::Supersede { dispute: DisputeId(6) }).await;
        assert!(matches!(events[..], [Event::Dismissed { .. }]), "{events:?}");
    }

    /// Who has been paid too much keeps it, and it counts for the time that is missing when the producer ends too early.
    async fn credit(&mut self, salt: u8, by: Person) {
        let terms =
            Terms { capacity_bytes: 2 * GIB, earliest_end: self.now().plus(90 * DAY), ..self.terms(Consumer, 1, salt) };
        let id = self.agree(terms).await;
        self.wait(30 * DAY);
        self.done(Delegate, Action::Settle { agreement: id }).await;
        let late = Revision { stored_bytes: GIB, ..self.revision(id, 2, &[1, 2], 500_000) };
        let late = self.revise(&late, Producer, Consumer);
        self.done(Producer, late).await;
        let it = self.ledger().agreement(id).await.expect("asked");
        assert!(it.paid > it.owed_at(self.now()), "there is a credit");
        self.done(by, Action::End { agreement: id }).await;
        self.wait(3 * DAY);
        let events = self.done(Delegate, Action::Finish { agreement: id }).await;
        assert!(events.iter().any(|event| matches!(event, Event::Finished { .. })), "{events:?}");
    }

    async fn last_words(&mut self, first: AgreementId, second: AgreementId, mandate: MandateId) {
        self.done(Producer, Action::RevokeMandate { mandate }).await;
        let two = vec![Self::from_source(second, &[2, 3], 0), Self::from_source(second, &[2, 3], 1)];
        let place = self.place(self.revision(second, 7, &[2, 3], 0), Other, two);
        self.refused(Delegate, place, "mandate over").await;
        self.refused(Delegate, Self::challenge_of(&[2, 3], (second, 6), (0, 0), mandate), "mandate over").await;
        self.wait(windows::REPAIR_SECONDS);
        let events = self.done(Other, Action::LapseRepair { dispute: DisputeId(2) }).await;
        assert!(matches!(events[..], [Event::RepairLapsed { .. }]), "{events:?}");
        self.refused(Other, Action::LapseRepair { dispute: DisputeId(2) }, "wrong dispute state").await;
        for agreement in [first, second] {
            self.done(Delegate, Action::Settle { agreement }).await;
        }
    }
}

/// Lives it, and gives what happened, line by line.
pub async fn live(world: &mut dyn World) -> Vec<String> {
    let mut life = Life::new(world);
    life.begin().await;
    life.offer().await;
    let terms = life.terms(Consumer, 1, 1);
    let first = life.agree(terms).await;
    let (mandate, _) = life.empower(Delegate, 100, 4).await;
    let mandate = life.mandate_id(&mandate);
    life.delegated_disputes(first, mandate).await;
    let second = life.placements(first, mandate).await;
    life.late_proofs(first).await;
    life.credit(6, Producer).await;
    life.credit(7, Consumer).await;
    life.last_words(first, second, mandate).await;
    life.lines()
}
