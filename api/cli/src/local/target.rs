//! Which cloud commands act on, with which credential: the environment's, else the current context's.

use std::path::PathBuf;

use super::Contexts;
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
    /// `TEPUI_URL` decides: with it nothing comes from a context, so that no credential goes to another
    /// cloud than its own. Without it single variables win over the context's values.
    ///
    /// # Errors
    /// No cloud is configured, or the file of contexts is bad.
    pub(crate) fn of(world: &World) -> Result<Self> {
        let (token, ca_bundle) = (world.token.clone(), world.ca_bundle.clone());
        if let Some(url) = world.url.clone() {
            return Ok(Self { url, token, ca_bundle, source: "environment".into() });
        }
        let contexts = Contexts::load(&world.config_dir)?;
        let Some((name, context)) = contexts.current()? else { return Err(no_cloud(&contexts)) };
        let overruled = if token.is_some() { "; TEPUI_TOKEN of the environment" } else { "" };
        Ok(Self {
            url: context.url.clone(),
            token: Some(token.unwrap_or_else(|| context.token.clone())),
            ca_bundle: ca_bundle.or_else(|| context.ca_bundle.clone()),
            source: format!("context {name} of {}{overruled}", contexts.path().display()),
        })
    }
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
