//! Session tokens of IMDSv2. A token carries its own expiry under a MAC with a key that lives as long
//! as the agent, so a guest that asks for millions of them fills no memory. After a restart of the
//! agent a client is answered 401 and, as on AWS, fetches another.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use tepui_types::PlacementId;

/// Makes and checks tokens.
pub struct Tokens(hmac::Key);

/// Length of the expiry in front of the MAC, in bytes.
const EXPIRY_BYTES: usize = 8;

impl Tokens {
    /// Tokens under `key`, which nobody else may know.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A token for `guest` that ends at `expiry`, counted on the agent's own clock in whole seconds.
    pub fn issue(&self, guest: PlacementId, expiry: Duration) -> String {
        let expiry = expiry.as_secs().to_be_bytes();
        let tag = hmac::sign(&self.0, &message(guest, &expiry));
        BASE64URL_NOPAD.encode(&[&expiry, tag.as_ref()].concat())
    }

    /// Whether `token` was issued to `guest` and has not ended.
    pub fn holds(&self, guest: PlacementId, token: &str, now: Duration) -> bool {
        let Ok(bytes) = BASE64URL_NOPAD.decode(token.as_bytes()) else { return false };
        let Some((expiry, tag)) = bytes.split_first_chunk::<EXPIRY_BYTES>() else { return false };
        hmac::verify(&self.0, &message(guest, expiry), tag).is_ok()
            && now.as_secs() < u64::from_be_bytes(*expiry)
    }
}

fn message(guest: PlacementId, expiry: &[u8; EXPIRY_BYTES]) -> Vec<u8> {
    [expiry.as_slice(), guest.to_string().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_holds_for_its_guest_until_its_end_and_not_when_touched() {
        let tokens = Tokens::new(&[7; 32]);
        let (guest, other) = (PlacementId::from_random(1), PlacementId::from_random(2));
        let token = tokens.issue(guest, HOUR);
        assert!(tokens.holds(guest, &token, HOUR - Duration::from_secs(1)));
        assert!(!tokens.holds(guest, &token, HOUR));
        assert!(!tokens.holds(other, &token, Duration::ZERO));
        assert!(!tokens.holds(guest, &token.to_uppercase(), Duration::ZERO));
        assert!(!tokens.holds(guest, "", Duration::ZERO));
        assert!(!Tokens::new(&[8; 32]).holds(guest, &token, Duration::ZERO));
    }
}
