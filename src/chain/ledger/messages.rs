//! What is signed (EIP-712), hashed as `contracts/src/Messages.sol` has it.

use ethers::{
    types::{H160, U256},
    utils::{get_contract_address, keccak256},
};
use serde::{Deserialize, Serialize};

use super::words::{Activation, Mandate, Release, Revision, Terms, Voucher};
use crate::{
    base::Wei,
    chain::{ChainId, Error, Signature, Signer},
    keys::EthereumAddress,
};

/// Where the contracts of one deployment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    pub vault: EthereumAddress,
    pub registry: EthereumAddress,
    pub mandates: EthereumAddress,
    pub agreements: EthereumAddress,
    pub disputes: EthereumAddress,
}

impl Contracts {
    /// Of the account that deployed them in five transactions one after another, the first with this nonce.
    pub fn of_deployer(deployer: EthereumAddress, first_nonce: u64) -> Self {
        let at = |place: u64| EthereumAddress(get_contract_address(H160(deployer.0), first_nonce + place).0);
        Self { vault: at(0), registry: at(1), mandates: at(2), agreements: at(3), disputes: at(4) }
    }

    /// All of them.
    pub fn all(&self) -> Vec<EthereumAddress> {
        vec![self.vault, self.registry, self.mandates, self.agreements, self.disputes]
    }
}

/// For whom a signature counts: one contract of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain([u8; 32]);

const DOMAIN: &str = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const NAME: &str = "OpenBucket";
const VERSION: &str = "1";

impl Domain {
    /// Of the contract that takes the message.
    pub fn new(chain: ChainId, contract: EthereumAddress) -> Self {
        let mut words = Words::new(DOMAIN);
        words.bytes32(keccak256(NAME)).bytes32(keccak256(VERSION)).number(chain.0).address(contract);
        Self(words.hash())
    }

    /// What is signed for a message.
    pub fn digest(&self, message: &impl Message) -> [u8; 32] {
        let parts: [&[u8]; 3] = [b"\x19\x01", &self.0, &message.struct_hash()];
        keccak256(parts.concat())
    }

    /// Signs a message.
    pub fn sign(&self, message: &impl Message, signer: &Signer) -> Signature {
        signer.sign_digest(self.digest(message))
    }

    /// Refuses a message that this account has not signed.
    pub fn check<M: Message>(&self, message: &M, by: EthereumAddress, signature: &Signature) -> Result<(), Error> {
        signature.check(M::NAME, self.digest(message), by)
    }
}

/// The domains of one deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domains {
    /// Takes activations.
    pub registry: Domain,
    /// Takes mandates.
    pub mandates: Domain,
    /// Takes terms, revisions, releases and vouchers.
    pub agreements: Domain,
}

impl Domains {
    /// Of these contracts.
    pub fn new(chain: ChainId, contracts: &Contracts) -> Self {
        Self {
            registry: Domain::new(chain, contracts.registry),
            mandates: Domain::new(chain, contracts.mandates),
            agreements: Domain::new(chain, contracts.agreements),
        }
    }
}

/// A message that is signed.
pub trait Message {
    /// What it is called in errors.
    const NAME: &'static str;
    /// The struct hash of EIP-712.
    fn struct_hash(&self) -> [u8; 32];
}

/// The words of a struct of static members, 32 bytes each.
struct Words(Vec<u8>);

impl Words {
    fn new(type_text: &str) -> Self {
        Self(keccak256(type_text).to_vec())
    }

    fn bytes32(&mut self, bytes: [u8; 32]) -> &mut Self {
        self.0.extend_from_slice(&bytes);
        self
    }

    fn wei(&mut self, amount: Wei) -> &mut Self {
        let mut word = [0; 32];
        U256::from(amount.0).to_big_endian(&mut word);
        self.bytes32(word)
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.wei(Wei(u128::from(number)))
    }

    fn address(&mut self, address: EthereumAddress) -> &mut Self {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&address.0);
        self.bytes32(word)
    }

    fn hash(&self) -> [u8; 32] {
        keccak256(&self.0)
    }
}

impl Message for Activation {
    const NAME: &'static str = "the activation";

    fn struct_hash(&self) -> [u8; 32] {
        let mut words = Words::new("Activation(address account,bytes32 id,uint8 role,uint128 payment,uint64 deadline)");
        words.address(self.account).bytes32(self.owner).number(self.party as u64);
        words.wei(self.payment).number(self.deadline.0).hash()
    }
}

impl Message for Mandate {
    const NAME: &'static str = "the mandate";

    fn struct_hash(&self) -> [u8; 32] {
        let mut words = Words::new(
            "Mandate(address producer,address delegate,bytes32 bucket,uint128 storagePrice,uint64 capacityBytes,\
             uint64 expiry,bytes32 salt)",
        );
        words.address(self.producer).address(self.delegate).bytes32(self.bucket.0).wei(self.storage_price);
        words.number(self.capacity_bytes).number(self.expiry.0).bytes32(self.salt).hash()
    }
}

impl Message for Terms {
    const NAME: &'static str = "the agreement";

    fn struct_hash(&self) -> [u8; 32] {
        let mut words = Words::new(
            "Terms(address producer,address consumer,uint64 offer,bytes32 bucket,bytes32 mandate,uint128 storagePrice,\
             uint128 egressPrice,uint128 collateralPerGiB,uint64 capacityBytes,uint128 held,uint128 allowance,\
             uint64 earliestEnd,uint64 deadline,bytes32 salt)",
        );
        words.address(self.producer).address(self.consumer).number(self.offer.0).bytes32(self.bucket.0);
        words.bytes32(self.mandate.0).wei(self.storage_price).wei(self.egress_price).wei(self.collateral_per_gib);
        words.number(self.capacity_bytes).wei(self.held).wei(self.allowance);
        words.number(self.earliest_end.0).number(self.deadline.0).bytes32(self.salt).hash()
    }
}

impl Message for Revision {
    const NAME: &'static str = "the revision";

    fn struct_hash(&self) -> [u8; 32] {
        let mut words = Words::new(
            "Revision(bytes32 agreement,uint64 number,bytes32 root,uint32 shardCount,uint64 storedBytes,\
             uint128 storagePrice,uint128 egressPrice,uint64 asOf,uint128 earned)",
        );
        words.bytes32(self.agreement.0).number(self.number).bytes32(self.root.0).number(self.shard_count.into());
        words.number(self.stored_bytes).wei(self.storage_price).wei(self.egress_price);
        words.number(self.as_of.0).wei(self.earned).hash()
    }
}

impl Message for Release {
    const NAME: &'static str = "the release";

    fn struct_hash(&self) -> [u8; 32] {
        let mut words = Words::new("Release(bytes32 agreement,uint64 number,uint64 storedBytes)");
        words.bytes32(self.agreement.0).number(self.number).number(self.stored_bytes).hash()
    }
}

impl Message for Voucher {
    const NAME: &'static str = "the voucher";

    fn struct_hash(&self) -> [u8; 32] {
        Words::new("Voucher(bytes32 agreement,uint128 amount)").bytes32(self.agreement.0).wei(self.amount).hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ledger::words::{AgreementId, HoldingRoot, Party, Timestamp};

    fn hash(text: &str) -> [u8; 32] {
        keccak256(text)
    }

    #[test]
    fn a_domain_is_of_one_chain_and_one_contract() {
        let at = |chain: u64, contract: u8| Domain::new(ChainId(chain), EthereumAddress([contract; 20]));
        assert_eq!(at(1, 2), at(1, 2));
        assert_ne!(at(1, 2), at(1, 3));
        assert_ne!(at(1, 2), at(2, 2));
        // The words of EIP-712, written out.
        let expected = [
            hash("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)").to_vec(),
            hash("OpenBucket").to_vec(),
            hash("1").to_vec(),
            [vec![0; 31], vec![1]].concat(),
            [vec![0; 12], vec![2; 20]].concat(),
        ];
        assert_eq!(at(1, 2).0, keccak256(expected.concat()));
    }

    #[test]
    fn every_part_of_a_message_is_signed() {
        let voucher = Voucher { agreement: AgreementId([1; 32]), amount: Wei(7) };
        let domain = Domain::new(ChainId(31337), EthereumAddress([9; 20]));
        assert_ne!(domain.digest(&voucher), domain.digest(&Voucher { amount: Wei(8), ..voucher.clone() }));
        let revision = Revision {
            agreement: AgreementId([1; 32]),
            number: 1,
            root: HoldingRoot([2; 32]),
            shard_count: 3,
            stored_bytes: 4,
            storage_price: Wei(5),
            egress_price: Wei(6),
            as_of: Timestamp(7),
            earned: Wei(8),
        };
        let changed = [
            Revision { number: 2, ..revision.clone() },
            Revision { root: HoldingRoot([3; 32]), ..revision.clone() },
            Revision { shard_count: 4, ..revision.clone() },
            Revision { stored_bytes: 5, ..revision.clone() },
            Revision { storage_price: Wei(6), ..revision.clone() },
            Revision { egress_price: Wei(7), ..revision.clone() },
            Revision { as_of: Timestamp(8), ..revision.clone() },
            Revision { earned: Wei(9), ..revision.clone() },
        ];
        for other in changed {
            assert_ne!(revision.struct_hash(), other.struct_hash(), "{other:?}");
        }
    }

    /// Fixed: whoever signs with another release must come to the same.
    #[test]
    fn the_published_vectors() {
        let domain = Domain::new(ChainId(31337), EthereumAddress([9; 20]));
        let voucher = Voucher { agreement: AgreementId([1; 32]), amount: Wei(7) };
        let activation = Activation {
            account: EthereumAddress([1; 20]),
            owner: [2; 32],
            party: Party::Consumer,
            payment: Wei(3),
            deadline: Timestamp(4),
        };
        let found = [domain.digest(&voucher), domain.digest(&activation)].map(hex::encode);
        let published = [
            "9e58ebb3faa84e2aa0acc05f42fa2a011544726a082bc92daf976ea8c4277d0b",
            "36797bc487a356876a8a446ccf585888bc78d3321f77e99b659c229a7ced1213",
        ];
        assert_eq!(found, published);
    }

    #[test]
    fn contracts_are_where_the_deployer_puts_them() {
        // The well-known first contract of the first account of the development phrase.
        let deployer = hex::decode("f39fd6e51aad88f6f4ce6ab8827279cfffb92266").unwrap();
        let contracts = Contracts::of_deployer(EthereumAddress(deployer.try_into().unwrap()), 0);
        assert_eq!(contracts.vault.to_string(), "0x5FbDB2315678afecb367f032d93F642f64180aa3");
        assert_eq!(contracts.registry.to_string(), "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512");
    }
}
