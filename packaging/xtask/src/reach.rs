//! Which shapes requests and replies reach through the listed members.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::config::{Config, Group};
use crate::model::{Kind, Model};

/// The structures that travel in each direction.
#[derive(Default)]
pub(crate) struct Reach {
    pub(crate) requests: BTreeSet<String>,
    pub(crate) replies: BTreeSet<String>,
}

impl Reach {
    pub(crate) fn of(model: &Model, config: &Config, groups: &[&Group]) -> Result<Self> {
        let mut reach = Self::default();
        for action in groups.iter().flat_map(|group| &group.actions) {
            let operation = model.operations.get(action).with_context(|| format!("no action {action}"))?;
            if let Some(input) = &operation.input {
                visit(model, config, &input.shape, &mut reach.requests)?;
                // Filters are read by the mechanism that applies them, so no action lists them.
                if let Some(filters) = model.shape(&input.shape)?.members.get("Filters") {
                    visit(model, config, &filters.shape, &mut reach.requests)?;
                }
            }
            if let Some(output) = &operation.output {
                visit(model, config, &output.shape, &mut reach.replies)?;
            }
        }
        Ok(reach)
    }
}

fn visit(model: &Model, config: &Config, name: &str, seen: &mut BTreeSet<String>) -> Result<()> {
    let shape = model.shape(name)?;
    match shape.kind {
        Kind::List => visit(model, config, &model.element(name)?.shape, seen),
        Kind::Structure if seen.insert(name.to_owned()) => {
            let members =
                config.members(name).with_context(|| format!("no members are listed for {name}"))?;
            members
                .iter()
                .try_for_each(|member| visit(model, config, &shape.reference(name, member)?.shape, seen))
        }
        Kind::Structure
        | Kind::String
        | Kind::Boolean
        | Kind::Integer
        | Kind::Long
        | Kind::Double
        | Kind::Float
        | Kind::Timestamp
        | Kind::Blob
        | Kind::Map => Ok(()),
    }
}
