//! How to log in to a guest with OpenSSH's client.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest one knock at the door may take.
const KNOCK: Duration = Duration::from_secs(3);

/// Everything an ssh command line needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The guest's user.
    pub user: String,
    /// Where it answers.
    pub address: IpAddr,
    /// The private key's file; `None` leaves the choice to ssh and its agent.
    pub key: Option<PathBuf>,
    /// The instance id: host keys are filed under it, because addresses go from guest to guest.
    pub host_key_alias: String,
    /// The cloud's own file of host keys.
    pub known_hosts: PathBuf,
}

impl Login {
    /// The command line, the program first.
    pub(crate) fn command(&self, remote: &[OsString]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["ssh".into()];
        if let Some(key) = &self.key {
            words.extend(["-i".into(), key.into(), "-o".into(), "IdentitiesOnly=yes".into()]);
        }
        for option in self.options() {
            words.extend(["-o".into(), option]);
        }
        words.push(format!("{}@{}", self.user, self.address).into());
        if !remote.is_empty() {
            words.push("--".into());
        }
        words.extend_from_slice(remote);
        words
    }

    /// A new guest's key is taken on first sight and a changed one refused: each instance id has
    /// one host key for life.
    fn options(&self) -> [OsString; 3] {
        let mut known_hosts = OsString::from("UserKnownHostsFile=");
        known_hosts.push(quoted(&self.known_hosts));
        [
            format!("HostKeyAlias={}", self.host_key_alias).into(),
            known_hosts,
            "StrictHostKeyChecking=accept-new".into(),
        ]
    }
}

/// ssh splits this option's value at spaces unless it is quoted.
fn quoted(path: &Path) -> OsString {
    let mut text = OsString::from("\"");
    text.push(path);
    text.push("\"");
    text
}

/// Whether an SSH server greets at `address`.
pub(crate) async fn answers(address: IpAddr) -> bool {
    timeout(KNOCK, greets(SocketAddr::new(address, 22))).await.unwrap_or(false)
}

async fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-"
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn login() -> Login {
        Login {
            user: "debian".into(),
            address: "198.18.0.7".parse().unwrap(),
            key: Some("/home/ada/keys/k".into()),
            host_key_alias: "i-0123456789abcdef0".into(),
            known_hosts: "/home/ada lovelace/known_hosts".into(),
        }
    }

    #[test]
    fn the_command_line_pins_key_and_host() {
        let words: Vec<String> = login()
            .command(&["uname".into(), "-a".into()])
            .iter()
            .map(|w| w.to_string_lossy().into())
            .collect();
        insta::assert_snapshot!(words.join("\n"));
    }

    #[test]
    fn ssh_itself_understands_the_options() {
        let mut words = login().command(&[]);
        words.insert(1, "-G".into());
        let output = std::process::Command::new(&words[0]).args(&words[1..]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in [
            "user debian",
            "hostkeyalias i-0123456789abcdef0",
            "stricthostkeychecking accept-new",
            "userknownhostsfile /home/ada lovelace/known_hosts",
            "identitiesonly yes",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in {text}");
        }
    }

    #[tokio::test]
    async fn a_greeting_counts_and_an_open_port_alone_does_not() {
        for (words, expected) in [(&b"SSH-2.0-x\r\n"[..], true), (b"HTTP/1.1", false), (b"", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(words).await.unwrap();
            });
            assert_eq!(greets(address).await, expected);
            server.await.unwrap();
        }
    }
}
