//! The one owner of an outbox: takes commands, looks at the chain, tells who waits.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    OutboxOptions, OutboxParts,
    record::{Action, End, Flight},
    report::{OutboxReport, Progress, Until},
    store::{Live, OutboxStore},
};
use crate::{
    base::{Kinded, Record, UnixMillis, limits},
    chain::{ActionKey, Call, Error, blocking::blocking},
    runtime::{Shutdown, failpoint},
};

/// What an outbox is asked.
pub(super) enum Command {
    Submit { key: ActionKey, call: Call, reply: oneshot::Sender<Result<Progress, Error>> },
    Wait { key: ActionKey, until: Until, reply: oneshot::Sender<Result<Progress, Error>> },
}

struct Waiter {
    key: ActionKey,
    until: Until,
    reply: oneshot::Sender<Result<Progress, Error>>,
}

/// What is known of an action only while this process lives.
#[derive(Clone, Default)]
pub(super) struct Watched {
    /// What it waits for, if that is unusual.
    pub note: Option<String>,
    /// When a node was asked for it, or given it, last.
    pub looked_at: UnixMillis,
    /// How often in a row its nonce was seen used by another transaction.
    pub taken_seen: u32,
}

pub(super) struct OutboxTask {
    pub options: OutboxOptions,
    pub parts: OutboxParts,
    pub live: Live,
    pub watched: BTreeMap<u64, Watched>,
    /// Refused in the last pass: the errors as they were.
    pub refusals: Vec<(ActionKey, Error)>,
    pub head: Option<u64>,
    store: Arc<OutboxStore>,
    keys: BTreeMap<ActionKey, u64>,
    next_sequence: u64,
    waiters: Vec<Waiter>,
    trouble: Option<String>,
    report: watch::Sender<Arc<OutboxReport>>,
}

impl OutboxTask {
    pub fn new(
        options: OutboxOptions,
        parts: OutboxParts,
        store: OutboxStore,
        live: Live,
    ) -> (Self, watch::Receiver<Arc<OutboxReport>>) {
        let empty = OutboxReport {
            account: parts.signer.address(),
            chain: parts.node.chain(),
            head: None,
            trouble: None,
            actions: Vec::new(),
        };
        let (report, receiver) = watch::channel(Arc::new(empty));
        let keys = live.iter().map(|(sequence, action)| (action.key.clone(), *sequence)).collect();
        let next_sequence = live.last_key_value().map_or(0, |(sequence, _)| sequence + 1);
        let task = Self {
            options,
            parts,
            live,
            watched: BTreeMap::new(),
            refusals: Vec::new(),
            head: None,
            store: Arc::new(store),
            keys,
            next_sequence,
            waiters: Vec::new(),
            trouble: None,
            report,
        };
        task.report.send_replace(Arc::new(task.make_report()));
        (task, receiver)
    }

    /// Works until the signal, or until its state cannot be stored.
    pub async fn run(self, commands: mpsc::Receiver<Command>, shutdown: Shutdown) {
        tokio::select! {
            biased;
            () = shutdown.started() => {}
            // To stop in the middle of a pass is what a crash may do too.
            () = self.work(commands) => {}
        }
    }

    async fn work(mut self, mut commands: mpsc::Receiver<Command>) {
        let now = self.parts.clock.now();
        if let Err(error) = self.stored(move |store| store.forget(now)).await {
            return self.end(&error);
        }
        self.tell(self.make_report().encode()).await;
        let mut failures = 0u32;
        let mut next_look = Instant::now();
        loop {
            // The look comes first: who asks often must not keep it from happening.
            let command = tokio::select! {
                biased;
                () = tokio::time::sleep_until(next_look) => None,
                command = commands.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
            };
            let is_look = command.is_none();
            let worked = match command {
                Some(command) => self.take(command).await,
                None => self.look().await,
            };
            if let Err(error) = worked {
                return self.end(&error);
            }
            if is_look {
                failures = if self.trouble.is_some() { failures.saturating_add(1) } else { 0 };
                let back_off = self.options.poll.saturating_mul(2u32.saturating_pow(failures.min(16)));
                next_look = Instant::now() + back_off.min(limits::RETRY_MAX).max(self.options.poll);
            }
            self.answer_waiters();
            self.publish().await;
        }
    }

    fn end(self, error: &Error) {
        tracing::error!(%error, "the outbox stops: its state cannot be stored");
        let mut report = self.make_report();
        report.trouble = Some(error.to_string());
        self.report.send_replace(Arc::new(report));
    }

    /// A pass over all actions. What fails on the way to the chain is told in the report; an error is one of the disk.
    async fn look(&mut self) -> Result<(), Error> {
        let passed = self.pass().await;
        let trouble = match passed {
            Ok(()) => None,
            Err(error) if error.is_of_the_way() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        if trouble != self.trouble && !self.options.is_watched {
            match &trouble {
                Some(why) => tracing::warn!(%why, "the chain cannot be reached; actions wait"),
                None => tracing::info!("the chain is reached again"),
            }
        }
        self.trouble = trouble;
        Ok(())
    }

    async fn take(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Wait { key, until, reply } => {
                self.waiters.retain(|waiter| !waiter.reply.is_closed());
                if self.waiters.len() < limits::OUTBOX_WAITERS {
                    self.waiters.push(Waiter { key, until, reply });
                } else {
                    let error = Error::QueueFull { waiting: self.waiters.len(), why: "too many wait".to_owned() };
                    answer(reply, Err(error));
                }
                Ok(())
            }
            Command::Submit { key, call, reply } => {
                let taken = self.accept(&key, &call).await;
                match taken {
                    Ok(true) => {
                        self.look().await?;
                        let refusal = self.refusals.iter().position(|(refused, _)| *refused == key);
                        let refusal = refusal.map(|index| self.refusals.swap_remove(index).1);
                        answer(reply, refusal.map_or_else(|| self.progress(&key), Err));
                        Ok(())
                    }
                    Ok(false) => {
                        answer(reply, self.progress(&key));
                        Ok(())
                    }
                    Err(error @ (Error::KeyReused(_) | Error::QueueFull { .. })) => {
                        answer(reply, Err(error));
                        Ok(())
                    }
                    Err(error) => {
                        answer(reply, Err(Error::Closed(error.to_string())));
                        Err(error)
                    }
                }
            }
        }
    }

    /// Stores a new action; false when it is known.
    async fn accept(&mut self, key: &ActionKey, call: &Call) -> Result<bool, Error> {
        let past = self.store.past(key)?;
        let known = match (&past, self.keys.get(key)) {
            (_, Some(sequence)) => Some(Call::from(&self.live[sequence].call).digest()),
            (Some(past), None) if matches!(past.end, End::Final(_)) => Some(past.call_digest),
            _ => None,
        };
        if let Some(digest) = known {
            return if digest == call.digest() { Ok(false) } else { Err(Error::KeyReused(key.clone())) };
        }
        if self.live.len() >= self.options.queue.min(limits::OUTBOX_ACTIONS) {
            let why = self.trouble.clone().unwrap_or_else(|| "the chain is slow".to_owned());
            return Err(Error::QueueFull { waiting: self.live.len(), why });
        }
        let action = Action { key: key.clone(), call: call.into(), accepted_at: self.parts.clock.now(), flight: None };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let stored = action.clone();
        if past.is_some() {
            self.stored(move |store| store.renew(sequence, &stored)).await?;
        } else {
            self.stored(move |store| store.put(sequence, &stored)).await?;
        }
        failpoint("action-queued");
        self.keys.insert(key.clone(), sequence);
        self.live.insert(sequence, action);
        Ok(true)
    }

    /// Runs a step on the disk off the async threads.
    pub async fn stored(
        &self,
        step: impl FnOnce(&OutboxStore) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        blocking(move || step(&store)).await
    }

    /// Changes the flight of an action and stores it, durably.
    pub async fn set_flight(&mut self, sequence: u64, flight: Option<Flight>) -> Result<(), Error> {
        let action = self.live.get_mut(&sequence).expect("a live action");
        action.flight = flight;
        let stored = action.clone();
        self.stored(move |store| store.put(sequence, &stored)).await
    }

    /// The same, for what is of no use to the next process but to be told: durable within a second.
    pub async fn set_flight_soon(&mut self, sequence: u64, flight: Flight) -> Result<(), Error> {
        let action = self.live.get_mut(&sequence).expect("a live action");
        action.flight = Some(flight);
        let stored = action.clone();
        self.stored(move |store| store.put_soon(sequence, &stored)).await
    }

    /// Ends an action.
    pub async fn finish(&mut self, sequence: u64, end: End) -> Result<(), Error> {
        let action = self.live.get(&sequence).expect("a live action").clone();
        let past = super::record::Past {
            call_digest: Call::from(&action.call).digest(),
            what: action.call.what().to_owned(),
            ended_at: self.parts.clock.now(),
            end,
        };
        let key = action.key.clone();
        self.stored(move |store| store.finish(sequence, &action.key, &past)).await?;
        self.keys.remove(&key);
        self.live.remove(&sequence);
        self.watched.remove(&sequence);
        Ok(())
    }

    /// Says what an action waits for.
    pub fn note(&mut self, sequence: u64, note: Option<String>) {
        self.watched.entry(sequence).or_default().note = note;
    }

    fn progress(&self, key: &ActionKey) -> Result<Progress, Error> {
        if let Some(sequence) = self.keys.get(key) {
            return Ok(self.progress_of(*sequence, &self.live[sequence]));
        }
        match self.store.past(key)?.map(|past| past.end) {
            Some(End::Final(outcome)) => Ok(Progress::Final(outcome)),
            Some(End::Refused { kind, why }) => Err(Error::Refused { kind, why }),
            None => Err(Error::UnknownAction(key.clone())),
        }
    }

    fn progress_of(&self, sequence: u64, action: &Action) -> Progress {
        match &action.flight {
            None => Progress::Queued { note: self.note_of(sequence) },
            Some(Flight { mined: Some(mined), .. }) => mined.progress(self.head, self.options.confirmations),
            Some(flight) => flight.signed(),
        }
    }

    fn note_of(&self, sequence: u64) -> Option<String> {
        let note = self.watched.get(&sequence).and_then(|watched| watched.note.clone());
        note.or_else(|| self.trouble.clone())
    }

    fn answer_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters.into_iter().filter(|waiter| !waiter.reply.is_closed()) {
            match self.progress(&waiter.key) {
                Ok(progress) if !progress.is_at(waiter.until) => self.waiters.push(waiter),
                done => answer(waiter.reply, done),
            }
        }
    }

    fn make_report(&self) -> OutboxReport {
        let of = |(sequence, action): (&u64, &Action)| {
            action.report(self.progress_of(*sequence, action), self.note_of(*sequence))
        };
        OutboxReport {
            account: self.parts.signer.address(),
            chain: self.parts.node.chain(),
            head: self.head,
            trouble: self.trouble.clone(),
            actions: self.live.iter().map(of).collect(),
        }
    }

    async fn publish(&self) {
        let report = self.make_report();
        if **self.report.borrow() == report {
            return;
        }
        let told = report.encode();
        self.report.send_replace(Arc::new(report));
        self.tell(told).await;
    }

    /// Lets other processes read the report. No payment waits for that: a disk that is full is told by what must be kept.
    async fn tell(&self, told: Vec<u8>) {
        if let Err(error) = self.stored(move |store| store.tell(&told)).await {
            tracing::warn!(%error, "what the outbox does cannot be told to other processes");
        }
    }

    /// Refuses an action before anything is signed: nothing is spent, and its key may come again.
    pub async fn refuse(&mut self, sequence: u64, error: Error) -> Result<(), Error> {
        let key = self.live[&sequence].key.clone();
        // Who submitted it is told.
        tracing::debug!(op = %key, %error, "an action is refused");
        self.finish(sequence, End::Refused { kind: error.kind(), why: error.to_string() }).await?;
        self.refusals.push((key, error));
        Ok(())
    }
}

/// Who asked may have gone: then nobody is told, and that is fine.
fn answer(reply: oneshot::Sender<Result<Progress, Error>>, what: Result<Progress, Error>) {
    drop(reply.send(what));
}
