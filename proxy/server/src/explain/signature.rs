//! How an operator asks for a request of their own to be explained.
//!
//! The field `x-tidegate-explain` says when it was signed, in seconds since 1970, and the HMAC-SHA-256 (RFC 2104), in hexadecimal
//! digits, of that time, the method, the host and the target, with a line feed after each. So it is of no use for another request,
//! nor for long.

use std::time::SystemTime;

use tidegate_crypto::{Hash, equal, hmac};
use tidegate_io::clock::unix_seconds;

/// Seconds for which a signature holds, and by which clocks may differ.
const VALID: u64 = 300;
/// Bytes of a key.
const SHORTEST: usize = 32;

/// What a signature is made with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Without the line feed that editors leave at the end.
    ///
    /// # Errors
    ///
    /// It is so short that it could be guessed.
    pub(crate) fn new(mut key: Vec<u8>) -> Result<Self, String> {
        while key.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            key.pop();
        }
        if key.len() < SHORTEST {
            return Err(format!("a key has at least {SHORTEST} bytes: `openssl rand -hex 32` makes one"));
        }
        Ok(Self(key))
    }

    /// The value of the field, from now on.
    pub(crate) fn sign(&self, method: &str, host: &[u8], target: &str) -> String {
        let time = now();
        format!("{time}.{}", self.signature(time, method, host, target))
    }

    /// Whether `field` is the signature of such a request, and holds now.
    pub(super) fn signed(&self, field: &[u8], method: &str, host: &[u8], target: &str) -> bool {
        let parts = str::from_utf8(field).ok().and_then(|field| field.split_once('.'));
        let Some((time, signature)) = parts else { return false };
        let Ok(time) = time.parse::<u64>() else { return false };
        now().abs_diff(time) <= VALID
            && equal(signature.as_bytes(), self.signature(time, method, host, target).as_bytes())
    }

    fn signature(&self, time: u64, method: &str, host: &[u8], target: &str) -> String {
        let mut message = format!("{time}\n{method}\n").into_bytes();
        // As a rule clients leave the usual port out.
        let usual = [&b":443"[..], b":80"].iter().find_map(|port| host.strip_suffix(*port));
        message.extend(usual.unwrap_or(host).to_ascii_lowercase());
        message.extend(format!("\n{target}\n").bytes());
        hmac(Hash::Sha256, &self.0, &message).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_request_and_not_for_long() {
        let key = Key::new(b"0123456789abcdef0123456789abcdef\n".to_vec()).expect("long enough");
        let signed = key.sign("GET", b"A.test", "/x?y");
        let holds = |field: &str, method, host: &str, target| {
            key.signed(field.as_bytes(), method, host.as_bytes(), target)
        };
        assert!(holds(&signed, "GET", "a.test", "/x?y"), "hosts have no case");
        assert!(holds(&signed, "GET", "a.test:443", "/x?y") && !holds(&signed, "GET", "a.test:444", "/x?y"));
        assert!(!holds(&signed, "POST", "a.test", "/x?y"));
        assert!(!holds(&signed, "GET", "b.test", "/x?y"));
        assert!(!holds(&signed, "GET", "a.test", "/x"));
        for nonsense in ["", ".", "1.2", "x.y", &signed[1..], &signed.to_uppercase()] {
            assert!(!holds(nonsense, "GET", "a.test", "/x?y"), "{nonsense}");
        }
        let old = now() - VALID - 1;
        let old = format!("{old}.{}", key.signature(old, "GET", b"a.test", "/"));
        assert!(!holds(&old, "GET", "a.test", "/"));
        assert!(Key::new(b"short\n".to_vec()).is_err());
    }
}
