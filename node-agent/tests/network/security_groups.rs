use std::net::Ipv4Addr;

use tepui_types::agent::{Direction, Peer, Protocol, VpcPart};

use super::lab::{Lab, anyone, flows, group, group_id, lab, port, tcp, vpc};

/// Guest 1 in group 1, guest 2 in group 2.
fn two_guests(lab: &Lab, ingress_of_2: &[(Protocol, Peer)]) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[]), group(2, ingress_of_2)];
    part.ports = vec![port(&part, 1, &[group_id(1)]), port(&part, 2, &[group_id(2)])];
    lab.guest("tpt1", &part.ports[0]);
    lab.guest("tpt2", &part.ports[1]);
    part
}

const SECOND: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 12);
const ECHO: Protocol = Protocol::Icmp { icmp_type: Some(8), code: None };

#[test]
fn what_a_group_allows_passes_with_its_replies_and_the_rest_does_not() {
    lab(async |lab: &Lab| {
        let part = two_guests(lab, &[(tcp(80), anyone())]);
        lab.apply(&[&part]).await;
        assert!(lab.connects("tpt1", "tpt2", SECOND, 80));
        assert!(!lab.connects("tpt1", "tpt2", SECOND, 81));
        assert!(!lab.pings("tpt1", SECOND));
        assert!(!lab.connects("tpt2", "tpt1", Ipv4Addr::new(172, 31, 0, 11), 80));
    });
}

#[test]
fn a_group_as_peer_means_its_members() {
    lab(async |lab: &Lab| {
        let mut part = two_guests(lab, &[(Protocol::All, Peer::Group(group_id(1)))]);
        lab.apply(&[&part]).await;
        assert!(lab.connects("tpt1", "tpt2", SECOND, 443));
        assert!(lab.pings("tpt1", SECOND));
        part.ports[0].groups = vec![group_id(2)];
        lab.apply(&[&part]).await;
        assert!(!lab.connects("tpt1", "tpt2", SECOND, 443));
    });
}

#[test]
fn a_change_of_rules_holds_for_new_connections_and_keeps_old_ones() {
    lab(async |lab: &Lab| {
        let mut part = two_guests(lab, &[(tcp(80), anyone())]);
        lab.apply(&[&part]).await;
        let mut open = lab.connection("tpt1", "tpt2", SECOND, 80);
        part.groups[1] = group(2, &[(ECHO, anyone())]);
        lab.apply(&[&part]).await;
        assert!(!lab.connects("tpt1", "tpt2", SECOND, 80));
        assert!(lab.pings("tpt1", SECOND));
        assert!(flows(&mut open));
    });
}

#[test]
fn what_a_group_does_not_let_out_stays_in() {
    lab(async |lab: &Lab| {
        let mut part = two_guests(lab, &[(Protocol::All, anyone())]);
        part.groups[0].rules.retain(|rule| rule.direction == Direction::Ingress);
        lab.apply(&[&part]).await;
        assert!(!lab.connects("tpt1", "tpt2", SECOND, 80));
    });
}

#[test]
fn every_protocol_of_a_rule_is_taken_by_the_kernel() {
    lab(async |lab: &Lab| {
        let range = Peer::Cidr("172.31.0.0/20".parse().unwrap());
        let host = Peer::Cidr("172.31.0.11/32".parse().unwrap());
        let udp = Protocol::Udp(tepui_types::agent::PortRange { from: 6000, to: 7000 });
        let icmp = Protocol::Icmp { icmp_type: Some(3), code: Some(4) };
        let any_icmp = Protocol::Icmp { icmp_type: None, code: None };
        let rules =
            [(udp, range), (icmp, anyone()), (any_icmp, host), (Protocol::Other { number: 47 }, range)];
        let part = two_guests(lab, &rules);
        lab.apply(&[&part]).await;
        assert!(lab.datagram_arrives("tpt1", 5000, "tpt2", SECOND));
        assert!(lab.pings("tpt1", SECOND));
    });
}
