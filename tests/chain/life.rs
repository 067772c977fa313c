//! The life that is lived on both chains: deposits, activations, offers, agreements and their ends, disputes, mandates.

use std::sync::Arc;

use openbucket::{
    base::{BucketId, ShardId, Wei},
    chain::{
        Action, Activation, AgreementId, AgreementState, Cursor, DisputeId, Error, Event, HeldShard, HoldingTree,
        Ledger, LedgerHandler, MandateId, OfferId, OfferTerms, Party, PlacedEvent, Revision, Signature, Step, Terms,
        Timestamp, Voucher,
    },
    coding::merkle,
};
use parking_lot::Mutex;

use crate::{
    conformance::{World, told},
    outbox::account,
};

pub const START: u64 = 1_000_000_000;
pub const HOUR: u64 = 3_600;
pub const DAY: u64 = 24 * HOUR;
pub const GIB: u64 = 1 << 30;

/// Who lives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Producer,
    Consumer,
    Other,
    Delegate,
}

impl Person {
    pub const ALL: [Person; 4] = [Person::Producer, Person::Consumer, Person::Other, Person::Delegate];
}

use Person::Producer;

/// The data of a shard of four leaves.
pub fn shard(number: u8) -> Vec<u8> {
    (0..4096usize).map(|at| (at % 251) as u8 ^ number).collect()
}

pub fn held(number: u8) -> HeldShard {
    HeldShard { shard: merkle::root(&shard(number)), leaf_count: 4 }
}

pub fn tree(numbers: &[u8]) -> HoldingTree {
    HoldingTree::new(&numbers.iter().map(|number| held(*number)).collect::<Vec<_>>()).expect("few shards")
}

/// A life on one chain, and what is written down of it.
pub struct Life<'a> {
    world: &'a mut dyn World,
    time: u64,
    lines: Vec<String>,
    agreements: Vec<AgreementId>,
    steps: usize,
    acts: Vec<(Person, Action)>,
}

impl<'a> Life<'a> {
    pub fn new(world: &'a mut dyn World) -> Self {
        Self { world, time: 10_000, lines: Vec::new(), agreements: Vec::new(), steps: 0, acts: Vec::new() }
    }

    /// What was written down.
    pub fn lines(self) -> Vec<String> {
        self.lines
    }

    /// What was tried so far, the first under the key `step/1`.
    pub fn acts(&self) -> Vec<(Person, Action)> {
        self.acts.clone()
    }

    /// A moment later, does something, and writes down what came of it and who has what now.
    pub async fn act(&mut self, person: Person, action: Action) -> Result<Vec<Event>, String> {
        self.time += 10;
        self.steps += 1;
        self.acts.push((person, action.clone()));
        self.world.set_time(self.time).await;
        let ledger = self.world.ledger(person);
        let came = told(&*ledger, &format!("step/{}", self.steps), &action).await;
        self.lines.push(format!("{}: {person:?}: {}: {came:?}", self.steps, action.what()));
        self.write_down(&*ledger).await;
        came
    }

    pub async fn done(&mut self, person: Person, action: Action) -> Vec<Event> {
        let what = action.what();
        self.act(person, action).await.unwrap_or_else(|why| panic!("step {}: {what}: {why}", self.steps))
    }

    pub async fn refused(&mut self, person: Person, action: Action, why: &str) {
        let came = self.act(person, action).await;
        assert_eq!(came, Err(why.to_owned()), "step {}", self.steps);
    }

    pub async fn write_down(&mut self, ledger: &dyn Ledger) {
        for person in Person::ALL {
            let balance = ledger.balance(person.signer().address()).await.expect("asked");
            self.lines.push(format!("    {person:?} has {} wei", balance.0));
        }
        let treasury = ledger.balance(account(0x77)).await.expect("asked");
        let purse = ledger.purse(account(0x99)).await.expect("asked");
        self.lines.push(format!("    treasury {} wei, taken out {} wei", treasury.0, purse.0));
        let now = Timestamp(START + self.time);
        for id in self.agreements.clone() {
            let it = ledger.agreement(id).await.expect("asked");
            if it.state != AgreementState::None {
                let (owed, until, left) = (it.owed_at(now), it.paid_until(), it.allowance_left());
                self.lines.push(format!("    {it:?}: owed {owed:?}, paid until {until}, left {left:?}"));
            }
        }
        for number in 1..=ledger.offer_count().await.expect("asked") {
            self.lines.push(format!("    {:?}", ledger.offer(OfferId(number)).await.expect("asked")));
        }
        for number in 1.. {
            let Some(dispute) = ledger.dispute(DisputeId(number)).await.expect("asked") else { break };
            self.lines.push(format!("    {dispute:?}"));
        }
    }

    pub fn wait(&mut self, seconds: u64) {
        self.time += seconds;
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(START + self.time)
    }

    pub fn ledger(&self) -> Arc<dyn Ledger> {
        self.world.ledger(Producer)
    }

    pub fn activation(&self, person: Person, party: Party, payment: u128, signer: Person) -> Action {
        let account = person.signer().address();
        let deadline = self.now().plus(DAY);
        let activation = Activation { account, owner: [person as u8; 32], party, payment: Wei(payment), deadline };
        let signature = self.ledger().domains().registry.sign(&activation, &signer.signer());
        Action::Activate { activation, signature }
    }

    pub fn offer_terms(&self, capacity_bytes: u64) -> OfferTerms {
        OfferTerms {
            storage_price: Wei(1_000_003),
            egress_price: Wei(70_001),
            capacity_bytes,
            collateral_per_gib: Wei(90_000_001),
            earliest_end: self.now().plus(5 * DAY),
            expiry: self.now().plus(400 * DAY),
        }
    }

    pub fn terms(&self, consumer: Person, offer: u64, salt: u8) -> Terms {
        Terms {
            producer: Producer.signer().address(),
            consumer: consumer.signer().address(),
            offer: OfferId(offer),
            bucket: BucketId([8; 32]),
            mandate: MandateId::default(),
            storage_price: Wei(1_000_003),
            egress_price: Wei(70_001),
            collateral_per_gib: Wei(90_000_001),
            capacity_bytes: 3 * GIB + 17,
            held: Wei(9_000_001),
            allowance: Wei(100_000),
            earliest_end: self.now().plus(DAY),
            deadline: self.now().plus(DAY),
            salt: [salt; 32],
        }
    }

    pub fn open(&mut self, terms: &Terms, opener: Person, consumer: Person) -> (AgreementId, Action) {
        let domain = self.ledger().domains().agreements;
        let id = AgreementId(domain.digest(terms));
        if !self.agreements.contains(&id) {
            self.agreements.push(id);
        }
        let producer_signature = domain.sign(terms, &opener.signer());
        let consumer_signature = domain.sign(terms, &consumer.signer());
        (id, Action::Open { terms: Box::new(terms.clone()), producer_signature, consumer_signature })
    }

    pub fn revision(&self, agreement: AgreementId, number: u64, shards: &[u8], earned: u128) -> Revision {
        let tree = tree(shards);
        Revision {
            agreement,
            number,
            root: tree.root(),
            shard_count: tree.count(),
            stored_bytes: tree.count() as u64 * 4096,
            storage_price: Wei(1_000_003),
            egress_price: Wei(70_001),
            as_of: self.now(),
            earned: Wei(earned),
        }
    }

    pub fn sign(&self, revision: &Revision, by: Person) -> Signature {
        self.ledger().domains().agreements.sign(revision, &by.signer())
    }

    pub fn revise(&self, revision: &Revision, producer: Person, consumer: Person) -> Action {
        Action::Revise {
            revision: revision.clone(),
            producer_signature: self.sign(revision, producer),
            consumer_signature: self.sign(revision, consumer),
        }
    }

    pub fn redeem(&self, agreement: AgreementId, amount: u128) -> Action {
        let voucher = Voucher { agreement, amount: Wei(amount) };
        let signature = self.ledger().domains().agreements.sign(&voucher, &Producer.signer());
        Action::Redeem { voucher, signature }
    }
}

/// Lives it, and gives what happened, line by line.
pub async fn live(world: &mut dyn World) -> Vec<String> {
    let mut life = Life::new(world);
    life.begin().await;
    life.offer().await;
    let first = life.run_one().await;
    life.pay_egress(first).await;
    life.release(first).await;
    life.dispute(first).await;
    let second = life.repair(first).await;
    life.finish(first, second).await;
    let open = life.ledger().open_dispute(first, ShardId([0; 32])).await.expect("asked");
    life.lines.push(format!("{open:?} {:?}", life.ledger().bond().await.expect("asked")));
    life.lines()
}

/// What a follower is handed.
#[derive(Default)]
struct Kept(Mutex<(Vec<Event>, Option<Cursor>)>);

impl LedgerHandler for Kept {
    fn cursor(&self) -> Result<Option<Cursor>, Error> {
        Ok(self.0.lock().1.clone())
    }

    fn apply(&self, events: &[PlacedEvent], cursor: &Cursor) -> Result<(), Error> {
        let mut kept = self.0.lock();
        kept.0.extend(events.iter().map(|placed| placed.event.clone()));
        kept.1 = Some(cursor.clone());
        Ok(())
    }

    fn revert(&self, _cursor: &Cursor) -> Result<(), Error> {
        panic!("nothing is rewritten here")
    }
}

/// All events, in order, as they are followed.
pub async fn follow(world: &dyn World) -> Vec<Event> {
    let kept = Arc::new(Kept::default());
    let handler: Arc<dyn LedgerHandler> = kept.clone();
    let ledger = world.ledger(Producer);
    while ledger.catch_up(&handler).await.expect("it goes on") == Step::More {}
    let events = kept.0.lock().0.clone();
    assert!(events.len() > 50, "{} events", events.len());
    events
}
