//! The test kit: whole clouds of real daemons, driven by the clients that users have.
//!
//! Everything here works from outside, through the release binaries in `target/release`, the guest
//! images in `target/images` and the EC2 clients in `target/venv`, all of which `make e2e` provides.

mod ask;
mod boot;
mod clock;
mod cloud;
mod daemon;
mod evidence;
mod filer;
mod footprint;
mod host;
mod lossy;
mod paths;
mod process;
mod secrets;
mod session;
mod slow;
mod underlay;
mod until;
mod volumes;
mod way;

pub use ask::ask;
pub use clock::Clocked;
pub use cloud::{Cloud, Hypervisor, free_port};
pub use daemon::{Armed, Daemon, FAILPOINT_EXIT};
pub use filer::Filer;
pub use footprint::Footprint;
pub use host::{Host, QEMU};
pub use lossy::LossyWay;
pub use paths::{binary, image, python, repository};
pub use process::{Output, kill, run};
pub use secrets::Export;
pub use session::{Ec2Session, Reply};
pub use underlay::{Fault, Underlay};
pub use until::until;
pub use volumes::{BACKENDS, Pool};
