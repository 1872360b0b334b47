//! Any text is a configuration of an agent or of simulated ones, or is refused with the file's name; what
//! is accepted is within its rules.

use std::fmt::Debug;
use std::path::Path;

use serde::de::DeserializeOwned;
use tepui_agent::config::{Checked, NodeConfig, SimulationConfig, parse};

pub(crate) fn run(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    check::<NodeConfig>(text);
    check::<SimulationConfig>(text);
}

fn check<T: DeserializeOwned + Checked + Debug>(text: &str) {
    match parse::<T>(Path::new("node.toml"), text) {
        Ok(config) => assert_eq!(config.broken_rule(), None, "{config:?}"),
        Err(error) => assert!(error.to_string().contains("node.toml"), "{error}"),
    }
}
