//! Security groups and their rules.

use ipnet::Ipv4Net;
use tepui_db::model::{Rule, RulePeer, SecurityGroup};
use tepui_db::{CreateOutcome, RuleChange, RuleOutcome};
use tepui_types::agent::{Direction, Protocol};
use tepui_types::{SecurityGroupId, SecurityGroupRuleId, VpcId};

use crate::failpoint::pass;
use crate::identity::{deleted, taken};
use crate::limits::{self, Tags};
use crate::{Caller, Cloud, Error, Kind};

/// An object by its name or its id, as several EC2 actions allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameOrId<Id> {
    /// By id.
    Id(Id),
    /// By name.
    Name(String),
}

/// A security group to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecurityGroup {
    /// Unique in the VPC; not `default`, not beginning with `sg-`.
    pub name: String,
    /// For people.
    pub description: String,
    /// The default VPC when it is not given.
    pub vpc_id: Option<VpcId>,
    /// Its tags.
    pub tags: Tags,
}

/// A rule to be, or one to find by what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// Which packets.
    pub protocol: Protocol,
    /// The other side.
    pub peer: RulePeer,
    /// For people.
    pub description: Option<String>,
}

/// Which rules to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSelector {
    /// Those that say this; descriptions do not count.
    Saying(Vec<NewRule>),
    /// Those with these ids.
    Ids(Vec<SecurityGroupRuleId>),
}

impl Cloud {
    /// The caller's security groups with their rules, by id.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn security_groups(&self, caller: &Caller) -> Result<Vec<SecurityGroup>, Error> {
        Ok(self.db.security_groups(caller.project).await?)
    }

    /// One of the caller's security groups; a name is looked for in the default VPC.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn security_group(
        &self,
        caller: &Caller,
        group: &NameOrId<SecurityGroupId>,
    ) -> Result<SecurityGroup, Error> {
        let (groups, vpcs) = futures::try_join!(self.security_groups(caller), self.vpcs(caller))?;
        let default_vpc = vpcs.iter().find(|vpc| vpc.is_default).map(|vpc| vpc.id);
        let (text, found) = match group {
            NameOrId::Id(id) => (id.to_string(), groups.into_iter().find(|g| g.id == *id)),
            NameOrId::Name(name) => {
                (name.clone(), groups.into_iter().find(|g| g.name == *name && Some(g.vpc_id) == default_vpc))
            }
        };
        found.ok_or_else(|| Error::not_found(Kind::SecurityGroup, text))
    }

    /// Creates a group that lets nothing in and everything out, as on AWS.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the VPC, `AlreadyExists`.
    pub async fn create_security_group(
        &self,
        caller: &Caller,
        new: NewSecurityGroup,
    ) -> Result<SecurityGroup, Error> {
        check_group(&new)?;
        let group = SecurityGroup {
            id: SecurityGroupId::from_random(self.random()),
            project_id: caller.project,
            vpc_id: self.vpc_or_default(caller, new.vpc_id).await?,
            name: new.name,
            description: new.description,
            rules: vec![self.allow_all_egress()],
        };
        let tags = limits::tag_pairs(&new.tags);
        self.commit(caller, "CreateSecurityGroup", group.id.to_string(), async {
            match self.db.create_security_group(&group, &tags).await? {
                CreateOutcome::Created => Ok(()),
                CreateOutcome::NameTaken(id) => Err(taken(Kind::SecurityGroup, &group.name, id)),
                CreateOutcome::ParentMissing => Err(Error::not_found(Kind::Vpc, group.vpc_id)),
            }
        })
        .await?;
        Ok(group)
    }

    async fn vpc_or_default(&self, caller: &Caller, wanted: Option<VpcId>) -> Result<VpcId, Error> {
        if let Some(id) = wanted {
            return Ok(self.vpc(caller, id).await?.id);
        }
        let found = self.vpcs(caller).await?.into_iter().find(|vpc| vpc.is_default);
        found.map(|vpc| vpc.id).ok_or_else(|| Error::not_found(Kind::Vpc, "default"))
    }

    /// Deletes a group that nothing uses.
    ///
    /// # Errors
    /// `NotFound`, `InUse`, `CannotDelete` for the group `default`.
    pub async fn delete_security_group(
        &self,
        caller: &Caller,
        group: &NameOrId<SecurityGroupId>,
    ) -> Result<(), Error> {
        let group = self.security_group(caller, group).await?;
        if group.name == "default" {
            return Err(Error::CannotDelete { kind: Kind::SecurityGroup, id: group.id.to_string() });
        }
        self.commit(caller, "DeleteSecurityGroup", group.id.to_string(), async {
            let outcome = self.db.delete_security_group(caller.project, group.id).await?;
            deleted(outcome, Kind::SecurityGroup, group.id)
        })
        .await
    }

    /// Adds rules to a group, all or none; returns them with their ids.
    ///
    /// # Errors
    /// `NotFound` for the group or a rule's group, `InvalidInput`, `DuplicateRule`, `LimitExceeded`.
    pub async fn authorize(
        &self,
        caller: &Caller,
        group: &NameOrId<SecurityGroupId>,
        direction: Direction,
        rules: Vec<NewRule>,
    ) -> Result<Vec<Rule>, Error> {
        let group = self.security_group(caller, group).await?;
        check_rules(&rules)?;
        let rules = rules.into_iter().map(|rule| self.rule(direction, rule)).collect();
        self.change_rules(caller, authorize_action(direction), &group, RuleChange::Add(rules)).await
    }

    /// Removes rules from a group, all or none; returns them.
    ///
    /// # Errors
    /// `NotFound` for the group or a rule id, `RuleNotFound`.
    pub async fn revoke(
        &self,
        caller: &Caller,
        group: &NameOrId<SecurityGroupId>,
        direction: Direction,
        rules: RuleSelector,
    ) -> Result<Vec<Rule>, Error> {
        let group = self.security_group(caller, group).await?;
        let rules = match rules {
            RuleSelector::Saying(rules) => rules.into_iter().map(|r| self.rule(direction, r)).collect(),
            RuleSelector::Ids(ids) => rules_by_id(&group, direction, &ids)?,
        };
        if rules.is_empty() {
            return Err(Error::invalid("rules", "", "names at least one rule"));
        }
        self.change_rules(caller, revoke_action(direction), &group, RuleChange::Remove(rules)).await
    }

    fn rule(&self, direction: Direction, rule: NewRule) -> Rule {
        let peer = match rule.peer {
            RulePeer::Cidr(cidr) => RulePeer::Cidr(cidr.trunc()),
            RulePeer::Group(id) => RulePeer::Group(id),
        };
        Rule {
            id: SecurityGroupRuleId::from_random(self.random()),
            direction,
            protocol: rule.protocol,
            peer,
            description: rule.description,
        }
    }

    async fn change_rules(
        &self,
        caller: &Caller,
        action: &'static str,
        group: &SecurityGroup,
        change: RuleChange,
    ) -> Result<Vec<Rule>, Error> {
        let max = limits::RULES_PER_DIRECTION;
        pass("core::rules::checked")?;
        let rules = self
            .commit(caller, action, group.id.to_string(), async {
                rule_result(self.db.change_rules(caller.project, group.id, &change, max).await?, group.id)
            })
            .await?;
        let passed = pass("core::rules::committed")?;
        self.wakes.wake_vpc(passed, group.vpc_id);
        pass("core::rules::woken")?;
        Ok(rules)
    }

    /// Ids of groups, each of which must be the caller's and in this VPC; at least one.
    pub(crate) async fn groups_of_vpc(
        &self,
        caller: &Caller,
        vpc: VpcId,
        ids: &[SecurityGroupId],
    ) -> Result<Vec<SecurityGroupId>, Error> {
        if ids.is_empty() {
            return Err(Error::invalid("groups", "", "names at least one security group"));
        }
        let known = self.security_groups(caller).await?;
        match ids.iter().find(|id| !known.iter().any(|g| g.id == **id && g.vpc_id == vpc)) {
            Some(missing) => Err(Error::not_found(Kind::SecurityGroup, missing)),
            None => Ok(without_repeats(ids)),
        }
    }
}

/// EC2's action that adds rules of this direction.
pub const fn authorize_action(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "AuthorizeSecurityGroupIngress",
        Direction::Egress => "AuthorizeSecurityGroupEgress",
    }
}

/// EC2's action that removes rules of this direction.
pub const fn revoke_action(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "RevokeSecurityGroupIngress",
        Direction::Egress => "RevokeSecurityGroupEgress",
    }
}

/// The ids in their order, each once.
pub(crate) fn without_repeats(ids: &[SecurityGroupId]) -> Vec<SecurityGroupId> {
    let mut seen = std::collections::HashSet::new();
    ids.iter().copied().filter(|id| seen.insert(*id)).collect()
}

fn check_group(new: &NewSecurityGroup) -> Result<(), Error> {
    limits::check_name("group_name", &new.name, limits::NAME)?;
    limits::check_name("description", &new.description, limits::NAME)?;
    limits::check_tags(&new.tags)?;
    if new.name.starts_with("sg-") {
        return Err(Error::invalid("group_name", &new.name, "must not begin with sg-, which ids do"));
    }
    Ok(())
}

fn check_rules(new: &[NewRule]) -> Result<(), Error> {
    if new.is_empty() {
        return Err(Error::invalid("rules", "", "names at least one rule"));
    }
    new.iter().try_for_each(check_rule)
}

fn check_rule(rule: &NewRule) -> Result<(), Error> {
    if let Protocol::Tcp(ports) | Protocol::Udp(ports) = rule.protocol
        && ports.from > ports.to
    {
        let range = format!("{}-{}", ports.from, ports.to);
        return Err(Error::invalid("port range", range, "begins at or below its end"));
    }
    rule.description.as_deref().map_or(Ok(()), limits::check_description)
}

fn rules_by_id(
    group: &SecurityGroup,
    direction: Direction,
    ids: &[SecurityGroupRuleId],
) -> Result<Vec<Rule>, Error> {
    let find = |id: &SecurityGroupRuleId| {
        let found = group.rules.iter().find(|rule| rule.id == *id && rule.direction == direction);
        found.cloned().ok_or_else(|| Error::not_found(Kind::SecurityGroupRule, id))
    };
    ids.iter().map(find).collect()
}

fn rule_result(outcome: RuleOutcome, group: SecurityGroupId) -> Result<Vec<Rule>, Error> {
    match outcome {
        RuleOutcome::Changed(rules) => Ok(rules),
        RuleOutcome::GroupNotFound => Err(Error::not_found(Kind::SecurityGroup, group)),
        RuleOutcome::PeerNotFound(peer) => Err(Error::not_found(Kind::SecurityGroup, peer)),
        RuleOutcome::Duplicate(rule) => Err(Error::DuplicateRule { rule: describe(&rule) }),
        RuleOutcome::RuleNotFound(rule) => Err(Error::RuleNotFound { rule: describe(&rule) }),
        RuleOutcome::TooMany(limit) => {
            Err(Error::LimitExceeded { what: "rules of a security group in one direction", limit })
        }
    }
}

/// A rule for people, for example `ingress tcp 22-22 0.0.0.0/0`.
fn describe(rule: &Rule) -> String {
    let direction = match rule.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let any = |number: Option<u8>| number.map_or_else(|| "any".into(), |n| n.to_string());
    let protocol = match rule.protocol {
        Protocol::All => "all".into(),
        Protocol::Tcp(ports) => format!("tcp {}-{}", ports.from, ports.to),
        Protocol::Udp(ports) => format!("udp {}-{}", ports.from, ports.to),
        Protocol::Icmp { icmp_type, code } => format!("icmp {}/{}", any(icmp_type), any(code)),
        Protocol::Other { number } => format!("protocol {number}"),
    };
    let peer = match rule.peer {
        RulePeer::Cidr(cidr) => Ipv4Net::to_string(&cidr),
        RulePeer::Group(id) => id.to_string(),
    };
    format!("{direction} {protocol} {peer}")
}
