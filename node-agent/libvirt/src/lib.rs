//! libvirt for the agent: typed domain XML, a bounded pool of connections with deadlines.
//!
//! This crate is the only user of the `virt` binding and the only place for unsafe code. It knows
//! domains named `tepui-<placement id>` and never touches another one.

mod accelerator;
mod capture;
mod console;
mod counters;
mod disk;
mod disk_errors;
mod error;
mod events;
mod freeze;
mod host;
mod identity;
mod kvm;
mod look;
mod pause;
mod pool;
mod secrets;
mod spec;
mod status;
mod tap;
mod throttle;
mod xml;

pub use accelerator::{Accelerator, AcceleratorPreference, Probe, probe_accelerator};
pub use capture::CaptureState;
pub use console::rotate_console;
pub use counters::DiskCounters;
pub use disk::{DataDisk, DiskSource, GIVE_STEPS, IscsiSource, LiveDisk, LiveDisks, NfsSource, TAKE_STEPS};
pub use disk_errors::FailedDisk;
pub use error::Error;
pub use freeze::FreezeAnswer;
pub use host::LibvirtHost;
pub use identity::{domain_name, placement_of, system_uuid};
pub use spec::{DiskFormat, DomainSpec, Overlay, Root, ScratchDisk};
pub use status::{DomainState, DomainStatus, OffReason};
pub use tap::create_tap;
