//! Keys of every kind and spelling, against published vectors.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::vectors::*;
use super::*;
use crate::{Hash, digest};

fn key(format: KeyFormat, text: &str) -> Key {
    Key::parse(format, text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(format: KeyFormat, text: &str) -> String {
    Key::parse(format, text.as_bytes()).map(|key| panic!("{key:?} of {text}")).unwrap_err().to_string()
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn algorithm(name: &str) -> Algorithm {
    name.parse().expect("an algorithm")
}

/// The signature of [`MESSAGE`] is accepted, and of nothing else, nor any other one.
fn assert_verifies(key: &Key, algorithm: Algorithm, signature: &[u8]) {
    let verify = |message: &[u8], signature: &[u8]| key.verify(algorithm, message, signature);
    assert!(key.suits(algorithm), "{algorithm} {key:?}");
    assert_eq!(verify(MESSAGE, signature), Ok(true), "{algorithm} {key:?}");
    assert_eq!(verify(&MESSAGE[1..], signature), Ok(false), "{algorithm}");
    assert_eq!(verify(b"", signature), Ok(false), "{algorithm}");
    assert_eq!(verify(MESSAGE, b""), Ok(false), "{algorithm}");
    assert_eq!(verify(MESSAGE, &signature[1..]), Ok(false), "{algorithm}");
    assert_eq!(verify(MESSAGE, &[signature, &[0]].concat()), Ok(false), "{algorithm}");
    assert_eq!(verify(MESSAGE, &vec![0; signature.len()]), Ok(false), "{algorithm}");
    for at in [0, signature.len() / 2, signature.len() - 1] {
        let mut other = signature.to_vec();
        other[at] ^= 1;
        assert_eq!(verify(MESSAGE, &other), Ok(false), "{algorithm}, byte {at}");
    }
}

#[test]
fn the_examples_of_the_rfcs_verify() {
    for jws in RFCS {
        let message = format!("{}.{}", jws.header, jws.payload);
        let key = key(KeyFormat::Jwk, jws.key);
        let signature = bytes(jws.signature);
        let verified = key.verify(algorithm(jws.algorithm), message.as_bytes(), &signature);
        assert_eq!(verified, Ok(true), "{}", jws.source);
        let other = key.verify(algorithm(jws.algorithm), &message.as_bytes()[1..], &signature);
        assert_eq!(other, Ok(false), "{}", jws.source);
    }
}

#[test]
fn an_rsa_key_verifies_however_it_is_written() {
    let keys = [
        key(KeyFormat::Pem, RSA_PEM),
        key(KeyFormat::Pem, RSA_PKCS1_PEM),
        key(KeyFormat::Pem, RSA_CERTIFICATE),
        key(KeyFormat::Jwk, RSA_JWK),
    ];
    for key in keys {
        for (name, signature) in [
            ("RS256", RS256),
            ("RS384", RS384),
            ("RS512", RS512),
            ("PS256", PS256),
            ("PS384", PS384),
            ("PS512", PS512),
        ] {
            assert_verifies(&key, algorithm(name), &bytes(signature));
        }
        assert_eq!(key.verify(Algorithm::Ps256, MESSAGE, &bytes(RS256)), Ok(false));
        assert_eq!(key.verify(Algorithm::Rs256, MESSAGE, &bytes(PS256)), Ok(false));
        assert_eq!(key.verify(Algorithm::Rs384, MESSAGE, &bytes(RS256)), Ok(false));
        assert_eq!(key.verify(Algorithm::Ps256, MESSAGE, &bytes(PS256_LONG_SALT)), Ok(false));
    }
}

#[test]
fn a_key_on_a_curve_verifies_however_it_is_written() {
    for text in [P256_PEM, P256_CERTIFICATE] {
        assert_verifies(&key(KeyFormat::Pem, text), Algorithm::Es256, &bytes(ES256));
    }
    assert_verifies(&key(KeyFormat::Jwk, P256_JWK), Algorithm::Es256, &bytes(ES256));
    assert_verifies(&key(KeyFormat::Pem, P384_PEM), Algorithm::Es384, &bytes(ES384));
    assert_verifies(&key(KeyFormat::Jwk, P384_JWK), Algorithm::Es384, &bytes(ES384));
    assert_verifies(&key(KeyFormat::Pem, ED25519_PEM), Algorithm::EdDsa, &bytes(ED25519));
}

#[test]
fn a_signature_in_der_is_not_one_of_jws() {
    let key = key(KeyFormat::Pem, P256_PEM);
    assert_eq!(key.verify(Algorithm::Es256, MESSAGE, &bytes(ES256_DER)), Ok(false));
}

#[test]
fn a_symmetric_key_verifies_codes_of_each_hash_it_is_long_enough_for() {
    let hashes = [
        (Algorithm::Hs256, Hash::Sha256, 32),
        (Algorithm::Hs384, Hash::Sha384, 48),
        (Algorithm::Hs512, Hash::Sha512, 64),
    ];
    for length in [32, 47, 48, 63, 64, 65, 200] {
        let secret = vec![7; length];
        let key = Key::parse(KeyFormat::Raw, &secret).expect("a key");
        for (algorithm, hash, needed) in hashes {
            let code = crate::hmac(hash, &secret, MESSAGE);
            if length >= needed {
                assert_verifies(&key, algorithm, &code);
            } else {
                assert!(!key.suits(algorithm));
                let short = Unsuitable::TooShort { algorithm, found: length, needed };
                assert_eq!(key.verify(algorithm, MESSAGE, &code), Err(short));
            }
        }
    }
}

#[test]
fn no_key_verifies_what_is_not_of_its_kind() {
    let cases = [
        (key(KeyFormat::Pem, RSA_PEM), "RS256 RS384 RS512 PS256 PS384 PS512"),
        (key(KeyFormat::Jwk, RSA_JWK), "RS256 RS384 RS512 PS256 PS384 PS512"),
        (key(KeyFormat::Pem, P256_PEM), "ES256"),
        (key(KeyFormat::Pem, P384_PEM), "ES384"),
        (key(KeyFormat::Pem, ED25519_PEM), "EdDSA"),
        (Key::parse(KeyFormat::Raw, &[7; 64]).expect("a key"), "HS256 HS384 HS512"),
        (key(KeyFormat::Jwk, RFCS[0].key), "HS256 HS384 HS512"),
    ];
    for (key, good) in cases {
        for algorithm in Algorithm::ALL {
            let is_good = good.split(' ').any(|name| name == algorithm.name());
            assert_eq!(key.suits(algorithm), is_good, "{algorithm} {key:?}");
            assert_eq!(key.verify(algorithm, MESSAGE, b"").is_ok(), is_good, "{algorithm} {key:?}");
        }
    }
}

/// The classic: the attacker signs with the text of the public key as the secret, and says HS256.
#[test]
fn a_public_key_is_no_secret() {
    let code = crate::hmac(Hash::Sha256, RSA_PEM.as_bytes(), MESSAGE);
    let refusal = key(KeyFormat::Pem, RSA_PEM).verify(Algorithm::Hs256, MESSAGE, &code).unwrap_err();
    assert_eq!(refusal.to_string(), "HS256 takes a symmetric key; this is an RSA key of 2048 bits");
}

#[test]
fn a_jwk_is_good_for_what_it_says() {
    let with = |members: &str| RSA_JWK.replacen('{', &format!("{{{members},"), 1);
    let restricted = key(KeyFormat::Jwk, &with(r#""alg":"PS256","use":"sig","key_ops":["verify"]"#));
    assert_verifies(&restricted, Algorithm::Ps256, &bytes(PS256));
    let refusal = restricted.verify(Algorithm::Rs256, MESSAGE, &bytes(RS256)).unwrap_err();
    assert_eq!(refusal.to_string(), "the key is for PS256 alone, as its `alg` says; asked for was RS256");
    let refused = |members| refused(KeyFormat::Jwk, &with(members));
    assert_eq!(
        refused(r#""use":"enc""#),
        "the key is not meant to verify signatures: its `use` is \"enc\", not \"sig\""
    );
    assert_eq!(
        refused(r#""key_ops":["sign","encrypt"]"#),
        "the key is not meant to verify signatures: its `key_ops` are without \"verify\""
    );
    assert!(refused(r#""alg":"RSA-OAEP""#).contains("its `alg` is \"RSA-OAEP\"; this is none of"));
    assert!(refused(r#""alg":"none""#).contains("its `alg` is \"none\""));
    assert_eq!(
        refused(r#""alg":"HS256""#),
        "the JWK says `alg` HS256, which takes a symmetric key; this is an RSA key of 2048 bits"
    );
    let ed25519 = RFCS[5].key.replacen('{', r#"{"alg":"Ed25519","#, 1);
    assert!(key(KeyFormat::Jwk, &ed25519).suits(Algorithm::EdDsa), "the name of RFC 9864");
}

#[test]
fn a_jwk_may_have_members_that_mean_nothing_here() {
    let more = r#"{"kid":"1","x5c":["AAAA"],"nbf":17,"ext":{"a":[null]},"y":null,"#;
    assert!(key(KeyFormat::Jwk, &RSA_JWK.replacen('{', more, 1)).suits(Algorithm::Rs256));
    let zero = RSA_JWK.replace(r#""e":"AQAB""#, r#""e":"AAEAAQ""#);
    assert_verifies(&key(KeyFormat::Jwk, &zero), Algorithm::Rs256, &bytes(RS256));
}

#[test]
fn private_keys_are_refused() {
    let private = KeyError::Private.to_string();
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert_eq!(refused(KeyFormat::Pem, &text), private);
    }
    for (jwk, member) in [(RSA_JWK, "d"), (RSA_JWK, "p"), (RSA_JWK, "qi"), (P256_JWK, "d")] {
        let text = jwk.replacen('{', &format!("{{\"{member}\":\"AAAA\","), 1);
        assert_eq!(refused(KeyFormat::Jwk, &text), private);
    }
}

#[test]
fn an_rsa_key_is_neither_small_nor_huge() {
    let small = "the RSA key has 1024 bits; use one of 2048 to 8192";
    assert_eq!(refused(KeyFormat::Pem, RSA_1024_PEM), small);
    assert_eq!(refused(KeyFormat::Jwk, RSA_1024_JWK), small);
    let odd = |bits: usize| {
        let mut modulus = vec![0xff; bits / 8];
        modulus[0] = 0x80;
        format!(r#"{{"kty":"RSA","e":"AQAB","n":"{}"}}"#, URL_SAFE_NO_PAD.encode(modulus))
    };
    assert!(key(KeyFormat::Jwk, &odd(8192)).suits(Algorithm::Rs256));
    assert_eq!(refused(KeyFormat::Jwk, &odd(8200)), "the RSA key has 8200 bits; use one of 2048 to 8192");
    refused(KeyFormat::Jwk, &odd(300_000));
}

#[test]
fn a_short_secret_is_refused_with_the_length_it_needs() {
    assert_eq!(
        refused(KeyFormat::Raw, "secret"),
        "the symmetric key has 6 bytes; HS256 needs at least 32, best of random ones"
    );
    assert_eq!(refused(KeyFormat::Raw, "").split(';').next(), Some("the symmetric key has 0 bytes"));
    let jwk = |alg: &str, bytes: usize| {
        format!(r#"{{"kty":"oct","alg":"{alg}","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(vec![7; bytes]))
    };
    assert_eq!(
        refused(KeyFormat::Jwk, &jwk("HS512", 63)),
        "the symmetric key has 63 bytes; HS512 needs at least 64, best of random ones"
    );
    assert!(key(KeyFormat::Jwk, &jwk("HS512", 64)).suits(Algorithm::Hs512));
    assert!(!key(KeyFormat::Jwk, &jwk("HS512", 64)).suits(Algorithm::Hs256));
}

#[test]
fn other_kinds_and_curves_are_refused_by_name() {
    let pem = |text: &str| refused(KeyFormat::Pem, text);
    assert!(pem(ED448_PEM).starts_with("Ed448 is not supported"));
    assert!(pem(P521_PEM).starts_with("an EC key on the curve 1.3.132.0.35 is not supported"));
    assert!(pem(SECP256K1_PEM).starts_with("an EC key on the curve 1.3.132.0.10 is not supported"));
    assert!(pem(RSA_PSS_PEM).starts_with("an RSA key that is marked for PSS alone is not supported"));
    let jwk = |text: &str| refused(KeyFormat::Jwk, text);
    assert!(jwk(&P256_JWK.replace("P-256", "P-521")).starts_with("the `crv` \"P-521\" is not supported"));
    assert!(jwk(r#"{"kty":"OKP","crv":"X25519","x":"AAAA"}"#).starts_with("the `crv` \"X25519\""));
    assert!(jwk(r#"{"kty":"AKP"}"#).starts_with("the `kty` \"AKP\" is not supported"));
    let long = "\u{7}".repeat(1000);
    let error = jwk(&serde_json::json!({ "kty": long }).to_string());
    assert!(error.len() < 400 && !error.contains('\u{7}'), "{error}");
}

#[test]
fn what_is_not_a_jwk_is_refused_with_what_is_missing() {
    let jwk = |text: &str| Key::parse(KeyFormat::Jwk, text.as_bytes()).unwrap_err();
    assert_eq!(jwk(r#"{"keys":[]}"#), KeyError::KeySet);
    assert_eq!(jwk("{}"), KeyError::Missing("kty"));
    assert_eq!(jwk(r#"{"kty":"RSA","n":"AAAA"}"#), KeyError::Missing("e"));
    assert_eq!(jwk(r#"{"kty":"EC","x":"AAAA"}"#), KeyError::Missing("crv"));
    assert_eq!(jwk(r#"{"kty":"OKP","crv":"Ed25519"}"#), KeyError::Missing("x"));
    assert_eq!(jwk(r#"{"kty":"oct"}"#), KeyError::Missing("k"));
    assert_eq!(jwk(r#"{"kty":"oct","k":"AAA="}"#), KeyError::NotBase64("k"));
    assert_eq!(jwk(r#"{"kty":"oct","k":"++++"}"#), KeyError::NotBase64("k"));
    assert_eq!(jwk(r#"{"kty":"oct","kty":"oct","k":"AAAA"}"#), KeyError::NotJwk { line: 1, column: 18 });
    for text in ["", "\"secret\"", "[]", "null", "17", "{", "\u{feff}{}", RSA_PEM, r#"{"kty":1}"#, "{} {}"] {
        let error = jwk(text);
        assert!(matches!(error, KeyError::NotJwk { .. }), "{text}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let short = RFCS[2].key.replace("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "AAAA");
    assert_eq!(jwk(&short), KeyError::Coordinate { member: "x", found: 3, needed: 32 });
    let off = RFCS[2].key.replace("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", &"A".repeat(43));
    assert_eq!(jwk(&off), KeyError::Damaged("a point on P-256"));
    assert_eq!(
        jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#),
        KeyError::Damaged("an Ed25519 public key")
    );
    for (n, e) in [("", "AQAB"), ("AA", "AQAB"), ("AQAB", ""), ("AQAB", "AA")] {
        let text = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#);
        assert_eq!(jwk(&text), KeyError::Damaged("an RSA public key"), "{text}");
    }
    let even = RSA_JWK.replace("AQAB", "Ag");
    assert_eq!(jwk(&even), KeyError::Damaged("an RSA public key"), "an even exponent");
}

#[test]
fn what_is_no_pem_is_refused_with_what_is_wrong() {
    let pem = |text: &str| Key::parse(KeyFormat::Pem, text.as_bytes()).unwrap_err();
    for text in ["", "secret", RSA_JWK, "-----END PUBLIC KEY-----"] {
        assert_eq!(pem(text), KeyError::NotPem);
    }
    assert!(matches!(pem("-----BEGIN PUBLIC KEY-----\nAAAA\n"), KeyError::DamagedPem(_)));
    let other_end = RSA_PEM.replace("END PUBLIC KEY", "END CERTIFICATE");
    assert!(pem(&other_end).to_string().ends_with("`PUBLIC KEY` ends with `CERTIFICATE`"));
    assert!(pem(&RSA_PEM.replace('M', "*")).to_string().ends_with("its content is not base64"));
    let other_label = RSA_PEM.replace("PUBLIC KEY", "CERTIFICATE REQUEST");
    assert_eq!(pem(&other_label), KeyError::OtherPem("CERTIFICATE REQUEST".to_owned()));
    let relabelled = RSA_PEM.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(pem(&relabelled), KeyError::Damaged("an X.509 certificate"));
    let relabelled = RSA_PKCS1_PEM.replace("RSA PUBLIC KEY", "PUBLIC KEY");
    assert_eq!(pem(&relabelled), KeyError::Damaged("a SubjectPublicKeyInfo"));
    let empty = "-----BEGIN RSA PUBLIC KEY-----\n-----END RSA PUBLIC KEY-----\n";
    assert_eq!(pem(empty), KeyError::Damaged("an RSA public key"));
}

#[test]
fn pem_may_have_text_around_it_and_any_line_ends() {
    let text = format!("issuer: example\n\n{}\nand more", RSA_PEM.replace('\n', "\r\n"));
    assert!(key(KeyFormat::Pem, &text).suits(Algorithm::Rs256));
    let chain = format!("{P256_CERTIFICATE}{RSA_CERTIFICATE}");
    assert!(key(KeyFormat::Pem, &chain).suits(Algorithm::Es256), "the first certificate is the leaf");
}

#[test]
fn no_text_is_too_long_to_be_refused() {
    for format in [KeyFormat::Pem, KeyFormat::Jwk, KeyFormat::Raw] {
        assert_eq!(Key::parse(format, &vec![b' '; MOST_BYTES + 1]).unwrap_err(), KeyError::TooLong);
    }
}

#[test]
fn debug_shows_what_a_key_is_and_not_what_is_in_it() {
    let secret = Key::parse(KeyFormat::Raw, &[b'7'; 40]).expect("a key");
    assert_eq!(format!("{secret:?}"), "Key { kind: Symmetric { bytes: 40 }, only: None, .. }");
    let public = key(KeyFormat::Jwk, RSA_JWK);
    assert_eq!(format!("{public:?}"), "Key { kind: Rsa { bits: 2048 }, only: None, .. }");
}

/// Every text cut off anywhere, and with any bit changed, is a key or an error.
#[test]
fn damaged_keys_never_panic() {
    let pems = [RSA_PEM, RSA_PKCS1_PEM, RSA_CERTIFICATE, P256_PEM, P256_CERTIFICATE, P384_PEM, ED25519_PEM];
    let jwks = [RSA_JWK, P256_JWK, P384_JWK, RFCS[0].key, RFCS[5].key];
    let all =
        pems.map(|text| (KeyFormat::Pem, text)).into_iter().chain(jwks.map(|text| (KeyFormat::Jwk, text)));
    for (format, text) in all {
        let text = text.as_bytes();
        for end in 0..text.len() {
            try_key(format, &text[..end]);
        }
        for bit in 0..text.len() * 8 {
            let mut text = text.to_vec();
            text[bit / 8] ^= 1 << (bit % 8);
            try_key(format, &text);
        }
    }
    // Within the DER, where base64 would hide most of it.
    for text in pems {
        let (label, der) = unwrapped(text);
        for end in 0..der.len() {
            try_key(KeyFormat::Pem, &wrapped(label, &der[..end]));
        }
        for bit in 0..der.len() * 8 {
            let mut der = der.clone();
            der[bit / 8] ^= 1 << (bit % 8);
            try_key(KeyFormat::Pem, &wrapped(label, &der));
        }
    }
}

/// Bytes that came of nothing: the digests of numbers, as DER and as they are.
#[test]
fn garbage_never_panics() {
    for number in 0_u32..2000 {
        let garbage = digest(Hash::Sha512, &number.to_be_bytes());
        for format in [KeyFormat::Pem, KeyFormat::Jwk] {
            try_key(format, &garbage);
        }
        for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
            try_key(KeyFormat::Pem, &wrapped(label, &garbage));
            try_key(KeyFormat::Pem, &wrapped(label, &[&[0x30, 62], &garbage[..62]].concat()));
        }
    }
}

fn try_key(format: KeyFormat, text: &[u8]) {
    match Key::parse(format, text) {
        Ok(key) => {
            let algorithm = key.checks[0].0;
            assert_ne!(key.verify(algorithm, b"another message", &[1; 256]), Ok(true));
        }
        Err(error) => assert!(error.to_string().len() < 400),
    }
}

fn unwrapped(pem: &str) -> (&str, Vec<u8>) {
    let label = pem.trim_start_matches("-----BEGIN ").split("-----").next().expect("a label");
    let content: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    (label, STANDARD.decode(content).expect("base64"))
}

fn wrapped(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes()
}

/// `cargo test -p tidegate-crypto --profile quick -- --ignored --nocapture figures`
#[test]
#[ignore = "a measurement: prints, proves nothing"]
fn figures() {
    use std::hint::black_box;
    use std::time::Instant;

    let time = |what: &str, rounds: u32, call: &dyn Fn()| {
        call();
        let best = (0..5)
            .map(|_| {
                let begin = Instant::now();
                (0..rounds).for_each(|_| call());
                begin.elapsed() / rounds
            })
            .min();
        println!("{what:24} {:9.2} µs", best.expect("rounds").as_secs_f64() * 1e6);
    };
    let keys = crate::Keys::new();
    let secret = [7; 32];
    let code = crate::hmac(Hash::Sha256, &secret, MESSAGE);
    let of = |name: &str, format, text: &[u8], signature: Vec<u8>| {
        let key = Key::parse(format, text).expect("a key");
        let algorithm = algorithm(name);
        time(name, 300, &|| {
            assert_eq!(black_box(key.verify(algorithm, MESSAGE, &signature)), Ok(true));
        });
        time(&format!("{name}, from `Keys`"), 300, &|| {
            assert_eq!(black_box(keys.verify(format, text, algorithm, MESSAGE, &signature)), Ok(true));
        });
        time(&format!("{name}, parse"), 300, &|| {
            black_box(Key::parse(format, text).expect("a key"));
        });
    };
    of("RS256", KeyFormat::Pem, RSA_PEM.as_bytes(), bytes(RS256));
    of("PS256", KeyFormat::Pem, RSA_PEM.as_bytes(), bytes(PS256));
    of("ES256", KeyFormat::Jwk, P256_JWK.as_bytes(), bytes(ES256));
    of("ES384", KeyFormat::Jwk, P384_JWK.as_bytes(), bytes(ES384));
    of("EdDSA", KeyFormat::Pem, ED25519_PEM.as_bytes(), bytes(ED25519));
    of("HS256", KeyFormat::Raw, &secret, code);
    let large = format!(
        r#"{{"kty":"RSA","e":"AQAB","n":"{}"}}"#,
        URL_SAFE_NO_PAD.encode([&[0x80], &[0xff; 1023][..]].concat())
    );
    let large = key(KeyFormat::Jwk, &large);
    time("RS256, 8192 bits", 100, &|| {
        assert_eq!(black_box(large.verify(Algorithm::Rs256, MESSAGE, &[7; 1024])), Ok(false));
    });
    for (what, length, rounds) in [("SHA-256 of 1 KiB", 1 << 10, 3000), ("SHA-256 of 1 MiB", 1 << 20, 10)] {
        let data = vec![7; length];
        time(what, rounds, &|| {
            black_box(digest(Hash::Sha256, &data));
        });
    }
}
