//! Completions: commands and options from the command table, names of objects from the cloud. A person
//! waits with a finger on the key, so that a cloud that is slow or away just offers no names.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};
use tepui_client::{Client, ClientError};
use tepui_types::endpoint::{
    ListAccessKeys, ListImages, ListInstanceTypes, ListInstances, ListKeyPairs, ListNodes,
    ListPlacementGroups, ListPools, ListProjects, ListSecurityGroups, ListSnapshotSchedules, ListSnapshots,
    ListUsers, ListVolumes,
};
use tepui_types::rest::{Empty, ListAccessKeysRequest, ListInstancesRequest};

use crate::cli::Cli;
use crate::cloud::connect;
use crate::local::{Contexts, Target};
use crate::world::World;

/// The variable by which the shell's script asks; its value is the shell's name.
pub const VARIABLE: &str = "TEPUI_COMPLETE";
/// The longest a key press may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// The library calls for candidates without any argument of ours.
static WORLD: OnceLock<World> = OnceLock::new();

/// What an argument names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    AccessKey,
    Context,
    Image,
    Instance,
    InstanceType,
    KeyPair,
    Node,
    PlacementGroup,
    Pool,
    Project,
    SecurityGroup,
    Snapshot,
    SnapshotSchedule,
    User,
    Volume,
}

/// An id, and the name that people give it.
type Named = (String, Option<String>);

/// Answers if it was the shell that asked, and says whether it was.
pub fn answered(world: World, words: &[OsString]) -> bool {
    let _ = WORLD.set(world);
    let here = std::env::current_dir().ok();
    let environment = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    // A shell has no use for the words of an error.
    environment.try_complete(words.to_vec(), here.as_deref().map(Path::new)).unwrap_or(true)
}

/// The objects of a kind, for clap's attribute `add`.
pub(crate) fn names(kind: Kind) -> ArgValueCandidates {
    ArgValueCandidates::new(move || candidates(kind))
}

fn candidates(kind: Kind) -> Vec<CompletionCandidate> {
    let Some(world) = WORLD.get() else { return Vec::new() };
    if let Kind::Context = kind {
        let contexts = Contexts::load(&world.config_dir).ok();
        return contexts
            .into_iter()
            .flat_map(|contexts| contexts.content.context.into_keys())
            .filter_map(|name| candidate((name, None)))
            .collect();
    }
    asked(kind, world).unwrap_or_default().into_iter().filter_map(candidate).collect()
}

/// A name that a shell would read as something else is offered as its id.
fn candidate((id, name): Named) -> Option<CompletionCandidate> {
    let is_plain = |word: &String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.,:@+/".contains(c))
    };
    let word = name.filter(is_plain).unwrap_or(id);
    is_plain(&word).then(|| CompletionCandidate::new(word))
}

fn asked(kind: Kind, world: &World) -> Option<Vec<Named>> {
    let target = Target::of(world).ok()?;
    let client = connect(&target.url, target.token.as_deref()?, target.ca_bundle.as_deref()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, listed(kind, &client)).await.ok()?.ok() })
}

async fn listed(kind: Kind, client: &Client) -> Result<Vec<Named>, ClientError> {
    /// Every list has items, but of different types.
    macro_rules! list {
        ($endpoint:ty, $request:expr, $named:expr) => {
            client.call::<$endpoint>(&[], &$request).await?.items.into_iter().map($named).collect()
        };
    }
    Ok(match kind {
        Kind::AccessKey => list!(ListAccessKeys, ListAccessKeysRequest { project: None }, |o| (o.id, None)),
        Kind::Image => list!(ListImages, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Instance => {
            list!(ListInstances, ListInstancesRequest { terminated: false }, |o| (o.id.to_string(), o.name))
        }
        Kind::InstanceType => list!(ListInstanceTypes, Empty {}, |o| (o.name, None)),
        Kind::KeyPair => list!(ListKeyPairs, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Node => list!(ListNodes, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Pool => list!(ListPools, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::PlacementGroup => list!(ListPlacementGroups, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Project => list!(ListProjects, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::SecurityGroup => list!(ListSecurityGroups, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Snapshot => list!(ListSnapshots, Empty {}, |o| (o.id.to_string(), o.name)),
        Kind::SnapshotSchedule => list!(ListSnapshotSchedules, Empty {}, |o| (o.id.to_string(), None)),
        Kind::Volume => list!(ListVolumes, Empty {}, |o| (o.id.to_string(), o.name)),
        Kind::User => list!(ListUsers, Empty {}, |o| (o.id.to_string(), Some(o.name))),
        Kind::Context => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_misread_is_offered_as_its_id() {
        let word = |name: &str| {
            candidate(("i-1".into(), Some(name.into()))).unwrap().get_value().to_string_lossy().into_owned()
        };
        assert_eq!(word("web-1"), "web-1");
        for odd in ["two words", "$(reboot)", "a;b", "a\nb", "\u{1b}[2J", ""] {
            assert_eq!(word(odd), "i-1", "{odd:?}");
        }
    }
}
