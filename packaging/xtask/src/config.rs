//! `ec2.toml`: what is emitted.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(rename = "group")]
    pub(crate) groups: Vec<Group>,
    /// Parameters that no handler reads, by action, with the values that are let through.
    pub(crate) accepted: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Replies that are written by hand: the Rust type by the shape.
    pub(crate) written: BTreeMap<String, String>,
}

/// One generated file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    #[serde(default = "ec2")]
    pub(crate) service: String,
    pub(crate) actions: Vec<String>,
    /// Members by shape.
    pub(crate) shapes: BTreeMap<String, Vec<String>>,
}

fn ec2() -> String {
    "ec2".into()
}

impl Config {
    /// The members to emit of a shape.
    pub(crate) fn members(&self, shape: &str) -> Option<&Vec<String>> {
        self.groups.iter().find_map(|group| group.shapes.get(shape))
    }
}
