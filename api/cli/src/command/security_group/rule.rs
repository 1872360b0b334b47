//! One rule on the command line and in a sentence.

use clap::{ArgGroup, Args};
use ipnet::Ipv4Net;
use tepui_types::agent::{Direction, Peer, PortRange, Protocol};
use tepui_types::endpoint::ShowSecurityGroup;
use tepui_types::rest::{Empty, Rule, RuleRequest};

use crate::failure::{Failure, Result};
use crate::session::Session;

/// Which packets, and the other side.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("packets").required(true).args(["tcp", "udp", "icmp", "protocol", "all"]))]
pub struct RuleArgs {
    /// TCP to this port or range, for example 443 or 8000-8999
    #[arg(long, value_name = "PORTS", value_parser = parse_ports)]
    tcp: Option<PortRange>,
    /// UDP to this port or range
    #[arg(long, value_name = "PORTS", value_parser = parse_ports)]
    udp: Option<PortRange>,
    /// ICMP of every type
    #[arg(long)]
    icmp: bool,
    /// An IP protocol by its number
    #[arg(long, value_name = "NUMBER")]
    protocol: Option<u8>,
    /// Every packet
    #[arg(long)]
    all: bool,
    /// The other side: a range of addresses or a security group [default: 0.0.0.0/0]
    #[arg(
        long,
        visible_alias = "to",
        value_name = "CIDR|GROUP",
        default_value = "0.0.0.0/0",
        hide_default_value = true
    )]
    from: String,
    /// From the guest instead of to it
    #[arg(long)]
    egress: bool,
    /// For people
    #[arg(long)]
    description: Option<String>,
}

impl RuleArgs {
    /// The rule for the cloud.
    ///
    /// # Errors
    /// The other side is neither a range nor a group.
    pub async fn request(self, session: &mut Session) -> Result<RuleRequest> {
        let direction = if self.egress { Direction::Egress } else { Direction::Ingress };
        let (protocol, peer) = (self.packets(), peer(&self.from, session).await?);
        Ok(RuleRequest { direction, protocol, peer, description: self.description })
    }

    fn packets(&self) -> Protocol {
        match (self.tcp, self.udp, self.protocol) {
            (Some(ports), _, _) => Protocol::Tcp(ports),
            (_, Some(ports), _) => Protocol::Udp(ports),
            (_, _, Some(number)) => Protocol::Other { number },
            (None, None, None) if self.icmp => Protocol::Icmp { icmp_type: None, code: None },
            (None, None, None) => Protocol::All,
        }
    }
}

/// A word with a slash can only be a range: names and ids have none.
async fn peer(word: &str, session: &mut Session) -> Result<Peer> {
    if word.contains('/') {
        let range: Ipv4Net = word.parse().map_err(|_| {
            Failure::usage(format!("'{word}' is no range of IPv4 addresses"))
                .try_("--from 203.0.113.0/24")
                .docs("tepui help security-group allow")
        })?;
        return Ok(Peer::Cidr(range.trunc()));
    }
    Ok(Peer::Group(session.call::<ShowSecurityGroup>(&[word], &Empty {}).await?.id))
}

/// The rule that lets `tepui instance ssh` in.
pub(crate) fn ssh_from_anywhere() -> RuleRequest {
    RuleRequest {
        direction: Direction::Ingress,
        protocol: Protocol::Tcp(PortRange { from: 22, to: 22 }),
        peer: Peer::Cidr(Ipv4Net::default()),
        description: None,
    }
}

/// Whether the rule lets somebody reach TCP port 22 (IANA: ssh).
pub(crate) fn lets_ssh_in(rule: &Rule) -> bool {
    /// TCP, by IANA's protocol numbers.
    const TCP: u8 = 6;
    let covers = match rule.protocol {
        Protocol::All | Protocol::Other { number: TCP } => true,
        Protocol::Tcp(ports) => (ports.from..=ports.to).contains(&22),
        Protocol::Udp(_) | Protocol::Icmp { .. } | Protocol::Other { .. } => false,
    };
    rule.direction == Direction::Ingress && covers
}

/// A rule as people say it.
pub(super) fn sentence(rule: &Rule) -> String {
    said(rule.direction, &rule.protocol, &rule.peer)
}

/// As [`sentence`], of its parts.
pub(super) fn said(direction: Direction, protocol: &Protocol, peer: &Peer) -> String {
    let peer = match peer {
        Peer::Cidr(range) => range.to_string(),
        Peer::Group(group) => group.to_string(),
    };
    let packets = packets(protocol);
    match direction {
        Direction::Ingress => format!("in: {packets} from {peer}"),
        Direction::Egress => format!("out: {packets} to {peer}"),
    }
}

fn packets(protocol: &Protocol) -> String {
    match protocol {
        Protocol::All => "everything".into(),
        Protocol::Tcp(ports) => format!("tcp {}", range(*ports)),
        Protocol::Udp(ports) => format!("udp {}", range(*ports)),
        Protocol::Icmp { icmp_type: None, code: _ } => "icmp".into(),
        Protocol::Icmp { icmp_type: Some(kind), code: None } => format!("icmp type {kind}"),
        Protocol::Icmp { icmp_type: Some(kind), code: Some(code) } => format!("icmp type {kind} code {code}"),
        Protocol::Other { number } => format!("protocol {number}"),
    }
}

fn range(ports: PortRange) -> String {
    if ports.from == ports.to { ports.from.to_string() } else { format!("{}-{}", ports.from, ports.to) }
}

fn parse_ports(text: &str) -> Result<PortRange, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let port =
        |text: &str| text.parse::<u16>().map_err(|_| String::from("ports are written like 443 or 8000-8999"));
    let ports = PortRange { from: port(from)?, to: port(to)? };
    if ports.from > ports.to { Err("the first port is above the last".into()) } else { Ok(ports) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ingress_that_covers_port_22_lets_ssh_in() {
        let tcp = |from, to| Protocol::Tcp(PortRange { from, to });
        let lets = |direction, protocol: &Protocol| {
            let value = serde_json::json!({
                "id": "sgr-0123456789abcdef0", "direction": direction, "protocol": protocol,
                "peer": Peer::Cidr(Ipv4Net::default()), "description": null
            });
            lets_ssh_in(&serde_json::from_value(value).unwrap())
        };
        for open in [tcp(22, 22), tcp(1, 65535), Protocol::All, Protocol::Other { number: 6 }] {
            assert!(lets(Direction::Ingress, &open), "{open:?}");
            assert!(!lets(Direction::Egress, &open), "{open:?}");
        }
        for shut in [
            tcp(23, 80),
            tcp(1, 21),
            Protocol::Other { number: 47 },
            Protocol::Udp(PortRange { from: 22, to: 22 }),
        ] {
            assert!(!lets(Direction::Ingress, &shut), "{shut:?}");
        }
    }

    #[test]
    fn ports_are_one_or_a_range_from_low_to_high() {
        assert_eq!(parse_ports("443"), Ok(PortRange { from: 443, to: 443 }));
        assert_eq!(parse_ports("8000-8999"), Ok(PortRange { from: 8000, to: 8999 }));
        for bad in ["", "-", "80-", "70000", "http", "90-80", "1-2-3"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
    }
}
