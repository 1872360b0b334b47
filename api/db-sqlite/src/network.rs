//! VPCs, subnets, interfaces.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use rusqlite::{Connection, params};
use tepui_db::model::{NetworkInterface, SecurityGroup, Subnet, Vpc};
use tepui_db::{CreateOutcome, DbError, DeleteOutcome, NetworkDb, RuleChange, RuleOutcome};
use tepui_types::{InstanceId, ProjectId, SecurityGroupId};

use crate::row::{Columns, all, execute};
use crate::value::{S, unpack_groups};
use crate::{SqliteDb, security_group};

/// The SELECT list that [`read_vpc`] reads.
pub(crate) const VPC: &str = "id, project_id, cidr, vni, is_default";
/// The SELECT list that [`read_subnet`] reads.
pub(crate) const SUBNET: &str = "id, project_id, vpc_id, cidr, is_default, map_public_ip";
/// The SELECT list, with `interface` as f, that [`read_interface`] reads.
pub(crate) const INTERFACE: &str =
    "f.id, f.project_id, f.vpc_id, f.subnet_id, f.mac, f.private_ip, f.public_ip, f.group_ids";

#[async_trait]
impl NetworkDb for SqliteDb {
    async fn vpcs(&self, project: ProjectId) -> Result<Vec<Vpc>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {VPC} FROM vpc WHERE project_id = ?1 ORDER BY id");
            all(connection, &sql, params![S(project)], read_vpc)
        })
        .await
    }

    async fn subnets(&self, project: ProjectId) -> Result<Vec<Subnet>, DbError> {
        self.read(move |connection| {
            let sql = format!("SELECT {SUBNET} FROM subnet WHERE project_id = ?1 ORDER BY id");
            all(connection, &sql, params![S(project)], read_subnet)
        })
        .await
    }

    async fn interfaces(&self, project: ProjectId) -> Result<Vec<NetworkInterface>, DbError> {
        self.read(move |connection| {
            let sql = format!(
                "SELECT i.id, {INTERFACE} FROM instance i JOIN interface f ON f.instance_n = i.n
                 WHERE i.project_id = ?1 ORDER BY f.id"
            );
            all(connection, &sql, params![S(project)], |c| {
                let instance = c.stored()?;
                read_interface(c, instance)
            })
        })
        .await
    }

    async fn security_groups(&self, project: ProjectId) -> Result<Vec<SecurityGroup>, DbError> {
        self.read(move |connection| security_group::of_project(connection, project)).await
    }

    async fn create_security_group(
        &self,
        group: &SecurityGroup,
        tags: &[(String, String)],
    ) -> Result<CreateOutcome<SecurityGroupId>, DbError> {
        let (group, tags) = (group.clone(), tags.to_vec());
        self.write(move |connection| security_group::create(connection, &group, &tags)).await
    }

    async fn delete_security_group(
        &self,
        project: ProjectId,
        id: SecurityGroupId,
    ) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| security_group::delete(connection, project, id)).await
    }

    async fn change_rules(
        &self,
        project: ProjectId,
        id: SecurityGroupId,
        change: &RuleChange,
        max_rules: usize,
    ) -> Result<RuleOutcome, DbError> {
        let change = change.clone();
        self.write(move |connection| {
            security_group::change_rules(connection, project, id, &change, max_rules)
        })
        .await
    }
}

/// Reads a VPC's row.
pub(crate) fn read_vpc(c: &Columns<'_>) -> rusqlite::Result<Vpc> {
    Ok(Vpc {
        id: c.stored()?,
        project_id: c.stored()?,
        cidr: c.stored()?,
        vni: c.plain()?,
        is_default: c.plain()?,
    })
}

/// Reads a subnet's row.
pub(crate) fn read_subnet(c: &Columns<'_>) -> rusqlite::Result<Subnet> {
    Ok(Subnet {
        id: c.stored()?,
        project_id: c.stored()?,
        vpc_id: c.stored()?,
        cidr: c.stored()?,
        is_default: c.plain()?,
        map_public_ip: c.plain()?,
    })
}

/// Reads an interface's row.
pub(crate) fn read_interface(c: &Columns<'_>, instance_id: InstanceId) -> rusqlite::Result<NetworkInterface> {
    Ok(NetworkInterface {
        id: c.stored()?,
        project_id: c.stored()?,
        vpc_id: c.stored()?,
        subnet_id: c.stored()?,
        instance_id,
        mac: c.stored()?,
        private_ip: c.stored()?,
        public_ip: c.optional()?,
        group_ids: unpack_groups(c.raw()?.as_blob()?)?,
    })
}

/// Writes a VPC with the lowest free VNI from 1.
pub(crate) fn insert_vpc(connection: &Connection, vpc: &Vpc) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO vpc (id, project_id, cidr, is_default, vni) VALUES (?1, ?2, ?3, ?4,
                   (SELECT min(v.vni) + 1 FROM (SELECT 0 AS vni UNION ALL SELECT vni FROM vpc) v
                    WHERE NOT EXISTS (SELECT 1 FROM vpc WHERE vpc.vni = v.vni + 1)))";
    execute(connection, sql, params![S(vpc.id), S(vpc.project_id), S(vpc.cidr), vpc.is_default])
}

/// Writes a subnet.
pub(crate) fn insert_subnet(connection: &Connection, subnet: &Subnet) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO subnet (id, project_id, vpc_id, cidr, is_default, map_public_ip, lowest_free_ip)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        S(subnet.id),
        S(subnet.project_id),
        S(subnet.vpc_id),
        S(subnet.cidr),
        subnet.is_default,
        subnet.map_public_ip,
        S(usable_addresses(subnet.cidr).0),
    ];
    execute(connection, sql, values)
}

/// The first and last address an instance may have. As on AWS, the subnet's first four addresses
/// (network, router, name server, future use) and its last (broadcast) are reserved.
pub(crate) fn usable_addresses(subnet: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let first = subnet.network().to_bits().saturating_add(4);
    let last = subnet.broadcast().to_bits().saturating_sub(1);
    (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last))
}
