use std::net::Ipv4Addr;

use tepui_types::agent::{Protocol, VpcPart};

use super::lab::{Lab, anyone, group, group_id, lab, port, run, vpc};

const SECOND: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 12);

/// Guests 1 and 2, who may all.
async fn open_guests(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(Protocol::All, anyone())])];
    part.ports = vec![port(&part, 1, &[group_id(1)]), port(&part, 2, &[group_id(1)])];
    lab.guest("tpt1", &part.ports[0]);
    lab.guest("tpt2", &part.ports[1]);
    lab.apply(&[&part]).await;
    assert!(lab.pings("tpt1", SECOND), "the guests must reach each other before one cheats");
    part
}

/// Frames that reached the router from the subnet.
fn frames(lab: &Lab, part: &VpcPart) -> u64 {
    let shown = lab.exec(&Lab::router(part), "ip", &["-j", "-s", "link", "show", "sub1"]);
    let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
fn a_foreign_source_address_is_dropped() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        lab.exec("tpt1", "ip", &["address", "replace", "172.31.0.99/20", "dev", "eth0"]);
        lab.exec("tpt1", "ip", &["address", "del", "172.31.0.11/20", "dev", "eth0"]);
        lab.exec(
            "tpt1",
            "ip",
            &["neigh", "replace", "172.31.0.12", "lladdr", "02:54:50:00:00:01", "dev", "eth0"],
        );
        assert!(!lab.pings("tpt1", SECOND));
    });
}

#[test]
fn a_foreign_mac_address_is_dropped() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        lab.exec("tpt1", "ip", &["link", "set", "eth0", "address", "02:00:00:00:01:63"]);
        assert!(!lab.pings("tpt1", SECOND));
    });
}

#[test]
fn an_arp_message_in_the_name_of_another_is_dropped_and_ones_own_is_not() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        lab.exec("tpt1", "sysctl", &["-qw", "net.ipv4.ip_nonlocal_bind=1"]);
        let before = frames(lab, &part);
        let announce = |address: &str| {
            lab.try_exec(
                "tpt1",
                "arping",
                &["-q", "-U", "-c", "2", "-w", "2", "-I", "eth0", "-s", address, address],
            )
        };
        announce("172.31.0.12");
        assert_eq!(frames(lab, &part), before);
        announce("172.31.0.11");
        assert!(frames(lab, &part) > before);
    });
}

#[test]
fn a_guest_cannot_play_dhcp_server() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        assert!(lab.datagram_arrives("tpt1", 6767, "tpt2", SECOND));
        assert!(!lab.datagram_arrives("tpt1", 67, "tpt2", SECOND));
    });
}

#[test]
fn router_advertisements_and_all_other_ipv6_are_dropped() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let before = frames(lab, &part);
        lab.try_exec("tpt1", "busybox", &["ping", "-6", "-c", "2", "-W", "1", "-I", "eth0", "ff02::1"]);
        assert_eq!(frames(lab, &part), before);
    });
}

#[test]
fn the_router_itself_answers_nothing_but_dhcp_names_and_metadata() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let gateway = Ipv4Addr::new(172, 31, 0, 1);
        assert!(!lab.pings("tpt1", gateway));
        assert!(!lab.connects("tpt1", &Lab::router(&part), gateway, 8000));
        assert!(lab.inside("tpt1", || std::net::TcpStream::connect((gateway, 53)).is_ok()));
    });
}

#[test]
fn the_host_itself_is_out_of_a_guests_reach() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        let _listener = std::net::TcpListener::bind((super::lab::HOST, 22)).unwrap();
        let try_host =
            || std::net::TcpStream::connect_timeout(&(super::lab::HOST, 22).into(), super::lab::SHORT);
        assert!(lab.inside("tpt1", || try_host().is_err()));
        assert!(lab.inside("outside", || try_host().is_ok()));
    });
}

#[test]
fn two_vpcs_with_equal_ranges_on_one_host_do_not_meet() {
    lab(async |lab: &Lab| {
        let one = open_guests(lab).await;
        let mut two = vpc(2);
        two.groups = one.groups.clone();
        let mut twin = port(&two, 3, &[group_id(1)]);
        twin.private_ip = one.ports[0].private_ip;
        two.ports = vec![twin];
        lab.guest("tpt3", &two.ports[0]);
        lab.apply(&[&one, &two]).await;
        assert!(lab.pings("tpt1", SECOND));
        assert!(!lab.pings("tpt3", SECOND), "guest 2 is of the other VPC");
        let neighbours = run("bridge", &["link", "show"]);
        assert!(neighbours.contains("master tpb1") && neighbours.contains("master tpb2"));
    });
}
