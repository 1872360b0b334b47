//! Security groups and their rules.

use rusqlite::{Connection, params};
use tepui_db::model::{Rule, RulePeer, SecurityGroup};
use tepui_db::{CreateOutcome, DeleteOutcome, GroupName, RuleChange, RuleOutcome};
use tepui_types::{NetworkInterfaceId, ProjectId, SecurityGroupId, SecurityGroupRuleId, VpcId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute, exists, first};
use crate::tag;
use crate::value::{S, peer_columns, unpack_groups};
use crate::verb::{Undo, Verb};

const GROUP: &str = "id, project_id, vpc_id, name, description";
const RULE: &str = "group_id, id, direction, protocol, peer_cidr, peer_group_id, description";

/// A project's groups with their rules, by id.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<Vec<SecurityGroup>> {
    let sql = format!("SELECT {GROUP} FROM security_group WHERE project_id = ?1 ORDER BY id");
    let groups = all(connection, &sql, params![S(project)], read)?;
    let sql = format!("SELECT {RULE} FROM security_group_rule WHERE project_id = ?1 ORDER BY group_id, id");
    Ok(with_rules(groups, all(connection, &sql, params![S(project)], read_rule)?))
}

/// A VPC's groups with their rules, by id.
pub(crate) fn of_vpc(connection: &Connection, vpc: VpcId) -> rusqlite::Result<Vec<SecurityGroup>> {
    let sql = format!("SELECT {GROUP} FROM security_group WHERE vpc_id = ?1 ORDER BY id");
    let groups = all(connection, &sql, params![S(vpc)], read)?;
    let sql = format!(
        "SELECT {RULE} FROM security_group_rule
         WHERE group_id IN (SELECT id FROM security_group WHERE vpc_id = ?1) ORDER BY group_id, id"
    );
    Ok(with_rules(groups, all(connection, &sql, params![S(vpc)], read_rule)?))
}

/// A project's groups without their rules, by id.
pub(crate) fn names(connection: &Connection, project: ProjectId) -> rusqlite::Result<Vec<GroupName>> {
    let sql = "SELECT id, vpc_id, name FROM security_group WHERE project_id = ?1 ORDER BY id";
    all(connection, sql, params![S(project)], |c| {
        Ok(GroupName { id: c.stored()?, vpc_id: c.stored()?, name: c.plain()? })
    })
}

/// One group with its rules.
pub(crate) fn get(connection: &Connection, id: SecurityGroupId) -> rusqlite::Result<Option<SecurityGroup>> {
    let sql = format!("SELECT {GROUP} FROM security_group WHERE id = ?1");
    let Some(group) = first(connection, &sql, params![S(id)], read)? else { return Ok(None) };
    let sql = format!("SELECT {RULE} FROM security_group_rule WHERE group_id = ?1 ORDER BY id");
    let rules = all(connection, &sql, params![S(id)], read_rule)?;
    Ok(with_rules(vec![group], rules).pop())
}

/// Whether the group is in the VPC.
pub(crate) fn in_vpc(connection: &Connection, id: SecurityGroupId, vpc: VpcId) -> rusqlite::Result<bool> {
    exists(connection, "SELECT 1 FROM security_group WHERE id = ?1 AND vpc_id = ?2", params![S(id), S(vpc)])
}

fn read(c: &Columns<'_>) -> rusqlite::Result<SecurityGroup> {
    Ok(SecurityGroup {
        id: c.stored()?,
        project_id: c.stored()?,
        vpc_id: c.stored()?,
        name: c.plain()?,
        description: c.plain()?,
        rules: Vec::new(),
    })
}

fn read_rule(c: &Columns<'_>) -> rusqlite::Result<(SecurityGroupId, Rule)> {
    let (group, id, direction, protocol) = (c.stored()?, c.stored()?, c.stored()?, c.stored()?);
    let peer = match (c.optional()?, c.optional()?) {
        (Some(cidr), _) => RulePeer::Cidr(cidr),
        (None, Some(group)) => RulePeer::Group(group),
        // The table's CHECK allows no such row.
        (None, None) => return Err(rusqlite::types::FromSqlError::InvalidType.into()),
    };
    Ok((group, Rule { id, direction, protocol, peer, description: c.plain()? }))
}

/// Both in order of group ids.
fn with_rules(mut groups: Vec<SecurityGroup>, rules: Vec<(SecurityGroupId, Rule)>) -> Vec<SecurityGroup> {
    let mut rules = rules.into_iter().peekable();
    for group in &mut groups {
        while let Some((_, rule)) = rules.next_if(|(owner, _)| *owner == group.id) {
            group.rules.push(rule);
        }
    }
    groups
}

/// Creates a group with its rules and tags. No port and no rule names it yet, so no part changes.
pub(crate) fn create(
    connection: &Connection,
    group: &SecurityGroup,
    tags: &[(String, String)],
) -> Verb<CreateOutcome<SecurityGroupId>> {
    let sql = "SELECT 1 FROM vpc WHERE id = ?1 AND project_id = ?2";
    if !exists(connection, sql, params![S(group.vpc_id), S(group.project_id)])? {
        return Ok(CreateOutcome::ParentMissing);
    }
    let sql = "SELECT id FROM security_group WHERE vpc_id = ?1 AND name = ?2";
    if let Some(taken) = first(connection, sql, params![S(group.vpc_id), group.name], |c| c.stored())? {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    insert_group(connection, group)?;
    if foreign_peer(connection, group.vpc_id, &group.rules)?.is_some() {
        return Err(Undo::Answer(CreateOutcome::ParentMissing));
    }
    insert_rules(connection, group.project_id, group.id, &group.rules)?;
    for (key, value) in tags {
        tag::insert(connection, group.project_id, &group.id.to_string(), key, value)?;
    }
    Ok(CreateOutcome::Created)
}

/// Writes a group with its rules.
pub(crate) fn insert(connection: &Connection, group: &SecurityGroup) -> rusqlite::Result<()> {
    insert_group(connection, group)?;
    insert_rules(connection, group.project_id, group.id, &group.rules)
}

fn insert_group(connection: &Connection, group: &SecurityGroup) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO security_group (id, project_id, vpc_id, name, description)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![S(group.id), S(group.project_id), S(group.vpc_id), group.name, group.description];
    execute(connection, sql, values)
}

fn insert_rules(
    connection: &Connection,
    project: ProjectId,
    group: SecurityGroupId,
    rules: &[Rule],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO security_group_rule
                   (id, project_id, group_id, direction, protocol, peer_cidr, peer_group_id, description)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for rule in rules {
        let (cidr, peer) = peer_columns(rule.peer);
        let values = params![
            S(rule.id),
            S(project),
            S(group),
            S(rule.direction),
            S(rule.protocol),
            cidr,
            peer,
            rule.description,
        ];
        execute(connection, sql, values)?;
    }
    Ok(())
}

/// The first group that a rule names and that is not in the VPC.
fn foreign_peer(
    connection: &Connection,
    vpc: VpcId,
    rules: &[Rule],
) -> rusqlite::Result<Option<SecurityGroupId>> {
    for rule in rules {
        if let RulePeer::Group(peer) = rule.peer
            && !in_vpc(connection, peer, vpc)?
        {
            return Ok(Some(peer));
        }
    }
    Ok(None)
}

/// Deletes a group that nothing names: so it is in no part, and none changes.
pub(crate) fn delete(
    connection: &Connection,
    project: ProjectId,
    id: SecurityGroupId,
) -> Verb<DeleteOutcome> {
    let sql = "SELECT vpc_id FROM security_group WHERE id = ?1 AND project_id = ?2";
    let Some(vpc) = first(connection, sql, params![S(id), S(project)], |c| c.stored())? else {
        return Ok(DeleteOutcome::NotFound);
    };
    if let Some(interface) = interface_of_group(connection, vpc, id)? {
        return Ok(DeleteOutcome::InUse(format!("network interface {interface}")));
    }
    let sql = "SELECT group_id FROM security_group_rule WHERE peer_group_id = ?1 AND group_id <> ?1";
    if let Some(other) = first(connection, sql, params![S(id)], |c| c.stored::<SecurityGroupId>())? {
        return Ok(DeleteOutcome::InUse(format!("a rule of {other}")));
    }
    let sql = "DELETE FROM security_group_rule WHERE group_id = ?1 RETURNING id";
    for rule in all(connection, sql, params![S(id)], |c| c.stored::<SecurityGroupRuleId>())? {
        tag::delete_all(connection, project, &rule.to_string())?;
    }
    execute(connection, "DELETE FROM security_group WHERE id = ?1", params![S(id)])?;
    tag::delete_all(connection, project, &id.to_string())?;
    Ok(DeleteOutcome::Deleted)
}

/// Looks through the VPC's interfaces: groups are deleted rarely, interfaces read all the time, so
/// the list of groups is stored with the interface.
fn interface_of_group(
    connection: &Connection,
    vpc: VpcId,
    group: SecurityGroupId,
) -> rusqlite::Result<Option<NetworkInterfaceId>> {
    let sql = "SELECT id, group_ids FROM interface WHERE vpc_id = ?1";
    let interfaces = all(connection, sql, params![S(vpc)], |c| {
        Ok((c.stored::<NetworkInterfaceId>()?, unpack_groups(c.raw()?.as_blob()?)?))
    })?;
    Ok(interfaces.into_iter().find(|(_, groups)| groups.contains(&group)).map(|(id, _)| id))
}

/// Changes a group's rules, all or nothing.
pub(crate) fn change_rules(
    connection: &Connection,
    project: ProjectId,
    id: SecurityGroupId,
    change: &RuleChange,
    max_rules: usize,
) -> Verb<RuleOutcome> {
    let Some(group) = get(connection, id)?.filter(|group| group.project_id == project) else {
        return Ok(RuleOutcome::GroupNotFound);
    };
    let outcome = match change {
        RuleChange::Add(rules) => add(connection, group, rules, max_rules)?,
        RuleChange::Remove(rules) => remove(connection, group, rules)?,
    };
    Ok(outcome)
}

fn add(connection: &Connection, group: SecurityGroup, rules: &[Rule], max_rules: usize) -> Verb<RuleOutcome> {
    if let Some(peer) = foreign_peer(connection, group.vpc_id, rules)? {
        return Ok(RuleOutcome::PeerNotFound(peer));
    }
    let mut present = group.rules;
    for rule in rules {
        if present.iter().any(|other| same(other, rule)) {
            return Ok(RuleOutcome::Duplicate(rule.clone()));
        }
        present.push(rule.clone());
    }
    let in_direction = |wanted| present.iter().filter(|rule| rule.direction == wanted).count();
    if rules.iter().any(|rule| in_direction(rule.direction) > max_rules) {
        return Ok(RuleOutcome::TooMany(max_rules));
    }
    insert_rules(connection, group.project_id, group.id, rules)?;
    changed(connection, group.vpc_id, rules.to_vec())
}

fn remove(connection: &Connection, group: SecurityGroup, rules: &[Rule]) -> Verb<RuleOutcome> {
    let mut present = group.rules;
    let mut removed = Vec::new();
    for rule in rules {
        let Some(at) = present.iter().position(|other| same(other, rule)) else {
            return Ok(RuleOutcome::RuleNotFound(rule.clone()));
        };
        removed.push(present.swap_remove(at));
    }
    for rule in &removed {
        execute(connection, "DELETE FROM security_group_rule WHERE id = ?1", params![S(rule.id)])?;
        tag::delete_all(connection, group.project_id, &rule.id.to_string())?;
    }
    changed(connection, group.vpc_id, removed)
}

fn changed(connection: &Connection, vpc: VpcId, rules: Vec<Rule>) -> Verb<RuleOutcome> {
    let mut touched = Touched::default();
    if !rules.is_empty() {
        touched.vpc(vpc);
    }
    touched.grow(connection)?;
    Ok(RuleOutcome::Changed(rules))
}

fn same(a: &Rule, b: &Rule) -> bool {
    (a.direction, a.protocol, a.peer) == (b.direction, b.protocol, b.peer)
}
