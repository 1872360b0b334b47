//! Private and public addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rusqlite::{Connection, params};
use tepui_db::LaunchOutcome;
use tepui_types::{ProjectId, SubnetId, VpcId};

use crate::network::usable_addresses;
use crate::row::{execute, exists, first};
use crate::value::S;
use crate::verb::Undo;

/// The subnet of interfaces to be.
pub(super) struct Subnet {
    id: SubnetId,
    vpc_id: VpcId,
    cidr: Ipv4Net,
    /// As in the row: nothing below is free. Filling a subnet so does not walk over all its addresses.
    lowest_free: Ipv4Addr,
}

impl Subnet {
    /// Reads a subnet of a VPC of the project; `None` when there is no such.
    pub(super) fn read(
        connection: &Connection,
        project: ProjectId,
        vpc_id: VpcId,
        id: SubnetId,
    ) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT cidr, lowest_free_ip FROM subnet WHERE id = ?1 AND vpc_id = ?2 AND project_id = ?3";
        first(connection, sql, params![S(id), S(vpc_id), S(project)], |c| {
            Ok(Self { id, vpc_id, cidr: c.stored()?, lowest_free: c.stored()? })
        })
    }

    /// Keeps what was found out about the free addresses.
    pub(super) fn keep(&self, connection: &Connection) -> rusqlite::Result<usize> {
        let sql = "UPDATE subnet SET lowest_free_ip = ?2 WHERE id = ?1";
        execute(connection, sql, params![S(self.id), S(self.lowest_free)])
    }
}

/// The wanted private address or the lowest free one. `fit` interfaces have theirs already.
pub(super) fn private(
    connection: &Connection,
    subnet: &mut Subnet,
    wanted: Option<Ipv4Addr>,
    fit: usize,
) -> Result<Ipv4Addr, Undo<LaunchOutcome>> {
    match wanted {
        Some(address) => check_wanted(connection, subnet, address),
        None => lowest_private(connection, subnet, fit),
    }
}

/// A reserved address counts as in use, as on AWS.
fn check_wanted(
    connection: &Connection,
    subnet: &Subnet,
    address: Ipv4Addr,
) -> Result<Ipv4Addr, Undo<LaunchOutcome>> {
    let (lowest, highest) = usable_addresses(subnet.cidr);
    let sql = "SELECT 1 FROM interface WHERE vpc_id = ?1 AND private_ip = ?2";
    let taken = exists(connection, sql, params![S(subnet.vpc_id), S(address)])?;
    if taken || address < lowest || address > highest {
        return Err(Undo::Answer(LaunchOutcome::AddressInUse(address)));
    }
    Ok(address)
}

fn lowest_private(
    connection: &Connection,
    subnet: &mut Subnet,
    fit: usize,
) -> Result<Ipv4Addr, Undo<LaunchOutcome>> {
    let (_, highest) = usable_addresses(subnet.cidr);
    let sql = "SELECT private_ip FROM interface WHERE vpc_id = ?1 AND private_ip >= ?2 ORDER BY private_ip";
    let keys = params![S(subnet.vpc_id), S(subnet.lowest_free)];
    let free = first_gap(connection, sql, keys, subnet.lowest_free)?;
    if free > highest {
        return Err(Undo::Answer(LaunchOutcome::SubnetFull { fit }));
    }
    subnet.lowest_free = free;
    Ok(free)
}

/// The lowest free address of the operator's pool. `fit` interfaces have theirs already.
pub(super) fn public(
    connection: &Connection,
    pool: Option<Ipv4Net>,
    fit: usize,
) -> Result<Ipv4Addr, Undo<LaunchOutcome>> {
    let exhausted = || Undo::Answer(LaunchOutcome::PoolExhausted { fit });
    let hosts = pool.ok_or_else(exhausted)?.hosts();
    let lowest = hosts.clone().next().ok_or_else(exhausted)?;
    let highest = hosts.last().ok_or_else(exhausted)?;
    let sql = "SELECT lowest_free_ip FROM public_pool WHERE lowest_ip = ?1";
    let from = first(connection, sql, params![S(lowest)], |c| c.stored())?.unwrap_or(lowest);
    let sql = "SELECT public_ip FROM interface WHERE public_ip >= ?1 ORDER BY public_ip";
    let free = first_gap(connection, sql, params![S(from)], from)?;
    if free > highest {
        return Err(exhausted());
    }
    keep_lowest_free(connection, lowest, free)?;
    Ok(free)
}

/// Nothing of the pool below is free: taking the next address does not walk over all that are taken.
fn keep_lowest_free(connection: &Connection, lowest: Ipv4Addr, free: Ipv4Addr) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO public_pool (lowest_ip, lowest_free_ip) VALUES (?1, ?2)
               ON CONFLICT (lowest_ip) DO UPDATE SET lowest_free_ip = excluded.lowest_free_ip";
    execute(connection, sql, params![S(lowest), S(free)])
}

/// The first number from `from` on that the ascending query does not yield.
fn first_gap(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    from: Ipv4Addr,
) -> rusqlite::Result<Ipv4Addr> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut free = from.to_bits();
    while let Some(row) = rows.next()? {
        if row.get::<_, u32>(0)? != free {
            break;
        }
        free = free.saturating_add(1);
    }
    Ok(Ipv4Addr::from_bits(free))
}
