//! Hello and refusals: what both protocols share.

use serde::{Deserialize, Serialize};

use crate::{
    base::{ErrorKind, PeerId, limits},
    keys::{Certificate, Role},
    net::Refusal,
};

/// The client's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) struct Hello {
    pub certificate: Certificate,
}

/// The server's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) enum HelloAnswer {
    Refused(Refused),
    Hello(Hello),
}

impl Hello {
    /// Whether the peer of this stream may come with this certificate as one of these roles; else why not.
    pub fn check(&self, peer: PeerId, roles: &[Role]) -> Result<(), String> {
        let certificate = &self.certificate;
        if certificate.peer != peer {
            return Err(format!("the certificate is for {}", certificate.peer));
        }
        if !roles.contains(&certificate.role) {
            return Err(format!("a {} has no business here", certificate.role));
        }
        certificate.verify().map_err(|error| error.to_string())
    }
}

/// A refusal as it crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) struct Refused {
    pub code: u8,
    pub text: String,
}

impl From<Refusal> for Refused {
    fn from((kind, mut text): Refusal) -> Self {
        text.truncate(bounded(&text).len());
        Self { code: code_of(kind), text }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        // The text comes from a stranger and goes to a terminal or a log.
        let clean =
            bounded(&refused.text).chars().map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c });
        (kind_of(refused.code), clean.collect())
    }
}

/// As much of a text, whole characters, as a refusal may carry.
fn bounded(text: &str) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|end| *end <= limits::REFUSAL_BYTES).last().unwrap_or(0)]
}

/// Characters that change how the text around them is shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => 1,
        ErrorKind::Exists => 2,
        ErrorKind::Invalid => 3,
        ErrorKind::Denied => 4,
        ErrorKind::Full => 5,
        ErrorKind::Unavailable => 6,
        ErrorKind::Corrupt => 7,
        ErrorKind::Unpaid => 8,
        ErrorKind::Closed => 9,
        ErrorKind::Bug => 10,
    }
}

fn kind_of(code: u8) -> ErrorKind {
    match code {
        1 => ErrorKind::NotFound,
        2 => ErrorKind::Exists,
        3 => ErrorKind::Invalid,
        4 => ErrorKind::Denied,
        5 => ErrorKind::Full,
        7 => ErrorKind::Corrupt,
        8 => ErrorKind::Unpaid,
        9 => ErrorKind::Closed,
        10 => ErrorKind::Bug,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_keeps_its_code() {
        for code in 1..=10 {
            assert_eq!(code_of(kind_of(code)), code);
        }
        assert_eq!(kind_of(0), ErrorKind::Unavailable);
        assert_eq!(kind_of(200), ErrorKind::Unavailable);
    }

    #[test]
    fn refusals_are_bounded_and_harmless() {
        let sent = Refused::from((ErrorKind::Full, "é".repeat(1000)));
        assert_eq!(sent.text.len(), limits::REFUSAL_BYTES);
        let received = Refused { code: 4, text: format!("no\x1b[2J\u{202e}{}", "é".repeat(1000)) };
        let (kind, text) = Refusal::from(received);
        assert_eq!(kind, ErrorKind::Denied);
        assert!(text.starts_with("no\u{fffd}[2J\u{fffd}é"));
        assert!(text.len() <= limits::REFUSAL_BYTES + 8);
    }
}
