//! VPCs, subnets, network interfaces; the default network of a project.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tepui_db::model::{DefaultNetwork, NetworkInterface, Rule, RulePeer, SecurityGroup, Subnet, Vpc};
use tepui_types::agent::{Direction, Protocol};
use tepui_types::{NetworkInterfaceId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcId};

use crate::{Caller, Cloud, Error, Kind};

/// The default VPC's range, as AWS has it (VPC user guide, "Default VPCs").
pub(crate) const VPC_CIDR: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);
/// The default subnet's range.
const SUBNET_CIDR: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 20);

/// A network interface with what Describe shows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterfaceView {
    /// The row.
    pub interface: NetworkInterface,
    /// The groups with their names, in the order they were given.
    pub groups: Vec<(SecurityGroupId, String)>,
    /// Internal name of its address.
    pub private_dns: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Cloud {
    /// The caller's VPCs, by id.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn vpcs(&self, caller: &Caller) -> Result<Vec<Vpc>, Error> {
        Ok(self.db.vpcs(caller.project).await?)
    }

    /// One of the caller's VPCs.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn vpc(&self, caller: &Caller, id: VpcId) -> Result<Vpc, Error> {
        let found = self.vpcs(caller).await?.into_iter().find(|vpc| vpc.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Vpc, id))
    }

    /// The caller's subnets, by id.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn subnets(&self, caller: &Caller) -> Result<Vec<Subnet>, Error> {
        Ok(self.db.subnets(caller.project).await?)
    }

    /// One of the caller's subnets.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn subnet(&self, caller: &Caller, id: SubnetId) -> Result<Subnet, Error> {
        let found = self.subnets(caller).await?.into_iter().find(|subnet| subnet.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Subnet, id))
    }

    /// The caller's network interfaces, by id: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn network_interfaces(
        &self,
        caller: &Caller,
        ids: &[NetworkInterfaceId],
    ) -> Result<Vec<NetworkInterfaceView>, Error> {
        let project = caller.project;
        let (mut rows, groups, mut tags) = futures::try_join!(
            self.db.interfaces(project),
            self.db.security_groups(project),
            self.db.tags(project)
        )?;
        if let Some(missing) = ids.iter().find(|id| !rows.iter().any(|row| row.id == **id)) {
            return Err(Error::not_found(Kind::NetworkInterface, missing));
        }
        rows.retain(|row| ids.is_empty() || ids.contains(&row.id));
        let names: BTreeMap<_, _> = groups.into_iter().map(|group| (group.id, group.name)).collect();
        let named = |id: &SecurityGroupId| (*id, names.get(id).cloned().unwrap_or_default());
        let view = |interface: NetworkInterface| NetworkInterfaceView {
            groups: interface.group_ids.iter().map(named).collect(),
            private_dns: self.config.private_dns(interface.private_ip),
            tags: tags.remove(&interface.id.to_string()).unwrap_or_default(),
            interface,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// What a new project's network consists of: one VPC, one subnet, one group that lets its
    /// members talk to each other and out.
    pub(crate) fn default_network(&self, project_id: ProjectId) -> DefaultNetwork {
        let vpc_id = VpcId::from_random(self.random());
        let vpc = Vpc { id: vpc_id, project_id, cidr: net(VPC_CIDR), vni: 0, is_default: true };
        let subnet = Subnet {
            id: SubnetId::from_random(self.random()),
            project_id,
            vpc_id,
            cidr: net(SUBNET_CIDR),
            is_default: true,
            map_public_ip: true,
        };
        DefaultNetwork { vpc, subnet, group: self.default_group(project_id, vpc_id) }
    }

    fn default_group(&self, project_id: ProjectId, vpc_id: VpcId) -> SecurityGroup {
        let id = SecurityGroupId::from_random(self.random());
        let members = Rule {
            id: SecurityGroupRuleId::from_random(self.random()),
            direction: Direction::Ingress,
            protocol: Protocol::All,
            peer: RulePeer::Group(id),
            description: None,
        };
        SecurityGroup {
            id,
            project_id,
            vpc_id,
            name: "default".into(),
            description: "default VPC security group".into(),
            rules: vec![members, self.allow_all_egress()],
        }
    }

    pub(crate) fn allow_all_egress(&self) -> Rule {
        Rule {
            id: SecurityGroupRuleId::from_random(self.random()),
            direction: Direction::Egress,
            protocol: Protocol::All,
            peer: RulePeer::Cidr(Ipv4Net::default()),
            description: None,
        }
    }
}

fn net((address, length): (Ipv4Addr, u8)) -> Ipv4Net {
    Ipv4Net::new_assert(address, length)
}
