//! Bootable images.

pub(super) mod import;

use clap::Subcommand;
use tepui_types::endpoint::{DeleteImage, ListImages, ListImportTasks, ShowImage};
use tepui_types::rest::{Empty, Image, ImportTask};

use self::import::Import;
use super::{or_dash, when, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the project's images and the public ones
    #[command(before_help = examples!("tepui image list", "tepui image list --json=name,digest"))]
    List,
    /// Show an image
    #[command(before_help = examples!("tepui image show debian-12", "tepui image show debian-12 --json=login_user"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Image))]
        image: String,
    },
    /// Import an image from a file or a URL
    #[command(before_help = examples!("tepui image import debian-12.qcow2 --name debian-12 --login-user debian", "tepui image import https://images.example/tiny.qcow2 --name tiny"))]
    Import(Import),
    /// List imports, also failed ones
    #[command(before_help = examples!("tepui image imports", "tepui image imports --json=name,state,message"))]
    Imports,
    /// Withdraw an image; running instances are untouched
    #[command(before_help = examples!("tepui image delete debian-11", "tepui image delete debian-11 --dry-run"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Image))]
        image: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for Image {
    const COLUMNS: &'static [&'static str] = &["name", "id", "size", "user", "public", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.to_string(),
            size(self.size_bytes),
            self.login_user.clone(),
            if self.public { "yes" } else { "no" }.into(),
            when(self.created_at),
        ]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Shown for ImportTask {
    const COLUMNS: &'static [&'static str] = &["name", "id", "state", "progress", "image", "message"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.to_string(),
            word(&self.state),
            format!("{} %", self.progress),
            or_dash(self.image_id.as_ref()),
            self.message.clone(),
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
            let list = session.call::<ListImages>(&[], &Empty {}).await?;
            session.list(&list.items, "No images yet. Import one: tepui image import FILE --name NAME")
        }
        Verb::Show { image } => {
            let image = session.call::<ShowImage>(&[&image], &Empty {}).await?;
            session.show(&image)
        }
        Verb::Import(import) => import::run(import, session).await,
        Verb::Imports => {
            let list = session.call::<ListImportTasks>(&[], &Empty {}).await?;
            session.list(&list.items, "No imports yet. Begin one: tepui image import FILE --name NAME")
        }
        Verb::Delete { image, destroy } => delete(&image, &destroy, session).await,
    }
}

async fn delete(word: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let image = session.call::<ShowImage>(&[word], &Empty {}).await?;
    let inventory = [
        format!("deletes: image {} ({}, {})", image.name, image.id, size(image.size_bytes)),
        "keeps: instances that were made from it".to_owned(),
    ];
    let id = image.id.to_string();
    if destroy.approve::<DeleteImage>(session, (&[&id], &Empty {}), &inventory, &image.name).await? {
        session.call::<DeleteImage>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    if bytes < GIB {
        return format!("{} MiB", bytes.div_ceil(MIB));
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let value = bytes as f64 / GIB as f64;
    format!("{value:.1} GiB")
}
