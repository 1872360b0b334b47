//! The host agent: pulls the desired state, keeps it in a ledger, makes the host so, and reports what it
//! sees. It takes no control connections; its only listeners are for the guests' metadata.
//!
//! The way of a change: [`tasks`](crate) polls → [`ledger`] → [`reconcile`] plans with [`plan`] →
//! [`execute`] acts on [`hypervisor`], [`network`] and [`disks`] → the report.

pub mod accelerator;
pub mod agent;
pub mod captures;
pub mod config;
pub mod console;
pub mod disks;
pub mod doctor;
pub mod durable;
pub mod execute;
pub mod freezes;
pub mod host;
pub mod hypervisor;
pub mod identity;
pub mod images;
pub mod ledger;
pub mod link;
pub mod metadata;
pub mod network;
pub mod plan;
pub mod reconcile;
pub mod simulate;
pub mod storage;
pub mod volumes;

mod tasks;
mod unused;

#[cfg(test)]
mod testing;

pub use agent::{Agent, AgentParts, DiskChoice, Settings, StartError};

/// An error with all its causes in one line, for logs and reports.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
