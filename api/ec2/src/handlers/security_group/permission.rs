//! Rules as EC2 writes them: one permission for each protocol and range of ports, with all the
//! peers it lets through.

use ipnet::Ipv4Net;
use tepui_core::{Kind, NameOrId, NewRule};
use tepui_db::model::{Rule, RulePeer, SecurityGroup};
use tepui_types::agent::{Direction, PortRange, Protocol};

use crate::error::ApiError;
use crate::generated::{IpPermission, IpRange, UserIdGroupPair};
use crate::handlers::{fixed, text};
use crate::mechanism::parse_id;
use crate::operation::Context;
use crate::wire::Text;

/// Protocol, first and last port (or ICMP type and code) on the wire.
pub(super) type Packets = (Option<Text>, Option<i64>, Option<i64>);

/// The permissions of a group in one direction.
pub(super) fn permissions(group: &SecurityGroup, direction: Direction) -> Vec<IpPermission> {
    let mut all: Vec<IpPermission> = Vec::new();
    for rule in group.rules.iter().filter(|rule| rule.direction == direction) {
        let (ip_protocol, from_port, to_port) = packets(rule.protocol);
        let same =
            |p: &IpPermission| (&p.ip_protocol, p.from_port, p.to_port) == (&ip_protocol, from_port, to_port);
        match all.iter_mut().find(|permission| same(permission)) {
            Some(permission) => add_peer(permission, group, rule),
            None => {
                let mut permission = IpPermission { ip_protocol, from_port, to_port, ..Default::default() };
                add_peer(&mut permission, group, rule);
                all.push(permission);
            }
        }
    }
    all
}

fn add_peer(permission: &mut IpPermission, group: &SecurityGroup, rule: &Rule) {
    let description = rule.description.clone().map(Text::from);
    match rule.peer {
        RulePeer::Cidr(cidr) => permission.ip_ranges.push(IpRange { cidr_ip: text(cidr), description }),
        RulePeer::Group(peer) => permission.user_id_group_pairs.push(UserIdGroupPair {
            description,
            group_id: text(peer),
            user_id: text(group.project_id),
            ..Default::default()
        }),
    }
}

/// Packets as EC2 names them.
pub(super) fn packets(protocol: Protocol) -> Packets {
    let ports = |ports: PortRange| (Some(ports.from.into()), Some(ports.to.into()));
    let any = |value: Option<u8>| Some(value.map_or(-1, i64::from));
    let (name, (from, to)) = match protocol {
        Protocol::All => (fixed("-1"), (None, None)),
        Protocol::Tcp(range) => (fixed("tcp"), ports(range)),
        Protocol::Udp(range) => (fixed("udp"), ports(range)),
        Protocol::Icmp { icmp_type, code } => (fixed("icmp"), (any(icmp_type), any(code))),
        Protocol::Other { number } => (text(number), (None, None)),
    };
    (name, from, to)
}

/// The protocol that EC2's words mean.
pub(super) fn protocol(name: &str, from: Option<i64>, to: Option<i64>) -> Result<Protocol, ApiError> {
    match name {
        "-1" | "all" => Ok(Protocol::All),
        "tcp" | "6" => port_range(from, to).map(Protocol::Tcp),
        "udp" | "17" => port_range(from, to).map(Protocol::Udp),
        "icmp" | "1" => Ok(Protocol::Icmp { icmp_type: icmp("FromPort", from)?, code: icmp("ToPort", to)? }),
        "icmpv6" | "58" => Err(ApiError::unsupported("IPv6 is not supported by this cloud.")),
        other => {
            let refused =
                || ApiError::invalid_value("IpProtocol", other, "It is tcp, udp, icmp, -1 or a number.");
            Ok(Protocol::Other { number: other.parse().map_err(|_| refused())? })
        }
    }
}

/// Ports; -1 to -1 is all of them.
fn port_range(from: Option<i64>, to: Option<i64>) -> Result<PortRange, ApiError> {
    let (from, to) = match (from, to) {
        (Some(-1), Some(-1)) => (0, 65_535),
        (Some(from), Some(to)) => (from, to),
        (None, _) => return Err(ApiError::missing("FromPort")),
        (_, None) => return Err(ApiError::missing("ToPort")),
    };
    let port = |parameter, port: i64| {
        u16::try_from(port)
            .map_err(|_| ApiError::invalid_value(parameter, &port.to_string(), "It is 0 to 65535."))
    };
    Ok(PortRange { from: port("FromPort", from)?, to: port("ToPort", to)? })
}

fn icmp(parameter: &str, value: Option<i64>) -> Result<Option<u8>, ApiError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(number) => u8::try_from(number).map(Some).map_err(|_| {
            ApiError::invalid_value(parameter, &number.to_string(), "It is -1 to 255 for icmp.")
        }),
    }
}

/// The rules that a permission stands for, one for each peer.
pub(super) async fn rules(cx: &Context, permission: IpPermission) -> Result<Vec<NewRule>, ApiError> {
    let name = permission.ip_protocol.ok_or_else(|| ApiError::missing("IpProtocol"))?;
    let protocol = protocol(&name, permission.from_port, permission.to_port)?;
    let mut rules = Vec::new();
    for range in permission.ip_ranges {
        let peer = RulePeer::Cidr(cidr(&range.cidr_ip.unwrap_or_default())?);
        rules.push(NewRule { protocol, peer, description: range.description.map(String::from) });
    }
    for pair in permission.user_id_group_pairs {
        let peer = RulePeer::Group(peer_group(cx, &pair).await?);
        rules.push(NewRule { protocol, peer, description: pair.description.map(String::from) });
    }
    Ok(rules)
}

async fn peer_group(cx: &Context, pair: &UserIdGroupPair) -> Result<tepui_types::SecurityGroupId, ApiError> {
    match (&pair.group_id, &pair.group_name) {
        (Some(id), _) => parse_id(Kind::SecurityGroup, id),
        (None, Some(name)) => {
            let group = NameOrId::Name(name.clone().into());
            Ok(cx.cloud.security_group(&cx.caller, &group).await?.id)
        }
        (None, None) => Err(ApiError::missing("GroupId")),
    }
}

/// A range; bits of the host are cleared, as on AWS.
pub(super) fn cidr(text: &str) -> Result<Ipv4Net, ApiError> {
    let parsed: Result<Ipv4Net, _> = text.parse();
    parsed
        .map(|net| net.trunc())
        .map_err(|_| ApiError::new("InvalidParameterValue", format!("CIDR block {text} is malformed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_go_both_ways() {
        for (name, from, to) in [
            ("tcp", Some(22), Some(23)),
            ("udp", Some(0), Some(65_535)),
            ("icmp", Some(8), Some(-1)),
            ("-1", None, None),
            ("47", None, None),
        ] {
            let meant = protocol(name, from, to).unwrap();
            assert_eq!(packets(meant), (text(name), from, to));
        }
        assert_eq!(
            protocol("6", Some(-1), Some(-1)).unwrap(),
            Protocol::Tcp(PortRange { from: 0, to: 65_535 })
        );
    }

    #[test]
    fn bad_protocols_ports_and_ranges_are_refused() {
        assert_eq!(protocol("tcp", Some(22), None).unwrap_err().code, "MissingParameter");
        assert_eq!(protocol("tcp", Some(1), Some(65_536)).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(protocol("icmp", Some(256), None).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(protocol("carrier-pigeon", None, None).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(cidr("10.0.0.0/33").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(cidr("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
    }
}
