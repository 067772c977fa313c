//! A whole life on a real chain, at the end of which every wei is accounted for: a table is printed, and its sums are equal.

use openbucket::{
    base::Wei,
    chain::{
        Action, ActionKey, AgreementId, AgreementState, DisputeId, DisputeState, Ledger, OfferId, Outcome, Party,
        Progress, Revision, Terms, Timestamp, Until, windows,
    },
};

use crate::{
    anvil::Anvil,
    conformance::{Real, START_SECONDS, World},
    contracts::deploy,
    life::{
        DAY, GIB, HOUR, Life,
        Person::{self, Consumer, Delegate, Producer},
    },
    outbox::{LIMIT, account},
};

const PURSE: Wei = Wei(100 * Wei::ETHER.0);
const BOND: u128 = 5_000;
const PAID_BY_PRODUCER: u128 = 2_000;
const PAID_BY_CONSUMER: u128 = 1_500;

/// What a party paid into the vault, took out of it, and paid for gas, in wei.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    paid_in: u128,
    taken_out: u128,
    gas: u128,
}

impl Life<'_> {
    async fn join(&mut self) {
        for (person, amount) in [(Producer, 1u128 << 60), (Consumer, 1 << 50)] {
            self.done(person, Action::Deposit { account: person.signer().address(), amount: Wei(amount) }).await;
        }
        for (person, party, payment) in
            [(Producer, Party::Producer, PAID_BY_PRODUCER), (Consumer, Party::Consumer, PAID_BY_CONSUMER)]
        {
            let activation = self.activation(person, party, payment, person);
            self.done(person, activation).await;
        }
        self.wait(2 * HOUR);
        for (person, party) in [(Producer, Party::Producer), (Consumer, Party::Consumer)] {
            self.done(Delegate, Action::CollectActivation { account: person.signer().address(), party }).await;
        }
        let terms = self.offer_terms(10 * GIB);
        self.done(Consumer, Action::CreateOffer { terms, addresses: vec![] }).await;
    }

    /// Opens an agreement and revises it ten times.
    async fn keep(&mut self) -> AgreementId {
        let terms = Terms { held: Wei(5_000_000), ..self.terms(Consumer, 1, 1) };
        let (id, open) = self.open(&terms, Producer, Consumer);
        self.done(Producer, open).await;
        for number in 1..=10 {
            let earned = self.ledger().agreement(id).await.expect("asked").owed_at(self.now());
            let revision = self.revision(id, number, &[1, 2, 3], earned.0);
            let revision = Revision { stored_bytes: number * 3 * GIB / 10, ..revision };
            let revise = self.revise(&revision, Producer, Consumer);
            self.done(Consumer, revise).await;
            self.wait(HOUR);
        }
        for amount in [60_000, 100_000] {
            let redeem = self.redeem(id, amount);
            self.done(Consumer, redeem).await;
        }
        id
    }

    /// Forty days pass, the money runs short, and more comes in the last hours.
    async fn last(&mut self, id: AgreementId) {
        self.wait(40 * DAY);
        self.done(Delegate, Action::Settle { agreement: id }).await;
        let it = self.ledger().agreement(id).await.expect("asked");
        assert!(it.paid.0 > 3_900_000, "forty days of three GiB: {}", it.paid.0);
        let until = it.paid_until();
        let last_hour = until.0 - self.now().0 - HOUR;
        assert!(last_hour > windows::GRACE_SECONDS, "not short of money yet");
        self.wait(last_hour);
        self.refused(Delegate, Action::Terminate { agreement: id }, "not lapsed").await;
        self.done(Producer, Action::TopUp { agreement: id, held: Wei(3_000_000), allowance: Wei(0) }).await;
        let restored = self.ledger().agreement(id).await.expect("asked");
        assert_eq!(restored.state, AgreementState::Active);
        assert!(restored.paid_until() > until.plus(29 * DAY));
    }

    /// One dispute is answered, the other one is not.
    async fn quarrel(&mut self, id: AgreementId) {
        let challenge = self.challenge(id, 10, 1, 3);
        self.done(Producer, challenge).await;
        self.done(Consumer, Self::answer(1, 2, 3)).await;
        let challenge = self.challenge(id, 10, 2, 0);
        self.done(Producer, challenge).await;
        self.wait(25 * HOUR);
        self.done(Delegate, Action::TimeOut { dispute: DisputeId(2) }).await;
        for (dispute, state) in [(1, DisputeState::Answered), (2, DisputeState::Slashed)] {
            let found = self.ledger().dispute(DisputeId(dispute)).await.expect("asked").expect("there");
            assert_eq!(found.state, state);
        }
    }

    async fn part(&mut self, id: AgreementId) {
        self.done(Producer, Action::End { agreement: id }).await;
        self.wait(3 * DAY);
        self.done(Delegate, Action::Finish { agreement: id }).await;
        self.done(Consumer, Action::CancelOffer { offer: OfferId(1) }).await;
        self.wait(windows::REPAIR_SECONDS);
        self.done(Delegate, Action::LapseRepair { dispute: DisputeId(2) }).await;
        for person in [Producer, Consumer] {
            let to = person.signer().address();
            let amount = self.ledger().balance(to).await.expect("asked");
            self.done(person, Action::Withdraw { amount, to }).await;
        }
    }
}

/// Of everything that a person did.
async fn row(ledger: &dyn Ledger, person: Person, acts: &[(Person, Action)]) -> Row {
    let mut row = Row::default();
    for (index, (_, action)) in acts.iter().enumerate().filter(|(_, (by, _))| *by == person) {
        let key = ActionKey::new(format!("step/{}", index + 1)).expect("a key");
        // What was refused before it was signed costs nothing.
        let Ok(Progress::Final(outcome)) = ledger.wait(&key, Until::Final, LIMIT).await else { continue };
        let (Outcome::Done { fee, .. } | Outcome::Reverted { fee, .. }) = &outcome;
        row.gas += fee.0;
        match (&outcome, action) {
            (Outcome::Done { .. }, Action::Deposit { amount, .. }) => row.paid_in += amount.0,
            (Outcome::Done { .. }, Action::Withdraw { amount, .. }) => row.taken_out += amount.0,
            _ => {}
        }
    }
    row
}

#[tokio::test]
async fn every_wei_of_a_life_is_accounted_for() {
    let anvil = Anvil::start(&["--timestamp", &START_SECONDS.to_string()]);
    let contracts = deploy(&anvil).await;
    let mut real = Real::start(anvil, contracts).await;
    let mut life = Life::new(&mut real);
    life.join().await;
    let id = life.keep().await;
    life.last(id).await;
    life.quarrel(id).await;
    life.part(id).await;
    let acts = life.acts();

    println!("{:10} {:>20} {:>20} {:>20} {:>22} {:>12}", "wei", "paid in", "taken out", "gas", "purse", "in the vault");
    let (mut sum, mut left) = (Row::default(), 0);
    for person in Person::ALL {
        let ledger = real.ledger(person);
        let row = row(&*ledger, person, &acts).await;
        let who = person.signer().address();
        let (purse, balance) = (ledger.purse(who).await.expect("asked"), ledger.balance(who).await.expect("asked"));
        let name = format!("{person:?}");
        println!("{name:10} {:20} {:20} {:20} {:22} {:12}", row.paid_in, row.taken_out, row.gas, purse.0, balance.0);
        assert_eq!(purse.0 + row.paid_in + row.gas, PURSE.0 + row.taken_out, "{person:?}");
        sum = Row {
            paid_in: sum.paid_in + row.paid_in,
            taken_out: sum.taken_out + row.taken_out,
            gas: sum.gas + row.gas,
        };
        left += balance.0;
    }
    let ledger = real.ledger(Producer);
    let treasury = ledger.balance(account(0x77)).await.expect("asked").0;
    println!("{:10} {:>20} {:>20} {:>20} {:>22} {treasury:12}", "treasury", 0, 0, 0, 0);
    let in_the_vault = real.anvil.balance(contracts.vault).await.0;
    println!("{:10} {:20} {:20} {:20} {:>22} {in_the_vault:12}", "sum", sum.paid_in, sum.taken_out, sum.gas, "");
    assert_eq!((left, treasury), (0, PAID_BY_PRODUCER + PAID_BY_CONSUMER));
    assert_eq!(sum.paid_in, sum.taken_out + treasury);
    assert_eq!(in_the_vault, treasury, "nothing is held any more");

    // The same from the records: what was paid for storage, for egress, and for a lost shard.
    let it = ledger.agreement(id).await.expect("asked");
    let claim = ledger.dispute(DisputeId(2)).await.expect("asked").expect("there").claim.0;
    let storage = it.paid.0;
    assert_eq!((it.owed_at(it.accrues_until), it.funded, it.allowance), (it.paid, it.paid, it.redeemed));
    println!("storage {storage} + egress {} + bond {BOND} - slash {claim}", it.redeemed.0);
    assert_eq!((it.state, it.redeemed), (AgreementState::Finished, Wei(100_000)));
    assert!(storage > 5_000_000 && claim > 0 && it.accrues_until != Timestamp(0));
    let consumer = row(&*real.ledger(Consumer), Consumer, &acts).await;
    let earned = storage + it.redeemed.0 + BOND;
    assert_eq!(consumer.taken_out + PAID_BY_CONSUMER + claim, consumer.paid_in + earned);
    let producer = row(&*ledger, Producer, &acts).await;
    assert_eq!(producer.taken_out + PAID_BY_PRODUCER + earned, producer.paid_in + claim);
    for sender in real.senders.drain(..) {
        sender.stop().await;
    }
}
