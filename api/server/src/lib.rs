//! The control plane: routers, TLS, configuration, wiring.
//!
//! [`init`] makes a cloud under `data_dir`, [`Server::start`] serves it. The way of a request is a
//! straight line: listener, router, one handler, one verb of the domain, reply.

mod admin;
mod agents;
mod app;
mod backup;
mod body;
pub mod config;
mod disk;
mod downloads;
mod failure;
mod files;
mod host_threads;
mod imports;
mod init;
mod lanes;
mod layout;
mod listen;
mod metrics;
pub mod openapi;
pub mod pki;
mod public;
mod request_id;
mod rest;
mod root;
mod server;
mod uploads;
mod wiring;

pub use backup::{CopyError, IS_PREPARED, backup, restore};
pub use config::{Config, ConfigError};
pub use files::FileError;
pub use init::{InitError, Initialized, init};
pub use layout::Layout;
pub use root::{SystemClock, SystemEntropy};
pub use server::{RunningServer, Server, StartError};
pub use wiring::WiringError;
