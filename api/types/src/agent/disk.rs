//! Volumes as the node of their instance uses them.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use super::IoLimits;
use crate::{ExportId, VolumeId};

/// Where a volume is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case")]
pub enum VolumeSource {
    /// By an iSCSI target. Account and initiator follow from the export's id.
    Iscsi {
        /// Where it listens.
        portal: SocketAddrV4,
        /// The target's name.
        target: String,
        /// The unit.
        lun: u32,
    },
    /// By an NFS server.
    Nfs {
        /// Where it listens.
        server: Ipv4Addr,
        /// The file, below the export's path.
        path: String,
        /// Who the client says that it is; the server takes every client of the export for it.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// As a file of the same node.
    Local {
        /// The file.
        path: String,
    },
}

/// What the name of every iSCSI initiator begins with.
const INITIATORS: &str = "iqn.2026-11.cloud.tepui.host:";

/// The account of an export.
pub fn iscsi_account(export: ExportId) -> String {
    export.to_string()
}

/// The name under which an export's initiator comes.
pub fn iscsi_initiator(export: ExportId) -> String {
    format!("{INITIATORS}{export}")
}

/// One volume of a placement and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedDisk {
    /// The incarnation of the attachment. One that was absent once never comes back.
    pub export_id: ExportId,
    /// Also the disk's serial, without the hyphen, as on AWS.
    pub volume_id: VolumeId,
    /// Attached, awaited or absent.
    pub wanted: DiskPart,
}

/// Attached, awaited or absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum DiskPart {
    /// Its export is not open yet. A start that is wanted waits for it, so that a guest boots with every disk that
    /// it was asked to have; one that runs, or that goes on after a reboot of its host, does not.
    Awaited,
    /// The domain must have it, running or not.
    Attached(Box<DiskSpec>),
    /// The domain must not have it.
    Absent,
}

/// What a domain needs to have a volume as a disk.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// The client's name of it, for example `/dev/sdf`; the guest orders its disks by it.
    pub device: String,
    /// Where it is served.
    pub source: VolumeSource,
    /// The password of the export's account, where the source has accounts.
    pub secret: Option<String>,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// The guest must see so many bytes, or more: its host has them. 0 where nothing is said of it.
    #[serde(default)]
    pub size_bytes: u64,
    /// What the guest may do with it in a second.
    #[serde(default, skip_serializing_if = "IoLimits::is_none")]
    pub limits: IoLimits,
    /// The guest boots from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_root: bool,
}

impl std::fmt::Debug for DiskSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskSpec")
            .field("device", &self.device)
            .field("source", &self.source)
            .field("read_only", &self.read_only)
            .field("size_bytes", &self.size_bytes)
            .field("limits", &self.limits)
            .field("is_root", &self.is_root)
            .finish_non_exhaustive()
    }
}

/// One volume of a placement as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskObserved {
    /// Which.
    pub export_id: ExportId,
    /// Its state.
    pub state: DiskState,
    /// The wanted size that the guest sees, or will when it starts; 0 where nothing is said of it.
    #[serde(default)]
    pub size_bytes: u64,
    /// The wanted limits that the guest is held to, or will be when it starts.
    #[serde(default, skip_serializing_if = "IoLimits::is_none")]
    pub limits: IoLimits,
}

/// The state of a volume on its instance's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DiskState {
    /// The domain has it, or will have it when it starts.
    Attached,
    /// The guest was asked to let go of it and has not.
    Detaching,
    /// What is wanted of it failed; the agent tries again by itself.
    Failed {
        /// Why, for operators.
        message: String,
    },
    /// It is gone from the running domain and from what it starts with.
    Absent,
}
