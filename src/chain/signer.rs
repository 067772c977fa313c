//! Signs transactions and digests with the key of an account.

use ethers::{
    core::k256::ecdsa::SigningKey,
    signers::{Signer as _, Wallet},
    types::{
        Eip1559TransactionRequest, H160, H256, RecoveryMessage, Signature as EthersSignature, U256,
        transaction::eip2718::TypedTransaction,
    },
};
use zeroize::Zeroizing;

use super::{Call, ChainId, Error, TxHash, fees::Fees};
use crate::keys::{EthereumAddress, EthereumKey};

/// A signature of 65 bytes: r, s, v; v is 27 or 28.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 65]);

/// The key of an account, ready to sign. Has no Debug; the key is wiped when it is dropped.
pub struct Signer {
    wallet: Wallet<SigningKey>,
}

/// A signed transaction as it is sent.
pub(super) struct Signed {
    pub raw: Vec<u8>,
    pub hash: TxHash,
}

/// All of a transaction that is not the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub chain: ChainId,
    pub nonce: u64,
    pub gas: u64,
    pub fees: Fees,
}

impl Signer {
    /// Signs with this key.
    pub fn new(key: &EthereumKey) -> Self {
        Self::from_bytes(&Zeroizing::new(*key.as_bytes())).expect("checked when the key was made")
    }

    /// Signs with the key of these bytes; None unless they are a scalar of secp256k1.
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Option<Self> {
        Wallet::from_bytes(bytes.as_slice()).ok().map(|wallet| Self { wallet })
    }

    /// The account.
    pub fn address(&self) -> EthereumAddress {
        EthereumAddress(self.wallet.address().0)
    }

    /// Signs 32 bytes as they are: digests of EIP-712. The same digest always gets the same signature (RFC 6979).
    pub fn sign_digest(&self, digest: [u8; 32]) -> Signature {
        let signature = self.wallet.sign_hash(H256(digest)).expect("a digest of 32 bytes can be signed");
        Signature(signature.into())
    }

    pub(super) fn sign_call(&self, call: &Call, envelope: Envelope) -> Signed {
        let request = match call.target() {
            Some(to) => Eip1559TransactionRequest::new().to(H160(to.0)),
            None => Eip1559TransactionRequest::new(),
        };
        let request = request
            .from(self.wallet.address())
            .value(call.value.0)
            .data(call.data.clone())
            .chain_id(envelope.chain.0)
            .nonce(envelope.nonce)
            .gas(envelope.gas)
            .max_fee_per_gas(envelope.fees.max)
            .max_priority_fee_per_gas(envelope.fees.tip);
        let transaction = TypedTransaction::Eip1559(request);
        let signature = self.wallet.sign_hash(transaction.sighash()).expect("a digest of 32 bytes can be signed");
        // The wallet's own way would take the chain from the wallet; here the envelope says it.
        let signature = EthersSignature { v: signature.v - 27, ..signature };
        let raw = transaction.rlp_signed(&signature);
        Signed { hash: TxHash(ethers::utils::keccak256(&raw)), raw: raw.to_vec() }
    }
}

impl Signature {
    /// From bytes; None unless there are 65.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Who signed the digest; None when this is no signature. A signature with a high s is none (EIP-2).
    pub fn signer_of(&self, digest: [u8; 32]) -> Option<EthereumAddress> {
        let signature = EthersSignature::try_from(self.0.as_slice()).ok()?;
        if signature.s > half_order() {
            return None;
        }
        let signer = signature.recover(RecoveryMessage::Hash(H256(digest))).ok()?;
        Some(EthereumAddress(signer.0))
    }

    /// Refuses a signature that is not by this account.
    pub fn check(&self, what: &'static str, digest: [u8; 32], expected: EthereumAddress) -> Result<(), Error> {
        let found = self.signer_of(digest).ok_or_else(|| Error::Invalid(format!("the signature of {what} is none")))?;
        if found == expected { Ok(()) } else { Err(Error::WrongSigner { what, found, expected }) }
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({}..)", hex::encode(&self.0[..6]))
    }
}

/// Half of the order of secp256k1.
fn half_order() -> U256 {
    U256([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Wei;

    fn signer() -> Signer {
        let bytes = hex::decode("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
        Signer::from_bytes(&Zeroizing::new(bytes.try_into().unwrap())).unwrap()
    }

    #[test]
    fn a_digest_is_signed_by_the_account() {
        let signature = signer().sign_digest([7; 32]);
        assert_eq!(signature.signer_of([7; 32]), Some(signer().address()));
        assert_ne!(signature.signer_of([8; 32]), Some(signer().address()));
        assert_eq!(signer().sign_digest([7; 32]), signature);
        let other = EthereumAddress([1; 20]);
        assert!(matches!(signature.check("it", [7; 32], other), Err(Error::WrongSigner { .. })));
        assert!(Signature([0; 65]).check("it", [7; 32], other).is_err());
    }

    #[test]
    fn a_mirrored_signature_is_refused() {
        let signature = signer().sign_digest([7; 32]);
        let order = half_order() * 2 + 1;
        let s: U256 = order - U256::from_big_endian(&signature.0[32..64]);
        let mut mirrored = signature;
        s.to_big_endian(&mut mirrored.0[32..64]);
        mirrored.0[64] = 55 - mirrored.0[64];
        assert_eq!(mirrored.signer_of([7; 32]), None);
    }

    #[test]
    fn the_same_call_in_the_same_envelope_is_the_same_transaction() {
        let call = Call { to: EthereumAddress([2; 20]), value: Wei(5), data: vec![], what: "test".to_owned() };
        let envelope = Envelope { chain: ChainId(31337), nonce: 3, gas: 21_000, fees: Fees { max: 20, tip: 2 } };
        let first = signer().sign_call(&call, envelope);
        assert_eq!(first.raw[0], 2, "a transaction of EIP-1559");
        assert_eq!(first.hash, signer().sign_call(&call, envelope).hash);
        assert_ne!(first.hash, signer().sign_call(&call, Envelope { nonce: 4, ..envelope }).hash);
        let decoded = ethers::utils::rlp::Rlp::new(&first.raw);
        let (transaction, _) = TypedTransaction::decode_signed(&decoded).unwrap();
        assert_eq!(transaction.chain_id(), Some(31337.into()));
        assert_eq!(transaction.from(), Some(&H160(signer().address().0)), "recovered from the signature");
    }
}
