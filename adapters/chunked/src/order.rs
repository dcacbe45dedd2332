//! Orders as prefix-free bytes that sort as before, so that pages fit between two of them.
//!
//! Blocks of eight bytes, the last one filled up with zeros, each followed by one byte: nine if
//! another block follows, else how many bytes of the block count.

/// Bytes of an order in one block.
pub(super) const BLOCK_LEN: usize = 8;
/// Bytes of one block in its encoding.
pub(super) const ENCODED_BLOCK_LEN: usize = BLOCK_LEN + 1;

/// Longer than any last block, so that a longer order sorts after its own beginning.
const ANOTHER_FOLLOWS: u8 = 9;

/// Encodes an order.
pub(super) fn encode(order: &[u8]) -> Vec<u8> {
    let blocks = order.len().div_ceil(BLOCK_LEN).max(1);
    let mut encoded = Vec::with_capacity(blocks * ENCODED_BLOCK_LEN);
    let mut rest = order;
    while rest.len() > BLOCK_LEN {
        let (block, tail) = rest.split_at(BLOCK_LEN);
        encoded.extend_from_slice(block);
        encoded.push(ANOTHER_FOLLOWS);
        rest = tail;
    }
    encoded.extend_from_slice(rest);
    encoded.extend(std::iter::repeat_n(0, BLOCK_LEN - rest.len()));
    encoded.push(u8::try_from(rest.len()).unwrap_or(ANOTHER_FOLLOWS));
    encoded
}

/// Splits the beginning that [`encode`] made from what follows it.
pub(super) fn decode(encoded: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut order = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    loop {
        let (block, tail) = rest.split_first_chunk::<ENCODED_BLOCK_LEN>()?;
        let (mark, bytes) = block.split_last()?;
        rest = tail;
        if *mark != ANOTHER_FOLLOWS {
            order.extend_from_slice(bytes.get(..usize::from(*mark))?);
            return Some((order, rest));
        }
        order.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Vec<Vec<u8>> {
        let mut orders: Vec<Vec<u8>> = Vec::new();
        for len in 0..20 {
            for byte in [0, 1, 8, 9, 0x7F, 0x80, 0xFF] {
                orders.push([&vec![0xAB; len][..], &[byte]].concat());
                orders.push(vec![byte; len]);
            }
        }
        orders
    }

    #[test]
    fn decoding_gives_the_order_and_the_rest() {
        for order in orders() {
            let encoded = [encode(&order), vec![1, 2]].concat();
            assert_eq!(decode(&encoded), Some((order, &[1, 2][..])));
        }
    }

    #[test]
    fn encoded_orders_sort_as_orders_do_with_their_pages_behind_them() {
        for left in orders() {
            for right in orders() {
                let page = [encode(&left), vec![0xFF, 0xFF]].concat();
                assert_eq!(encode(&left).cmp(&encode(&right)), left.cmp(&right));
                assert_eq!(page < encode(&right), left < right, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_order() {
        let encoded = encode(b"a longer order");
        for len in 0..encoded.len() {
            assert_eq!(decode(&encoded[..len]), None);
        }
        assert_eq!(decode(&[10; ENCODED_BLOCK_LEN]), None);
    }
}
