//! Activations and offers, as `contracts/src/Registry.sol` has them.

use super::state::{Member, Refusal, Turn, require};
use crate::{
    base::{Wei, limits},
    chain::{
        Signature,
        ledger::{Activation, Event, Offer, OfferId, OfferTerms, Party, Terms, Timestamp, price_of_bytes},
    },
    keys::EthereumAddress,
};

impl Turn<'_> {
    pub fn activate(&mut self, activation: &Activation, signature: &Signature) -> Result<(), Refusal> {
        let Activation { account, owner, party, payment, deadline } = activation.clone();
        self.check(&self.domains.registry, activation, signature, account)?;
        let digest = self.domains.registry.digest(activation);
        require(!self.state.used.contains(&digest), "AlreadyUsed")?;
        require(self.now <= deadline, "Expired")?;
        require(payment >= self.options.minimum_payment, "BelowMinimum")?;
        require(!self.state.members.contains_key(&(account, party)), "AlreadyActivated")?;
        let from = self.now.plus(self.options.activation_wait_seconds);
        self.state.used.insert(digest);
        self.state.members.insert((account, party), Member { owner, payment, from });
        self.hold(account, payment)?;
        self.tell(Event::ActivationPaid { account, party, owner, payment, from });
        Ok(())
    }

    pub fn withdraw_activation(&mut self, party: Party) -> Result<(), Refusal> {
        let account = self.caller;
        let member = self.state.members.get(&(account, party)).copied();
        let member = member.filter(|member| self.now < member.from).ok_or(Refusal("NotPending"))?;
        self.state.members.remove(&(account, party));
        self.pay(account, member.payment);
        self.tell(Event::ActivationWithdrawn { account, party, payment: member.payment });
        Ok(())
    }

    pub fn collect(&mut self, account: EthereumAddress, party: Party) -> Result<(), Refusal> {
        let member = self.state.members.get_mut(&(account, party)).filter(|member| member.payment.0 > 0);
        let member = member.ok_or(Refusal("NotPending"))?;
        require(member.from <= self.now, "StillPending")?;
        let payment = std::mem::take(&mut member.payment);
        self.pay(self.options.treasury, payment);
        self.tell(Event::PaymentCollected { account, party, payment });
        Ok(())
    }

    pub fn create_offer(&mut self, terms: &OfferTerms, addresses: &[String]) -> Result<(), Refusal> {
        self.require_active(self.caller, Party::Consumer)?;
        let offer = OfferId(self.state.offers.len() as u64 + 1);
        let empty = Offer { consumer: self.caller, is_standing: true, terms: terms.clone(), collateral: Wei(0) };
        self.write_offer(offer, empty, terms, addresses)?;
        let (consumer, terms, addresses) = (self.caller, terms.clone(), addresses.to_vec());
        self.tell(Event::OfferCreated { offer, consumer, terms, addresses });
        Ok(())
    }

    pub fn change_offer(&mut self, offer: OfferId, terms: &OfferTerms, addresses: &[String]) -> Result<(), Refusal> {
        let own = self.own_offer(offer)?;
        self.write_offer(offer, own, terms, addresses)?;
        let (consumer, terms, addresses) = (self.caller, terms.clone(), addresses.to_vec());
        self.tell(Event::OfferChanged { offer, consumer, terms, addresses });
        Ok(())
    }

    pub fn cancel_offer(&mut self, offer: OfferId) -> Result<(), Refusal> {
        let mut own = self.own_offer(offer)?;
        self.pay(self.caller, own.collateral);
        (own.is_standing, own.collateral, own.terms.capacity_bytes) = (false, Wei(0), 0);
        self.state.offers.insert(offer, own);
        self.tell(Event::OfferCancelled { offer, consumer: self.caller });
        Ok(())
    }

    fn own_offer(&self, offer: OfferId) -> Result<Offer, Refusal> {
        let offer = self.state.offers.get(&offer).filter(|offer| offer.consumer == self.caller);
        let offer = offer.ok_or(Refusal("NotYourOffer"))?;
        require(offer.is_standing, "NotStanding")?;
        Ok(offer.clone())
    }

    fn write_offer(
        &mut self,
        id: OfferId,
        mut offer: Offer,
        terms: &OfferTerms,
        addresses: &[String],
    ) -> Result<(), Refusal> {
        require(self.now <= terms.expiry, "Expired")?;
        let is_short = addresses.iter().all(|address| address.len() <= limits::ADDRESS_BYTES);
        require(addresses.len() <= limits::ADDRESSES && is_short, "TooManyAddresses")?;
        let collateral = price_of_bytes(terms.capacity_bytes, terms.collateral_per_gib);
        match collateral.checked_sub(offer.collateral) {
            Some(more) => self.hold(self.caller, more)?,
            None => self.pay(self.caller, Wei(offer.collateral.0 - collateral.0)),
        }
        (offer.terms, offer.collateral) = (terms.clone(), collateral);
        self.state.offers.insert(id, offer);
        Ok(())
    }

    /// Takes what an agreement needs out of its offer; gives its collateral.
    pub fn take_offer(&mut self, terms: &Terms) -> Result<Wei, Refusal> {
        self.require_active(terms.producer, Party::Producer)?;
        self.require_active(terms.consumer, Party::Consumer)?;
        let now = self.now;
        let offer = self.state.offers.get_mut(&terms.offer).filter(|offer| offer.consumer == terms.consumer);
        let offer = offer.ok_or(Refusal("NotYourOffer"))?;
        require(offer.is_standing && now <= offer.terms.expiry, "NotStanding")?;
        require(terms.collateral_per_gib == offer.terms.collateral_per_gib, "CollateralDiffers")?;
        let left_bytes = offer.terms.capacity_bytes.checked_sub(terms.capacity_bytes);
        let left_bytes = left_bytes.ok_or(Refusal("CapacityExceeded"))?;
        let collateral = price_of_bytes(terms.capacity_bytes, terms.collateral_per_gib);
        offer.terms.capacity_bytes = left_bytes;
        offer.collateral = offer.collateral.checked_sub(collateral).ok_or(Refusal("Panic"))?;
        let (offer, taken_bytes) = (terms.offer, terms.capacity_bytes);
        self.tell(Event::OfferTaken { offer, taken_bytes, left_bytes, collateral });
        Ok(collateral)
    }

    fn require_active(&self, account: EthereumAddress, party: Party) -> Result<(), Refusal> {
        let from = self.state.members.get(&(account, party)).map(|member| member.from);
        require(from.is_some_and(|from: Timestamp| from <= self.now), "NotActivated")
    }
}
