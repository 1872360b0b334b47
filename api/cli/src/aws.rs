//! The `aws ec2` command that does the same, for those who come from there.

use clap::Args;

use crate::session::Session;

/// The option of the commands that have an equivalent.
#[derive(Debug, Clone, Copy, Args)]
pub struct ShowAws {
    /// Print the equivalent aws command on standard error
    #[arg(long)]
    pub show_aws: bool,
}

impl ShowAws {
    /// Prints `aws ec2` and these words, if that is wanted.
    pub fn say(self, session: &mut Session, words: &[String]) {
        if self.show_aws {
            let all = ["aws", "ec2"].into_iter().chain(words.iter().map(String::as_str));
            session.note(&shell_line(all));
        }
    }
}

/// The words as a line that a shell reads as these words.
pub(crate) fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    // Only a NUL byte cannot be quoted, and none can come from a command line.
    shlex::try_join(words).unwrap_or_default()
}
