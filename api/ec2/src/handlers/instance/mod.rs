//! Instances.

mod attribute;
mod console;
mod describe;
mod disks;
mod filter;
mod fragment;
mod listing;
mod power;
mod run;
mod status;
mod view;

pub(crate) use fragment::Fragments;
pub(crate) use listing::InstanceListing;

use tepui_db::model::InstanceState;

use super::fixed;
use crate::generated::InstanceState as StateShape;

/// A state with the code that EC2 gives it.
fn state(state: InstanceState) -> StateShape {
    let (code, name) = match state {
        InstanceState::Pending => (0, "pending"),
        InstanceState::Running => (16, "running"),
        InstanceState::ShuttingDown => (32, "shutting-down"),
        InstanceState::Terminated => (48, "terminated"),
        InstanceState::Stopping => (64, "stopping"),
        InstanceState::Stopped => (80, "stopped"),
    };
    StateShape { code: Some(code), name: fixed(name) }
}
