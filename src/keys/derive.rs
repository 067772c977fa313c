//! BIP-32: keys of a tree, from a seed and a path; of it only what the path of Ethereum accounts needs.

use k256::{
    Scalar, SecretKey,
    elliptic_curve::{PrimeField, sec1::ToSec1Point},
};
use ring::hmac;
use zeroize::Zeroizing;

use super::EthereumKey;

/// From here on a child is hardened: the public key above it does not lead to it.
const HARDENED: u32 = 1 << 31;

/// m/44'/60'/0'/0: BIP-44 for Ethereum, the first account, addresses for receiving.
const ETHEREUM: [u32; 4] = [HARDENED + 44, HARDENED + 60, HARDENED, 0];

/// The key at m/44'/60'/0'/0/index of a BIP-39 seed. None when the index is no plain one (2^31 on).
pub fn ethereum_key(seed: &[u8], index: u32) -> Option<EthereumKey> {
    if index >= HARDENED {
        return None;
    }
    let path = ETHEREUM.into_iter().chain([index]);
    let leaf = path.fold(ExtendedKey::master(seed), |parent, number| parent.and_then(|parent| parent.child(number)));
    let key = leaf.expect("a step that gives no key has the chance 2^-127").key;
    Some(EthereumKey::new(key).expect("a child is a scalar"))
}

/// A private key and its chain code.
struct ExtendedKey {
    key: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl ExtendedKey {
    /// The root of a seed's tree. None when its key is no scalar: the seed is useless then.
    fn master(seed: &[u8]) -> Option<Self> {
        let (key, chain_code) = hmac_sha512(b"Bitcoin seed", seed);
        SecretKey::from_slice(key.as_slice()).ok().map(|_| Self { key, chain_code })
    }

    /// CKDpriv. None when this number has no key: the standard says to go on with the next.
    fn child(&self, number: u32) -> Option<Self> {
        let key = SecretKey::from_slice(self.key.as_slice()).expect("checked when made");
        let mut data = Zeroizing::new([0; 37]);
        if number >= HARDENED {
            data[1..33].copy_from_slice(self.key.as_slice());
        } else {
            data[..33].copy_from_slice(key.public_key().to_sec1_point(true).as_bytes());
        }
        data[33..].copy_from_slice(&number.to_be_bytes());
        let (tweak, chain_code) = hmac_sha512(self.chain_code.as_slice(), data.as_slice());
        let tweak = Zeroizing::new(Option::<Scalar>::from(Scalar::from_repr((*tweak).into()))?);
        let scalar = Zeroizing::new(*key.to_nonzero_scalar() + *tweak);
        if bool::from(scalar.is_zero()) {
            return None;
        }
        Some(Self { key: Zeroizing::new(scalar.to_repr().into()), chain_code })
    }
}

/// The two halves of HMAC-SHA-512.
fn hmac_sha512(key: &[u8], data: &[u8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), data);
    let (left, right) = tag.as_ref().split_at(32);
    let half = |bytes: &[u8]| Zeroizing::new(bytes.try_into().expect("HMAC-SHA-512 has 64 bytes"));
    (half(left), half(right))
}

#[cfg(test)]
mod tests {
    use k256::{ProjectivePoint, PublicKey};
    use proptest::prelude::*;

    use super::*;

    fn walk(seed: &[u8], path: &[u32]) -> ExtendedKey {
        path.iter().fold(ExtendedKey::master(seed).unwrap(), |parent, number| parent.child(*number).unwrap())
    }

    const H: u32 = HARDENED;
    const ONE: &str = "000102030405060708090a0b0c0d0e0f";
    const TWO: &str = "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2\
                       9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542";

    /// The published vectors of BIP-32, as extended private keys: version, depth, fingerprint and number (13 bytes),
    /// chain code, a zero byte, key, checksum (4 bytes), in base 58.
    const VECTORS: &[(&str, &[u32], &str)] = &[
        (
            ONE,
            &[],
            "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
        ),
        (
            ONE,
            &[H],
            "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7",
        ),
        (
            ONE,
            &[H, 1],
            "xprv9wTYmMFdV23N2TdNG573QoEsfRrWKQgWeibmLntzniatZvR9BmLnvSxqu53Kw1UmYPxLgboyZQaXwTCg8MSY3H2EU4pWcQDnRnrVA1xe8fs",
        ),
        (
            ONE,
            &[H, 1, H + 2],
            "xprv9z4pot5VBttmtdRTWfWQmoH1taj2axGVzFqSb8C9xaxKymcFzXBDptWmT7FwuEzG3ryjH4ktypQSAewRiNMjANTtpgP4mLTj34bhnZX7UiM",
        ),
        (
            ONE,
            &[H, 1, H + 2, 2],
            "xprvA2JDeKCSNNZky6uBCviVfJSKyQ1mDYahRjijr5idH2WwLsEd4Hsb2Tyh8RfQMuPh7f7RtyzTtdrbdqqsunu5Mm3wDvUAKRHSC34sJ7in334",
        ),
        (
            ONE,
            &[H, 1, H + 2, 2, 1_000_000_000],
            "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
        ),
        (
            TWO,
            &[],
            "xprv9s21ZrQH143K31xYSDQpPDxsXRTUcvj2iNHm5NUtrGiGG5e2DtALGdso3pGz6ssrdK4PFmM8NSpSBHNqPqm55Qn3LqFtT2emdEXVYsCzC2U",
        ),
        (
            TWO,
            &[0],
            "xprv9vHkqa6EV4sPZHYqZznhT2NPtPCjKuDKGY38FBWLvgaDx45zo9WQRUT3dKYnjwih2yJD9mkrocEZXo1ex8G81dwSM1fwqWpWkeS3v86pgKt",
        ),
        (
            TWO,
            &[0, u32::MAX],
            "xprv9wSp6B7kry3Vj9m1zSnLvN3xH8RdsPP1Mh7fAaR7aRLcQMKTR2vidYEeEg2mUCTAwCd6vnxVrcjfy2kRgVsFawNzmjuHc2YmYRmagcEPdU9",
        ),
        (
            TWO,
            &[0, u32::MAX, 1],
            "xprv9zFnWC6h2cLgpmSA46vutJzBcfJ8yaJGg8cX1e5StJh45BBciYTRXSd25UEPVuesF9yog62tGAQtHjXajPPdbRCHuWS6T8XA2ECKADdw4Ef",
        ),
        (
            TWO,
            &[0, u32::MAX, 1, u32::MAX - 1],
            "xprvA1RpRA33e1JQ7ifknakTFpgNXPmW2YvmhqLQYMmrj4xJXXWYpDPS3xz7iAxn8L39njGVyuoseXzU6rcxFLJ8HFsTjSyQbLYnMpCqE2VbFWc",
        ),
        (
            TWO,
            &[0, u32::MAX, 1, u32::MAX - 1, 2],
            "xprvA2nrNbFZABcdryreWet9Ea4LvTJcGsqrMzxHx98MMrotbir7yrKCEXw7nadnHM8Dq38EGfSh6dqA9QWTyefMLEcBYJUuekgW4BYPJcr9E7j",
        ),
    ];

    #[test]
    fn the_vectors_of_the_standard() {
        for (seed, path, published) in VECTORS {
            let found = walk(&hex::decode(seed).unwrap(), path);
            let published = bs58::decode(published).into_vec().unwrap();
            assert_eq!(found.chain_code.as_slice(), &published[13..45], "{path:?}");
            assert_eq!(found.key.as_slice(), &published[46..78], "{path:?}");
        }
    }

    #[test]
    fn accounts_are_those_that_other_wallets_show() {
        let junk = bip39::Mnemonic::parse("test test test test test test test test test test test junk").unwrap();
        let abandon = bip39::Mnemonic::parse(format!("{}art", "abandon ".repeat(23))).unwrap();
        let vectors = [
            (&junk, 0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            (&junk, 1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            (&junk, 2, "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
            (&junk, 9, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
            (&abandon, 0, "0xF278cF59F82eDcf871d630F28EcC8056f25C1cdb"),
            (&abandon, 1, "0xf785bD075874b8423D3583728a981399f31e95aA"),
            (&abandon, HARDENED - 1, "0xeD0092C60c525E6DB9c131F5971Ed5Fed05E496C"),
        ];
        for (words, index, address) in vectors {
            let key = ethereum_key(&words.to_seed(""), index).unwrap();
            assert_eq!(key.address().to_string(), address, "{index}");
        }
        assert!(ethereum_key(&abandon.to_seed(""), HARDENED).is_none());
    }

    proptest! {
        /// The public way to a plain child leads to the same key: point(child) = point(tweak) + point(parent).
        #[test]
        fn private_and_public_derivation_agree(seed: [u8; 64], number in 0..HARDENED) {
            let parent = ExtendedKey::master(&seed).unwrap();
            let child = parent.child(number).unwrap();
            let point = |key: &ExtendedKey| SecretKey::from_slice(key.key.as_slice()).unwrap().public_key();
            let data = [point(&parent).to_sec1_point(true).as_bytes(), &number.to_be_bytes()].concat();
            let (tweak, _) = hmac_sha512(parent.chain_code.as_slice(), &data);
            let tweak = Scalar::from_repr((*tweak).into()).unwrap();
            let sum = ProjectivePoint::GENERATOR * tweak + point(&parent).to_projective();
            prop_assert_eq!(point(&child), PublicKey::from_affine(sum.to_affine()).unwrap());
        }

        #[test]
        fn every_step_leads_elsewhere(seed: [u8; 64], number: u32) {
            let parent = ExtendedKey::master(&seed).unwrap();
            let [one, other, far] = [number, number ^ 1, number ^ HARDENED].map(|number| parent.child(number).unwrap());
            prop_assert_ne!(one.key.as_slice(), other.key.as_slice());
            prop_assert_ne!(one.key.as_slice(), far.key.as_slice());
            prop_assert_ne!(one.chain_code.as_slice(), parent.chain_code.as_slice());
        }
    }
}
