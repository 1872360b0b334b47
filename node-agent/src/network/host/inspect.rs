//! What is not as wanted, found without a change of anything: for the doctor, which is another process than the
//! agent and remembers nothing of what that one made.

use std::collections::{BTreeMap, BTreeSet};

use nftables::types::NfFamily;
use tepui_types::VpcId;
use tepui_types::agent::{VpcPart, VpcPort};

use super::super::drift::WantedLink;
use super::super::names::{Numbers, namespace_path};
use super::super::namespace::{self, Namespace};
use super::super::plan::{Plan, plan};
use super::super::table::Table;
use super::super::{NetworkError, WantedNetwork, adopt, drift, entries, host_filter, kept, netlink, nft};
use super::super::{router, router_filter};
use super::HostNetwork;

impl HostNetwork {
    /// One line for each thing that is not as wanted, or that nothing wants.
    pub(super) async fn inspect(&self, wanted: &WantedNetwork) -> Result<Vec<String>, NetworkError> {
        let state = self.state.lock().await;
        let wanted = &kept::complete(wanted, &state.last);
        let found = match state.must_adopt {
            true => Some(adopt::numbers(&self.host, &self.config.run_dir, &self.names, wanted).await?),
            false => None,
        };
        let numbers = found.as_ref().unwrap_or(&state.numbers);
        let plan = plan(&self.names, wanted, numbers);
        let faults = router::faults(&self.host, &plan.devices).await?;
        let mut told = entries::faults(&self.host, &self.entries(&plan.vpcs, numbers), &faults).await?;
        told.extend(faults.into_values());
        let strays = self.strays(&plan.devices).await?;
        told.extend(
            strays.into_iter().map(|name| format!("{name} is a device of Tepui's that nothing needs")),
        );
        let vpcs: BTreeMap<VpcId, &VpcPart> = wanted.vpcs.iter().map(|part| (part.id, part)).collect();
        let left = self.leftovers(&vpcs)?;
        told.extend(left.into_iter().map(|vpc| format!("the router of {vpc} is left, and nothing needs it")));
        told.extend(filter_faults(&self.host, "the host", &self.host_tables(&plan)).await?);
        if !(plan.vpcs.is_empty() || self.forwarder.is_intact(&self.names)) {
            told.push("the host's DNS forwarder does not run as it must".to_owned());
        }
        for (part, local) in &plan.vpcs {
            let faults = self.router_faults(part, local, wanted, numbers).await?;
            told.extend(faults.into_iter().map(|fault| format!("in the router of {}: {fault}", part.id)));
        }
        Ok(told)
    }

    /// Devices of ours that nothing wants.
    pub(super) async fn strays(&self, wanted: &[WantedLink]) -> Result<Vec<String>, NetworkError> {
        let links = netlink::links(self.host.netlink()).await?;
        let wanted: BTreeSet<&str> = wanted.iter().map(|device| device.name.as_str()).collect();
        let is_stray = |name: &String| self.names.is_ours(name) && !wanted.contains(name.as_str());
        let mut strays: Vec<_> = links.into_keys().filter(is_stray).collect();
        strays.sort();
        Ok(strays)
    }

    /// VPCs that are not here any more and whose namespace or server is.
    pub(super) fn leftovers<T>(&self, wanted: &BTreeMap<VpcId, T>) -> Result<Vec<VpcId>, NetworkError> {
        Ok(self.routers_on_disk()?.into_iter().filter(|vpc| !wanted.contains_key(vpc)).collect())
    }

    fn host_tables(&self, plan: &Plan<'_>) -> Vec<Table> {
        if plan.vpcs.is_empty() {
            return Vec::new();
        }
        vec![host_filter::anti_spoofing(&self.names, &plan.identities), Table::new(NfFamily::INet)]
    }

    async fn router_faults(
        &self,
        part: &VpcPart,
        local: &[&VpcPort],
        wanted: &WantedNetwork,
        numbers: &Numbers,
    ) -> Result<Vec<String>, NetworkError> {
        let path = namespace_path(&self.config.run_dir, part.id);
        if !namespace::is_bound(&path) {
            return Ok(vec!["it is missing".to_owned()]);
        }
        let inside = Namespace::ensure(&path).await?;
        let devices = drift::inside_router(part, wanted.node_id, numbers);
        let faults = router::faults(&inside, &devices).await?;
        let wanted = entries::inside_router(part, local, wanted.node_id, numbers);
        let mut told = entries::faults(&inside, &wanted, &faults).await?;
        told.extend(faults.into_values());
        told.extend(filter_faults(&inside, "it", &[router_filter::router(part, local)]).await?);
        told.extend(router::dhcp_faults(&self.config.run_dir, part, local));
        Ok(told)
    }
}

async fn filter_faults(
    namespace: &Namespace,
    whose: &str,
    tables: &[Table],
) -> Result<Vec<String>, NetworkError> {
    let mut told = Vec::new();
    for table in tables {
        let listed = nft::list(namespace, table.address()).await?;
        told.extend(table.faults(listed.as_ref()).into_iter().map(|fault| format!("{whose} {fault}")));
    }
    Ok(told)
}
