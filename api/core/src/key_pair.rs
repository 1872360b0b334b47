//! SSH key pairs. A private key leaves in the reply that made it and is kept nowhere.

use std::sync::Arc;

use md5::Md5;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha1::{Digest as _, Sha1};
use ssh_key::private::{Ed25519Keypair, RsaKeypair};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, rand_core};
use tepui_db::CreateOutcome;
use tepui_db::model::{KeyKind, KeyPair};
use tepui_types::KeyPairId;
use tokio::sync::Semaphore;

use crate::identity::taken;
use crate::limits::{self, Tags};
use crate::{Caller, Cloud, Entropy, Error, Kind, NameOrId};

/// Bits of a created RSA key, as on AWS (EC2 user guide, "Create a key pair").
const RSA_BITS: usize = 2048;

/// Keys made at once: the threads on which that happens are those that also read the database.
static GENERATIONS: Semaphore = Semaphore::const_new(2);

/// A created key pair with its private key.
#[derive(Clone)]
pub struct NewKeyPair {
    /// What is stored.
    pub key_pair: KeyPair,
    /// PEM: PKCS#1 for RSA, OpenSSH's form for Ed25519, as on AWS.
    pub private_key: String,
}

/// The halves of a key, as they are stored and shown.
struct Material {
    public: PublicKey,
    private_pem: String,
    fingerprint: String,
}

impl Cloud {
    /// Creates a key pair.
    ///
    /// # Errors
    /// `InvalidInput`, `AlreadyExists` for the name.
    pub async fn create_key_pair(
        &self,
        caller: &Caller,
        name: &str,
        kind: KeyKind,
        tags: &Tags,
    ) -> Result<NewKeyPair, Error> {
        check(name, tags)?;
        let id = KeyPairId::from_random(self.random());
        self.commit(caller, "CreateKeyPair", id.to_string(), async {
            let material = self.generate(kind).await?;
            let key_pair = self.key_pair(caller, id, name, &material.public, (kind, material.fingerprint))?;
            self.store_key_pair(&key_pair, tags).await?;
            Ok(NewKeyPair { key_pair, private_key: material.private_pem })
        })
        .await
    }

    /// Finding primes takes longer than a task may hold its thread.
    async fn generate(&self, kind: KeyKind) -> Result<Material, Error> {
        let _turn = GENERATIONS.acquire().await.map_err(Error::internal)?;
        let entropy = Arc::clone(&self.entropy);
        let made = tokio::task::spawn_blocking(move || generate(kind, entropy.as_ref())).await;
        made.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// Stores a public key in OpenSSH's one-line form: Ed25519, or RSA of 2048 to 16384 bits.
    ///
    /// # Errors
    /// `InvalidInput`, `AlreadyExists` for the name.
    pub async fn import_key_pair(
        &self,
        caller: &Caller,
        name: &str,
        public_key: &[u8],
        tags: &Tags,
    ) -> Result<KeyPair, Error> {
        check(name, tags)?;
        let (public, kind, fingerprint) = parse_public(public_key)?;
        let id = KeyPairId::from_random(self.random());
        let key_pair = self.key_pair(caller, id, name, &public, (kind, fingerprint))?;
        let write = self.store_key_pair(&key_pair, tags);
        self.commit(caller, "ImportKeyPair", id.to_string(), write).await?;
        Ok(key_pair)
    }

    /// The caller's key pairs, by name.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn key_pairs(&self, caller: &Caller) -> Result<Vec<KeyPair>, Error> {
        Ok(self.db.key_pairs(caller.project).await?)
    }

    /// Deletes a key pair; `None` when there was none, which is no error on AWS. Running instances
    /// keep the key they were launched with.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn delete_key_pair(
        &self,
        caller: &Caller,
        key: &NameOrId<KeyPairId>,
    ) -> Result<Option<KeyPair>, Error> {
        let keys = self.key_pairs(caller).await?;
        let found = keys.into_iter().find(|have| match key {
            NameOrId::Id(id) => have.id == *id,
            NameOrId::Name(name) => have.name == *name,
        });
        let resource = found.as_ref().map_or_else(String::new, |found| found.id.to_string());
        self.commit(caller, "DeleteKeyPair", resource, async {
            match found {
                Some(found) => Ok(self.db.delete_key_pair(caller.project, found.id).await?),
                None => Ok(None),
            }
        })
        .await
    }

    fn key_pair(
        &self,
        caller: &Caller,
        id: KeyPairId,
        name: &str,
        public: &PublicKey,
        (kind, fingerprint): (KeyKind, String),
    ) -> Result<KeyPair, Error> {
        let mut public = public.clone();
        public.set_comment(name);
        Ok(KeyPair {
            id,
            project_id: caller.project,
            name: name.to_owned(),
            kind,
            fingerprint,
            public_key: public.to_openssh().map_err(Error::internal)?,
            created_at: self.now(),
        })
    }

    async fn store_key_pair(&self, key: &KeyPair, tags: &Tags) -> Result<(), Error> {
        match self.db.create_key_pair(key, &limits::tag_pairs(tags)).await? {
            CreateOutcome::Created => Ok(()),
            CreateOutcome::NameTaken(id) => Err(taken(Kind::KeyPair, &key.name, id)),
            CreateOutcome::ParentMissing => Err(Error::not_found(Kind::Project, key.project_id)),
        }
    }
}

fn check(name: &str, tags: &Tags) -> Result<(), Error> {
    limits::check_name("key_name", name, limits::NAME)?;
    limits::check_tags(tags)
}

fn generate(
    kind: KeyKind,
    entropy: &dyn Entropy,
) -> Result<Material, Box<dyn std::error::Error + Send + Sync>> {
    match kind {
        KeyKind::Ed25519 => {
            let private = PrivateKey::from(Ed25519Keypair::random(&mut Rng(entropy)));
            let public = private.public_key().clone();
            let private_pem = private.to_openssh(LineEnding::LF)?.to_string();
            Ok(Material { fingerprint: sha256_fingerprint(&public), public, private_pem })
        }
        KeyKind::Rsa => {
            let private = RsaPrivateKey::new(&mut Rng(entropy), RSA_BITS)?;
            let public = PrivateKey::from(RsaKeypair::try_from(&private)?).public_key().clone();
            let fingerprint = colons(&Sha1::digest(private.to_pkcs8_der()?.as_bytes()));
            let private_pem = private.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF)?.to_string();
            Ok(Material { public, private_pem, fingerprint })
        }
    }
}

fn parse_public(bytes: &[u8]) -> Result<(PublicKey, KeyKind, String), Error> {
    let refused = |rule: &str| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        Error::invalid("public_key", start, rule)
    };
    const FORMAT: &str = "is one line in OpenSSH's form: ssh-ed25519 or ssh-rsa";
    let text = std::str::from_utf8(bytes).map_err(|_| refused(FORMAT))?;
    let public = PublicKey::from_openssh(text.trim()).map_err(|_| refused(FORMAT))?;
    match public.key_data() {
        KeyData::Ed25519(_) => {
            let fingerprint = sha256_fingerprint(&public);
            Ok((public, KeyKind::Ed25519, fingerprint))
        }
        KeyData::Rsa(key) => {
            let key = RsaPublicKey::try_from(key).map_err(|_| refused("is a valid RSA key"))?;
            if !(2048..=16_384).contains(&(key.size() * 8)) {
                return Err(refused("has 2048 to 16384 bits when it is RSA"));
            }
            let der = key.to_public_key_der().map_err(Error::internal)?;
            Ok((public, KeyKind::Rsa, colons(&Md5::digest(der.as_bytes()))))
        }
        _ => Err(refused(FORMAT)),
    }
}

/// As AWS shows Ed25519 keys: padded base64, without OpenSSH's `SHA256:`.
fn sha256_fingerprint(key: &PublicKey) -> String {
    data_encoding::BASE64.encode(key.fingerprint(HashAlg::Sha256).as_bytes())
}

fn colons(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Our source of chance in the shape that the key crates want.
struct Rng<'a>(&'a dyn Entropy);

impl rand_core::RngCore for Rng<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

// [`Entropy`] promises bytes fit for keys.
impl rand_core::CryptoRng for Rng<'_> {}

#[cfg(test)]
mod tests;
