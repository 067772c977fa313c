//! Why a contract refused, in words.

use std::{collections::BTreeMap, sync::LazyLock};

use ethers::abi::{self, Contract, ParamType, Token, ethabi::AbiError};

use crate::keys::EthereumAddress;

/// `Error(string)`: what `require` with a text gives.
const TEXT: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// `Panic(uint256)`: what the compiler's own checks give.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// The errors of the contracts, by their selectors.
static CUSTOM: LazyLock<BTreeMap<[u8; 4], AbiError>> = LazyLock::new(|| {
    let abis = [
        include_str!("../../contracts/abi/Vault.json"),
        include_str!("../../contracts/abi/Registry.json"),
        include_str!("../../contracts/abi/Mandates.json"),
        include_str!("../../contracts/abi/Agreements.json"),
        include_str!("../../contracts/abi/Disputes.json"),
    ];
    let errors = abis.iter().flat_map(|abi| {
        let artifact: Artifact = serde_json::from_str(abi).expect("the ABI is what the compiler wrote");
        artifact.abi.errors.into_values().flatten()
    });
    let selector = |error: &AbiError| <[u8; 4]>::try_from(&error.signature()[..4]).expect("a hash is longer");
    errors.map(|error| (selector(&error), error)).collect()
});

#[derive(serde::Deserialize)]
struct Artifact {
    abi: Contract,
}

/// "not newer (agreement 0x12.., number 3, current 5)".
fn custom(error: &AbiError, body: &[u8]) -> String {
    let name = name_in_words(&error.name);
    let Ok(tokens) = error.decode(body) else { return name };
    let part = |(input, token): (&abi::Param, Token)| format!("{} {}", name_in_words(&input.name), value(&token));
    let parts: Vec<String> = error.inputs.iter().zip(tokens).map(part).collect();
    if parts.is_empty() { name } else { format!("{name} ({})", parts.join(", ")) }
}

fn value(token: &Token) -> String {
    match token {
        Token::Address(address) => EthereumAddress(address.0).to_string(),
        Token::Uint(number) => number.to_string(),
        Token::FixedBytes(bytes) => hex::encode(bytes),
        other => clean(&other.to_string()),
    }
}

/// In words; None when nothing can be told from the bytes.
pub(super) fn explain(data: &[u8]) -> Option<String> {
    let (selector, body) = data.split_first_chunk::<4>()?;
    let decoded = |kind: ParamType| abi::decode(&[kind], body).ok().and_then(|mut tokens| tokens.pop());
    match *selector {
        TEXT => decoded(ParamType::String).map(|text| clean(&text.to_string())),
        PANIC => match decoded(ParamType::Uint(256)) {
            Some(Token::Uint(code)) => Some(panic_words(code.low_u64()).to_owned()),
            _ => None,
        },
        _ => match CUSTOM.get(selector) {
            Some(error) => Some(custom(error, body)),
            None => Some(format!("error 0x{} with {} bytes", hex::encode(selector), body.len())),
        },
    }
}

/// The name of an error as words: `NotNewer` is "not newer".
pub(super) fn name_in_words(name: &str) -> String {
    let mut words = String::new();
    let mut letters = name.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let is_end_of_capitals = before.is_some_and(|c: char| c.is_ascii_uppercase())
            && letters.peek().is_some_and(char::is_ascii_lowercase);
        let is_after_small = before.is_some_and(|c: char| !c.is_ascii_uppercase());
        if letter.is_ascii_uppercase() && (is_after_small || is_end_of_capitals) {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
        before = Some(letter);
    }
    words
}

/// Words of a stranger: no control characters, and not too many.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(crate::base::limits::NODE_MESSAGE_CHARS).collect()
}

/// The codes of the compiler's checks (Solidity documentation, "Panic via assert and Error via require").
fn panic_words(code: u64) -> &'static str {
    match code {
        0x01 => "an assertion of the contract does not hold",
        0x11 => "a number of the contract is too large or too small",
        0x12 => "a division by zero in the contract",
        0x21 => "a value that the contract does not know",
        0x32 => "an index of the contract is out of its bounds",
        0x41 => "the contract needs too much memory",
        _ => "the contract panics",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(selector: [u8; 4], token: Token) -> Vec<u8> {
        [selector.to_vec(), abi::encode(&[token])].concat()
    }

    #[test]
    fn errors_of_the_contracts_are_told_with_what_they_carry() {
        let selector = ethers::utils::keccak256("NotNewer(bytes32,uint64,uint64)");
        let tokens = [Token::FixedBytes(vec![0xab; 32]), Token::Uint(3.into()), Token::Uint(5.into())];
        let data = [selector[..4].to_vec(), abi::encode(&tokens)].concat();
        let words = format!("not newer (agreement {}, number 3, current 5)", "ab".repeat(32));
        assert_eq!(explain(&data), Some(words));
        assert_eq!(explain(&selector[..4]).as_deref(), Some("not newer"), "what it carries is missing");
        assert_eq!(name_in_words("ECDSAInvalidSignature"), "ecdsa invalid signature");
    }

    #[test]
    fn what_contracts_say_becomes_words() {
        let text = encoded(TEXT, Token::String("not\n yours".to_owned()));
        assert_eq!(explain(&text).as_deref(), Some("not yours"));
        let overflow = encoded(PANIC, Token::Uint(0x11.into()));
        assert_eq!(explain(&overflow).as_deref(), Some("a number of the contract is too large or too small"));
        assert_eq!(explain(&[1, 2, 3, 4, 5]).as_deref(), Some("error 0x01020304 with 1 bytes"));
        assert_eq!(explain(&[]), None);
        assert_eq!(explain(&TEXT), None);
        assert_eq!(explain(&[&TEXT[..], &[255; 64]].concat()), None);
    }
}
