//! Addresses as consumers tell them: checked, cleaned, and the prefix that neighbours share.

use std::net::IpAddr;

use crate::{
    base::limits,
    net::{Error, parse_address},
};

/// The addresses worth keeping, public ones first. What cannot be reached by anyone is left out; loopback too, when
/// there is something better. Fails on the first that is no address.
pub fn clean(addresses: &[String]) -> Result<Vec<String>, Error> {
    let mut kept: Vec<(u8, String)> = Vec::new();
    for text in addresses.iter().take(limits::ADDRESSES) {
        let (address, _) = parse_address(text)?;
        if let Some(rank) = rank(&address)
            && !kept.iter().any(|(_, other)| *other == address)
        {
            kept.push((rank, address));
        }
    }
    kept.sort_by_key(|(rank, _)| *rank);
    let best = kept.first().map_or(0, |(rank, _)| *rank);
    kept.retain(|(rank, _)| *rank < LOOPBACK || best == LOOPBACK);
    Ok(kept.into_iter().map(|(_, address)| address).collect())
}

const PUBLIC: u8 = 0;
const PRIVATE: u8 = 1;
const LOOPBACK: u8 = 2;

/// How far an address reaches; None when nobody can dial it.
fn rank(address: &str) -> Option<u8> {
    let port = address.split('/').skip_while(|part| !matches!(*part, "tcp" | "udp")).nth(1);
    if port == Some("0") {
        return None;
    }
    match ip(address) {
        None => Some(PUBLIC),
        Some(ip) if ip.is_unspecified() || ip.is_multicast() => None,
        Some(ip) if ip.is_loopback() => Some(LOOPBACK),
        Some(IpAddr::V4(ip)) if ip.is_broadcast() || ip.is_link_local() => None,
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => None,
        Some(IpAddr::V4(ip)) if ip.is_private() => Some(PRIVATE),
        Some(IpAddr::V6(ip)) if ip.is_unique_local() => Some(PRIVATE),
        Some(_) => Some(PUBLIC),
    }
}

fn ip(address: &str) -> Option<IpAddr> {
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("ip4" | "ip6"), Some(ip)) => ip.parse().ok(),
        _ => None,
    }
}

/// What machines next to each other share: /24 of IPv4, /48 of IPv6, the name of others.
pub fn prefix(addresses: &[String]) -> String {
    let Some(first) = addresses.first() else { return String::new() };
    match ip(first) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}")
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}")
        }
        None => first.split('/').take(3).collect::<Vec<_>>().join("/"),
    }
}

/// A version as a consumer tells it, fit for a terminal.
pub fn clean_version(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(limits::VERSION_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(addresses: &[&str]) -> Vec<String> {
        clean(&addresses.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).expect("addresses")
    }

    #[test]
    fn what_nobody_can_dial_is_left_out() {
        let all = [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip6/fe80::1/tcp/4001",
            "/ip4/10.0.0.3/tcp/4001",
            "/ip4/203.0.113.5/udp/4001/quic-v1",
            "/ip4/203.0.113.5/tcp/0",
            "/ip4/203.0.113.5/udp/4001/quic-v1",
        ];
        assert_eq!(cleaned(&all), ["/ip4/203.0.113.5/udp/4001/quic-v1", "/ip4/10.0.0.3/tcp/4001"]);
        assert_eq!(cleaned(&all[..1]), ["/ip4/127.0.0.1/tcp/4001"]);
        assert!(clean(&["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn neighbours_share_a_prefix() {
        let of = |address: &str| prefix(&[address.to_owned()]);
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), of("/ip4/192.0.2.200/udp/9/quic-v1"));
        assert_ne!(of("/ip4/192.0.2.7/tcp/1"), of("/ip4/192.0.3.7/tcp/1"));
        assert_eq!(of("/ip6/2001:db8:1:2::3/tcp/1"), of("/ip6/2001:db8:1:9::9/tcp/1"));
        assert_ne!(of("/ip6/2001:db8:1::3/tcp/1"), of("/ip6/2001:db8:2::3/tcp/1"));
        assert_ne!(of("/dns/a.example/tcp/1"), of("/dns/b.example/tcp/1"));
        assert_ne!(of("/memory/1"), of("/memory/2"));
    }

    #[test]
    fn versions_are_fit_for_a_terminal() {
        assert_eq!(clean_version("0.1.0 \u{1b}[31mred\n"), "0.1.0 [31mred");
        assert_eq!(clean_version(&"x".repeat(1000)).len(), limits::VERSION_BYTES);
    }
}
