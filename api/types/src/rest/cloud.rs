//! The cloud as a whole: who I am, what happened, what fits, what is wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, Project, Quota, User};
use crate::{Epoch, Timestamp, UserId};

/// Whom a credential stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The project that calls act in.
    pub project: Project,
    /// What the project's instances take of its quota.
    pub used: Quota,
    /// The cloud's region.
    pub region: String,
    /// Version of the control plane.
    pub version: String,
    /// Counts the restores of the database.
    pub epoch: Epoch,
}

/// An instance type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceType {
    /// For example `t3.micro`.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Size in GiB of the scratch disk that instances of the type have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_gib: Option<u32>,
}

/// How much fits now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Nodes that take new instances.
    pub nodes: u32,
    /// For each type, smallest first.
    pub types: Vec<TypeRoom>,
}

/// How many instances of a type fit now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeRoom {
    /// The type.
    pub instance_type: InstanceType,
    /// How many fit, over all nodes, if only this type were launched.
    pub fits: u64,
}

/// Why an instance is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The instance.
    pub instance: Instance,
    /// What holds it up or why it is as it should be, in a line.
    pub summary: String,
    /// The chain of facts, nearest first.
    pub facts: Vec<String>,
    /// Commands that help.
    #[serde(rename = "try")]
    pub try_: Vec<String>,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEventsRequest {
    /// Only those that name the resource with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Calls that were refused, instead of those that changed something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// At most this many, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One mutating call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When it was answered.
    pub at: Timestamp,
    /// Who asked.
    pub user_id: UserId,
    /// For example `RunInstances`.
    pub action: String,
    /// Ids of the objects.
    pub resources: Vec<String>,
    /// `ok`, or why the call was refused.
    pub outcome: String,
    /// As in the reply and the logs.
    pub request_id: String,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it should be.
    Pass,
    /// Works, and wants attention.
    Warn,
    /// Wrong.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorCheck {
    /// What was looked at, for example `placements of node-1`.
    pub name: String,
    /// What was found.
    pub outcome: CheckOutcome,
    /// In a line.
    pub message: String,
    /// What helps; `None` when nothing is wrong.
    pub cure: Option<String>,
    /// `tepui doctor --fix`, or on a host `tepui-node doctor --fix`, puts it right and risks nothing by it.
    pub fixable: bool,
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorReport {
    /// In the order they were made.
    pub checks: Vec<DoctorCheck>,
    /// What was put right before they were made, in a line each.
    pub fixed: Vec<String>,
}
