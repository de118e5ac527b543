//! Hashes as password files have them: read, bounded, and compared with a password.

use argon2::{Algorithm, Argon2, Version};
use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use phc::PasswordHash;
use sha_crypt::password_hash::Error as ShaCryptError;
use sha_crypt::{PasswordVerifier, ShaCrypt};

use super::PasswordError;
use crate::equal;

/// A hash that can be checked, at a cost that is allowed.
pub(super) enum Stored {
    Bcrypt { cost: u32, salt: [u8; 16], hash: [u8; 23] },
    Argon2 { function: Box<Argon2<'static>>, salt: Vec<u8>, hash: Vec<u8> },
    Scrypt { params: scrypt::Params, salt: Vec<u8>, hash: Vec<u8> },
    ShaCrypt(String),
}

/// 1.7 s; each step doubles it.
const MOST_BCRYPT_COST: u64 = 14;
/// Characters of its salt; the hash follows without a separator.
const BCRYPT_SALT: usize = 22;
/// Of Argon2 and scrypt. OWASP advises 7 to 128 MiB.
const MOST_MEMORY_KIB: u64 = 256 << 10;
const MOST_ARGON2_PASSES: u64 = 10;
/// The memory times `p`, which says how often it is filled: 10 times 8 MiB are advised, and once 128.
const MOST_SCRYPT_WRITTEN_KIB: u64 = 1 << 20;
/// The default is 5,000; passlib writes 656,000.
const MOST_ROUNDS: u64 = 1_000_000;
/// Of the specification. `crypt(3)` writes no less.
const LEAST_ROUNDS: u32 = 1_000;

/// Salts of some writers have bits behind their end, which every reader ignores.
const BCRYPT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

impl Stored {
    pub(super) fn read(text: &str) -> Result<Self, PasswordError> {
        let scheme = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        match scheme {
            Some("2a" | "2b" | "2y") => Self::bcrypt(text),
            Some("argon2id" | "argon2i") => Self::argon2(text),
            Some("scrypt") => Self::scrypt(text),
            Some(id @ ("5" | "6")) => Self::sha_crypt(id, text),
            Some("apr1" | "1") => unknown("one of MD5, which is too weak"),
            Some("2" | "2x") => unknown("bcrypt by a faulty writer (`$2$`, `$2x$`)"),
            Some("argon2d") => unknown("argon2d, which is not meant for passwords"),
            Some("y" | "gy" | "7") => unknown("yescrypt or its like, which is not read here"),
            Some(_) => unknown("of a format that is not known"),
            None if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => {
                unknown("one of SHA-1, which is too weak")
            }
            None => unknown("plain text or DES crypt, which is too weak"),
        }
    }

    /// Whether it was made of this password. Takes as long as its parameters say.
    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, PasswordError> {
        // `crypt(3)` ends a password there. To bcrypt and scrypt, some passwords with zeros are the same as
        // others without.
        if password.contains(&0) {
            return Ok(false);
        }
        match self {
            Self::Bcrypt { cost, salt, hash } => {
                let mut key = password[..password.len().min(72)].to_vec();
                if key.len() < 72 {
                    key.push(0);
                }
                Ok(equal(&bcrypt::bcrypt(*cost, *salt, &key)[..hash.len()], hash))
            }
            Self::Argon2 { function, salt, hash } => {
                let mut made = vec![0; hash.len()];
                match function.hash_password_into(password, salt, &mut made) {
                    Ok(()) => Ok(equal(&made, hash)),
                    Err(argon2::Error::OutOfMemory) => Err(PasswordError::Busy),
                    Err(_) => unknown("damaged argon2"),
                }
            }
            Self::Scrypt { params, salt, hash } => {
                let mut made = vec![0; hash.len()];
                match scrypt::scrypt(password, salt, params, &mut made) {
                    Ok(()) => Ok(equal(&made, hash)),
                    Err(_) => unknown("damaged scrypt"),
                }
            }
            Self::ShaCrypt(text) => match ShaCrypt::default().verify_password(password, text.as_str()) {
                Ok(()) => Ok(true),
                Err(ShaCryptError::PasswordInvalid) => Ok(false),
                Err(_) => unknown("damaged SHA-crypt"),
            },
        }
    }

    /// `$2b$CC$`, 22 characters of salt, 31 of the hash.
    fn bcrypt(text: &str) -> Result<Self, PasswordError> {
        let damaged = unknown("damaged bcrypt");
        let Some((cost, rest)) = text.get(4..).and_then(|rest| rest.split_once('$')) else { return damaged };
        let (2, Some(cost), Some((salt_text, hash_text))) =
            (cost.len(), number(cost), rest.split_at_checked(BCRYPT_SALT))
        else {
            return damaged;
        };
        let mut salt = [0; 16];
        let mut hash = [0; 23];
        let salt_bytes = BCRYPT_BASE64.decode_slice(salt_text, &mut salt);
        let hash_bytes = BCRYPT_BASE64.decode_slice(hash_text, &mut hash);
        if salt_bytes != Ok(salt.len()) || hash_bytes != Ok(hash.len()) || cost < 4 {
            return damaged;
        }
        at_most("cost", cost, MOST_BCRYPT_COST)?;
        Ok(Self::Bcrypt { cost, salt, hash })
    }

    fn argon2(text: &str) -> Result<Self, PasswordError> {
        let damaged = unknown("damaged argon2");
        let Some((phc, [memory, passes, lanes])) = phc(text, ["m", "t", "p"]) else { return damaged };
        // Without a version it is the first, as in the reference implementation.
        let version = Version::try_from(phc.version.unwrap_or(0x10));
        let algorithm = Algorithm::new(phc.algorithm.as_str());
        let (Ok(version), Ok(algorithm), Some(salt), Some(hash)) = (version, algorithm, phc.salt, phc.hash)
        else {
            return damaged;
        };
        at_most("memory (KiB)", memory, MOST_MEMORY_KIB)?;
        at_most("number of passes", passes, MOST_ARGON2_PASSES)?;
        let Ok(params) = argon2::Params::new(memory, passes, lanes, Some(hash.len())) else { return damaged };
        let function = Box::new(Argon2::new(algorithm, version, params));
        Ok(Self::Argon2 { function, salt: salt.as_ref().to_vec(), hash: hash.as_ref().to_vec() })
    }

    fn scrypt(text: &str) -> Result<Self, PasswordError> {
        let damaged = unknown("damaged scrypt");
        let Some((phc, [log_n, r, p])) = phc(text, ["ln", "r", "p"]) else { return damaged };
        let (None, Some(salt), Some(hash), Some(n)) =
            (phc.version, phc.salt, phc.hash, 1_u64.checked_shl(log_n))
        else {
            return damaged;
        };
        // Before the library looks at them: it multiplies `r` and `p` without a care.
        let memory = n.saturating_mul(u64::from(r)) / 8;
        at_most("memory (KiB)", memory, MOST_MEMORY_KIB)?;
        at_most("memory times `p` (KiB)", memory.saturating_mul(u64::from(p)), MOST_SCRYPT_WRITTEN_KIB)?;
        at_most("`p`", p, 1024)?;
        let params = u8::try_from(log_n).ok().and_then(|log_n| scrypt::Params::new(log_n, r, p).ok());
        let Some(params) = params else { return damaged };
        Ok(Self::Scrypt { params, salt: salt.as_ref().to_vec(), hash: hash.as_ref().to_vec() })
    }

    /// `$6$`, `rounds=N$` perhaps, salt, `$`, hash.
    fn sha_crypt(id: &str, text: &str) -> Result<Self, PasswordError> {
        let damaged = unknown("damaged SHA-crypt");
        let length = if id == "5" { 43 } else { 86 };
        let fields: Vec<_> = text.split('$').skip(2).collect();
        let (salt, hash) = match fields[..] {
            [rounds, salt, hash] => {
                let Some(rounds) = rounds.strip_prefix("rounds=").and_then(number) else { return damaged };
                if rounds < LEAST_ROUNDS {
                    return damaged;
                }
                at_most("number of rounds", rounds, MOST_ROUNDS)?;
                (salt, hash)
            }
            [salt, hash] => (salt, hash),
            _ => return damaged,
        };
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
        if salt.is_empty() || salt.len() > 16 || !plain(salt) || hash.len() != length || !plain(hash) {
            return damaged;
        }
        Ok(Self::ShaCrypt(text.to_owned()))
    }
}

/// See [`super::Passwords::dummy_like`].
pub(super) fn dummy_like(hash: &str) -> String {
    let last = hash.rfind('$').map_or(0, |end| end + 1);
    // The hash alone becomes zeros; none was ever seen to come out.
    let (zero, from) = match Stored::read(hash) {
        Ok(Stored::Bcrypt { .. }) => (".", last + BCRYPT_SALT),
        Ok(Stored::ShaCrypt(_)) => (".", last),
        Ok(Stored::Argon2 { .. } | Stored::Scrypt { .. }) => ("A", last),
        Err(_) => return format!("$2b$10${}", ".".repeat(53)),
    };
    format!("{}{}", &hash[..from], zero.repeat(hash.len() - from))
}

/// A PHC string that has these parameters, and no others.
fn phc<const N: usize>(text: &str, names: [&str; N]) -> Option<(PasswordHash, [u32; N])> {
    let phc = PasswordHash::new(text).ok()?;
    let values = names.map(|name| phc.params.get_decimal(name));
    if values.contains(&None) || phc.params.iter().count() != N {
        return None;
    }
    Some((phc, values.map(Option::unwrap_or_default)))
}

fn number(text: &str) -> Option<u32> {
    // Not with a sign, which `parse` would read.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn at_most(what: &'static str, found: impl Into<u64>, most: u64) -> Result<(), PasswordError> {
    let found = found.into();
    if found > most { Err(PasswordError::TooCostly { what, found, most }) } else { Ok(()) }
}

fn unknown<T>(found: &'static str) -> Result<T, PasswordError> {
    Err(PasswordError::UnknownFormat(found))
}
