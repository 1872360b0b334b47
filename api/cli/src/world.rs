//! Everything that comes from outside: surroundings, terminal and chance. The binary fills it
//! in; nothing else in this crate asks the environment or the terminal.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use indicatif::ProgressDrawTarget;

/// The surroundings of one command.
#[derive(Debug, Clone)]
pub struct World {
    /// `TEPUI_URL`: where the cloud's REST surface is.
    pub url: Option<String>,
    /// `TEPUI_TOKEN`: the credential, `access key id.secret`.
    pub token: Option<String>,
    /// `TEPUI_CA_BUNDLE` or `AWS_CA_BUNDLE`: PEM file of the authority that signed the cloud's
    /// certificate.
    pub ca_bundle: Option<PathBuf>,
    /// Where the file of contexts is kept: `$XDG_CONFIG_HOME/tepui`.
    pub config_dir: PathBuf,
    /// Where keys and known hosts are kept: `$XDG_DATA_HOME/tepui`.
    pub data_dir: PathBuf,
    /// A person reads standard output.
    pub stdout_is_terminal: bool,
    /// A person can answer questions.
    pub stdin_is_terminal: bool,
    /// Columns of the terminal.
    pub width: Option<u16>,
    /// Where live progress is drawn; hidden when nobody watches.
    pub progress: fn() -> ProgressDrawTarget,
    /// Secret random bytes.
    pub random: fn() -> [u8; 32],
}

/// Where a command reads and writes.
pub struct Streams {
    /// The answer.
    pub out: Box<dyn Write + Send>,
    /// Progress, questions and errors.
    pub err: Box<dyn Write + Send>,
    /// A person's answers.
    pub input: Box<dyn BufRead + Send>,
}
