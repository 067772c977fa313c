//! Stored records: one version byte, then a postcard body. Decoding walks back through earlier versions.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are no record of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing there.
    #[error("an empty {0} record")]
    Empty(&'static str),
    /// Written by a newer release.
    #[error("{what} record of version {found}; this release reads up to {known}: upgrade openbucket")]
    Newer { what: &'static str, found: u8, known: u8 },
    /// The body does not decode.
    #[error("damaged {0} record")]
    Damaged(&'static str),
}

/// A type that is kept on disk. A new shape is a new type with the next
/// `VERSION`, whose `decode_earlier` reads the older ones.
pub trait Record: Serialize + DeserializeOwned + Sized {
    /// What the record is called in errors.
    const NAME: &'static str;
    /// The version this type writes; starts at 1.
    const VERSION: u8 = 1;

    /// Reads a body written by an earlier version.
    fn decode_earlier(_version: u8, _body: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::Damaged(Self::NAME))
    }

    /// The stored bytes.
    fn encode(&self) -> Vec<u8> {
        let bytes = vec![Self::VERSION];
        postcard::to_extend(self, bytes).expect("records hold only types that serialise")
    }

    /// Reads stored bytes; trailing bytes are damage.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (&version, body) = bytes.split_first().ok_or(RecordError::Empty(Self::NAME))?;
        if version > Self::VERSION {
            return Err(RecordError::Newer { what: Self::NAME, found: version, known: Self::VERSION });
        }
        if version < Self::VERSION {
            return Self::decode_earlier(version, body);
        }
        match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            _ => Err(RecordError::Damaged(Self::NAME)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample(u32);

    impl Record for Sample {
        const NAME: &'static str = "sample";
    }

    #[test]
    fn records_survive_and_damage_is_noticed() {
        let bytes = Sample(70_000).encode();
        assert_eq!(Sample::decode(&bytes), Ok(Sample(70_000)));
        assert_eq!(Sample::decode(&[]), Err(RecordError::Empty("sample")));
        assert!(matches!(Sample::decode(&[9, 0]), Err(RecordError::Newer { found: 9, .. })));
        assert_eq!(Sample::decode(&bytes[..2]), Err(RecordError::Damaged("sample")));
        let longer = [bytes, vec![0]].concat();
        assert_eq!(Sample::decode(&longer), Err(RecordError::Damaged("sample")));
    }
}
