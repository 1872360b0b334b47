//! Objects as JSON: picking fields and flattening for people.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{printable, unknown_field};
use crate::failure::{Failure, Result};

/// The object as JSON.
pub(super) fn value<T: Serialize>(row: &T) -> Result<Value> {
    serde_json::to_value(row)
        .map_err(|e| Failure::failed(format!("the answer cannot be written as JSON: {e}")))
}

/// Only the wanted fields, in the order they were asked for; all if none was.
pub(super) fn pick(value: Value, fields: &[String]) -> Result<Value> {
    let Value::Object(mut object) = value else { return Ok(value) };
    if fields.is_empty() {
        return Ok(Value::Object(object));
    }
    let known: Vec<String> = object.keys().cloned().collect();
    let picked: Result<Map<String, Value>> = fields
        .iter()
        .map(|field| {
            object.remove(field).map(|v| (field.clone(), v)).ok_or_else(|| unknown_field(field, &known))
        })
        .collect();
    picked.map(Value::Object)
}

/// One line a leaf: `quota.vcpus  8`. A field without value is left out.
pub(super) fn flatten(value: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    walk("", value, &mut rows);
    rows
}

fn walk(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(object) => object.iter().for_each(|(key, inner)| walk(&join(path, key), inner, rows)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(i, inner)| walk(&join(path, &i.to_string()), inner, rows));
        }
        Value::Array(items) => {
            rows.push((path.into(), items.iter().map(leaf).collect::<Vec<_>>().join(", ")));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => rows.push((path.into(), leaf(value))),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { printable(key) } else { format!("{path}.{}", printable(key)) }
}

fn leaf(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}
