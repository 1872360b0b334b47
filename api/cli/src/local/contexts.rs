//! The file of contexts: clouds and projects that one has logged in to. It holds secrets, so that only
//! its owner may read it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// All keys of the file.
const KEYS: [&str; 7] = ["current", "context", "url", "user", "project", "token", "ca_bundle"];

/// The file, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Contexts {
    path: PathBuf,
    pub(crate) content: Content,
}

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// The context that commands act on.
    pub(crate) current: Option<String>,
    /// All of them, by name.
    #[serde(default)]
    pub(crate) context: BTreeMap<String, Context>,
}

/// One cloud, and who one is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Where its REST surface is.
    pub(crate) url: String,
    /// As the cloud called them when one logged in.
    pub(crate) user: String,
    pub(crate) project: String,
    /// The credential, `access key id.secret`.
    pub(crate) token: String,
    /// PEM file of the authority that signed its certificate; the system's authorities otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_bundle: Option<PathBuf>,
}

impl Contexts {
    /// Reads `config.toml` in `folder`; without one there are no contexts.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be: then with the line and the key.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        let content = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|fault| bad(&path, &text, &fault))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Content::default(),
            Err(e) => return Err(Failure::io(path.display(), &e).docs("tepui help contexts")),
        };
        Ok(Self { path, content })
    }

    /// The current context with its name.
    ///
    /// # Errors
    /// The file names one as current that it does not have.
    pub(crate) fn current(&self) -> Result<Option<(&str, &Context)>> {
        let Some(name) = self.content.current.as_deref() else { return Ok(None) };
        match self.content.context.get(name) {
            Some(context) => Ok(Some((name, context))),
            None => Err(Failure::failed(format!("{}: current = '{name}'", self.path.display()))
                .why("there is no such context in the file")
                .try_("tepui context list")
                .try_("tepui context use NAME")
                .docs("tepui help contexts")),
        }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file whole, for its owner only.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        let text = toml::to_string(&self.content).map_err(|e| Failure::failed(e.to_string()))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Temporary files are made with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|e| e.error)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|e| Failure::io(self.path.display(), &e))
    }
}

/// Nothing of what stands in the file is said, neither value nor key: any of its words may be a secret that
/// slipped out of its place. The line tells where to look.
fn bad(path: &Path, text: &str, fault: &toml::de::Error) -> Failure {
    let before = fault.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
    let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let failure = Failure::failed(format!("{}, line {line}: {}", path.display(), rule(fault)));
    let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let key = key.and_then(|key| KEYS.into_iter().find(|known| *known == key));
    let failure = key.into_iter().fold(failure, |failure, key| failure.why(format!("the key is {key}")));
    failure
        .try_("mend the line, or move the file away and log in again: tepui login URL")
        .docs("tepui help contexts")
}

/// The rule that is broken, in words of our own: the parser's repeat what it found.
fn rule(fault: &toml::de::Error) -> Cow<'_, str> {
    let told = fault.message();
    match told {
        // It names a field of ours.
        _ if told.starts_with("missing field") => told.into(),
        _ if told.starts_with("unknown field") => {
            format!("unknown key; {} are known", KEYS.join(", ")).into()
        }
        _ if told.starts_with("invalid type") => "another kind of value belongs here".into(),
        _ => "this is no TOML".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn context(token: &str) -> Context {
        Context {
            url: "https://cloud.example:8773".into(),
            user: "ada".into(),
            project: "default".into(),
            token: token.into(),
            ca_bundle: None,
        }
    }

    #[test]
    fn what_is_saved_is_read_again_and_only_by_its_owner() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tepui");
        let mut contexts = Contexts::load(&folder).unwrap();
        assert_eq!(contexts.content, Content::default());
        contexts.content.context.insert("default@cloud.example:8773".into(), context("TPAK.s"));
        contexts.content.current = Some("default@cloud.example:8773".into());
        contexts.save().unwrap();
        contexts.save().unwrap();
        assert_eq!(Contexts::load(&folder).unwrap().content, contexts.content);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(contexts.path()), mode(&folder)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_file_is_named_with_line_and_key_and_its_secrets_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for (text, line, said) in [
            ("current = \"a\"\n[context.a]\nurl = \"u\"\ntokn = \"SECRET\"\n", 4, "unknown key"),
            ("current = 7\n", 1, "the key is current"),
            (
                "[context.a]\nurl = \"u\"\nuser = \"ada\"\nproject = \"p\"\ntoken = SECRET\n",
                5,
                "the key is token",
            ),
            ("[context.a]\nurl = \"u\"\n", 1, "missing field"),
            ("[[[", 1, ""),
            ("context = \"TPAK.SECRET\"\n", 1, "the key is context"),
            ("[context]\nlab = \"TPAK.SECRET\"\n", 2, ""),
            ("[context.a]\nca_bundle = [\"SECRET\"]\n", 2, "the key is ca_bundle"),
            ("[context.a]\nTPAK.SECRET = 1\n", 2, "unknown key"),
            ("[context.a]\nSECRET = 1\n", 2, "unknown key"),
            ("[context.a]\nSECRET = 1\nSECRET = 2\n", 3, ""),
            ("TPAK.SECRET\n", 1, ""),
            ("TPAK.SECRET=\n", 1, ""),
            ("[context.a]\ntoken = \"TPAK.SECRET\n", 2, "the key is token"),
            ("[context.a]\ntoken = 'TPAK.SECRET' SECRET\n", 2, "the key is token"),
            ("[context.SECRET]\n[context.SECRET]\n", 2, ""),
            ("current = \"\\SECRET\"\n", 1, "the key is current"),
        ] {
            fs::write(&path, text).unwrap();
            let shown = Contexts::load(folder.path()).unwrap_err().render();
            assert!(shown.contains(&format!("config.toml, line {line}: ")), "{text}: {shown}");
            assert!(shown.contains(said) && !shown.contains("SECRET"), "{text}: {shown}");
        }
    }

    #[test]
    fn a_current_context_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), "current = \"gone\"\n").unwrap();
        let failure = Contexts::load(folder.path()).unwrap().current().unwrap_err();
        assert!(failure.message.contains("'gone'"), "{failure}");
    }
}
