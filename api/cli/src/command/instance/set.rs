//! Changing attributes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tepui_types::endpoint::{PutTags, SetInstance};
use tepui_types::rest::{PutTagsRequest, SetInstanceRequest, ShutdownBehavior};

use super::{find, user_data};
use crate::complete::{Kind, names};
use crate::failure::Result;
use crate::session::Session;

/// Which instance, and what changes.
#[derive(Debug, Args)]
pub struct Set {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// The changes.
    #[command(flatten)]
    changes: Changes,
}

/// What changes; the rest stays.
#[derive(Debug, Args)]
#[group(id = "changes", required = true, multiple = true)]
pub(super) struct Changes {
    /// Another name: the tag Name
    #[arg(long)]
    name: Option<String>,
    /// Another type; only while stopped
    #[arg(long = "type", value_name = "TYPE", add = names(Kind::InstanceType))]
    instance_type: Option<String>,
    /// Other user data, at most 16 KiB; only while stopped
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// What a guest's own power-off means
    #[arg(long)]
    shutdown_behavior: Option<Behavior>,
    /// Refuse to terminate it
    #[arg(long, value_name = "ON|OFF")]
    termination_protection: Option<Switch>,
    /// Refuse to stop it
    #[arg(long, value_name = "ON|OFF")]
    stop_protection: Option<Switch>,
    /// Replace its security groups; may be repeated
    #[arg(long = "security-group", value_name = "GROUP", add = names(Kind::SecurityGroup))]
    security_groups: Vec<String>,
}

/// What a guest's own power-off means.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Behavior {
    /// The instance stops
    Stop,
    /// The instance is terminated
    Terminate,
}

impl From<Behavior> for ShutdownBehavior {
    fn from(behavior: Behavior) -> Self {
        match behavior {
            Behavior::Stop => Self::Stop,
            Behavior::Terminate => Self::Terminate,
        }
    }
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// Changes what was named, and shows the instance.
pub(super) async fn run(set: Set, session: &mut Session) -> Result<()> {
    let instance = find(&set.instance, session).await?;
    let id = instance.id.to_string();
    let name = set.changes.name.clone();
    let request = request(set.changes)?;
    if request != SetInstanceRequest::default() {
        session.call::<SetInstance>(&[&id], &request).await?;
    }
    if let Some(name) = name {
        let tags = [("Name".to_owned(), name)].into();
        session.call::<PutTags>(&[], &PutTagsRequest { resource: id.clone(), tags }).await?;
    }
    let instance = find(&id, session).await?;
    session.show(&instance)
}

fn request(changes: Changes) -> Result<SetInstanceRequest> {
    let groups = changes.security_groups;
    Ok(SetInstanceRequest {
        instance_type: changes.instance_type,
        user_data: changes.user_data.as_deref().map(user_data::read).transpose()?,
        shutdown_behavior: changes.shutdown_behavior.map(Into::into),
        disable_api_termination: changes.termination_protection.map(|switch| switch == Switch::On),
        disable_api_stop: changes.stop_protection.map(|switch| switch == Switch::On),
        groups: if groups.is_empty() { None } else { Some(groups) },
    })
}
