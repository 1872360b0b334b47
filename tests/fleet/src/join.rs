//! How the hosts become nodes: as any host does, with a join token each.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::Rng as _;
use tepui_agent::identity::{Identity, JoinToken, Joining, join};
use tepui_agent::simulate::uuid_of;
use tepui_client::Client;
use tepui_types::agent::NodeCapacity;
use tepui_types::endpoint::CreateJoinToken;
use tepui_types::rest::Empty;
use url::Url;

/// Hosts that join at once.
const AT_ONCE: usize = 64;

/// Where the hosts come from.
pub(crate) struct Fleet {
    pub(crate) api_url: Url,
    pub(crate) dir: PathBuf,
    pub(crate) capacity: NodeCapacity,
    pub(crate) client: Option<Client>,
}

impl Fleet {
    /// The identities of so many hosts; those that have none yet join first.
    pub(crate) async fn identities(&self, count: usize) -> anyhow::Result<Vec<Identity>> {
        stream::iter(0..count).map(|number| self.identity(number)).buffered(AT_ONCE).try_collect().await
    }

    async fn identity(&self, number: usize) -> anyhow::Result<Identity> {
        let dir = self.dir.join(number.to_string());
        if let Ok(identity) = Identity::load(&dir) {
            return Ok(identity);
        }
        let client = self.client.as_ref();
        let client =
            client.with_context(|| format!("host {number} has not joined: give --url and --token"))?;
        let token: JoinToken = client.call::<CreateJoinToken>(&[], &Empty {}).await?.token.parse()?;
        let joining = Joining {
            api_url: self.api_url.clone(),
            name: format!("fleet-{number}"),
            underlay_address: underlay_address(number),
            capacity: self.capacity,
        };
        let uuid = uuid_of(rand::rng().random());
        join(&dir, &joining, &token, uuid).await.with_context(|| format!("host {number} could not join"))
    }
}

/// An address of 10.128.0.0/10 for each; nothing is ever sent to it.
fn underlay_address(number: usize) -> Ipv4Addr {
    let low = u32::try_from(number).unwrap_or(u32::MAX) & 0x003f_ffff;
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 128, 0, 0]) | low)
}
