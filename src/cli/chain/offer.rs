//! `consumer offer create|cancel|ls`, and the list of all offers.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    Actor, Chain, Done, OfferCommand, WithoutNode,
    args::{ContractOffersArgs, OfferCancelArgs, OfferCreateArgs, OfferListArgs},
    random_key,
};
use crate::{
    base::{Mutex, format_bytes, limits},
    chain::{
        Action, Cursor, Error, Event, Ledger, LedgerHandler, Offer, OfferId, OfferTerms, Party, PlacedEvent,
        RealLedger, Step, Timestamp, price_of_bytes,
    },
    cli::{UsageError, args::Global, output, wallet},
    config::{Layer, check_address},
    keys::EthereumAddress,
};

const DAY_SECONDS: u64 = 24 * 3600;

pub async fn run(global: &Global, command: OfferCommand) -> anyhow::Result<()> {
    match command {
        OfferCommand::Create(args) => create(global, &args).await,
        OfferCommand::Cancel(args) => cancel(global, &args).await,
        OfferCommand::Ls(args) => list_of(global, &args).await,
    }
}

async fn create(global: &Global, args: &OfferCreateArgs) -> anyhow::Result<()> {
    if args.capacity.0 == 0 {
        return Err(UsageError::of("an offer of 0 bytes offers nothing: give --capacity, for example \"100 GiB\""));
    }
    if args.term_days > args.expires_days {
        return Err(UsageError::of("--term-days is more than --expires-days: the promise would outlast the offer"));
    }
    for address in &args.address {
        check_address(address).map_err(UsageError::of)?;
    }
    let collateral = price_of_bytes(args.capacity.0, args.collateral);
    let words = |account: EthereumAddress| {
        let size = format_bytes(args.capacity.0);
        format!("offer {size} of {account} at {} a GiB-month, with {collateral} of collateral", args.storage_price)
    };
    let actor = Actor::begin(global, &args.act, WithoutNode::Refuse, words).await?;
    let done = created(&actor, args).await;
    actor.end().await;
    let (done, offer) = done?;
    done.print(args.act.sign.ask.json, &json!({ "offer": offer.0, "collateral": collateral.to_string() }))
}

async fn created(actor: &Actor, args: &OfferCreateArgs) -> anyhow::Result<(Done, OfferId)> {
    let ledger = actor.ledger().await?;
    let now = ledger.now().await?;
    let terms = OfferTerms {
        storage_price: args.storage_price,
        egress_price: args.egress_price,
        capacity_bytes: args.capacity.0,
        collateral_per_gib: args.collateral,
        earliest_end: now.plus(args.term_days * DAY_SECONDS),
        expiry: now.plus(args.expires_days * DAY_SECONDS),
    };
    publish(actor, &ledger, terms, args.address.clone()).await
}

/// Puts an offer on the chain; what its collateral lacks in the vault is deposited first.
pub async fn publish(
    actor: &Actor,
    ledger: &RealLedger,
    terms: OfferTerms,
    addresses: Vec<String>,
) -> anyhow::Result<(Done, OfferId)> {
    let account = actor.account();
    match ledger.activation(account, Party::Consumer).await? {
        None => anyhow::bail!("the account {account} is not activated: run openbucket consumer activate first"),
        Some(state) if state.from > ledger.now().await? => {
            anyhow::bail!("the activation of {account} counts only from {} on: offer after that", time(state.from))
        }
        Some(_) => {}
    }
    let key = random_key("offer");
    actor.deposit_missing(ledger, price_of_bytes(terms.capacity_bytes, terms.collateral_per_gib), &key).await?;
    let done = actor.act(ledger, &key, &Action::CreateOffer { terms, addresses }).await?;
    let number = |event: Event| match event {
        Event::OfferCreated { offer, .. } => Some(offer),
        _ => None,
    };
    let offer = ledger.events_of(done.hash).await?.into_iter().find_map(number);
    Ok((done, offer.context("the chain does not tell the offer's number")?))
}

async fn cancel(global: &Global, args: &OfferCancelArgs) -> anyhow::Result<()> {
    let offer = args.offer;
    let actor =
        Actor::begin(global, &args.act, WithoutNode::Refuse, |account| format!("cancel offer {offer} of {account}"))
            .await?;
    let done = match actor.ledger().await {
        Ok(ledger) => actor.act(&ledger, &random_key("cancel-offer"), &Action::CancelOffer { offer }).await,
        Err(error) => Err(error),
    };
    actor.end().await;
    done?.print(args.act.sign.ask.json, &json!({ "cancelled": offer.0 }))
}

async fn list_of(global: &Global, args: &OfferListArgs) -> anyhow::Result<()> {
    let account = match args.account.as_deref().map(str::parse::<EthereumAddress>) {
        Some(Ok(address)) => address,
        _ => wallet::account(global, &args.wallet, args.account.as_deref())?.1,
    };
    let chain = Chain::of(global, &args.ask.chain, Layer::default())?;
    let ledger = chain.reader(account).await?;
    let offers = offers(&ledger).await?;
    print(&ledger, offers.into_iter().filter(|(_, offer)| offer.consumer == account).collect(), args.ask.json).await
}

/// All offers of the registry.
pub async fn list_all(global: &Global, args: &ContractOffersArgs) -> anyhow::Result<()> {
    let chain = Chain::of(global, &args.ask.chain, Layer::default())?;
    let ledger = chain.reader(EthereumAddress([0; 20])).await?;
    let now = ledger.now().await?;
    let is_shown = |offer: &Offer| args.all || (offer.is_standing && now <= offer.terms.expiry);
    let offers = offers(&ledger).await?.into_iter().filter(|(_, offer)| is_shown(offer)).collect();
    print(&ledger, offers, args.ask.json).await
}

/// The newest offers, at most as many as are shown.
async fn offers(ledger: &RealLedger) -> anyhow::Result<Vec<(OfferId, Offer)>> {
    let count = ledger.offer_count().await?;
    let first = count.saturating_sub(limits::OFFERS_SHOWN) + 1;
    if first > 1 {
        eprintln!("openbucket: there are {count} offers: the newest {} are looked at", limits::OFFERS_SHOWN);
    }
    let mut found = Vec::new();
    for number in first..=count {
        found.extend(ledger.offer(OfferId(number)).await?.map(|offer| (OfferId(number), offer)));
    }
    Ok(found)
}

/// Where consumers are reached: the chain keeps that in its log only.
#[derive(Default)]
struct AddressBook {
    known: Mutex<Known>,
}

type Known = (BTreeMap<OfferId, Vec<String>>, Option<Cursor>);

impl LedgerHandler for AddressBook {
    fn cursor(&self) -> Result<Option<Cursor>, Error> {
        Ok(self.known.lock().1.clone())
    }

    fn apply(&self, events: &[PlacedEvent], cursor: &Cursor) -> Result<(), Error> {
        let mut book = self.known.lock();
        for placed in events {
            if let Event::OfferCreated { offer, addresses, .. } | Event::OfferChanged { offer, addresses, .. } =
                &placed.event
            {
                book.0.insert(*offer, addresses.clone());
            }
        }
        book.1 = Some(cursor.clone());
        Ok(())
    }

    /// The same events come again, or others in their place.
    fn revert(&self, cursor: &Cursor) -> Result<(), Error> {
        self.known.lock().1 = Some(cursor.clone());
        Ok(())
    }
}

/// The addresses of all offers, as far as they can be had in time.
async fn addresses(ledger: &RealLedger) -> BTreeMap<OfferId, Vec<String>> {
    let book = Arc::new(AddressBook::default());
    let handler: Arc<dyn LedgerHandler> = book.clone();
    let read = async {
        while ledger.catch_up(&handler).await? == Step::More {}
        Ok::<_, Error>(())
    };
    match tokio::time::timeout(limits::OFFER_ADDRESSES_TIMEOUT, read).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("openbucket: some addresses are not known: {error}"),
        Err(_) => eprintln!("openbucket: some addresses are not known: the node takes too long to tell the logs"),
    }
    std::mem::take(&mut book.known.lock().0)
}

async fn print(ledger: &RealLedger, offers: Vec<(OfferId, Offer)>, is_json: bool) -> anyhow::Result<()> {
    let addresses = if offers.is_empty() { BTreeMap::new() } else { addresses(ledger).await };
    if is_json {
        let offer = |(number, offer): &(OfferId, Offer)| as_json(*number, offer, addresses.get(number));
        let offers: Vec<Value> = offers.iter().map(offer).collect();
        return output::line(&json!({ "offers": offers }).to_string());
    }
    let now = ledger.now().await?;
    let row = |(number, offer): &(OfferId, Offer)| {
        let terms = &offer.terms;
        let state = match offer.is_standing {
            false => "cancelled",
            true if now > terms.expiry => "expired",
            true => "standing",
        };
        vec![
            number.to_string(),
            state.to_owned(),
            format_bytes(terms.capacity_bytes),
            terms.storage_price.to_string(),
            terms.egress_price.to_string(),
            offer.collateral.to_string(),
        ]
    };
    let heading = ["OFFER", "STATE", "LEFT", "GiB-MONTH", "GiB OUT", "COLLATERAL"];
    let table = output::table(&heading, &offers.iter().map(row).collect::<Vec<_>>());
    let mut lines = table.lines();
    output::line(lines.next().unwrap_or_default())?;
    for ((number, offer), line) in offers.iter().zip(lines) {
        output::line(line)?;
        let reached = match addresses.get(number).map(Vec::as_slice) {
            None | Some([]) => String::new(),
            Some([first]) => format!(" at {}", output::printable(first)),
            Some([first, others @ ..]) => format!(" at {} (+{})", output::printable(first), others.len()),
        };
        output::line(&format!("  {}{reached}", offer.consumer))?;
    }
    Ok(())
}

fn as_json(number: OfferId, offer: &Offer, addresses: Option<&Vec<String>>) -> Value {
    let terms = &offer.terms;
    json!({
        "offer": number.0,
        "consumer": offer.consumer.to_string(),
        "is_standing": offer.is_standing,
        "left_bytes": terms.capacity_bytes,
        "storage_price_wei": terms.storage_price.0.to_string(),
        "egress_price_wei": terms.egress_price.0.to_string(),
        "collateral_per_gib_wei": terms.collateral_per_gib.0.to_string(),
        "collateral_wei": offer.collateral.0.to_string(),
        "earliest_end": terms.earliest_end.0,
        "expiry": terms.expiry.0,
        "addresses": addresses,
    })
}

/// A time of the chain as people read it.
pub fn time(at: Timestamp) -> String {
    let format = time::format_description::well_known::Rfc3339;
    let known = i64::try_from(at.0).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    known.and_then(|time| time.format(&format).ok()).unwrap_or_else(|| "always".to_owned())
}
