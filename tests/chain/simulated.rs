//! The simulated chain when it is rewritten, and a ledger that fails: nothing is paid twice, nothing is lost.

use std::{sync::Arc, time::Duration};

use openbucket::{
    base::{ErrorKind, Kinded, Wei},
    chain::{
        Action, ActionKey, Contracts, Cursor, Error, Event, FaultyLedger, Ledger, LedgerFaults, LedgerHandler,
        PlacedEvent, SimulatedChain, Step, Until, perform,
    },
    runtime::{ManualClock, SeededChance},
};
use parking_lot::Mutex;

use crate::{contracts::settings, outbox::account};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Kept(Mutex<(Vec<PlacedEvent>, Option<Cursor>, usize)>);

impl LedgerHandler for Kept {
    fn cursor(&self) -> Result<Option<Cursor>, Error> {
        Ok(self.0.lock().1.clone())
    }

    fn apply(&self, events: &[PlacedEvent], cursor: &Cursor) -> Result<(), Error> {
        let mut kept = self.0.lock();
        kept.0.extend_from_slice(events);
        kept.1 = Some(cursor.clone());
        Ok(())
    }

    fn revert(&self, cursor: &Cursor) -> Result<(), Error> {
        let mut kept = self.0.lock();
        kept.0.retain(|placed| !cursor.is_before(placed.block, placed.index));
        kept.1 = Some(cursor.clone());
        kept.2 += 1;
        Ok(())
    }
}

fn chain() -> SimulatedChain {
    let contracts = Contracts::of_deployer(account(0xde), 0);
    let chain = SimulatedChain::new(settings(contracts), Arc::new(ManualClock::default()));
    chain.fund(account(1), Wei::ETHER);
    chain
}

fn deposit(amount: u128) -> Action {
    Action::Deposit { account: account(1), amount: Wei(amount) }
}

fn key(number: u64) -> ActionKey {
    ActionKey::new(format!("deposit/{number}")).expect("a key")
}

async fn amounts(ledger: &dyn Ledger, kept: &Arc<Kept>) -> Vec<u128> {
    let handler: Arc<dyn LedgerHandler> = kept.clone();
    loop {
        match ledger.catch_up(&handler).await {
            Ok(Step::UpToDate) => break,
            Ok(Step::More) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    let amount = |placed: &PlacedEvent| match placed.event {
        Event::Deposited { amount, .. } => amount.0,
        ref other => panic!("{other:?}"),
    };
    kept.0.lock().0.iter().map(amount).collect()
}

#[tokio::test]
async fn what_a_rewriting_takes_away_comes_again_once() {
    let chain = chain();
    let ledger = chain.ledger(account(1));
    let kept = Arc::new(Kept::default());
    for number in 1..=5 {
        perform(&ledger, &key(number), &deposit(number.into()), SECOND).await.expect("done");
    }
    assert_eq!(amounts(&ledger, &kept).await, [1, 2, 3, 4, 5]);
    chain.rewrite(3);
    assert_eq!(amounts(&ledger, &kept).await, [1, 2, 3, 4, 5]);
    assert_eq!(kept.0.lock().2, 1, "three events were taken back, and came again");
    perform(&ledger, &key(5), &deposit(5), SECOND).await.expect("known");
    assert_eq!(ledger.balance(account(1)).await.expect("asked"), Wei(15));
    assert!(chain.is_conserved());
    chain.rewrite(4);
    assert_eq!(amounts(&ledger, &kept).await.len(), 5);
}

#[tokio::test]
async fn an_action_that_is_repeated_until_it_is_answered_is_done_once() {
    for seed in 0..20 {
        let chain = chain();
        let honest = chain.ledger(account(1));
        let chance = Arc::new(SeededChance::new(seed));
        let faulty = FaultyLedger::new(Arc::new(honest.clone()), chance);
        faulty.set(LedgerFaults { lost_requests: 200, lost_answers: 200, repeats: 200, ..LedgerFaults::default() });
        for number in 1..=20 {
            let mut tries = 0;
            while let Err(error) = faulty.submit(&key(number), &deposit(7)).await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                tries += 1;
                assert!(tries < 100);
            }
        }
        let kept = Arc::new(Kept::default());
        assert_eq!(amounts(&faulty, &kept).await, [7; 20], "seed {seed}");
        assert_eq!(honest.balance(account(1)).await.expect("asked"), Wei(140));
    }
}

#[tokio::test]
async fn the_refusals_of_the_seam_are_those_of_a_real_one() {
    let ledger = chain().ledger(account(1));
    let poor = ledger.submit(&key(1), &deposit(2 * Wei::ETHER.0)).await.expect_err("too poor");
    assert!(matches!(poor, Error::InsufficientFunds { missing: Wei::ETHER, .. }), "{poor}");
    perform(&ledger, &key(1), &deposit(1), SECOND).await.expect("the key is free");
    let reused = ledger.submit(&key(1), &deposit(2)).await.expect_err("another action");
    assert_eq!(reused.kind(), ErrorKind::Exists);
    let unknown = ledger.wait(&key(2), Until::Final, SECOND).await.expect_err("never submitted");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}
