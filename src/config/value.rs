//! How a value is read from text; every layer gives text.

use std::{path::PathBuf, time::Duration};

use crate::{
    base::{ByteSize, Scheme, Wei},
    net::parse_address,
};

/// When fsync is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On this machine's disk.
    Local,
    /// With consumers.
    Network,
}

/// URLs of Ethereum nodes, the one that is asked first before the others. They may carry keys: they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrls(pub Vec<String>);

impl std::fmt::Debug for NodeUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeUrls({})", self.0.len())
    }
}

/// Checks an address as people write it and gives it back.
pub fn check_address(text: &str) -> Result<String, String> {
    parse_address(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Reads a time: seconds, or with a unit (`500ms`, `30s`, `2m`); from 1 ms to a day.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    Duration::from_texts(&[text.to_owned()])
}

/// Longest wait that may be configured.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A value of a key, from the one or more texts a layer gives.
pub(super) trait FromTexts: Sized {
    fn from_texts(texts: &[String]) -> Result<Self, String>;
}

fn single(texts: &[String]) -> Result<&str, String> {
    match texts {
        [text] => Ok(text.trim()),
        _ => Err(format!("one value is wanted, {} are given", texts.len())),
    }
}

impl FromTexts for String {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        match single(texts)? {
            "" => Err("the value is empty".into()),
            text => Ok(text.to_owned()),
        }
    }
}

impl FromTexts for PathBuf {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let text = String::from_texts(texts)?;
        match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => Ok(home.join(rest)),
            (Some(_), None) => Err("'~' is used, but HOME is not set".into()),
            (None, _) => Ok(PathBuf::from(text)),
        }
    }
}

/// Addresses: a list, or one text with commas.
impl FromTexts for Vec<String> {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
        words.map(check_address).collect()
    }
}

/// URLs: a list, or one text with commas.
impl FromTexts for NodeUrls {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
        let check = |word: &str| match word.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => Ok(word.to_owned()),
            // The word may carry a key.
            _ => Err("a node is named by its URL, for example http://127.0.0.1:8545".to_owned()),
        };
        words.map(check).collect::<Result<_, _>>().map(Self)
    }
}

impl FromTexts for u64 {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let text = single(texts)?;
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("'{text}' is not a number from 1 on")),
            Ok(number) => Ok(number),
        }
    }
}

impl FromTexts for Wei {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        single(texts)?.parse().map_err(|error: crate::base::AmountError| error.to_string())
    }
}

impl FromTexts for ByteSize {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        single(texts)?.parse().map_err(|error: crate::base::UnitError| error.to_string())
    }
}

impl FromTexts for Scheme {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        single(texts)?.parse().map_err(|error: crate::base::SchemeError| error.to_string())
    }
}

impl FromTexts for Durability {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        match single(texts)? {
            "local" => Ok(Durability::Local),
            "network" => Ok(Durability::Network),
            other => Err(format!("'{other}' is not a durability: write local or network")),
        }
    }
}

impl FromTexts for bool {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        match single(texts)? {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            other => Err(format!("'{other}' is neither true nor false")),
        }
    }
}

/// Seconds: `30`, `30s`, `500ms`, `2m`.
impl FromTexts for Duration {
    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let text = single(texts)?;
        let fail = || format!("'{text}' is not a time: write seconds, for example 30, or 500ms, 2m, at most a day");
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| fail())?;
        let millis = match unit.trim() {
            "ms" => number,
            "" | "s" => number.checked_mul(1000).ok_or_else(fail)?,
            "m" | "min" => number.checked_mul(60_000).ok_or_else(fail)?,
            _ => return Err(fail()),
        };
        let duration = Duration::from_millis(millis);
        if duration.is_zero() || duration > DAY { Err(fail()) } else { Ok(duration) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromTexts>(text: &str) -> Result<T, String> {
        T::from_texts(&[text.to_owned()])
    }

    #[test]
    fn nodes_are_named_by_urls_that_are_never_repeated() {
        let urls = read::<NodeUrls>("http://a:1, https://b/key").expect("two");
        assert_eq!(urls.0, ["http://a:1", "https://b/key"]);
        for bad in ["secret", "ftp://secret", "http://", "http://a,secret"] {
            let why = read::<NodeUrls>(bad).expect_err(bad);
            assert!(why.contains("http://127.0.0.1:8545") && !why.contains("secret"), "{why}");
        }
        assert!(!format!("{urls:?}").contains("key"));
        assert_eq!((read("31337"), read("5 gwei")), (Ok(31337u64), Ok(Wei(5_000_000_000))));
        assert!(read::<u64>("0").is_err() && read::<u64>("-1").is_err() && read::<Wei>("5").is_err());
    }

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(read("30"), Ok(Duration::from_secs(30)));
        assert_eq!(read("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(read("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "0", "-1", "1h", "99999999999999999999", "2000m"] {
            assert!(read::<Duration>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_split_and_each_address_checked() {
        let two = vec!["127.0.0.1:1".to_owned(), "/ip4/127.0.0.1/tcp/2".to_owned()];
        assert_eq!(read("127.0.0.1:1, /ip4/127.0.0.1/tcp/2"), Ok(two));
        assert_eq!(read::<Vec<String>>(""), Ok(Vec::new()));
        assert!(read::<Vec<String>>("127.0.0.1:1,nonsense").unwrap_err().contains("nonsense"));
    }

    #[test]
    fn several_values_for_a_single_key_are_refused() {
        assert!(String::from_texts(&["a".into(), "b".into()]).is_err());
        assert!(String::from_texts(&[]).is_err());
    }
}
