//! The real network of a host: `HostNetwork`.
//!
//! ```text
//!   guest ── tap ─┐                       router's namespace (one for each VPC)
//!     (isolated)  ├─ bridge ── veth ──── sub1 ─┐
//!   guest ── tap ─┘  (one for each subnet)     ├─ groups, NAT, DHCP, metadata
//!                              veth ──── up0 ──┤
//!   uplink ── masquerade ───────┘        vx0 ──┘ ── other hosts
//! ```
//!
//! Each apply plans from the wanted state, makes what is missing, and lets a tap up only after every
//! filter that speaks of it stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use ipnet::Ipv4Net;
use tepui_types::agent::{VpcPart, VpcPort};
use tepui_types::{PlacementId, VpcId};
use tokio::sync::Mutex;

use super::error::refused;
use super::host_filter::{self, TapIdentity};
use super::names::{Names, Numbers, assign};
use super::namespace::Namespace;
use super::netlink::{self, Links};
use super::nft::Ruleset;
use super::overlay::{self, Underlay};
use super::ports::{self, WantedTap};
use super::router::{self, Router, Surroundings, number};
use super::router_filter::{METADATA_ADDRESS, METADATA_PORT};
use super::{Network, NetworkError, WantedNetwork, generation, nft, public_addresses, sysctl};

/// What the network must know of its host.
#[derive(Debug, Clone)]
pub struct HostNetworkConfig {
    /// Namespaces and the DHCP servers' files; must be readable for users other than root, since
    /// dnsmasq gives up root.
    pub run_dir: PathBuf,
    /// Keeps the numbers in device names; must outlive a restart of the agent.
    pub state_file: PathBuf,
    /// This host's address among the hosts.
    pub underlay_address: Ipv4Addr,
    /// The device towards the other hosts and the operator's network.
    pub uplink: String,
    /// What the names of Tepui's devices begin with: at most 4 letters, and not `vnet`, which libvirt
    /// takes for its own. Every device whose name is this, one of `t b r u x p`, and a number is Tepui's.
    pub name_prefix: String,
}

/// Builds the network with the kernel's own means.
#[derive(Debug)]
pub struct HostNetwork {
    config: HostNetworkConfig,
    names: Names,
    underlay: Underlay,
    host: Namespace,
    taps: RwLock<BTreeMap<PlacementId, String>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    numbers: Numbers,
    routers: BTreeMap<VpcId, Router>,
    /// Taps that this process set up, by index.
    settled: HashMap<String, u32>,
    /// The host's filter as last applied, and its generation then.
    filter: Option<(Vec<Ruleset>, u32)>,
    /// What the last apply that succeeded made.
    applied: Option<WantedNetwork>,
    /// The devices that follow from it, and the bridge of those that are a port.
    devices: Vec<(String, Option<String>)>,
    is_host_set_up: bool,
}

/// What follows from the wanted state and the numbers.
struct Plan<'a> {
    vpcs: Vec<(&'a VpcPart, Vec<&'a VpcPort>)>,
    taps: Vec<WantedTap>,
    identities: Vec<TapIdentity>,
    devices: Vec<(String, Option<String>)>,
    /// Public addresses of local ports, with the number of their VPC.
    public: HashMap<Ipv4Addr, u32>,
}

impl HostNetwork {
    /// A network in the namespace of the calling thread. Nothing is changed until the first apply.
    pub async fn new(config: HostNetworkConfig) -> Result<Self, NetworkError> {
        let numbers = Numbers::load(&config.state_file)?;
        let names = Names::new(config.name_prefix.clone());
        let taps = numbers.taps.iter().map(|(placement, number)| (*placement, names.tap(*number))).collect();
        Ok(Self {
            underlay: Underlay { address: config.underlay_address, uplink: config.uplink.clone() },
            host: Namespace::current().await?,
            taps: RwLock::new(taps),
            state: Mutex::new(State { numbers, ..State::default() }),
            names,
            config,
        })
    }

    /// Whether what the last apply made still stands, as far as microseconds can tell.
    async fn is_intact(&self, state: &State) -> Result<bool, NetworkError> {
        let links = netlink::links(self.host.netlink()).await?;
        if !state.devices.iter().all(|(name, bridge)| stands(&links, name, bridge.as_deref())) {
            return Ok(false);
        }
        let filter = state.filter.as_ref().map(|(_, generation)| *generation);
        if filter != Some(generation::of(&self.host).await?) {
            return Ok(false);
        }
        for (vpc, router) in &state.routers {
            if !router.is_intact(&self.config.run_dir, *vpc).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn change(&self, state: &mut State, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        wanted.vpcs.iter().try_for_each(overlay::check_vni)?;
        if !state.is_host_set_up {
            sysctl::write(&self.host, sysctl::host(&self.config.uplink)).await?;
            state.is_host_set_up = true;
        }
        self.renumber(state, wanted)?;
        let plan = self.plan(wanted, &state.numbers);
        self.remove_strays(state, wanted, &plan).await?;
        self.build(state, wanted, &plan).await?;
        state.devices = plan.devices;
        Ok(())
    }

    /// Gives what is new its number, and writes the numbers down before a device bears one.
    fn renumber(&self, state: &mut State, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        let mut numbers = state.numbers.clone();
        assign(&mut numbers.vpcs, &wanted.vpcs.iter().map(|part| part.id).collect());
        let subnets = wanted.vpcs.iter().flat_map(|part| &part.subnets);
        assign(&mut numbers.subnets, &subnets.map(|subnet| subnet.id).collect());
        let local = wanted.vpcs.iter().flat_map(|part| local_ports(wanted, part));
        let placements: BTreeSet<PlacementId> = local.map(|port| port.placement_id).collect();
        assign(&mut numbers.taps, &placements);
        let public = wanted.vpcs.iter().flat_map(|part| local_ports(wanted, part));
        numbers.proxied.extend(public.filter_map(|port| port.public_ip));
        self.remember(state, numbers)
    }

    fn remember(&self, state: &mut State, numbers: Numbers) -> Result<(), NetworkError> {
        if state.numbers != numbers {
            numbers.save(&self.config.state_file)?;
            let taps = numbers.taps.iter().map(|(placement, number)| (*placement, self.names.tap(*number)));
            *self.taps.write().unwrap_or_else(PoisonError::into_inner) = taps.collect();
            state.numbers = numbers;
        }
        Ok(())
    }

    fn plan<'a>(&self, wanted: &'a WantedNetwork, numbers: &Numbers) -> Plan<'a> {
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
            plan.devices.push((self.names.uplink(vpc), None));
            for subnet in &part.subnets {
                let number = number(&numbers.subnets, &subnet.id);
                let bridge = self.names.bridge(number);
                plan.devices.push((self.names.router_port(number), Some(bridge.clone())));
                plan.devices.push((bridge, None));
            }
            for port in &local {
                self.plan_port(&mut plan, port, numbers);
                plan.public.extend(port.public_ip.map(|address| (address, vpc)));
            }
            plan.vpcs.push((part, local));
        }
        plan
    }

    fn plan_port(&self, plan: &mut Plan<'_>, port: &VpcPort, numbers: &Numbers) {
        let name = self.names.tap(number(&numbers.taps, &port.placement_id));
        let bridge = self.names.bridge(number(&numbers.subnets, &port.subnet_id));
        plan.devices.push((name.clone(), Some(bridge.clone())));
        plan.identities.push(TapIdentity { tap: name.clone(), mac: port.mac, address: port.private_ip });
        plan.taps.push(WantedTap { name, bridge, mac: port.mac });
    }

    /// Removes routers that are not wanted and every device of ours that nothing wants.
    async fn remove_strays(
        &self,
        state: &mut State,
        wanted: &WantedNetwork,
        plan: &Plan<'_>,
    ) -> Result<(), NetworkError> {
        let vpcs: BTreeSet<VpcId> = wanted.vpcs.iter().map(|part| part.id).collect();
        // What is dropped here closes its socket in the namespace, which would hold it.
        state.routers.retain(|vpc, _| vpcs.contains(vpc));
        for vpc in self.routers_on_disk()?.difference(&vpcs) {
            router::remove(&self.config.run_dir, *vpc).await?;
        }
        let devices: BTreeSet<&str> = plan.devices.iter().map(|(name, _)| name.as_str()).collect();
        for (name, link) in netlink::links(self.host.netlink()).await? {
            if self.names.is_ours(&name) && !devices.contains(name.as_str()) {
                netlink::remove_link(self.host.netlink(), &name, link.index).await?;
            }
        }
        Ok(())
    }

    /// The VPCs that have a namespace or a DHCP server's files, whoever made them.
    fn routers_on_disk(&self) -> Result<BTreeSet<VpcId>, NetworkError> {
        let mut found = BTreeSet::new();
        for folder in ["netns", "dhcp"].map(|name| self.config.run_dir.join(name)) {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(super::error::file(&folder))?,
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            found.extend(names.filter_map(|name| name.parse::<VpcId>().ok()));
        }
        Ok(found)
    }

    async fn build(
        &self,
        state: &mut State,
        wanted: &WantedNetwork,
        plan: &Plan<'_>,
    ) -> Result<(), NetworkError> {
        let links = netlink::links(self.host.netlink()).await?;
        for (part, _) in &plan.vpcs {
            ports::ensure_bridges(&self.host, &links, part, &self.names, &state.numbers).await?;
        }
        ports::ensure_taps(&self.host, &links, &plan.taps).await?;
        self.ensure_filter(state, plan).await?;
        for (part, local) in &plan.vpcs {
            self.ensure_router(state, wanted, part, local, &links).await?;
        }
        let links = netlink::links(self.host.netlink()).await?;
        for (part, _) in &plan.vpcs {
            ports::ensure_router_ports(&self.host, &links, part, &self.names, &state.numbers).await?;
        }
        ports::connect_taps(&self.host, &links, &plan.taps, &mut state.settled).await?;
        self.ensure_public(state, plan, &links).await
    }

    async fn ensure_filter(&self, state: &mut State, plan: &Plan<'_>) -> Result<(), NetworkError> {
        let rulesets = vec![
            host_filter::anti_spoofing(&self.names, &plan.identities),
            host_filter::host(&self.names, uplink_range()),
        ];
        let now = generation::of(&self.host).await?;
        if state.filter.as_ref().is_some_and(|(old, then)| *old == rulesets && *then == now) {
            return Ok(());
        }
        state.filter = None;
        nft::apply(&self.host, rulesets.clone()).await?;
        state.filter = Some((rulesets, generation::of(&self.host).await?));
        Ok(())
    }

    async fn ensure_router(
        &self,
        state: &mut State,
        wanted: &WantedNetwork,
        part: &VpcPart,
        local: &[&VpcPort],
        host_links: &Links,
    ) -> Result<(), NetworkError> {
        let run_dir = &self.config.run_dir;
        if !super::namespace::is_bound(&super::names::namespace_path(run_dir, part.id)) {
            state.routers.remove(&part.id);
        }
        let router = match state.routers.entry(part.id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Router::open(run_dir, part.id).await?)
            }
        };
        let around = Surroundings {
            node: wanted.node_id,
            host: &self.host,
            host_links,
            names: &self.names,
            numbers: &state.numbers,
            underlay: &self.underlay,
        };
        router.ensure(part, local, &around).await
    }

    async fn ensure_public(
        &self,
        state: &mut State,
        plan: &Plan<'_>,
        links: &Links,
    ) -> Result<(), NetworkError> {
        let routers = state.numbers.vpcs.values().map(|number| (*number, self.names.uplink(*number)));
        public_addresses::ensure_routes(&self.host, links, &routers.collect(), &plan.public).await?;
        let wanted: BTreeSet<Ipv4Addr> = plan.public.keys().copied().collect();
        let old = &state.numbers.proxied;
        public_addresses::ensure_proxies(&self.host, links, &self.config.uplink, &wanted, old).await?;
        let numbers = Numbers { proxied: wanted, ..state.numbers.clone() };
        self.remember(state, numbers)
    }

    /// Without a VPC the host keeps no table of ours.
    async fn remove_filter(&self, state: &mut State) -> Result<(), NetworkError> {
        state.filter = None;
        nft::remove(&self.host).await?;
        state.filter = Some((Vec::new(), generation::of(&self.host).await?));
        Ok(())
    }
}

#[async_trait]
impl Network for HostNetwork {
    async fn apply(&self, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        if state.applied.as_ref() == Some(wanted) && self.is_intact(&state).await? {
            return Ok(());
        }
        state.applied = None;
        self.change(&mut state, wanted).await?;
        if wanted.vpcs.is_empty() {
            self.remove_filter(&mut state).await?;
        }
        state.applied = Some(wanted.clone());
        Ok(())
    }

    fn tap_name(&self, placement: PlacementId) -> Option<String> {
        self.taps.read().unwrap_or_else(PoisonError::into_inner).get(&placement).cloned()
    }

    async fn metadata_listener(&self, vpc: VpcId) -> Result<TcpListener, NetworkError> {
        let state = self.state.lock().await;
        let router = state.routers.get(&vpc).ok_or(NetworkError::UnknownVpc(vpc))?;
        let listener = router.inside().listen(METADATA_ADDRESS, METADATA_PORT).await;
        listener.map_err(refused(|| format!("listen for the metadata service of {vpc}")))
    }

    async fn taps(&self) -> Result<Vec<String>, NetworkError> {
        let links = netlink::links(self.host.netlink()).await?;
        let mut taps: Vec<String> = links.into_keys().filter(|name| self.names.is_tap(name)).collect();
        taps.sort();
        Ok(taps)
    }
}

/// The ports of a VPC that have a tap on this host.
fn local_ports<'a>(wanted: &WantedNetwork, part: &'a VpcPart) -> Vec<&'a VpcPort> {
    let is_local =
        |port: &&VpcPort| port.node_id == wanted.node_id && wanted.local.contains(&port.placement_id);
    part.ports.iter().filter(is_local).collect()
}

fn stands(links: &Links, name: &str, bridge: Option<&str>) -> bool {
    let Some(link) = links.get(name) else { return false };
    let on_bridge = bridge.map(|bridge| links.get(bridge).map(|bridge| bridge.index));
    link.up && on_bridge.is_none_or(|bridge| bridge.is_some() && link.bridge == bridge)
}

/// The range of the ways between host and routers.
fn uplink_range() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 16)
}
