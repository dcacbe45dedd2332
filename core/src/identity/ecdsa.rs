//! ECDSA accounts: wallets on secp256k1 (EIP-191), and P-256 keys.
//!
//! One text and one key have many ECDSA signatures, and one signature has many spellings: `s` and
//! its negative, DER, recovery ids from 0 or from 27. Readers take one spelling only, so that a
//! signature that was seen is known again by its bytes (S11). Whoever collects a signature brings
//! it into that form first: [`normalise_wallet_signature`], [`normalise_p256_signature`].

use k256::ecdsa::RecoveryId;
use p256::ecdsa::signature::Verifier;
use sha3::{Digest, Keccak256};

/// A wallet's signature in the form that readers take: `r ‖ s ‖ v` with the lower `s` and `v` 0 or
/// 1. `None` if it is no wallet signature.
///
/// Takes what wallets return: 65 bytes with either `s`, and `v` as 0 and 1 or as 27 and 28. DER
/// says nothing about `v` and is refused, as are recovery ids from 2, which Ethereum has none of.
#[must_use]
pub fn normalise_wallet_signature(signature: &[u8]) -> Option<[u8; 65]> {
    let (scalars, &[v]) = signature.split_at_checked(64)? else { return None };
    let odd = match v {
        0 | 27 => false,
        1 | 28 => true,
        _ => return None,
    };
    let given = k256::ecdsa::Signature::from_slice(scalars).ok()?;
    let lower = given.normalize_s();
    // The negative of `s` belongs to the other of the two points that `r` stands for.
    Some(with_recovery(&lower, RecoveryId::new(odd != (lower != given), false)))
}

/// A P-256 signature in the form that readers take: `r ‖ s`, 32 bytes each, with the lower `s`.
/// `None` if it is no such signature; DER is refused.
#[must_use]
pub fn normalise_p256_signature(signature: &[u8]) -> Option<[u8; 64]> {
    let given = p256::ecdsa::Signature::from_slice(signature).ok()?;
    Some(given.normalize_s().to_bytes().into())
}

/// Whether the wallet with this address signed the text, in normal form.
pub(super) fn wallet_holds(address: &[u8], text: &str, signature: &[u8]) -> bool {
    if normalise_wallet_signature(signature).is_none_or(|normal| normal != signature) {
        return false;
    }
    let Some((scalars, &[v])) = signature.split_at_checked(64) else { return false };
    let Ok(scalars) = k256::ecdsa::Signature::from_slice(scalars) else { return false };
    let Some(id) = RecoveryId::from_byte(v) else { return false };
    k256::ecdsa::VerifyingKey::recover_from_prehash(&wallet_digest(text), &scalars, id)
        .is_ok_and(|key| wallet_address(&key) == *address)
}

/// Whether a P-256 key (compressed) signed the SHA-256 of the text, in normal form.
pub(super) fn p256_holds(key: &[u8], text: &str, signature: &[u8]) -> bool {
    // SEC 1 has a third form of 33 bytes, and libraries differ in taking it.
    if !matches!(key, [2 | 3, ..]) || key.len() != 33 {
        return false;
    }
    if normalise_p256_signature(signature).is_none_or(|normal| normal != signature) {
        return false;
    }
    let Ok(signature) = p256::ecdsa::Signature::from_slice(signature) else { return false };
    p256::ecdsa::VerifyingKey::from_sec1_bytes(key)
        .is_ok_and(|key| key.verify(text.as_bytes(), &signature).is_ok())
}

/// What a wallet signs for a text (EIP-191, version `E`, which wallets call `personal_sign`).
pub(super) fn wallet_digest(text: &str) -> [u8; 32] {
    Keccak256::new()
        .chain_update(b"\x19Ethereum Signed Message:\n")
        .chain_update(alloc::format!("{}", text.len()))
        .chain_update(text)
        .finalize()
        .into()
}

/// The last 20 bytes of the Keccak of a public key.
pub(super) fn wallet_address(key: &k256::ecdsa::VerifyingKey) -> [u8; 20] {
    let point = key.to_sec1_point(false);
    // The first byte says that both coordinates follow.
    let coordinates = point.as_bytes().get(1..).unwrap_or_default();
    let digest: [u8; 32] = Keccak256::digest(coordinates).into();
    let mut address = [0; 20];
    for (slot, byte) in address.iter_mut().zip(digest.into_iter().skip(12)) {
        *slot = byte;
    }
    address
}

pub(super) fn with_recovery(signature: &k256::ecdsa::Signature, id: RecoveryId) -> [u8; 65] {
    let mut bytes = [id.to_byte(); 65];
    for (slot, byte) in bytes.iter_mut().zip(signature.to_bytes()) {
        *slot = byte;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use data_encoding::HEXLOWER;

    use super::{
        normalise_p256_signature, normalise_wallet_signature, p256_holds, wallet_digest,
        wallet_holds,
    };

    /// The example of `web3.eth.accounts.sign` in the documentation of web3.js
    /// (<https://docs.web3js.org/api/web3-eth-accounts/function/sign>): "Some data", signed by
    /// 0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318.
    const ADDRESS: &str = "2c7536e3605d9c16a7a3d7b1898e529396a65c23";
    const DIGEST: &str = "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655";
    const SIGNATURE: &str = "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
        6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c";
    /// The order of secp256k1 (SEC 2 §2.4.1) less the `s` above.
    const OTHER_S: &str = "9ff818b327d1fc847ffe79bdd03d25e83e3a5df66962ceb160751b8bd754a118";

    /// RFC 6979 A.2.5: P-256, SHA-256, message "sample". Its `s` is the higher one.
    const P256_KEY: &str = "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
    const P256_SIGNATURE: &str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
        f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

    fn unhex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// I4: a signature that other software made counts, in normal form and for its wallet only.
    #[test]
    fn a_published_wallet_signature_holds_in_normal_form() {
        let (address, given) = (unhex(ADDRESS), unhex(SIGNATURE));
        assert_eq!(wallet_digest("Some data").to_vec(), unhex(DIGEST));
        let normal = normalise_wallet_signature(&given).unwrap();
        assert_eq!(normal[..64], given[..64]);
        assert_eq!(normal[64], 1);
        assert!(wallet_holds(&address, "Some data", &normal));
        assert!(!wallet_holds(&address, "Some date", &normal));
        assert!(!wallet_holds(&address[1..], "Some data", &normal));
        let mut other = address;
        other[19] ^= 1;
        assert!(!wallet_holds(&other, "Some data", &normal));
    }

    /// S11, scenario 46: every other spelling of a wallet signature is refused by readers, and leads
    /// to the one that counts where there is a way.
    #[test]
    fn the_twins_of_a_wallet_signature_are_refused_and_normalised() {
        let (address, given) = (unhex(ADDRESS), unhex(SIGNATURE));
        let normal = normalise_wallet_signature(&given).unwrap();
        let mut high = unhex(&alloc::format!("{}{OTHER_S}", &SIGNATURE[..64]));
        for v in [0, 27] {
            high.truncate(64);
            high.push(v);
            assert!(!wallet_holds(&address, "Some data", &high));
            assert_eq!(normalise_wallet_signature(&high), Some(normal));
        }
        assert!(!wallet_holds(&address, "Some data", &given), "the recovery id counts from 0");
        for v in [2, 3, 26, 29, 255] {
            let mut odd = given.clone();
            odd[64] = v;
            assert_eq!(normalise_wallet_signature(&odd), None);
            assert!(!wallet_holds(&address, "Some data", &odd));
        }
        let der = [&[0x30, 70, 2, 33, 0], &given[..32], &[2, 32], &given[32..64]].concat();
        for bad in [&der[..], &given[..64], &[0; 65], &[255; 65], &[]] {
            assert_eq!(normalise_wallet_signature(bad), None);
            assert!(!wallet_holds(&address, "Some data", bad));
        }
    }

    /// I4, S11: P-256 accounts, by the RFC's example.
    #[test]
    fn a_published_p256_signature_holds_with_the_lower_s_only() {
        let (key, given) = (unhex(P256_KEY), unhex(P256_SIGNATURE));
        assert!(!p256_holds(&key, "sample", &given), "this is the higher s");
        let normal = normalise_p256_signature(&given).unwrap();
        assert_eq!(normal[..32], given[..32]);
        assert!(p256_holds(&key, "sample", &normal));
        assert!(!p256_holds(&key, "Sample", &normal));
        assert_eq!(normalise_p256_signature(&normal), Some(normal));
        let mut other = key.clone();
        for tag in [0, 2, 4, 5] {
            other[0] = tag;
            assert!(!p256_holds(&other, "sample", &normal), "key of form {tag}");
        }
        assert_eq!(normalise_p256_signature(&given[1..]), None);
        assert_eq!(normalise_p256_signature(&[0; 64]), None);
    }
}
