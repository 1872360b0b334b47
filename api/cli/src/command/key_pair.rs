//! SSH keys that guests let in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tepui_types::endpoint::{CreateKeyPair, DeleteKeyPair, ListKeyPairs, ShowKeyPair, Whoami};
use tepui_types::rest::{CreateKeyPairRequest, Empty, KeyPair};

use super::{when, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::local::KeyStore;
use crate::output::Shown;
use crate::repeat;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List key pairs
    #[command(before_help = examples!("tepui key-pair list", "tepui key-pair list --json=name,fingerprint"))]
    List,
    /// Show a key pair
    #[command(before_help = examples!("tepui key-pair show laptop", "tepui key-pair show laptop --json=public_key"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::KeyPair))]
        key_pair: String,
    },
    /// Make a key pair here; only its public half goes to the cloud
    #[command(before_help = examples!("tepui key-pair create laptop", "tepui key-pair create laptop --quiet"))]
    Create {
        /// Unique in the project
        name: String,
    },
    /// Import a public key
    #[command(before_help = examples!("tepui key-pair import laptop ~/.ssh/id_ed25519.pub", "tepui key-pair import build build.pub"))]
    Import(Import),
    /// Delete a key pair; running instances keep their key
    #[command(before_help = examples!("tepui key-pair delete laptop", "tepui key-pair delete laptop --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::KeyPair))]
        key_pair: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// Which key under which name.
#[derive(Debug, Args)]
pub struct Import {
    /// Unique in the project
    name: String,
    /// A public key in OpenSSH's form
    file: PathBuf,
}

impl Shown for KeyPair {
    const COLUMNS: &'static [&'static str] = &["name", "id", "kind", "fingerprint", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.to_string(),
            word(&self.kind),
            self.fingerprint.clone(),
            when(self.created_at),
        ]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListKeyPairs>(&[], &Empty {}).await?;
            session.list(&list.items, "No key pairs yet. Make one: tepui key-pair create laptop")
        }
        Verb::Show { key_pair } => {
            let shown = session.call::<ShowKeyPair>(&[&key_pair], &Empty {}).await?;
            session.show(&shown)
        }
        Verb::Create { name } => create(&name, session).await,
        Verb::Import(import) => {
            let text =
                std::fs::read_to_string(&import.file).map_err(|e| Failure::io(import.file.display(), &e))?;
            let key_pair = ensure(session, &import.name, text.trim()).await?;
            session.show(&key_pair)
        }
        Verb::Delete { key_pair, destroy } => delete(&key_pair, &destroy, session).await,
    }
}

async fn create(name: &str, session: &mut Session) -> Result<()> {
    let project = session.call::<Whoami>(&[], &Empty {}).await?.project;
    let store = KeyStore::new(&session.world.data_dir);
    let path = store.path(&project.id.to_string(), name);
    let key = match store.get(&path)? {
        Some(key) => key,
        None => store.create(&path, &(session.world.random)(), name)?,
    };
    let key_pair = ensure(session, name, &key.public).await?;
    session.note(&format!("private key: {}", key.path.display()));
    session.show(&key_pair)
}

/// Imports the public key under `name`, or finds that it is there already.
pub(super) async fn ensure(session: &mut Session, name: &str, public_key: &str) -> Result<KeyPair> {
    let request = CreateKeyPairRequest { name: name.into(), kind: None, public_key: Some(public_key.into()) };
    match session.call::<CreateKeyPair>(&[], &request).await {
        Ok(created) => Ok(created.key_pair),
        Err(failure) if repeat::is_taken(&failure) => {
            let present = session.call::<ShowKeyPair>(&[name], &Empty {}).await?;
            let field = ("public key", without_comment(public_key), without_comment(&present.public_key));
            repeat::same("key-pair", name, &[field])?;
            Ok(present)
        }
        Err(failure) => Err(failure),
    }
}

/// Kind and key: the comment is nobody's identity.
fn without_comment(public_key: &str) -> String {
    public_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

async fn delete(word: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let key_pair = session.call::<ShowKeyPair>(&[word], &Empty {}).await?;
    let inventory = [format!("deletes: key pair {} ({})", key_pair.name, key_pair.id)];
    let id = key_pair.id.to_string();
    if destroy.approve::<DeleteKeyPair>(session, (&[&id], &Empty {}), &inventory, &key_pair.name).await? {
        session.call::<DeleteKeyPair>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}
