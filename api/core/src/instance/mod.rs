//! Instances: what is asked for and what is shown.

mod attribute;
mod console_output;
mod describe;
mod launch;
mod place;
mod power;
mod request;
mod resolve;
mod run;
mod token;
mod volumes;

pub use attribute::InstanceChange;
pub use describe::{Health, InstanceStatus, InstanceView};
pub use power::StateChange;
pub use request::{LaunchVolumeRequest, MetadataChange, RootVolumeRequest, RunInstances};
pub use run::Reservation;

pub(crate) use power::node_of;
