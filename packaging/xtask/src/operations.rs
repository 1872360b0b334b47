//! Emits the rules of each action and the action table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::config::{Config, Group};
use crate::model::{Kind, Model, Operation, Shape};

/// What the model says about an action, by rule.
pub(crate) struct Rules {
    pub(crate) dry_run: bool,
    pub(crate) paginated: bool,
    pub(crate) filters: Option<String>,
    pub(crate) token: Option<String>,
    /// Lists of ids, which exclude `MaxResults`.
    ids: Vec<String>,
    /// The names of all parameters.
    parameters: Vec<String>,
}

impl Rules {
    pub(crate) fn of(model: &Model, action: &str) -> Result<Self> {
        let input = input(model, action)?;
        let wire = |name: &str| input.members.get(name).map(|member| member.request_name(name));
        let paginated = input.members.contains_key("MaxResults") && input.members.contains_key("NextToken");
        Ok(Self {
            dry_run: input.members.contains_key("DryRun"),
            paginated,
            filters: wire("Filters"),
            token: input
                .members
                .iter()
                // The model marks those that SDKs fill in by themselves; the others have the name.
                .find(|(name, m)| m.idempotency_token || *name == "ClientToken")
                .map(|(name, m)| m.request_name(name)),
            ids: if paginated { id_lists(model, input)? } else { Vec::new() },
            parameters: input.members.iter().map(|(name, member)| member.request_name(name)).collect(),
        })
    }
}

fn operation<'a>(model: &'a Model, action: &str) -> Result<&'a Operation> {
    model.operations.get(action).with_context(|| format!("the model has no action {action}"))
}

fn input<'a>(model: &'a Model, action: &str) -> Result<&'a Shape> {
    let input = operation(model, action)?.input.as_ref();
    model.shape(&input.with_context(|| format!("{action} has no input"))?.shape)
}

/// Lists of accounts, by which a listing is narrowed: clients page through what is left.
const ACCOUNTS: [&str; 2] = ["OwnerIds", "RestorableByUserIds"];

fn id_lists(model: &Model, input: &Shape) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, member) in &input.members {
        let ids = name.ends_with("Ids") && !ACCOUNTS.contains(&name.as_str());
        if ids && model.shape(&member.shape)?.kind == Kind::List {
            names.push(member.request_name(name));
        }
    }
    Ok(names)
}

/// `impl Operation` of one action.
pub(crate) fn implementation(model: &Model, config: &Config, group: &Group, action: &str) -> Result<String> {
    let operation = operation(model, action)?;
    let request = &operation.input.as_ref().with_context(|| format!("{action} has no input"))?.shape;
    let reply = operation.output.as_ref().map_or("Void".into(), |output| {
        config.written.get(&output.shape).cloned().unwrap_or_else(|| format!("super::{}", output.shape))
    });
    let rules = Rules::of(model, action)?;
    let service = if group.service == "sts" { "Sts" } else { "Ec2" };
    let none = BTreeMap::new();
    let accepted: Vec<_> = config.accepted.get(action).unwrap_or(&none).iter().collect();
    let mut code = String::new();
    writeln!(code, "impl Operation for super::{request} {{\ntype Reply = {reply};")?;
    writeln!(code, "const RULES: Rules = Rules {{ action: {action:?}, service: Service::{service},")?;
    writeln!(code, "dry_run: {}, paginated: {},", rules.dry_run, rules.paginated)?;
    writeln!(code, "filters: {:?}, token: {:?}, ids: &{:?},", rules.filters, rules.token, rules.ids)?;
    code.push_str("accepted: &[");
    for (parameter, values) in accepted {
        write!(code, "({parameter:?}, &{values:?}),")?;
    }
    writeln!(code, "],\nparameters: &{:?},\n}};\n}}\n", rules.parameters)?;
    Ok(code)
}

/// The actions' names, and the function that finds an action's handler by its name.
pub(crate) fn dispatch(actions: &BTreeMap<&str, String>) -> Result<String> {
    let mut code = String::from(
        "/// Every action that is implemented, by name.\npub(crate) const ACTIONS: &[&str] = &[\n",
    );
    for action in actions.keys() {
        writeln!(code, "{action:?},")?;
    }
    code.push_str(
        "];\n\n/// Runs an action of this service, or tells that it is not one of those implemented.\n\
         pub(crate) async fn dispatch(service: Service, action: &str, call: Call) -> Option<Result<Body, ApiError>> {\n\
         Some(match (service, action) {\n",
    );
    for (action, (service, request)) in
        actions.iter().map(|(a, r)| (a, r.split_once(' ').unwrap_or_default()))
    {
        writeln!(code, "(Service::{service}, {action:?}) => Box::pin(call.run::<{request}>()).await,")?;
    }
    code.push_str("_ => return None,\n})\n}\n");
    Ok(code)
}
