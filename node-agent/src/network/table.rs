//! A table of the packet filter as a value, and what to tell nft to make it so: the whole table, or what
//! differs from the one that stands. A guest more is then a few elements, however many there are.

use std::collections::BTreeMap;

use nftables::expr::Expression;
use nftables::schema::{
    Chain, Element, FlushObject, NfCmd, NfListObject, NfObject, Rule, Set, SetType, SetTypeValue,
    Table as Name,
};
use nftables::stmt::Statement;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::Value;

/// The name of every table of Tepui.
const TABLE: &str = "tepui";

/// Commands for nft, without borrowed parts.
pub(super) type Commands = Vec<NfObject<'static>>;

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hook {
    pub(super) kind: NfChainType,
    pub(super) at: NfHook,
    pub(super) priority: i32,
    pub(super) policy: NfChainPolicy,
}

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    family: NfFamily,
    sets: BTreeMap<String, Elements>,
    chains: BTreeMap<String, Rules>,
}

#[derive(Debug, Clone, PartialEq)]
struct Elements {
    kinds: &'static [SetType],
    members: Vec<Expression<'static>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Rules {
    hook: Option<Hook>,
    rules: Vec<Vec<Statement<'static>>>,
}

impl Table {
    /// A table without anything.
    pub(super) const fn new(family: NfFamily) -> Self {
        Self { family, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// Adds a set with its elements.
    pub(super) fn set(
        &mut self,
        name: impl Into<String>,
        kinds: &'static [SetType],
        members: Vec<Expression<'static>>,
    ) {
        self.sets.insert(name.into(), Elements { kinds, members });
    }

    /// Adds a chain that only jumps reach.
    pub(super) fn chain(&mut self, name: impl Into<String>) {
        self.chains.entry(name.into()).or_default();
    }

    /// Adds a chain at a hook.
    pub(super) fn base_chain(&mut self, name: &'static str, hook: Hook) {
        self.chains.entry(name.into()).or_default().hook = Some(hook);
    }

    /// Appends a rule.
    pub(super) fn rule(&mut self, chain: impl Into<String>, statements: Vec<Statement<'static>>) {
        self.chains.entry(chain.into()).or_default().rules.push(statements);
    }

    /// Whether both would have the same name.
    pub(super) fn is_namesake(&self, other: &Self) -> bool {
        self.family == other.family
    }

    /// Family and name, as nft's command line has them.
    pub(super) const fn address(&self) -> [&'static str; 2] {
        match self.family {
            NfFamily::Bridge => ["bridge", TABLE],
            NfFamily::IP => ["ip", TABLE],
            NfFamily::IP6 => ["ip6", TABLE],
            NfFamily::ARP => ["arp", TABLE],
            NfFamily::INet => ["inet", TABLE],
            NfFamily::NetDev => ["netdev", TABLE],
        }
    }

    /// What a listing by `nft -j` lacks of this table, or has too much of: whole chains and sets, and by their
    /// number rules and elements, since nft shows them in other words than it was given.
    pub(super) fn faults(&self, listed: Option<&Value>) -> Vec<String> {
        let [family, name] = self.address();
        let Some(objects) = listed.and_then(|listed| listed["nftables"].as_array()) else {
            return vec![format!("lacks the packet filter's table {family} {name}")];
        };
        let named = |kind: &str, name: &str| {
            objects.iter().map(|object| &object[kind]).find(|object| object["name"] == *name).cloned()
        };
        let chains = self.chains.iter().filter_map(|(name, chain)| {
            let rules = objects.iter().filter(|object| object["rule"]["chain"] == name.as_str()).count();
            match named("chain", name) {
                None => Some(format!("lacks the packet filter's chain {name}")),
                Some(_) => differs("chain", name, "rules", rules, chain.rules.len()),
            }
        });
        let sets = self.sets.iter().filter_map(|(name, set)| match named("set", name) {
            None => Some(format!("lacks the packet filter's set {name}")),
            Some(found) => {
                let members = found["elem"].as_array().map_or(0, Vec::len);
                differs("set", name, "elements", members, set.members.len())
            }
        });
        chains.chain(sets).collect()
    }

    /// Removes the table of a family, whether it is there or not: to delete what may be missing, it is
    /// added first.
    pub(super) fn removal(family: NfFamily) -> Commands {
        let name = || NfListObject::Table(Name { family, name: TABLE.into(), handle: None });
        vec![added(name()), deleted(name())]
    }

    /// Makes the table anew: what a crash or a hand left in it cannot survive.
    pub(super) fn replacement(&self) -> Commands {
        let mut commands = Self::removal(self.family);
        let name = Name { family: self.family, name: TABLE.into(), handle: None };
        commands.push(added(NfListObject::Table(name)));
        commands.extend(self.changes(&Self::new(self.family)));
        commands
    }

    /// Makes this table of `old`, which must stand exactly so. A set or chain of the same name that is of
    /// another kind needs the whole table.
    pub(super) fn changes_from(&self, old: &Self) -> Commands {
        let same_kind =
            |(name, set): (&String, &Elements)| old.sets.get(name).is_none_or(|o| o.kinds == set.kinds);
        let same_hook =
            |(name, chain): (&String, &Rules)| old.chains.get(name).is_none_or(|o| o.hook == chain.hook);
        if self.sets.iter().all(same_kind) && self.chains.iter().all(same_hook) {
            self.changes(old)
        } else {
            self.replacement()
        }
    }

    /// First what others refer to, last what nobody refers to any more.
    fn changes(&self, old: &Self) -> Commands {
        let mut commands = Vec::new();
        for (name, set) in &self.sets {
            match old.sets.get(name) {
                Some(before) => commands.extend(self.member_changes(name, before, set)),
                None => commands.push(added(self.named_set(name, set))),
            }
        }
        let new = self.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name));
        commands
            .extend(new.map(|(name, chain)| added(NfListObject::Chain(self.named_chain(name, chain.hook)))));
        let dead: Vec<_> = old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        let differs = |(name, chain): &(&String, &Rules)| {
            old.chains.get(*name).is_none_or(|before| before.rules != chain.rules)
        };
        for (name, chain) in self.chains.iter().filter(differs) {
            if old.chains.contains_key(name) {
                commands.push(self.flushed(name));
            }
            commands.extend(chain.rules.iter().map(|rule| added(self.in_chain(name, rule))));
        }
        commands.extend(dead.iter().map(|name| self.flushed(name)));
        commands.extend(dead.iter().map(|name| deleted(NfListObject::Chain(self.named_chain(name, None)))));
        let sets = old.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name));
        commands.extend(sets.map(|(name, set)| deleted(self.named_set(name, set))));
        commands
    }

    fn member_changes(&self, name: &str, old: &Elements, new: &Elements) -> Commands {
        let without = |from: &Elements, other: &Elements| -> Vec<_> {
            from.members.iter().filter(|member| !other.members.contains(member)).cloned().collect()
        };
        let (gone, come) = (without(old, new), without(new, old));
        let element = |members: Vec<_>| {
            let (table, elem) = (TABLE.into(), members.into());
            NfListObject::Element(Element { family: self.family, table, name: name.to_owned().into(), elem })
        };
        let gone = (!gone.is_empty()).then(|| deleted(element(gone)));
        let come = (!come.is_empty()).then(|| added(element(come)));
        gone.into_iter().chain(come).collect()
    }

    fn named_set(&self, name: &str, set: &Elements) -> NfListObject<'static> {
        let set_type = match set.kinds {
            [kind] => SetTypeValue::Single(*kind),
            several => SetTypeValue::Concatenated(several.into()),
        };
        // nft refuses an empty list of elements.
        let elem = (!set.members.is_empty()).then(|| set.members.clone().into());
        let (family, table, name) = (self.family, TABLE.into(), name.to_owned().into());
        NfListObject::Set(Box::new(Set { family, table, name, set_type, elem, ..Set::default() }))
    }

    fn named_chain(&self, name: &str, hook: Option<Hook>) -> Chain<'static> {
        Chain {
            family: self.family,
            table: TABLE.into(),
            name: name.to_owned().into(),
            _type: hook.map(|hook| hook.kind),
            hook: hook.map(|hook| hook.at),
            prio: hook.map(|hook| hook.priority),
            policy: hook.map(|hook| hook.policy),
            ..Chain::default()
        }
    }

    fn flushed(&self, name: &str) -> NfObject<'static> {
        NfObject::CmdObject(NfCmd::Flush(FlushObject::Chain(self.named_chain(name, None))))
    }

    fn in_chain(&self, chain: &str, rule: &[Statement<'static>]) -> NfListObject<'static> {
        let (family, table, chain) = (self.family, TABLE.into(), chain.to_owned().into());
        NfListObject::Rule(Rule { family, table, chain, expr: rule.to_vec().into(), ..Rule::default() })
    }
}

fn differs(kind: &str, name: &str, of: &str, found: usize, wanted: usize) -> Option<String> {
    let told = || format!("has {found} {of} in the packet filter's {kind} {name} instead of {wanted}");
    (found != wanted).then(told)
}

fn added(object: NfListObject<'static>) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Add(object))
}

fn deleted(object: NfListObject<'static>) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Delete(object))
}
