//! A hash on which all proxies in front of the same servers agree.
//!
//! It may never change, not with a release of the compiler or of a library either: while a fleet is
//! updated, old and new would send the same key to different servers. It is not keyed, since all would
//! need the key: a client that may choose what is hashed can choose its server.

use std::hash::Hasher;

use fnv::FnvHasher;

/// FNV-1a with [`mix`] behind it, since the upper bits of FNV-1a hardly depend on the last bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(bytes);
    mix(hasher.finish())
}

/// Spreads a difference of one bit over all of them (fmix64 of MurmurHash3).
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_in_every_release() {
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"10.0.0.1:80"), 6_834_485_282_503_893_322);
    }
}
