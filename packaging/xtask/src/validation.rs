//! Emits the part of the model by which tests judge replies.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::model::{Kind, Model};

/// An enumeration that operators may extend, so that tests do not hold replies to it.
const OPEN_ENUMERATIONS: &[&str] = &["InstanceType"];

/// Adds the reply of `action` and all shapes it reaches.
pub(crate) fn add_action(
    model: &Model,
    config: &Config,
    action: &str,
    actions: &mut Map<String, Value>,
    shapes: &mut Map<String, Value>,
) -> Result<()> {
    let operation = model.operations.get(action).with_context(|| format!("no action {action}"))?;
    let output = operation.output.as_ref().map(|output| output.shape.clone());
    if let Some(name) = &output {
        add_shape(model, config, name, shapes, &mut BTreeSet::new())?;
    }
    actions.insert(action.into(), json!(output));
    Ok(())
}

fn add_shape(
    model: &Model,
    config: &Config,
    name: &str,
    shapes: &mut Map<String, Value>,
    seen: &mut BTreeSet<String>,
) -> Result<()> {
    if !seen.insert(name.into()) {
        return Ok(());
    }
    let shape = model.shape(name)?;
    let value = match shape.kind {
        Kind::Structure => {
            let mut members = Map::new();
            for member in config.members(name).into_iter().flatten() {
                let reference = shape.reference(name, member)?;
                members.insert(reference.reply_name(member).into(), json!(reference.shape));
                add_shape(model, config, &reference.shape, shapes, seen)?;
            }
            json!({ "type": "structure", "members": members })
        }
        Kind::List => {
            let element = &model.element(name)?.shape;
            add_shape(model, config, element, shapes, seen)?;
            json!({ "type": "list", "element": element })
        }
        Kind::String if OPEN_ENUMERATIONS.contains(&name) => json!({ "type": "string" }),
        Kind::String => json!({ "type": "string", "values": shape.values }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer | Kind::Long => json!({ "type": "integer" }),
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::Timestamp => json!({ "type": "timestamp" }),
        Kind::Blob => json!({ "type": "blob" }),
        Kind::Map => json!({ "type": "map" }),
    };
    shapes.insert(name.into(), value);
    Ok(())
}
