//! Private and public addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rusqlite::{Connection, params};
use tepui_db::LaunchOutcome;
use tepui_types::{SubnetId, VpcId};

use crate::network::usable_addresses;
use crate::row::{execute, exists, first};
use crate::value::S;
use crate::verb::Undo;

/// The subnet of an interface to be.
pub(super) struct Subnet {
    pub(super) id: SubnetId,
    pub(super) vpc_id: VpcId,
    pub(super) cidr: Ipv4Net,
}

/// The wanted private address or the lowest free one. `fit` interfaces have theirs already.
pub(super) fn private(
    connection: &Connection,
    subnet: &Subnet,
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

/// Begins where the subnet's row says that nothing below is free, so that filling a subnet does not
/// walk over all its addresses each time.
fn lowest_private(
    connection: &Connection,
    subnet: &Subnet,
    fit: usize,
) -> Result<Ipv4Addr, Undo<LaunchOutcome>> {
    let (_, highest) = usable_addresses(subnet.cidr);
    let sql = "SELECT lowest_free_ip FROM subnet WHERE id = ?1";
    let from = first(connection, sql, params![S(subnet.id)], |c| c.stored::<Ipv4Addr>())?;
    let from = from.ok_or_else(|| Undo::Answer(LaunchOutcome::ParentMissing(subnet.id.to_string())))?;
    let sql = "SELECT private_ip FROM interface WHERE vpc_id = ?1 AND private_ip >= ?2 ORDER BY private_ip";
    let free = first_gap(connection, sql, params![S(subnet.vpc_id), S(from)], from)?;
    if free > highest {
        return Err(Undo::Answer(LaunchOutcome::SubnetFull { fit }));
    }
    let sql = "UPDATE subnet SET lowest_free_ip = ?2 WHERE id = ?1";
    execute(connection, sql, params![S(subnet.id), S(free)])?;
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
    let sql = "SELECT public_ip FROM interface WHERE public_ip >= ?1 ORDER BY public_ip";
    let free = first_gap(connection, sql, params![S(lowest)], lowest)?;
    if free > highest { Err(exhausted()) } else { Ok(free) }
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
