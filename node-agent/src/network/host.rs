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

mod inspect;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use ipnet::Ipv4Net;
use tepui_types::agent::VpcPart;
use tepui_types::{NetworkInterfaceId, PlacementId, VpcId};
use tokio::sync::Mutex;

use super::drift::WantedLink;
use super::entries::{self, WantedEntry};
use super::error::refused;
use super::filter::Filter;
use super::host_filter::{self, Hosts};
use super::names::{Names, Numbers, assign, namespace_path, uplink_range};
use super::namespace::Namespace;
use super::netlink::{self, Links};
use super::overlay::Underlay;
use super::plan::{Local, Plan, check, local_ports, plan, taps_of};
use super::ports;
use super::resolver::Forwarder;
use super::router::{self, Router, Surroundings};
use super::router_filter::{METADATA_ADDRESS, METADATA_PORT};
use super::{
    Network, NetworkError, WantedNetwork, adopt, announce, conntrack, kept, public_addresses, sysctl,
};

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
    /// Whom the host asks for names, as resolv.conf(5) says; the same are asked for guests.
    pub resolv_conf: PathBuf,
}

/// Builds the network with the kernel's own means.
#[derive(Debug)]
pub struct HostNetwork {
    config: HostNetworkConfig,
    names: Names,
    underlay: Underlay,
    host: Namespace,
    forwarder: Forwarder,
    taps: RwLock<BTreeMap<PlacementId, String>>,
    state: Mutex<State>,
}

/// VPCs that are not as wanted, and why.
type Broken = BTreeMap<VpcId, NetworkError>;
#[derive(Debug, Default)]
struct State {
    numbers: Numbers,
    /// There was no file of numbers: those of devices that stand are still to be found.
    must_adopt: bool,
    routers: BTreeMap<VpcId, Router>,
    /// Taps that this process set up.
    settled: ports::Settled,
    filter: Filter,
    /// What the last apply that succeeded made.
    applied: Option<WantedNetwork>,
    /// The parts as they were wanted last, with the ports that nothing wanted names any more.
    last: Vec<VpcPart>,
    /// The host's devices that follow from it.
    devices: Vec<WantedLink>,
    /// The host's routes and neighbours that go with them.
    entries: BTreeSet<WantedEntry>,
    is_host_set_up: bool,
    /// Public addresses that the operator's network was told of.
    announced: BTreeSet<Ipv4Addr>,
}

impl HostNetwork {
    /// A network in the namespace of the calling thread. Nothing is changed until the first apply.
    pub async fn new(config: HostNetworkConfig) -> Result<Self, NetworkError> {
        let loaded = Numbers::load(&config.state_file)?;
        let must_adopt = loaded.is_none();
        let numbers = loaded.unwrap_or_default();
        let names = Names::new(config.name_prefix.clone());
        let taps = numbers.taps.iter().map(|(placement, number)| (*placement, names.tap(*number))).collect();
        Ok(Self {
            underlay: Underlay { address: config.underlay_address, uplink: config.uplink.clone() },
            host: Namespace::current().await?,
            taps: RwLock::new(taps),
            state: Mutex::new(State { last: numbers.kept.clone(), numbers, must_adopt, ..State::default() }),
            forwarder: Forwarder::new(&config.run_dir, config.resolv_conf.clone()),
            names,
            config,
        })
    }

    /// Whether what the last apply made still stands, as far as microseconds can tell.
    async fn is_intact(&self, state: &State) -> Result<bool, NetworkError> {
        let faults = router::faults(&self.host, &state.devices).await?;
        if !faults.is_empty() {
            tracing::warn!(?faults, "mending the host's devices");
            return Ok(false);
        }
        let lost = entries::lost(&self.host, &state.entries).await?;
        if !lost.is_empty() {
            tracing::warn!(?lost, "mending the host's routes and neighbours");
            return Ok(false);
        }
        let (strays, leftovers) = (self.strays(&state.devices).await?, self.leftovers(&state.routers)?);
        if !(strays.is_empty() && leftovers.is_empty()) {
            tracing::warn!(?strays, ?leftovers, "removing what nothing needs");
            return Ok(false);
        }
        if !state.announced.iter().eq(state.numbers.proxied.keys())
            || !state.filter.is_intact(&self.host).await?
        {
            return Ok(false);
        }
        if !(state.routers.is_empty() || self.forwarder.is_intact(&self.names)) {
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
        let plan = plan(&self.names, wanted, &state.numbers);
        let mut broken = Broken::new();
        let links = self.remove_strays(state, wanted, &plan, &mut broken).await?;
        self.build(state, wanted, &plan, &links, &mut broken).await?;
        if !wanted.vpcs.is_empty() {
            self.forwarder.ensure(&self.host, &self.names).await?;
        }
        state.entries = self.entries(&plan.vpcs, &state.numbers);
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
        for (address, owner) in public_owners(wanted) {
            numbers.proxied.entry(address).or_insert(Some(owner));
        }
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
        let devices: BTreeSet<&str> = plan.devices.iter().map(|device| device.name.as_str()).collect();
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
            note(broken, part.id, check(part, local, self.underlay.address));
        }
        let faults = router::faults(&self.host, &plan.devices).await?.into_keys().collect();
        let sound: Vec<_> = plan.vpcs.iter().filter(|(part, _)| !broken.contains_key(&part.id)).collect();
        let around = Surroundings {
            node: wanted.node_id,
            host: &self.host,
            host_links: links,
            host_faults: &faults,
            names: &self.names,
            numbers: &state.numbers,
            underlay: &self.underlay,
        };
        let (ports, filter, routers) = tokio::join!(
            self.ensure_ports(&sound, plan, &around),
            self.ensure_filter(&mut state.filter, plan, &around),
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
        let sound = plan.vpcs.iter().filter(|(part, _)| !broken.contains_key(&part.id));
        entries::ensure(&self.host, &self.entries(sound, &state.numbers)).await?;
        self.ensure_public(state, plan, &links, &public_owners(wanted)).await
    }

    /// The host's entries for these VPCs.
    fn entries<'a, 'p: 'a>(
        &self,
        vpcs: impl IntoIterator<Item = &'a Local<'p>>,
        numbers: &Numbers,
    ) -> BTreeSet<WantedEntry> {
        let uplink = self.config.uplink.as_str();
        vpcs.into_iter().flat_map(|local| entries::on_host(local, &self.names, numbers, uplink)).collect()
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
        around: &Surroundings<'_>,
    ) -> Result<(), NetworkError> {
        let taps = host_filter::anti_spoofing(&self.names, &plan.identities);
        let hosts = self.hosts(plan, around).await?;
        filter.ensure(&self.host, vec![taps, host_filter::host(&self.names, uplink_range(), &hosts)]).await
    }

    /// What the uplink is connected to, and the other hosts wherever they are.
    async fn hosts(&self, plan: &Plan<'_>, around: &Surroundings<'_>) -> Result<Hosts, NetworkError> {
        let uplink = router::index(around.host_links, &self.config.uplink)?;
        let mut ranges: BTreeSet<Ipv4Net> =
            netlink::connected_ranges(self.host.netlink(), uplink).await?.into_iter().collect();
        let parts = || plan.vpcs.iter().map(|(part, _)| part);
        let others = parts().flat_map(|part| &part.nodes).map(|node| Ipv4Net::from(node.underlay_address));
        let apart: Vec<_> = others.filter(|host| !ranges.iter().any(|range| range.contains(host))).collect();
        ranges.extend(apart);
        let public = parts().flat_map(|part| &part.ports).filter_map(|port| port.public_ip).collect();
        let ways =
            around.numbers.vpcs.values().map(|number| host_filter::way(&self.names, *number)).collect();
        Ok(Hosts { ranges, public, ways })
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
        if !super::namespace::is_bound(&namespace_path(run_dir, vpc)) {
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
        owners: &BTreeMap<Ipv4Addr, NetworkInterfaceId>,
    ) -> Result<(), NetworkError> {
        let routers = state.numbers.vpcs.values().map(|number| (*number, self.names.uplink(*number)));
        // A VPC that could not be built may have none.
        let routers = routers.filter(|(_, device)| links.contains_key(device));
        public_addresses::ensure_routes(&self.host, links, &routers.collect(), &plan.public).await?;
        let wanted: BTreeSet<Ipv4Addr> = owners.keys().copied().collect();
        let before = &state.numbers.proxied;
        let old = before.keys().copied().collect();
        public_addresses::ensure_proxies(&self.host, links, &self.config.uplink, &wanted, &old).await?;
        let has_another = |(address, owner): &(&Ipv4Addr, &Option<_>)| owners.get(address) != owner.as_ref();
        let given_up: BTreeSet<Ipv4Addr> = before.iter().filter(has_another).map(|(a, _)| *a).collect();
        if !given_up.is_empty() {
            conntrack::end(&self.host, move |flow| flow.has(|address| given_up.contains(&address))).await?;
        }
        self.announce(&mut state.announced, &wanted).await;
        let proxied = owners.iter().map(|(address, owner)| (*address, Some(*owner))).collect();
        let numbers = Numbers { proxied, ..state.numbers.clone() };
        self.remember(state, numbers)
    }

    /// Announces what is new here, once everything behind it stands. A new agent cannot know whether the old
    /// one came to it, and does it again. What cannot be announced (the uplink is down) is found by asking,
    /// and announced later.
    async fn announce(&self, announced: &mut BTreeSet<Ipv4Addr>, wanted: &BTreeSet<Ipv4Addr>) {
        announced.retain(|address| wanted.contains(address));
        for address in wanted {
            if announced.contains(address) {
                continue;
            }
            match announce::announce(&self.host, &self.config.uplink, *address).await {
                Ok(()) => drop(announced.insert(*address)),
                Err(error) => {
                    tracing::warn!(message = crate::chain(&error), "a public address is here untold")
                }
            }
        }
    }
}

#[async_trait]
impl Network for HostNetwork {
    async fn apply(&self, wanted: &WantedNetwork) -> Result<(), NetworkError> {
        let mut state = self.state.lock().await;
        let whole = kept::complete(wanted, &state.last);
        let kept = kept::unnamed(wanted, &whole);
        let wanted = &whole;
        if state.applied.as_ref() == Some(wanted) && self.is_intact(&state).await? {
            return Ok(());
        }
        state.applied = None;
        if state.must_adopt {
            let found = adopt::numbers(&self.host, &self.config.run_dir, &self.names, wanted).await?;
            self.remember(&mut state, found)?;
            state.must_adopt = false;
        }
        let kept = Numbers { kept, ..state.numbers.clone() };
        state.last.clone_from(&wanted.vpcs);
        self.remember(&mut state, kept)?;
        let broken = self.change(&mut state, wanted).await?;
        if wanted.vpcs.is_empty() {
            state.filter.remove(&self.host).await?;
            self.forwarder.remove().await?;
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

    async fn faults(&self, wanted: &WantedNetwork) -> Result<Vec<String>, NetworkError> {
        self.inspect(wanted).await
    }

    async fn taps(&self) -> Result<Vec<String>, NetworkError> {
        let links = netlink::links(self.host.netlink()).await?;
        let mut taps: Vec<String> = links.into_keys().filter(|name| self.names.is_tap(name)).collect();
        taps.sort();
        Ok(taps)
    }
}

/// The public addresses of local ports, and whose they are.
fn public_owners(wanted: &WantedNetwork) -> BTreeMap<Ipv4Addr, NetworkInterfaceId> {
    let local = wanted.vpcs.iter().flat_map(|part| local_ports(wanted, part));
    local.filter_map(|port| Some((port.public_ip?, port.id))).collect()
}

fn note(broken: &mut Broken, vpc: VpcId, result: Result<(), NetworkError>) {
    if let Err(error) = result {
        broken.entry(vpc).or_insert(error);
    }
}
