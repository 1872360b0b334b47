//! Statements and expressions as values of the nftables crate, and the way to nft.

use std::borrow::Cow;
use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftables::expr::{
    CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, Range, SetItem, Verdict,
};
use nftables::schema::Nftables;
use nftables::stmt::{Accept, Drop, JumpTarget, Match, NATFamily, Operator, Statement, VerdictMap};

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;
use super::table::Commands;

/// Carries out the commands in one transaction inside the namespace.
pub(super) async fn apply(namespace: &Namespace, commands: Commands) -> Result<(), NetworkError> {
    let whole = Nftables { objects: commands.into() };
    namespace
        .run(move || nftables::helper::apply_ruleset(&whole))
        .await
        .map_err(refused(|| "enter a namespace".into()))?
        .map_err(explain)
        .map_err(refused(|| "change the packet filter".into()))
}

/// A table as `nft -j list table` shows it; `None` when there is none.
pub(super) async fn list(
    namespace: &Namespace,
    table: [&'static str; 2],
) -> Result<Option<serde_json::Value>, NetworkError> {
    let arguments = ["list", "table", table[0], table[1]];
    let listed = namespace
        .run(move || nftables::helper::get_current_ruleset_raw(None::<&str>, &arguments))
        .await
        .map_err(refused(|| "enter a namespace".into()))?;
    match listed {
        Ok(text) => {
            let parsed = serde_json::from_str(&text).map_err(io::Error::other);
            parsed.map(Some).map_err(refused(|| "read the packet filter".into()))
        }
        Err(nftables::helper::NftablesError::NftFailed { stderr, .. })
            if stderr.contains("No such file or directory") =>
        {
            Ok(None)
        }
        Err(error) => Err(explain(error)).map_err(refused(|| "list the packet filter".into())),
    }
}

/// nft's own words are in a field that the error does not show.
fn explain(error: nftables::helper::NftablesError) -> io::Error {
    match error {
        nftables::helper::NftablesError::NftFailed { stderr, stdout, .. } => {
            io::Error::other(format!("nft: {} {}", stderr.trim(), stdout.trim()))
        }
        other => io::Error::other(other),
    }
}

/// A text: an address, a name, or `@set`.
pub(super) fn text(value: impl ToString) -> Expression<'static> {
    Expression::String(value.to_string().into())
}

/// A range of addresses.
pub(super) fn net(net: Ipv4Net) -> Expression<'static> {
    let addr = Box::new(text(net.network()));
    Expression::Named(NamedExpression::Prefix(Prefix { addr, len: net.prefix_len().into() }))
}

/// An inclusive range of numbers.
pub(super) fn range(from: u16, to: u16) -> Expression<'static> {
    Expression::Range(Box::new(Range {
        range: [Expression::Number(from.into()), Expression::Number(to.into())],
    }))
}

/// Several fields side by side.
pub(super) fn concat(parts: Vec<Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Concat(parts))
}

/// A field of a header.
pub(super) fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

/// A property of the packet.
pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

/// `left == right`, or membership when `right` is a set.
pub(super) fn is(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

/// `left != right`.
pub(super) fn is_not(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::NEQ })
}

/// A field of a header equals a value.
pub(super) fn has(protocol: &'static str, name: &'static str, value: impl ToString) -> Statement<'static> {
    is(field(protocol, name), text(value))
}

/// The packet came in by this device, or one of this pattern.
pub(super) fn came_by(device: impl ToString) -> Statement<'static> {
    is(meta(MetaKey::Iifname), text(device))
}

/// The packet leaves by this device, or one of this pattern.
pub(super) fn leaves_by(device: impl ToString) -> Statement<'static> {
    is(meta(MetaKey::Oifname), text(device))
}

/// Connection tracking's state is one of these.
pub(super) fn tracked_as(states: &[&'static str]) -> Statement<'static> {
    let state = CT { key: "state".into(), family: None, dir: None };
    let states = states.iter().map(|state| text(*state)).collect();
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::CT(state)),
        right: Expression::List(states),
        op: Operator::IN,
    })
}

/// Lets the packet go on to the next base chain.
pub(super) const fn accept() -> Statement<'static> {
    Statement::Accept(Some(Accept {}))
}

/// Ends the packet.
pub(super) const fn drop() -> Statement<'static> {
    Statement::Drop(Some(Drop {}))
}

/// Goes on in another chain, and returns.
pub(super) fn jump(target: impl Into<Cow<'static, str>>) -> Statement<'static> {
    Statement::Jump(JumpTarget { target: target.into() })
}

/// Chooses a chain by an address. `None` when there is nothing to choose, which nft refuses.
pub(super) fn choose(
    key: Expression<'static>,
    targets: Vec<(Ipv4Addr, String)>,
) -> Option<Statement<'static>> {
    let verdict = |chain: String| Expression::Verdict(Verdict::Jump(JumpTarget { target: chain.into() }));
    let items: Vec<_> =
        targets.into_iter().map(|(address, chain)| SetItem::Mapping(text(address), verdict(chain))).collect();
    (!items.is_empty()).then(|| {
        Statement::VerdictMap(VerdictMap { key, data: Expression::Named(NamedExpression::Set(items)) })
    })
}

/// The address that `table` gives for the field: the target of a 1:1 translation.
pub(super) fn translated(
    key: Expression<'static>,
    table: Vec<(Ipv4Addr, Ipv4Addr)>,
) -> Option<nftables::stmt::NAT<'static>> {
    if table.is_empty() {
        return None;
    }
    let items = table.into_iter().map(|(from, to)| SetItem::Mapping(text(from), text(to))).collect();
    let data = Expression::Named(NamedExpression::Set(items));
    let map = Expression::Named(NamedExpression::Map(Box::new(nftables::expr::Map { key, data })));
    Some(nftables::stmt::NAT { addr: Some(map), family: Some(NATFamily::IP), port: None, flags: None })
}
