//! `DIR/env`: what a shell needs to speak with the cloud.

use super::config::REGION;
use super::names::Names;
use super::state::{Credentials, State, write_secret};
use crate::failure::Result;

/// Writes the file, for its owner only.
pub(super) fn write(names: &Names, state: &State, credentials: &Credentials) -> Result<()> {
    write_secret(&names.dir().join("env"), text(state, credentials).as_bytes())
}

fn text(state: &State, credentials: &Credentials) -> String {
    let url = format!("http://{}", state.listen);
    let variables = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", &credentials.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key),
        ("AWS_DEFAULT_REGION", REGION),
        ("TEPUI_URL", &url),
        ("TEPUI_TOKEN", &credentials.token),
    ];
    variables.map(|(name, value)| format!("export {name}={}\n", quoted(value))).concat()
}

fn quoted(value: &str) -> String {
    shlex::try_quote(value).map_or_else(|_| "''".into(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::Hypervisor;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let credentials = Credentials {
            project_id: "123456789012".into(),
            access_key_id: "TPAK1".into(),
            secret_access_key: "a/b+c'd $e".into(),
            token: "TPAK1.a/b+c'd $e".into(),
        };
        let state = State {
            network: 7,
            listen: "127.0.0.1:8773".parse().unwrap(),
            nodes: 1,
            hypervisor: Hypervisor::Sim,
            credentials: None,
            joined: Vec::new(),
            processes: Default::default(),
        };
        let script = text(&state, &credentials) + "printf %s \"$TEPUI_TOKEN $AWS_ENDPOINT_URL\"";
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "TPAK1.a/b+c'd $e http://127.0.0.1:8773");
    }
}
