//! Folders of NFS servers that are not the cloud's.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::as_text;

/// The longest name of a folder, in bytes: what is below it must fit into what the mount protocol carries (RFC 1813,
/// 5.1.2: 1024).
const LONGEST: usize = 255;

/// A folder of a filer, for example `10.0.0.9:/export/volumes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilerFolder {
    /// The filer, at the ports of NFS 3.
    pub server: Ipv4Addr,
    /// The folder as the filer names it: absolute, without `.` and `..`.
    pub path: String,
}

/// The text is not a filer's folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a filer's folder is an IPv4 address, a colon and an absolute path of up to {LONGEST} characters \
     without . and .., for example 10.0.0.9:/export/volumes"
)]
pub struct ParseFilerFolderError;

impl fmt::Display for FilerFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.server, self.path)
    }
}

impl FromStr for FilerFolder {
    type Err = ParseFilerFolderError;

    fn from_str(text: &str) -> Result<Self, ParseFilerFolderError> {
        let (server, path) = text.split_once(':').ok_or(ParseFilerFolderError)?;
        let server = server.parse().map_err(|_| ParseFilerFolderError)?;
        is_plain(path).then(|| Self { server, path: path.to_owned() }).ok_or(ParseFilerFolderError)
    }
}

fn is_plain(path: &str) -> bool {
    let parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= LONGEST && !path.chars().any(char::is_control) && parts.into_iter().all(is_name)
}

as_text!(FilerFolder, r"^[0-9.]{7,15}:/.+$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_an_address_and_an_absolute_path() {
        let text = "10.0.0.9:/export/fast volumes";
        let folder: FilerFolder = text.parse().unwrap();
        assert_eq!((folder.server, folder.path.as_str()), ([10, 0, 0, 9].into(), "/export/fast volumes"));
        assert_eq!(folder.to_string(), text);
        let long = format!("10.0.0.9:/{}", "x".repeat(LONGEST));
        for wrong in [
            "10.0.0.9",
            "10.0.0.9:",
            "10.0.0.9:/",
            "10.0.0.9:export",
            "10.0.0.9:/a/../b",
            "10.0.0.9:/a//b",
            "10.0.0.9:/a/",
            "10.0.0.9:/a\n",
            "filer:/export",
            "[::1]:/export",
            ":/export",
            &long,
        ] {
            assert_eq!(wrong.parse::<FilerFolder>(), Err(ParseFilerFolderError), "{wrong:?}");
        }
    }
}
