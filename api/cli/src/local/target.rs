//! Which cloud commands act on, with which credential: the environment's, else the current context's.

use std::path::PathBuf;

use url::Url;

use super::{Context, Contexts};
use crate::failure::{Failure, Result};
use crate::world::World;

/// Where calls go and who makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The cloud's REST surface.
    pub(crate) url: String,
    /// The credential; `None` when the environment names a cloud without one.
    pub(crate) token: Option<String>,
    /// PEM file of the cloud's authority.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Where all this came from, for people.
    pub(crate) source: String,
}

impl Target {
    /// `TEPUI_URL` decides: with it cloud and credential are the environment's, without it the current
    /// context's. The two are never mixed: a credential goes to the cloud that it was given for.
    ///
    /// # Errors
    /// No cloud is configured, the file of contexts is bad, or nothing says which cloud `TEPUI_TOKEN` is for.
    pub(crate) fn of(world: &World) -> Result<Self> {
        let (token, ca_bundle) = (world.token.clone(), world.ca_bundle.clone());
        if let Some(url) = world.url.clone() {
            return Ok(Self { url, token, ca_bundle, source: "environment".into() });
        }
        let contexts = Contexts::load(&world.config_dir)?;
        let Some((name, context)) = contexts.current()? else { return Err(no_cloud(&contexts)) };
        if token.is_some() {
            return Err(token_of_no_cloud(name, context));
        }
        Ok(Self {
            url: context.url.clone(),
            token: Some(context.token.clone()),
            ca_bundle: ca_bundle.or_else(|| context.ca_bundle.clone()),
            source: format!("context {name} of {}", contexts.path().display()),
        })
    }
}

/// The credential of the environment, if it is for the cloud at `url`: `TEPUI_URL` says which it is for.
pub(crate) fn token_for<'a>(world: &'a World, url: &Url) -> Option<&'a str> {
    let own = world.url.as_deref().and_then(|own| Url::parse(own).ok())?;
    world.token.as_deref().filter(|_| own.origin() == url.origin())
}

fn token_of_no_cloud(name: &str, context: &Context) -> Failure {
    Failure::usage("TEPUI_TOKEN is set, and TEPUI_URL is not")
        .why("a credential goes only to the cloud that it was given for, which TEPUI_URL names")
        .why(format!("context {name} ({}) has a credential of its own", context.url))
        .try_("unset TEPUI_TOKEN     (to act as the context says)")
        .try_(format!("export TEPUI_URL={}     (if the token is for this cloud)", context.url))
        .docs("tepui help environment")
}

fn no_cloud(contexts: &Contexts) -> Failure {
    let failure = Failure::failed("no cloud is configured").docs("tepui help contexts");
    if !contexts.content.context.is_empty() {
        return failure
            .why("TEPUI_URL is not set, and no context is current")
            .try_("tepui context list")
            .try_("tepui context use NAME");
    }
    failure
        .why("TEPUI_URL is not set, and nobody has logged in here")
        .try_("sudo tepui dev up --dir demo && . demo/env     (a cloud on this machine)")
        .try_("tepui login https://HOST:8773     (to join one)")
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;

    fn world(folder: &std::path::Path, url: Option<&str>, token: Option<&str>) -> World {
        World {
            url: url.map(str::to_owned),
            token: token.map(str::to_owned),
            ca_bundle: None,
            config_dir: folder.to_owned(),
            data_dir: folder.to_owned(),
            stdout_is_terminal: false,
            stdin_is_terminal: false,
            width: None,
            progress: ProgressDrawTarget::hidden,
            random: || [0; 32],
        }
    }

    const CONTEXT: &str = "current = \"lab\"\n[context.lab]\nurl = \"https://lab.example:8773\"\nuser = \"a\"\n\
                           project = \"p\"\ntoken = \"LAB.secret\"\n";

    #[test]
    fn a_credential_goes_only_to_the_cloud_that_it_was_given_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), CONTEXT).unwrap();
        let target = |url, token| Target::of(&world(folder.path(), url, token));
        let (lab, other) = ("https://lab.example:8773", "https://other.example");
        let sent = |target: Target| (target.url, target.token);
        assert_eq!(sent(target(None, None).unwrap()), (lab.into(), Some("LAB.secret".into())));
        assert_eq!(sent(target(Some(other), None).unwrap()), (other.into(), None));
        assert_eq!(sent(target(Some(other), Some("A.b")).unwrap()), (other.into(), Some("A.b".into())));
        let told = target(None, Some("A.b")).unwrap_err().render();
        assert!(told.contains("TEPUI_URL is not") && !told.contains("A.b"), "{told}");
    }

    #[test]
    fn a_login_takes_the_environments_credential_only_where_it_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let taken = |own, url: &str| {
            let world = world(folder.path(), own, Some("A.b"));
            token_for(&world, &Url::parse(url).unwrap()).map(str::to_owned)
        };
        let own = Some("https://cloud.example:8773/");
        assert_eq!(taken(own, "https://cloud.example:8773").as_deref(), Some("A.b"));
        for other in ["https://cloud.example", "http://cloud.example:8773", "https://cloud.example.org:8773"]
        {
            assert_eq!(taken(own, other), None, "{other}");
        }
        assert_eq!(taken(None, "https://cloud.example:8773"), None, "nothing says whose it is");
        assert_eq!(taken(Some("cloud.example"), "https://cloud.example:8773"), None);
    }
}
