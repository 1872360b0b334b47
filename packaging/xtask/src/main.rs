//! Developer tasks.
//!
//! `ec2-codegen` reads the service models that ship in the botocore package and writes, for the
//! actions in `ec2.toml` only, request structs with their parser, reply structs with their writer,
//! the action table, the model that tests hold replies to, and the coverage page. The output is
//! committed; the models are not.

mod config;
mod coverage;
mod generate;
mod model;
mod operations;
mod reach;
mod shapes;
mod validation;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use config::Config;
use model::Model;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Writes api/ec2/src/generated, its golden files and docs/ec2-coverage.md
    Ec2Codegen {
        /// Directory of the botocore package, of the version in packaging/requirements.txt
        #[arg(long, env = "TEPUI_BOTOCORE")]
        models: PathBuf,
    },
}

/// The models of all services.
struct Models {
    ec2: Model,
    sts: Model,
}

impl Models {
    fn load(botocore: &Path) -> Result<Self> {
        let ec2 = Model::load(botocore, "ec2", "2016-11-15")?;
        let sts = Model::load(botocore, "sts", "2011-06-15")?;
        Ok(Self { ec2, sts })
    }

    fn of(&self, service: &str) -> Result<&Model> {
        match service {
            "ec2" => Ok(&self.ec2),
            "sts" => Ok(&self.sts),
            _ => bail!("no model of {service}"),
        }
    }
}

fn main() -> Result<()> {
    let Task::Ec2Codegen { models } = Arguments::parse().task;
    let root = root();
    for (path, text) in generate::files(&root, &read_config()?, &Models::load(&models)?)? {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("no parent directory")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_config() -> Result<Config> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ec2.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not valid", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make test` sets `TEPUI_BOTOCORE`, so that this is not skipped there.
    #[test]
    fn the_committed_code_is_what_the_model_gives() {
        let Some(botocore) = std::env::var_os("TEPUI_BOTOCORE") else {
            eprintln!("skipped: TEPUI_BOTOCORE does not name the directory of the botocore package");
            return;
        };
        let models = Models::load(Path::new(&botocore)).unwrap();
        for (path, text) in generate::files(&root(), &read_config().unwrap(), &models).unwrap() {
            let committed = fs::read_to_string(root().join(&path)).unwrap_or_default();
            assert!(
                committed == text,
                "{} is stale: run `cargo run -p xtask -- ec2-codegen`",
                path.display()
            );
        }
    }
}
