//! Who to talk to and where.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::{PeerId, limits};

/// A peer and the addresses it may be reached at (multiaddrs as text, without `/p2p`), the best first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub peer: PeerId,
    pub addresses: Vec<String>,
}

/// Splits an address as a person writes it into a multiaddr without `/p2p` and the peer id, if one was given.
///
/// `192.0.2.7:4001`, `[2001:db8::7]:4001`, `host.example:4001` and multiaddrs ending in `/p2p/12D3KooW...` or not.
pub fn parse_address(text: &str) -> Result<(String, Option<PeerId>), Error> {
    let fail = || Error::Address(text.chars().take(limits::ADDRESS_BYTES).collect());
    if text.len() > limits::ADDRESS_BYTES || text.chars().any(char::is_whitespace) {
        return Err(fail());
    }
    if text.starts_with('/') {
        let (address, peer) = match text.split_once("/p2p/") {
            Some((address, peer)) => (address, Some(peer.parse().map_err(|_| fail())?)),
            None => (text, None),
        };
        let parsed: libp2p::Multiaddr = address.parse().map_err(|_| fail())?;
        if parsed.is_empty() {
            return Err(fail());
        }
        return Ok((parsed.to_string(), peer));
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        let version = if socket.is_ipv4() { "ip4" } else { "ip6" };
        return Ok((format!("/{version}/{}/tcp/{}", socket.ip(), socket.port()), None));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(fail)?;
    let host_ok = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    match port.parse::<u16>() {
        Ok(port) if host_ok => Ok((format!("/dns/{host}/tcp/{port}"), None)),
        _ => Err(fail()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        let peer = PeerId([3; 32]);
        let cases = [
            ("192.0.2.7:4001", "/ip4/192.0.2.7/tcp/4001"),
            ("[2001:db8::7]:4001", "/ip6/2001:db8::7/tcp/4001"),
            ("node.example:4001", "/dns/node.example/tcp/4001"),
            ("/ip4/192.0.2.7/udp/4001/quic-v1", "/ip4/192.0.2.7/udp/4001/quic-v1"),
        ];
        for (text, address) in cases {
            assert_eq!(parse_address(text).map(|a| a.0).ok().as_deref(), Some(address));
        }
        let full = format!("/ip4/192.0.2.7/tcp/4001/p2p/{peer}");
        assert_eq!(parse_address(&full).ok(), Some(("/ip4/192.0.2.7/tcp/4001".into(), Some(peer))));
        for bad in ["", "7", "host:99999", "a b:1", "/ip4/1/tcp/1", "/p2p/xyz", ":1", "/", &"x".repeat(5000)] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
