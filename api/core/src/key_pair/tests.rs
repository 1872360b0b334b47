use rsa::pkcs1::DecodeRsaPrivateKey as _;

use super::*;

const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC8t5dBL+C1VcSeXO57P4wgpeR/rjJNRZFL5B4ZJmIiPTPuTC5G5/GxUnngcmFyDzDN4LfF10hWJXpHsQBM32LYi/A5Aatou9uQ4Gqjj/KO22lM4ssj06SiabXEWLr4JwjfKRg/UpZMmDFBw3L3k/Qp5xH1vnq5dmtK/aOLev8HqU8zkjYUbQvi8D8FsXueovu0/D/E/YLdAFVkhNhW1EbBc5xNjPAaEwqcL8Kw2OyEOlXsaNhstFZMJag+kbE6fj1UxjSHgts80x0j886Ey2+/C/3km/6RdXrFgJ+H227NXHjS1xla8063jmatfttfWQDwi1Ld1aCLZ3RrHen9wdiJ me@host";
const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC/gzLtMlKboyUJKKyqobNDvK+ruWCvI5mGGxgF5HYid x";
const SHORT_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDBXFOep2VHZBJSN1av4/0nUPh+6kajWmFj1nY2zbfrIaCN8TolT1RW/ZllrQOouu+xVi0t0HwxAN45AFwhNkN7g2A+BE+DZnokFvse6CqqSwGOf1+0TiztvDcXpm1/WL4+FCCGPqv36mjLBuho3qp4wZN8fsn4hshghCBEeCNuqQ==";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEq3EK/X7ZRrHds8tKOnD1gRZy3RwhGuKQUxWuz8ZkZiGy0aquxoUMfyDg+PNWgCc2t/Ru/qBCZarhln27cr810=";

/// Repeatable bytes that are random enough for primes to be found.
struct Fixed(std::sync::Mutex<u64>);

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        let mut counter = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(32) {
            *counter += 1;
            chunk.copy_from_slice(&sha2::Sha256::digest(counter.to_le_bytes())[..chunk.len()]);
        }
    }
}

#[test]
fn imported_keys_have_the_fingerprints_that_aws_shows() {
    // `openssl rsa -pubout -outform DER | openssl md5 -c` and `ssh-keygen -l`, padded.
    let (_, kind, fingerprint) = parse_public(RSA.as_bytes()).unwrap();
    assert_eq!(
        (kind, fingerprint.as_str()),
        (KeyKind::Rsa, "2e:00:fd:9e:d4:90:06:cb:c4:e8:4b:ed:8c:49:f9:ef")
    );
    let (_, kind, fingerprint) = parse_public(ED25519.as_bytes()).unwrap();
    assert_eq!(
        (kind, fingerprint.as_str()),
        (KeyKind::Ed25519, "/BgKoSrDozmP6q0aDIL63yBIN/gMU9uHZury1OvE6FA=")
    );
}

#[test]
fn other_kinds_short_keys_and_noise_are_refused_by_name_of_the_rule() {
    for key in [SHORT_RSA, ECDSA, "", "ssh-rsa AAAA", "ssh-ed25519 \n ssh-ed25519", "\u{0}\u{ff}"] {
        let error = parse_public(key.as_bytes()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: "public_key", .. }), "{key}: {error}");
    }
    assert!(parse_public(&[0xff, 0xfe]).is_err());
}

#[test]
fn created_keys_match_their_private_halves() {
    let entropy = Fixed(0.into());
    let rsa = generate(KeyKind::Rsa, &entropy).unwrap();
    assert!(rsa.private_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let private = RsaPrivateKey::from_pkcs1_pem(&rsa.private_pem).unwrap();
    assert_eq!(private.size() * 8, RSA_BITS);
    let public = RsaKeypair::try_from(&private).map(PrivateKey::from).unwrap().public_key().clone();
    assert_eq!(public.key_data(), rsa.public.key_data());
    assert_eq!(rsa.fingerprint.len(), 59, "twenty bytes of SHA-1, with colons");

    let ed25519 = generate(KeyKind::Ed25519, &entropy).unwrap();
    let private = PrivateKey::from_openssh(&ed25519.private_pem).unwrap();
    assert_eq!(private.public_key().key_data(), ed25519.public.key_data());
    assert_eq!(ed25519.fingerprint.len(), 44);
}
