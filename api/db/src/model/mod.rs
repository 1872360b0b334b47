//! What the store holds, as the domain sees it.

mod identity;
mod image;
mod instance;
mod key_pair;
mod lifecycle;
mod network;
mod node;

pub use identity::{AccessKey, Credential, Project, Quota, Role, User};
pub use image::{Image, ImageState, ImportTask};
pub use instance::{
    Instance, InstanceRecord, MetadataSettings, Placement, PlacementGroup, PlacementStrategy, RootVolume,
    ShutdownBehavior, StateReason,
};
pub use key_pair::{KeyKind, KeyPair};
pub use lifecycle::{
    ImportEvent, ImportState, InstanceRequest, InstanceState, NodeEvent, NodeRequest, NodeState,
};
pub use network::{DefaultNetwork, NetworkInterface, Rule, RulePeer, SecurityGroup, Subnet, Vpc};
pub use node::{JoinToken, Node, NodeLoad};
