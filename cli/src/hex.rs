//! Ids as people and scripts write them.

pub(crate) use conclave::proto::identity::hex;
use data_encoding::HEXLOWER_PERMISSIVE;

/// Bytes from hex, with or without `0x`; `None` if it is none.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()
}

/// As [`bytes`], for a length that is known.
pub(crate) fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    bytes(text)?.try_into().ok()
}

/// The first eight digits: enough for people to tell ids apart.
pub(crate) fn short(bytes: &[u8]) -> String {
    hex(bytes.get(..4).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::{array, bytes, short};

    #[test]
    fn hex_is_read_with_and_without_its_prefix_and_nothing_else_is() {
        assert_eq!(bytes("0x0aFF"), Some(vec![10, 255]));
        assert_eq!(bytes("0aff"), Some(vec![10, 255]));
        assert_eq!(bytes("0af"), None);
        assert_eq!(bytes("0agg"), None);
        assert_eq!(bytes("é0"), None);
        assert_eq!(array::<2>("0aff"), Some([10, 255]));
        assert_eq!(array::<3>("0aff"), None);
        assert_eq!(short(&[1; 32]), "01010101");
    }
}
