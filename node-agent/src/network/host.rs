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

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use tepui_types::agent::{VpcPart, VpcPort};
use tepui_types::{PlacementId, VpcId};
use tokio::sync::Mutex;

use super::error::refused;
use super::filter::Filter;
use super::host_filter::{self, Hosts, TapIdentity};
use super::names::{Names, Numbers, assign};
use super::namespace::Namespace;
use super::netlink::{self, Links};
use super::overlay::{self, Underlay};
use super::ports::{self, WantedTap};
use super::router::{self, Router, Surroundings, number};
use super::router_filter::{METADATA_ADDRESS, METADATA_PORT};
use super::{Network, NetworkError, WantedNetwork, kept, public_addresses, sysctl};

/// What the network must know of its host.
#[derive(Debug, Clone)]
pub struct HostNetworkConfig {
    /// Namespaces and the DHCP servers' files; must be readable for users other than root, since
    /// dnsmasq gives up root.
    pub run_dir: PathBuf,
    /// Keeps the numbers in device names; must outlive a restart of the agent, and need not outlive one
    /// of the host, with which the devices end.
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

/// VPCs that are not as wanted, and why.
type Broken = BTreeMap<VpcId, NetworkError>;
/// A VPC and its ports on this host.
type Local<'a> = (&'a VpcPart, Vec<&'a VpcPort>);

#[derive(Debug, Default)]
struct State {
    numbers: Numbers,
    routers: BTreeMap<VpcId, Router>,
    /// Taps that this process set up, by index.
    settled: HashMap<String, u32>,
    filter: Filter,
    /// What the last apply that succeeded made.
    applied: Option<WantedNetwork>,
    /// The parts as they were wanted last, with the ports that nothing wanted names any more.
    last: Vec<VpcPart>,
    /// The devices that follow from it, and the bridge of those that are a port.
    devices: Vec<(String, Option<String>)>,
    is_host_set_up: bool,
}

/// What follows from the wanted state and the numbers.
struct Plan<'a> {
    vpcs: Vec<Local<'a>>,
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
            state: Mutex::new(State { last: numbers.kept.clone(), numbers, ..State::default() }),
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
        if !state.filter.is_intact(&self.host).await? {
            return Ok(false);
        }
        for (vpc, router) in &state.routers {
            if !router.is_intact(&self.config.run_dir, *vpc).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The VPCs that could not be built are named; what stood of them stands.
    async fn change(&self, state: &mut State, wanted: &WantedNetwork) -> Result<Broken, NetworkError> {
        if !state.is_host_set_up {
            sysctl::write(&self.host, sysctl::host(&self.config.uplink)).await?;
            state.is_host_set_up = true;
        }
        self.renumber(state, wanted)?;
        let plan = self.plan(wanted, &state.numbers);
        let mut broken = Broken::new();
        let links = self.remove_strays(state, wanted, &plan, &mut broken).await?;
        self.build(state, wanted, &plan, &links, &mut broken).await?;
        state.devices = plan.devices;
        Ok(broken)
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
                self.plan_port(&mut plan, part.id, port, numbers);
                plan.public.extend(port.public_ip.map(|address| (address, vpc)));
            }
            plan.vpcs.push((part, local));
        }
        plan
    }

    fn plan_port(&self, plan: &mut Plan<'_>, vpc: VpcId, port: &VpcPort, numbers: &Numbers) {
        let name = self.names.tap(number(&numbers.taps, &port.placement_id));
        let bridge = self.names.bridge(number(&numbers.subnets, &port.subnet_id));
        plan.devices.push((name.clone(), Some(bridge.clone())));
        plan.identities.push(TapIdentity { tap: name.clone(), mac: port.mac, address: port.private_ip });
        plan.taps.push(WantedTap { name, bridge, mac: port.mac, vpc });
    }

    /// Removes routers that are not wanted and every device of ours that nothing wants; tells what is left.
    async fn remove_strays(
        &self,
        state: &mut State,
        wanted: &WantedNetwork,
        plan: &Plan<'_>,
        broken: &mut Broken,
    ) -> Result<Links, NetworkError> {
        let vpcs: BTreeSet<VpcId> = wanted.vpcs.iter().map(|part| part.id).collect();
        // What is dropped here closes its socket in the namespace, which would hold it.
        state.routers.retain(|vpc, _| vpcs.contains(vpc));
        for vpc in self.routers_on_disk()?.difference(&vpcs) {
            note(broken, *vpc, router::remove(&self.config.run_dir, *vpc).await);
        }
        let devices: BTreeSet<&str> = plan.devices.iter().map(|(name, _)| name.as_str()).collect();
        let mut links = netlink::links(self.host.netlink()).await?;
        let is_stray = |name: &str| self.names.is_ours(name) && !devices.contains(name);
        for (name, link) in links.iter().filter(|(name, _)| is_stray(name)) {
            netlink::remove_link(self.host.netlink(), name, link.index).await?;
        }
        links.retain(|name, _| !is_stray(name));
        Ok(links)
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

    /// Taps, the host's filter and the routers do not know each other before the taps are connected. All
    /// three come to their end: a filter that is still on its way must not overtake the next one. A tap is
    /// connected only where all of its VPC stands.
    async fn build(
        &self,
        state: &mut State,
        wanted: &WantedNetwork,
        plan: &Plan<'_>,
        links: &Links,
        broken: &mut Broken,
    ) -> Result<(), NetworkError> {
        for (part, local) in &plan.vpcs {
            note(broken, part.id, check(part, local));
        }
        let sound: Vec<_> = plan.vpcs.iter().filter(|(part, _)| !broken.contains_key(&part.id)).collect();
        let around = Surroundings {
            node: wanted.node_id,
            host: &self.host,
            host_links: links,
            names: &self.names,
            numbers: &state.numbers,
            underlay: &self.underlay,
        };
        let (ports, filter, routers) = tokio::join!(
            self.ensure_ports(&sound, plan, &around),
            self.ensure_filter(&mut state.filter, plan, links),
            self.ensure_routers(&mut state.routers, &sound, &around),
        );
        filter?;
        for (vpc, error) in ports.into_iter().chain(routers) {
            broken.entry(vpc).or_insert(error);
        }
        let links = netlink::links(self.host.netlink()).await?;
        for (part, _) in &plan.vpcs {
            if !broken.contains_key(&part.id) {
                let ports = ports::ensure_router_ports(&self.host, &links, part, &self.names, &state.numbers);
                note(broken, part.id, ports.await);
            }
        }
        self.connect(state, plan, &links, broken).await;
        self.ensure_public(state, plan, &links).await
    }

    async fn connect(&self, state: &mut State, plan: &Plan<'_>, links: &Links, broken: &mut Broken) {
        for (part, _) in &plan.vpcs {
            if !broken.contains_key(&part.id) {
                let taps = taps_of(plan, part.id);
                let connected = ports::connect_taps(&self.host, links, &taps, &mut state.settled);
                note(broken, part.id, connected.await);
            }
        }
        let wanted: HashSet<&str> = plan.taps.iter().map(|tap| tap.name.as_str()).collect();
        state.settled.retain(|name, _| wanted.contains(name.as_str()));
    }

    async fn ensure_ports(&self, vpcs: &[&Local<'_>], plan: &Plan<'_>, around: &Surroundings<'_>) -> Broken {
        let mut broken = Broken::new();
        for (part, _) in vpcs {
            let links = around.host_links;
            let bridges = ports::ensure_bridges(&self.host, links, part, &self.names, around.numbers).await;
            note(&mut broken, part.id, bridges);
            let taps = ports::ensure_taps(&self.host, links, &taps_of(plan, part.id)).await;
            note(&mut broken, part.id, taps);
        }
        broken
    }

    async fn ensure_filter(
        &self,
        filter: &mut Filter,
        plan: &Plan<'_>,
        links: &Links,
    ) -> Result<(), NetworkError> {
        let taps = host_filter::anti_spoofing(&self.names, &plan.identities);
        let hosts = self.hosts(plan, links).await?;
        filter.ensure(&self.host, vec![taps, host_filter::host(&self.names, uplink_range(), &hosts)]).await
    }

    /// What the uplink is connected to, and the other hosts wherever they are.
    async fn hosts(&self, plan: &Plan<'_>, links: &Links) -> Result<Hosts, NetworkError> {
        let uplink = router::index(links, &self.config.uplink)?;
        let mut ranges: BTreeSet<Ipv4Net> =
            netlink::connected_ranges(self.host.netlink(), uplink).await?.into_iter().collect();
        let parts = || plan.vpcs.iter().map(|(part, _)| part);
        let others = parts().flat_map(|part| &part.nodes).map(|node| Ipv4Net::from(node.underlay_address));
        let apart: Vec<_> = others.filter(|host| !ranges.iter().any(|range| range.contains(host))).collect();
        ranges.extend(apart);
        let public = parts().flat_map(|part| &part.ports).filter_map(|port| port.public_ip).collect();
        Ok(Hosts { ranges, public })
    }

    /// One after the other: each is a change of the kernel's one list of devices.
    async fn ensure_routers(
        &self,
        routers: &mut BTreeMap<VpcId, Router>,
        vpcs: &[&Local<'_>],
        around: &Surroundings<'_>,
    ) -> Broken {
        let mut broken = Broken::new();
        for (part, local) in vpcs {
            let ensured = match self.router(routers, part.id).await {
                Ok(router) => router.ensure(part, local, around).await,
                Err(error) => Err(error),
            };
            note(&mut broken, part.id, ensured);
        }
        broken
    }

    async fn router<'a>(
        &self,
        routers: &'a mut BTreeMap<VpcId, Router>,
        vpc: VpcId,
    ) -> Result<&'a mut Router, NetworkError> {
        let run_dir = &self.config.run_dir;
        if !super::namespace::is_bound(&super::names::namespace_path(run_dir, vpc)) {
            routers.remove(&vpc);
        }
        match routers.entry(vpc) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Router::open(run_dir, vpc).await?)),
        }
    }

    async fn ensure_public(
        &self,
        state: &mut State,
        plan: &Plan<'_>,
        links: &Links,
    ) -> Result<(), NetworkError> {
        let routers = state.numbers.vpcs.values().map(|number| (*number, self.names.uplink(*number)));
        // A VPC that could not be built may have none.
        let routers = routers.filter(|(_, device)| links.contains_key(device));
        public_addresses::ensure_routes(&self.host, links, &routers.collect(), &plan.public).await?;
        let wanted: BTreeSet<Ipv4Addr> = plan.public.keys().copied().collect();
        let old = &state.numbers.proxied;
        public_addresses::ensure_proxies(&self.host, links, &self.config.uplink, &wanted, old).await?;
        let numbers = Numbers { proxied: wanted, ..state.numbers.clone() };
        self.remember(state, numbers)
    }
}

#[async_trait]
impl Network for HostNetwork {
    async fn apply(&self, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let whole = kept::complete(wanted, &state.last);
        let kept = Numbers { kept: kept::unnamed(wanted, &whole), ..state.numbers.clone() };
        let wanted = &whole;
        if state.applied.as_ref() == Some(wanted) && self.is_intact(&state).await? {
            return Ok(());
        }
        state.applied = None;
        state.last.clone_from(&wanted.vpcs);
        self.remember(&mut state, kept)?;
        let broken = self.change(&mut state, wanted).await?;
        if wanted.vpcs.is_empty() {
            state.filter.remove(&self.host).await?;
        }
        if !broken.is_empty() {
            return Err(NetworkError::Vpcs { broken });
        }
        state.applied = Some(whole);
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

    async fn namespace(&self, vpc: VpcId) -> Result<u64, NetworkError> {
        let state = self.state.lock().await;
        let router = state.routers.get(&vpc).ok_or(NetworkError::UnknownVpc(vpc))?;
        router.inside().inode().map_err(refused(|| format!("tell the namespace of {vpc}")))
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

fn taps_of(plan: &Plan<'_>, vpc: VpcId) -> Vec<WantedTap> {
    plan.taps.iter().filter(|tap| tap.vpc == vpc).cloned().collect()
}

/// Checks what the kernel would refuse with a message that names nothing.
fn check(part: &VpcPart, local: &[&VpcPort]) -> Result<(), NetworkError> {
    overlay::check_vni(part)?;
    match local.iter().find(|port| part.subnets.iter().all(|subnet| subnet.id != port.subnet_id)) {
        Some(port) => {
            Err(refused(|| format!("find the subnet {} of {}", port.subnet_id, port.id))(Errno::ENOENT))
        }
        None => Ok(()),
    }
}

fn note(broken: &mut Broken, vpc: VpcId, result: Result<(), NetworkError>) {
    if let Err(error) = result {
        broken.entry(vpc).or_insert(error);
    }
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
