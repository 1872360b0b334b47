//! Holds every reply against the service model: no unknown element, none twice, each of its type.

use std::sync::LazyLock;

use data_encoding::BASE64;
use serde_json::Value;

use crate::reply::Element;

/// Written by `cargo run -p xtask -- ec2-codegen`.
static MODEL: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../golden/replies.json")).unwrap());

/// Checks the reply of an action.
pub(crate) fn validate(action: &str, root: &Element) {
    assert_eq!(root.name, format!("{action}Response"));
    let shape = MODEL["actions"].get(action).unwrap_or_else(|| panic!("{action} is not in the model"));
    let content = if action == "GetCallerIdentity" {
        assert_eq!(root.namespace.as_deref(), Some("https://sts.amazonaws.com/doc/2011-06-15/"));
        assert_eq!(root.text_at("ResponseMetadata.RequestId"), "req-test");
        root.get("GetCallerIdentityResult").unwrap().clone()
    } else {
        assert_eq!(root.namespace.as_deref(), Some("http://ec2.amazonaws.com/doc/2016-11-15/"));
        let mut content = root.clone();
        assert_eq!(content.children.remove(0).name, "requestId");
        content
    };
    match shape.as_str() {
        Some(shape) => check(shape, &content, action),
        None => assert_eq!(content.text_at("return"), "true"),
    }
}

fn check(shape: &str, element: &Element, path: &str) {
    let model = &MODEL["shapes"][shape];
    match model["type"].as_str().unwrap() {
        "structure" => check_structure(model, element, path),
        "list" => {
            for (at, child) in element.children.iter().enumerate() {
                assert_eq!(child.name, "item", "{path}");
                check(model["element"].as_str().unwrap(), child, &format!("{path}[{at}]"));
            }
        }
        scalar => check_scalar(scalar, model, element, path),
    }
}

fn check_structure(model: &Value, element: &Element, path: &str) {
    assert_eq!(element.text.trim(), "", "{path}");
    let mut seen = Vec::new();
    for child in &element.children {
        let path = format!("{path}.{}", child.name);
        let member =
            model["members"].get(&child.name).unwrap_or_else(|| panic!("{path} is not in the model"));
        assert!(!seen.contains(&&child.name), "{path} occurs twice");
        seen.push(&child.name);
        check(member.as_str().unwrap(), child, &path);
    }
}

fn check_scalar(kind: &str, model: &Value, element: &Element, path: &str) {
    assert!(element.children.is_empty(), "{path} has children");
    let text = element.text.as_str();
    let fits = match kind {
        "string" => match model["values"].as_array() {
            Some(values) if !values.is_empty() => values.iter().any(|value| value == text),
            _ => true,
        },
        "boolean" => matches!(text, "true" | "false"),
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok(),
        "timestamp" => text.len() == 24 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        "blob" => BASE64.decode(text.as_bytes()).is_ok(),
        other => panic!("{path} has the type {other}"),
    };
    assert!(fits, "{path} is {text:?}, which is no {kind} of {model}");
}
