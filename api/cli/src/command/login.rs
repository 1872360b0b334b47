//! Logging in to a cloud: the credential is tried, then kept in a context.

use std::path::PathBuf;

use clap::Args;
use tepui_types::endpoint::Whoami;
use tepui_types::rest::{Empty, Identity};
use url::{Host, Url};

use super::context::Row;
use crate::cloud::connect;
use crate::failure::{Failure, Result};
use crate::local::{Context, Contexts, token_for};
use crate::repeat;
use crate::session::Session;

/// Which cloud, and how to call it.
#[derive(Debug, Args)]
#[command(
    after_help = "The access key is asked for, or read from standard input (id and secret, each on a line), or \
                  taken from TEPUI_TOKEN if TEPUI_URL is this very URL."
)]
pub struct Login {
    /// Where the cloud's REST surface is, for example https://cloud.example:8773
    url: String,
    /// Name of the context [default: PROJECT@HOST:PORT]
    #[arg(long)]
    name: Option<String>,
    /// PEM file of the authority that signed the cloud's certificate [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
}

/// Tries the credential, keeps it, and makes its context the current one.
///
/// # Errors
/// The URL is none, the cloud refuses the credential, or the name stands for another cloud.
pub async fn run(login: Login, session: &mut Session) -> Result<()> {
    let url = checked(&login.url)?;
    let mut contexts = Contexts::load(&session.world.config_dir)?;
    let token = credential(&url, session).await?;
    let ca_bundle = login.ca_bundle.map(|path| std::path::absolute(&path).unwrap_or(path));
    let ca_bundle = ca_bundle.or_else(|| session.world.ca_bundle.clone());
    let address = url.as_str().trim_end_matches('/').to_owned();
    let identity = connect(&address, &token, ca_bundle.as_deref())?.call::<Whoami>(&[], &Empty {}).await?;
    let name = login.name.unwrap_or_else(|| format!("{}@{}", identity.project.name, url.authority()));
    let context = context(address, &identity, token, ca_bundle);
    refuse_another(&contexts, &name, &context)?;
    contexts.content.context.insert(name.clone(), context);
    contexts.content.current = Some(name.clone());
    contexts.save()?;
    tell(&contexts, &name, session)
}

fn context(url: String, identity: &Identity, token: String, ca_bundle: Option<PathBuf>) -> Context {
    let (user, project) = (identity.user.name.clone(), identity.project.name.clone());
    Context { url, user, project, token, ca_bundle }
}

fn tell(contexts: &Contexts, name: &str, session: &mut Session) -> Result<()> {
    session.note(&format!("logged in; kept in {}", contexts.path().display()));
    if session.world.url.is_some() {
        session.note("this shell's TEPUI_URL still wins over it: unset TEPUI_URL TEPUI_TOKEN");
    }
    match Row::of(&contexts.content, name) {
        Some(row) => session.show(&row),
        None => Ok(()),
    }
}

/// An address that a secret may be sent to.
fn checked(text: &str) -> Result<Url> {
    let bad = |why: &str| {
        Failure::usage(format!("'{text}' is not where one can log in"))
            .why(why)
            .try_("tepui login https://HOST:8773")
            .docs("tepui help login")
    };
    let url = Url::parse(text).map_err(|e| bad(&format!("it is no URL: {e}")))?;
    let is_local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(bad("it names no host")),
    };
    match url.scheme() {
        _ if url.path() != "/" || url.query().is_some() => {
            Err(bad("only scheme, host and port belong to it"))
        }
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(bad("the access key is no part of it"))
        }
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        "http" => Err(bad("without TLS the secret could be read on its way")),
        other => Err(bad(&format!("{other} is neither https nor http"))),
    }
}

/// `id.secret`: from the environment where that is for this cloud, or two lines of standard input, or both
/// in one.
async fn credential(url: &Url, session: &mut Session) -> Result<String> {
    if let Some(token) = token_for(&session.world, url) {
        return Ok(token.to_owned());
    }
    if session.world.token.is_some() {
        session.note("TEPUI_TOKEN is not sent: TEPUI_URL does not say that it is for this cloud");
    }
    let id = session.ask(if session.world.stdin_is_terminal { "Access key id: " } else { "" }).await?;
    if id.contains('.') {
        return Ok(id);
    }
    let question = if session.world.stdin_is_terminal { "Secret access key (not shown): " } else { "" };
    let secret = if id.is_empty() { String::new() } else { session.ask_secret(question).await? };
    if secret.is_empty() {
        return Err(Failure::usage("no access key was given")
            .why("its id and its secret are read from standard input")
            .try_("tepui key create --user NAME     (an administrator makes one)")
            .docs("tepui help login"));
    }
    Ok(format!("{id}.{secret}"))
}

/// Logging in again under a name is for another key of the same user, not for another cloud.
fn refuse_another(contexts: &Contexts, name: &str, wanted: &Context) -> Result<()> {
    let Some(present) = contexts.content.context.get(name) else { return Ok(()) };
    let field = |of: fn(&Context) -> &String| (of(wanted).clone(), of(present).clone());
    let fields = [
        ("url", field(|context| &context.url)),
        ("user", field(|context| &context.user)),
        ("project", field(|context| &context.project)),
    ];
    repeat::same("context", name, &fields.map(|(field, (wanted, present))| (field, wanted, present)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_the_machine() {
        for good in
            ["https://cloud.example:8773", "http://127.0.0.1:8773/", "http://localhost:1", "http://[::1]:1"]
        {
            checked(good).unwrap();
        }
        for bad in [
            "http://cloud.example:8773",
            "cloud.example:8773",
            "cloud.example",
            "ftp://127.0.0.1",
            "https://cloud.example/v1",
            "https://a:b@cloud.example",
            "https://cloud.example/?a=b",
            "",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
