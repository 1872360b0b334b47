use std::net::{Ipv4Addr, UdpSocket};

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

/// The guest sends what is for `address` to the bridge itself, past the router.
fn aim_at_the_bridge(lab: &Lab, address: Ipv4Addr) {
    let shown = run("ip", &["-j", "link", "show", "tpb1"]);
    let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let (mac, address) = (links[0]["address"].as_str().unwrap(), address.to_string());
    lab.exec("tpt1", "ip", &["route", "add", &format!("{address}/32"), "dev", "eth0"]);
    lab.exec("tpt1", "ip", &["neigh", "replace", &address, "lladdr", mac, "dev", "eth0"]);
}

#[test]
fn the_bridge_takes_no_datagram_of_a_guest_for_the_host() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        aim_at_the_bridge(lab, super::lab::HOST);
        for port in [4789, 7000] {
            let receiver = UdpSocket::bind((super::lab::HOST, port)).unwrap();
            receiver.set_read_timeout(Some(super::lab::SHORT)).unwrap();
            let send = || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", (super::lab::HOST, port));
            lab.inside("tpt1", send).unwrap();
            assert!(receiver.recv(&mut [0; 8]).is_err(), "port {port}");
            lab.inside("outside", send).unwrap();
            assert!(receiver.recv(&mut [0; 8]).is_ok(), "port {port} from outside");
        }
    });
}

#[test]
fn the_bridge_forwards_nothing_past_the_router() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        assert!(lab.datagram_arrives("tpt1", 5000, "outside", super::lab::OUTSIDE), "by the router");
        // A host's address is all that a storage host asks for over NFS.
        assert!(lab.connects("tpt1", "outside", super::lab::OUTSIDE, 2050));
        for port in [111, 2049, 20048] {
            assert!(!lab.connects("tpt1", "outside", super::lab::OUTSIDE, port), "port {port}");
        }
        aim_at_the_bridge(lab, super::lab::OUTSIDE);
        assert!(!lab.datagram_arrives("tpt1", 5001, "outside", super::lab::OUTSIDE));
    });
}

#[test]
fn the_host_answers_no_arp_request_of_a_guest() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        let shown = run("ip", &["-j", "link", "show", "tpb1"]);
        let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let bridge = links[0]["address"].as_str().unwrap().to_uppercase();
        let host = super::lab::HOST.to_string();
        let (_, answers) = lab.try_exec("tpt1", "arping", &["-b", "-c", "2", "-w", "2", "-I", "eth0", &host]);
        assert!(!answers.contains(&bridge), "{answers}");
    });
}

#[test]
fn the_bridges_settings_let_nothing_in_without_the_filter_too() {
    lab(async |lab: &Lab| {
        open_guests(lab).await;
        for (setting, value) in [("arp_ignore", "8"), ("rp_filter", "1")] {
            let name = format!("net.ipv4.conf.tpb1.{setting}");
            assert_eq!(run("sysctl", &["-n", &name]).trim(), value, "{name}");
        }
    });
}

#[test]
fn the_hosts_own_network_is_out_of_a_guests_reach_and_the_world_is_not() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        assert!(!lab.connects("tpt1", "outside", super::lab::NEIGHBOUR, 8774));
        assert!(!lab.pings("tpt1", super::lab::NEIGHBOUR));
        assert!(lab.connects("tpt1", "outside", super::lab::OUTSIDE, 8774));
        assert!(!lab.connects("tpt1", "outside", super::lab::NEIGHBOUR, 53), "the operator's resolver");
        // Public addresses may be of the host's own network: one of a guest here, and one elsewhere.
        let near = Ipv4Addr::new(10, 9, 0, 77);
        part.ports[1].public_ip = Some(near);
        let mut two = vpc(2);
        two.ports = vec![port(&two, 3, &[])];
        two.ports[0].node_id = tepui_types::NodeId::from_random(2);
        two.ports[0].public_ip = Some(super::lab::NEIGHBOUR);
        lab.apply(&[&part, &two]).await;
        assert!(lab.connects("tpt1", "tpt2", near, 80));
        assert!(lab.connects("outside", "tpt2", near, 80), "an answer to the host's network");
        assert!(lab.connects("tpt1", "outside", super::lab::NEIGHBOUR, 8774));
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
