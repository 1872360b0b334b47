//! The commands, one file a noun.

pub mod access_key;
pub mod api;
pub mod completions;
pub mod context;
pub mod doctor;
pub mod help;
pub mod image;
pub mod instance;
pub mod instance_type;
pub mod key_pair;
pub mod login;
pub mod man;
pub mod node;
pub mod placement_group;
pub mod pool;
pub mod pool_reclaim;
pub mod project;
pub mod quota;
pub mod security_group;
pub mod snapshot;
pub mod snapshot_schedule;
pub mod snapshot_upload;
pub mod tag;
pub mod user;
pub mod volume;
pub mod volume_move;
pub mod volume_ttl;
pub mod whoami;

use std::ffi::OsString;

use tepui_types::Timestamp;

use crate::cli::Noun;
use crate::exit::Exit;
use crate::failure::Result;
use crate::session::Session;

/// What the process does when a command is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// Ends.
    Exit(Exit),
    /// Becomes this program: its name and arguments.
    Exec(Vec<OsString>),
}

/// Runs one command.
///
/// # Errors
/// What the command met.
pub async fn run(noun: Noun, session: &mut Session) -> Result<Finish> {
    match noun {
        Noun::Instance(verb) => return instance::run(verb, session).await,
        Noun::Doctor(doctor) => return doctor::run(doctor, session).await,
        Noun::Image(verb) => image::run(verb, session).await,
        Noun::KeyPair(verb) => key_pair::run(verb, session).await,
        Noun::SecurityGroup(verb) => security_group::run(verb, session).await,
        Noun::PlacementGroup(verb) => placement_group::run(verb, session).await,
        Noun::Volume(verb) => volume::run(verb, session).await,
        Noun::Snapshot(verb) => snapshot::run(verb, session).await,
        Noun::Pool(verb) => pool::run(verb, session).await,
        Noun::Type(verb) => instance_type::run(verb, session).await,
        Noun::Tag(verb) => tag::run(verb, session).await,
        Noun::Node(verb) => node::run(verb, session).await,
        Noun::Project(verb) => project::run(verb, session).await,
        Noun::Quota(verb) => quota::run(verb, session).await,
        Noun::User(verb) => user::run(verb, session).await,
        Noun::Key(verb) => access_key::run(verb, session).await,
        Noun::Login(login) => login::run(login, session).await,
        Noun::Context(verb) => context::run(verb, session).await,
        Noun::Whoami => whoami::run(session).await,
        Noun::Dev(verb) => crate::dev::run(verb, session).await,
        Noun::Api(api) => api::run(api, session).await,
        Noun::Help(help) => help::run(&help, session),
        Noun::Completions(completions) => completions::run(completions, session),
        Noun::Man(man) => man::run(&man, session),
    }?;
    Ok(Finish::Exit(Exit::Ok))
}

/// A value's text on the wire, which is also how lists show it.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A time in UTC to the second.
fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// An absent value in a cell.
fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".into(), T::to_string)
}
