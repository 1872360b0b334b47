use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpStream};

use tepui_agent::identity::{IdentityError, come_home, keep_home};
use tepui_agent::network::Network as _;
use tepui_types::agent::{Protocol, VpcPart};

use super::lab::{LONG, Lab, OUTSIDE, anyone, flows, group, group_id, lab, port, tcp, vpc, wanted};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
const SECOND_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 8);

/// One guest with a public address, whose group lets in port 22 alone.
async fn public_guest(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(tcp(22), anyone())])];
    part.ports = vec![port(&part, 1, &[group_id(1)])];
    part.ports[0].public_ip = Some(PUBLIC);
    lab.guest("tpt1", &part.ports[0]);
    lab.apply(&[&part]).await;
    part
}

#[test]
fn dhcp_gives_address_routes_name_and_mtu() {
    lab(async |lab: &Lab| {
        let mut part = vpc(1);
        part.groups = vec![group(1, &[])];
        part.ports = vec![port(&part, 1, &[group_id(1)])];
        lab.wire("tpt1", &part.ports[0]);
        lab.apply(&[&part]).await;
        let script = lab.run_dir().join("udhcpc.sh");
        std::fs::write(&script, "#!/bin/sh\nenv\n").unwrap();
        super::lab::run("chmod", &["+x", script.to_str().unwrap()]);
        let arguments = [
            "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-O", "26", "-O", "121", "-O",
            "hostname", "-s",
        ];
        let lease = lab.exec("tpt1", "busybox", &[&arguments[..], &[script.to_str().unwrap()]].concat());
        for expected in [
            "ip=172.31.0.11",
            "subnet=255.255.240.0",
            "router=172.31.0.1",
            "dns=172.31.0.1",
            "domain=tepui-1.compute.internal",
            "hostname=ip-172-31-0-11",
            "staticroutes=169.254.169.254/32 172.31.0.1 0.0.0.0/0 172.31.0.1",
            "mtu=1450",
            "lease=3600",
        ] {
            assert!(lease.contains(expected), "{expected} is not in {lease}");
        }
        let faults = lab.network.faults(&wanted(&[&part])).await.unwrap();
        assert_eq!(faults, Vec::<String>::new(), "the server must leave the kernel's tables alone");
    });
}

#[test]
fn internal_names_resolve_also_those_of_new_guests() {
    lab(async |lab: &Lab| {
        let mut part = public_guest(lab).await;
        let look_up = |name: &str| {
            let name = format!("{name}.tepui-1.compute.internal");
            lab.try_exec("tpt1", "busybox", &["nslookup", "-type=a", &name, "172.31.0.1"]).1
        };
        assert!(look_up("ip-172-31-0-11").contains("172.31.0.11"));
        assert!(!look_up("ip-172-31-0-12").contains("172.31.0.12"));
        part.ports.push(port(&part, 2, &[group_id(1)]));
        lab.apply(&[&part]).await;
        super::lab::eventually("the new name", || look_up("ip-172-31-0-12").contains("Address: 172.31.0.12"));
    });
}

#[test]
fn the_metadata_service_sees_the_guests_own_address() {
    lab(async |lab: &Lab| {
        let part = public_guest(lab).await;
        let listener = lab.network.metadata_listener(part.id).await.unwrap();
        let _client = lab.inside("tpt1", || TcpStream::connect(("169.254.169.254", 80)).unwrap());
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), IpAddr::V4(part.ports[0].private_ip));
        let unknown = lab.network.metadata_listener(vpc(9).id).await.unwrap_err();
        assert!(unknown.to_string().contains("is not on this host"));
    });
}

#[test]
fn a_public_address_reaches_the_guest_as_far_as_its_groups_allow() {
    lab(async |lab: &Lab| {
        let mut part = public_guest(lab).await;
        assert!(lab.connects("outside", "tpt1", PUBLIC, 22));
        assert!(!lab.connects("outside", "tpt1", PUBLIC, 23));
        part.ports[0].public_ip = None;
        lab.apply(&[&part]).await;
        assert!(!lab.connects("outside", "tpt1", PUBLIC, 22));
        let proxies = super::lab::run("ip", &["neigh", "show", "proxy"]);
        assert!(!proxies.contains("198.18.0.7"), "{proxies}");
    });
}

#[test]
fn a_guest_with_a_public_address_is_seen_by_it_and_one_without_as_the_host() {
    lab(async |lab: &Lab| {
        let mut part = public_guest(lab).await;
        part.ports.push(port(&part, 2, &[group_id(1)]));
        lab.guest("tpt2", &part.ports[1]);
        lab.apply(&[&part]).await;
        let listener = lab.listener("outside", 8080);
        for (guest, seen) in [("tpt1", PUBLIC), ("tpt2", super::lab::HOST)] {
            let mut client = lab.inside(guest, || TcpStream::connect((OUTSIDE, 8080)).unwrap());
            client.write_all(b"x").unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), IpAddr::V4(seen));
        }
    });
}

#[test]
fn public_addresses_work_from_inside_the_vpc_too() {
    lab(async |lab: &Lab| {
        let mut part = public_guest(lab).await;
        part.ports.push(port(&part, 2, &[group_id(1)]));
        part.ports[1].public_ip = Some(SECOND_PUBLIC);
        lab.guest("tpt2", &part.ports[1]);
        lab.apply(&[&part]).await;
        assert!(lab.connects("tpt1", "tpt2", SECOND_PUBLIC, 22));
        assert!(lab.connects("tpt1", "tpt1", PUBLIC, 22), "its own");
        assert!(!lab.connects("tpt1", "tpt2", SECOND_PUBLIC, 23));
    });
}

#[test]
fn two_vpcs_meet_by_public_addresses_alone() {
    lab(async |lab: &Lab| {
        let one = public_guest(lab).await;
        let mut two = vpc(2);
        two.groups = vec![group(1, &[(Protocol::All, anyone())])];
        two.ports = vec![port(&two, 2, &[group_id(1)])];
        lab.guest("tpt2", &two.ports[0]);
        lab.apply(&[&one, &two]).await;
        let mut open = lab.connection("tpt2", "tpt1", PUBLIC, 22);
        assert!(flows(&mut open));
        assert!(!lab.connects("tpt1", "tpt2", Ipv4Addr::new(100, 64, 0, 5), 22));
    });
}

#[test]
fn a_new_guest_with_the_address_of_a_gone_one_gets_its_lease() {
    lab(async |lab: &Lab| {
        let mut part = vpc(1);
        part.groups = vec![group(1, &[])];
        part.ports = vec![port(&part, 1, &[group_id(1)])];
        lab.wire("tpt1", &part.ports[0]);
        lab.apply(&[&part]).await;
        let ask = |guest: &str| {
            let arguments =
                ["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", "/bin/true"];
            lab.exec(guest, "busybox", &arguments)
        };
        assert!(ask("tpt1").contains("172.31.0.11"));
        let mut heir = port(&part, 2, &[group_id(1)]);
        heir.private_ip = part.ports[0].private_ip;
        part.ports = vec![heir];
        lab.apply(&[&part]).await;
        let tap = lab.network.tap_name(part.ports[0].placement_id).unwrap();
        super::lab::run("ip", &["link", "del", &tap]);
        lab.wire("tpt1b", &part.ports[0]);
        super::lab::run("ip", &["link", "set", "tpt1b", "name", &tap]);
        lab.apply(&[&part]).await;
        assert!(ask("tpt1b").contains("172.31.0.11"));
    });
}

#[test]
fn an_identity_waits_for_an_address_that_comes_late_also_where_any_address_can_be_bound() {
    lab(async |_: &Lab| {
        let (dir, late) = (tempfile::tempdir().unwrap(), Ipv4Addr::new(10, 9, 0, 77));
        std::fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
        let error = keep_home(dir.path(), late).unwrap_err();
        assert!(matches!(error, IdentityError::NotOurs { address } if address == late), "{error}");
        let mut home = Box::pin(come_home(dir.path(), late));
        assert!(futures::poll!(&mut home).is_pending());
        super::lab::run("ip", &["address", "add", &format!("{late}/24"), "dev", "eth0"]);
        tokio::time::timeout(LONG, home).await.unwrap().unwrap();
        keep_home(dir.path(), late).unwrap();
    });
}
