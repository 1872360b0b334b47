//! What the host needs for what is wanted: a pure function of the wanted state and the numbers.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use nix::errno::Errno;
use tepui_types::VpcId;
use tepui_types::agent::{VpcPart, VpcPort};

use super::drift::WantedLink;
use super::error::refused;
use super::host_filter::TapIdentity;
use super::names::{Names, Numbers, uplink_addresses};
use super::overlay;
use super::ports::WantedTap;
use super::router::number;
use super::{NetworkError, WantedNetwork};

/// A VPC and its ports on this host.
pub(super) type Local<'a> = (&'a VpcPart, Vec<&'a VpcPort>);

/// What follows from the wanted state and the numbers.
pub(super) struct Plan<'a> {
    pub(super) vpcs: Vec<Local<'a>>,
    pub(super) taps: Vec<WantedTap>,
    pub(super) identities: Vec<TapIdentity>,
    pub(super) devices: Vec<WantedLink>,
    /// Public addresses of local ports, with the number of their VPC.
    pub(super) public: HashMap<Ipv4Addr, u32>,
}

pub(super) fn plan<'a>(names: &Names, wanted: &'a WantedNetwork, numbers: &Numbers) -> Plan<'a> {
    let mut plan = Plan {
        vpcs: Vec::new(),
        taps: Vec::new(),
        identities: Vec::new(),
        devices: Vec::new(),
        public: HashMap::new(),
    };
    for part in &wanted.vpcs {
        let local = local_ports(wanted, part);
        let vpc = number(&numbers.vpcs, &part.id);
        let name = names.uplink(vpc);
        let address = Some((uplink_addresses(vpc).0, 31));
        plan.devices.push(WantedLink { name, address, ..WantedLink::default() });
        for subnet in &part.subnets {
            let number = number(&numbers.subnets, &subnet.id);
            let bridge = names.bridge(number);
            let (name, on) = (names.router_port(number), Some(bridge.clone()));
            plan.devices.push(WantedLink { name, bridge: on, ..WantedLink::default() });
            plan.devices.push(WantedLink { name: bridge, ..WantedLink::default() });
        }
        for port in &local {
            plan_port(&mut plan, names, part.id, port, numbers);
            plan.public.extend(port.public_ip.map(|address| (address, vpc)));
        }
        plan.vpcs.push((part, local));
    }
    plan
}

fn plan_port(plan: &mut Plan<'_>, names: &Names, vpc: VpcId, port: &VpcPort, numbers: &Numbers) {
    let name = names.tap(number(&numbers.taps, &port.placement_id));
    let bridge = names.bridge(number(&numbers.subnets, &port.subnet_id));
    let (on, isolated) = (Some(bridge.clone()), true);
    plan.devices.push(WantedLink { name: name.clone(), bridge: on, isolated, ..WantedLink::default() });
    plan.identities.push(TapIdentity { tap: name.clone(), mac: port.mac, address: port.private_ip });
    plan.taps.push(WantedTap { name, bridge, mac: port.mac, vpc });
}

/// The ports of a VPC that have a tap on this host.
pub(super) fn local_ports<'a>(wanted: &WantedNetwork, part: &'a VpcPart) -> Vec<&'a VpcPort> {
    let is_local =
        |port: &&VpcPort| port.node_id == wanted.node_id && wanted.local.contains(&port.placement_id);
    part.ports.iter().filter(is_local).collect()
}

pub(super) fn taps_of(plan: &Plan<'_>, vpc: VpcId) -> Vec<WantedTap> {
    plan.taps.iter().filter(|tap| tap.vpc == vpc).cloned().collect()
}

/// Checks what the kernel would refuse with a message that names nothing.
pub(super) fn check(part: &VpcPart, local: &[&VpcPort], own: Ipv4Addr) -> Result<(), NetworkError> {
    overlay::check_vni(part)?;
    let is_a_hosts =
        |address: Ipv4Addr| address == own || part.nodes.iter().any(|node| node.underlay_address == address);
    let taken = |port: &VpcPort| port.public_ip.filter(|public| is_a_hosts(*public)).map(|ip| (port.id, ip));
    if let Some((port, public)) = part.ports.iter().find_map(taken) {
        let what = format!("give {public} to {port}: it is the address of a host");
        return Err(refused(|| what)(Errno::EADDRINUSE));
    }
    match local.iter().find(|port| part.subnets.iter().all(|subnet| subnet.id != port.subnet_id)) {
        Some(port) => {
            Err(refused(|| format!("find the subnet {} of {}", port.subnet_id, port.id))(Errno::ENOENT))
        }
        None => Ok(()),
    }
}
