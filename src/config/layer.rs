//! One layer: every key optional; and the one merge of layers.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{Durability, Error, NodeUrls, value::FromTexts};
use crate::base::{ByteSize, Scheme, Wei};

/// Which layer a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    File(PathBuf),
    /// The variable.
    Environment(String),
    Flags,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn => f.write_str("built-in"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::Flags => f.write_str("command line"),
        }
    }
}

/// Declares every key once: its field, its type, its name in files.
macro_rules! keys {
    ($($field:ident: $kind:ty = $name:literal,)*) => {
        /// What one layer sets.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Layer {
            $(pub $field: Option<$kind>,)*
        }

        impl Layer {
            /// Every key, as it stands in a file; a dot stands for a table.
            pub const KEYS: &[&str] = &[$($name,)*];

            /// Sets one key from text.
            pub fn set(&mut self, key: &str, texts: &[String], origin: &Origin) -> Result<(), Error> {
                let bad = |why| Error::Value { origin: origin.clone(), key: key.to_owned(), why };
                match key {
                    $($name => self.$field = Some(<$kind as FromTexts>::from_texts(texts).map_err(bad)?),)*
                    _ => {
                        let close = Self::KEYS.iter().copied().find(|known| is_close(known, key));
                        return Err(Error::UnknownKey { origin: origin.clone(), key: key.to_owned(), close });
                    }
                }
                Ok(())
            }

            /// This layer, and another one's values where this sets none.
            pub fn over(self, below: Layer) -> Layer {
                Layer { $($field: self.$field.or(below.$field),)* }
            }

            /// Lays another layer over this one and notes whose the values are.
            pub(super) fn overlay(
                &mut self,
                above: Layer,
                origin: &Origin,
                origins: &mut BTreeMap<&'static str, Origin>,
            ) {
                $(if above.$field.is_some() {
                    self.$field = above.$field;
                    origins.insert($name, origin.clone());
                })*
            }
        }
    };
}

keys! {
    state: PathBuf = "state",
    bucket: String = "bucket",
    trackers: Vec<String> = "trackers",
    group: String = "group",
    listen: Vec<String> = "listen",
    mdns: bool = "mdns",
    staging_size: ByteSize = "staging-size",
    cache_size: ByteSize = "cache-size",
    cache_memory: ByteSize = "cache-memory",
    read_timeout: Duration = "read-timeout",
    tier: Scheme = "tier",
    durability: Durability = "durability",
    wallet: PathBuf = "wallet",
    rpc: NodeUrls = "rpc",
    chain_id: u64 = "chain-id",
    contracts: PathBuf = "contracts",
    confirmations: u64 = "confirmations",
    gas_ceiling: Wei = "gas-ceiling",
    consumer_dir: PathBuf = "consumer.dir",
    consumer_limit: ByteSize = "consumer.limit",
    consumer_listen: Vec<String> = "consumer.listen",
    tracker_dir: PathBuf = "tracker.dir",
    tracker_listen: Vec<String> = "tracker.listen",
}

/// Whether somebody who wrote `written` may have meant `known`: the same letters but for one, or but for the marks.
fn is_close(known: &str, written: &str) -> bool {
    let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let (known, written) = (letters(known), letters(written));
    if known == written {
        return true;
    }
    let same_start = known.bytes().zip(written.bytes()).take_while(|(a, b)| a == b).count();
    let same_end = known.bytes().rev().zip(written.bytes().rev()).take_while(|(a, b)| a == b).count();
    known.len().abs_diff(written.len()) <= 1 && same_start + same_end + 1 >= known.len().max(written.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_named_with_what_was_meant() {
        let mut layer = Layer::default();
        let origin = Origin::File("/etc/openbucket/config.toml".into());
        let error = layer.set("cache_size", &["1 GB".into()], &origin).unwrap_err().to_string();
        assert!(error.contains("/etc/openbucket/config.toml") && error.contains("'cache_size'"), "{error}");
        assert!(error.contains("did you mean 'cache-size'"), "{error}");
        let error = layer.set("quux", &["1".into()], &origin).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        assert!(layer.set("tiers", &["basic".into()], &origin).unwrap_err().to_string().contains("'tier'"));
        assert_eq!(layer, Layer::default());
    }

    #[test]
    fn a_layer_sets_what_it_names_and_nothing_else() {
        let mut low = Layer { bucket: Some("a".into()), mdns: Some(true), ..Layer::default() };
        let high = Layer { bucket: Some("b".into()), ..Layer::default() };
        let mut origins = BTreeMap::new();
        low.overlay(high, &Origin::Flags, &mut origins);
        assert_eq!((low.bucket.as_deref(), low.mdns), (Some("b"), Some(true)));
        assert_eq!(origins.into_iter().collect::<Vec<_>>(), [("bucket", Origin::Flags)]);
    }
}
