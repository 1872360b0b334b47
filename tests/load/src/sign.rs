//! SigV4 for the one form of request that this program sends. The server's verification is proven
//! against other signers; here only the cost matters.

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The content type of every request.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const SIGNED: &str = "content-type;host;x-amz-date";
const SERVICE: &str = "ec2";

/// An access key with what its signatures have in common for a day.
pub(crate) struct Signer {
    key_id: String,
    secret: String,
    region: String,
    host: String,
    day: String,
    day_key: Vec<u8>,
}

impl Signer {
    /// For requests to `host`.
    pub(crate) fn new(key_id: &str, secret: &str, region: &str, host: &str) -> Self {
        Self {
            key_id: key_id.into(),
            secret: secret.into(),
            region: region.into(),
            host: host.into(),
            day: String::new(),
            day_key: Vec::new(),
        }
    }

    /// The date and the Authorization header of a request with this body.
    pub(crate) fn sign(&mut self, body: &str, now: jiff::Timestamp) -> anyhow::Result<(String, String)> {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = date.get(..8).unwrap_or_default().to_owned();
        if self.day != day {
            self.day_key = self.key_of(&day)?;
            self.day = day;
        }
        let host = &self.host;
        let body = HEXLOWER.encode(&Sha256::digest(body));
        let canonical =
            format!("POST\n/\n\ncontent-type:{FORM}\nhost:{host}\nx-amz-date:{date}\n\n{SIGNED}\n{body}");
        let scope = format!("{}/{}/{SERVICE}/aws4_request", self.day, self.region);
        let digest = HEXLOWER.encode(&Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let signature = HEXLOWER.encode(&mac(&self.day_key, &text)?);
        let header = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            self.key_id
        );
        Ok((date, header))
    }

    fn key_of(&self, day: &str) -> anyhow::Result<Vec<u8>> {
        let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), day)?;
        for text in [&self.region, SERVICE, "aws4_request"] {
            key = mac(&key, text)?;
        }
        Ok(key)
    }
}

fn mac(key: &[u8], text: &str) -> anyhow::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}
