//! What a storage host serves.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Leftover, TestObserved, VolumeSource, WantedTest, WantedUnlink};
use crate::{Digest, ExportId, FilerFolder, PoolId, SnapshotId, VolumeId};

/// Everything that the pools of one node must hold and serve, or must no longer. What it does not name is left
/// as it is and reported: only an explicit `Absent` removes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoragePart {
    /// In order of their ids.
    pub pools: Vec<PoolPart>,
    /// In order of their ids.
    pub volumes: Vec<WantedVolume>,
    /// In order of their ids.
    pub snapshots: Vec<WantedSnapshot>,
    /// In order of their ids.
    pub exports: Vec<WantedExport>,
    /// Removed things whose grace is over, in order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlinks: Vec<WantedUnlink>,
    /// Tests of its snapshots that are ordered, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<WantedTest>,
}

/// How a pool's volumes reach their instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolBackend {
    /// Over iSCSI, to any node.
    Iscsi,
    /// Over NFS, to any node.
    Nfs,
    /// As files, to instances on the same node.
    Local,
}

/// Storage that volumes are made in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPart {
    /// Which.
    pub id: PoolId,
    /// How its volumes are served.
    pub backend: PoolBackend,
    /// Its folder on the host, on a file system that can share blocks between files.
    pub path: String,
    /// The same folder on the filer that serves it over NFS, and from which the host has it. The host serves it without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filer: Option<FilerFolder>,
    /// Percent of its file system in use above which operators are warned.
    pub soft_percent: u8,
    /// Percent of its file system in use above which it takes nothing new.
    pub hard_percent: u8,
}

/// One volume and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedVolume {
    /// Which.
    pub id: VolumeId,
    /// Where.
    pub pool_id: PoolId,
    /// Present or absent.
    pub wanted: VolumePart,
}

/// Present or absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum VolumePart {
    /// It must exist with this size; it never shrinks.
    Present {
        /// In bytes.
        size_bytes: u64,
        /// What it holds when it is new; nothing but zeros without it and without an image.
        snapshot_id: Option<SnapshotId>,
        /// The image that it holds when it is new; never with a snapshot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<VolumeImage>,
        /// Its host had it once. If it is not there any more it is lost, and is never made anew, empty.
        made: bool,
    },
    /// Its bytes must be gone, once nothing serves it.
    Absent,
}

/// An image whose bytes a new volume begins with; what is beyond them reads zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeImage {
    /// Its content.
    pub digest: Digest,
    /// Its size as a disk, in bytes; at most the volume's.
    pub bytes: u64,
}

/// One snapshot and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedSnapshot {
    /// Which.
    pub id: SnapshotId,
    /// Where: the pool of its volume, or the one that it is copied to or made in.
    pub pool_id: PoolId,
    /// Present or absent.
    pub wanted: SnapshotPart,
}

/// What a snapshot is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSource {
    /// Which.
    pub snapshot_id: SnapshotId,
    /// Where: a pool that the part names, or one of another host.
    pub pool_id: PoolId,
}

/// An image that a snapshot is made from; what is beyond it reads zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotImage {
    /// Its bytes.
    pub content: VolumeImage,
    /// The size of the snapshot, in bytes; at least the image's.
    pub size_bytes: u64,
}

impl SnapshotSource {
    /// What a snapshot of a local root disk is told to be a copy of: itself, in a pool that no host has. So the pool's host
    /// asks for its content as for any other from elsewhere, and need not know what it is taken of.
    pub const fn root(snapshot_id: SnapshotId) -> Self {
        Self { snapshot_id, pool_id: PoolId::from_random(u128::MAX) }
    }
}

/// Present or absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SnapshotPart {
    /// It must exist. One that does not is taken of the volume as it is now, or copied, or made from an image.
    Present {
        /// What it is taken of, if it is no copy and not made from an image.
        volume_id: VolumeId,
        /// What it is a copy of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy_of: Option<SnapshotSource>,
        /// The image that it holds, if it is taken of nothing; never with a source.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<SnapshotImage>,
        /// Its host had it once. If it is not there any more it is lost, and is never taken anew.
        taken: bool,
    },
    /// Its bytes must be gone; volumes that were made from it keep theirs.
    Absent,
}

/// One export and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedExport {
    /// Names its account, initiator and target. One that was absent once never comes back.
    pub id: ExportId,
    /// What it serves.
    pub volume_id: VolumeId,
    /// Open or absent.
    pub wanted: ExportPart,
}

/// Open or absent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ExportPart {
    /// The node with this address may connect with this secret.
    Open {
        /// Where the volume is used.
        node_address: Ipv4Addr,
        /// The password of its account.
        secret: String,
        /// Writes are refused.
        read_only: bool,
    },
    /// Its credential and every connection of it must be gone.
    Absent,
}

impl std::fmt::Debug for ExportPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { node_address, secret: _, read_only } => f
                .debug_struct("Open")
                .field("node_address", node_address)
                .field("read_only", read_only)
                .finish_non_exhaustive(),
            Self::Absent => f.write_str("Absent"),
        }
    }
}

/// What a storage host sees of its pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageObserved {
    /// Every pool that the part names.
    pub pools: Vec<PoolObserved>,
    /// Every volume that is found or named.
    pub volumes: Vec<VolumeObserved>,
    /// Every snapshot that is found or named.
    pub snapshots: Vec<SnapshotObserved>,
    /// Every export that is found or named.
    pub exports: Vec<ExportObserved>,
    /// Everything in its usable pools that the part does not want there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
    /// The tests that the part names and that are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestObserved>,
}

/// One pool as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolObserved {
    /// Which.
    pub id: PoolId,
    /// Its state.
    pub state: PoolState,
}

/// Whether a pool can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PoolState {
    /// It can.
    Ready {
        /// Size of its file system.
        total_bytes: u64,
        /// What is taken of it, by volumes or by others.
        used_bytes: u64,
    },
    /// It cannot.
    Failed {
        /// Why and what to do, for operators.
        message: String,
    },
}

/// One volume as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeObserved {
    /// Which.
    pub id: VolumeId,
    /// Its state.
    pub state: StoredState,
}

/// One snapshot as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotObserved {
    /// Which.
    pub id: SnapshotId,
    /// Its state.
    pub state: StoredState,
}

/// The state of a volume or snapshot in its pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StoredState {
    /// It is there, durable.
    Present {
        /// Its size as a disk.
        size_bytes: u64,
    },
    /// What is wanted of it failed.
    Failed {
        /// Why, for operators.
        message: String,
        /// Trying again cannot help.
        permanent: bool,
    },
    /// What it begins with is on its way.
    Awaited {
        /// What, and how far it is, for operators.
        message: String,
    },
    /// It is gone, as wanted.
    Gone,
}

/// One export as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportObserved {
    /// Which.
    pub id: ExportId,
    /// Its state.
    pub state: ExportState,
}

/// The state of an export on its host.
///
/// ```text
///   (none) ──▶ open ──absent──▶ closing ──▶ gone
///      └─ cannot be done: failed, tried again
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ExportState {
    /// The node may connect.
    Open {
        /// Where to.
        source: VolumeSource,
    },
    /// It was told to go, and somebody is still connected.
    Closing {
        /// So many.
        connections: u32,
    },
    /// What is wanted of it failed.
    Failed {
        /// Why, for operators.
        message: String,
    },
    /// Its credential and every connection of it are gone: not a byte can come by it any more.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_is_made_from_no_image_is_written_as_before_there_were_such() {
        let old = r#"{"is":"present","volume_id":"vol-00000000000000001","taken":false}"#;
        let part: SnapshotPart = serde_json::from_str(old).unwrap();
        let volume_id = VolumeId::from_random(1);
        assert_eq!(part, SnapshotPart::Present { volume_id, copy_of: None, image: None, taken: false });
        assert_eq!(serde_json::to_string(&part).unwrap(), old);
    }
}
