//! Inboxes of wallets: founding, adding, and every way in which a signature must not count.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_core::identity::{
    Draft, IdentityFault, P256Key, Read, WalletKey, fold, normalise_wallet_signature, read_log,
};
use conclave_proto::{
    InstallationId, Timestamp, Wire,
    codec::encode_bare,
    identity::{Account, Action, IdentityState, IdentityUpdate, Member, hex},
};
use ed25519_dalek::SigningKey;

/// I1, I2, I4: a wallet founds an inbox and adds an installation.
#[test]
fn a_wallet_founds_an_inbox_and_adds_installations() {
    let state = founded();
    assert_eq!(state.recovery, wallet(1).account());
    assert!(state.installations.contains_key(&installation(2)));
    let more = Draft::following(&state, Timestamp(2))
        .add_installation(installation(3), wallet(1).account())
        .sign_with_wallet(&wallet(1))
        .sign_with_installation(&key(3));
    let state = accepted(&state, &more);
    assert_eq!(state.installations.len(), 2);
}

/// I2, I4: accounts of every kind vouch for each other.
#[test]
fn wallets_and_other_accounts_join_each_others_inboxes() {
    let by = Account::ed25519(key(5).verifying_key().to_bytes());
    let draft = Draft::create(by.clone(), 0, Timestamp(1)).sign_with_account(&key(5));
    let state = read_log(draft.inbox(), None, [&draft.encode()[..]]).unwrap();
    let account = |account: &Account| Member::Account(account.clone());
    let with_wallet = Draft::following(&state, Timestamp(2))
        .action(Action::Add { member: account(&wallet(1).account()), by: by.clone() })
        .sign_with_account(&key(5))
        .sign_with_wallet(&wallet(1));
    let state = accepted(&state, &with_wallet);
    let with_p256 = Draft::following(&state, Timestamp(3))
        .action(Action::Add { member: account(&p256(1).account()), by: wallet(1).account() })
        .sign_with_wallet(&wallet(1))
        .sign_with_p256(&p256(1));
    let state = accepted(&state, &with_p256);
    assert_eq!(state.accounts.len(), 3);

    let other = founded();
    let with_key = Draft::following(&other, Timestamp(2))
        .action(Action::Add { member: account(&by), by: wallet(1).account() })
        .sign_with_account(&key(5))
        .sign_with_wallet(&wallet(1));
    assert!(accepted(&other, &with_key).accounts.contains(&by));
}

/// I4: the recovered address has to be the account's.
#[test]
fn the_signature_of_another_wallet_does_not_count() {
    let draft = Draft::create(wallet(1).account(), 0, Timestamp(1));
    let by_other = wallet(2).sign(&draft.text());
    let draft = draft.wallet_signature(address(&wallet(1)), &by_other).unwrap();
    assert_eq!(first(&draft).skipped, Some(IdentityFault::BadSignature));
}

/// S11, scenario 46: what wallets return is brought into normal form when it is added, and no
/// other form counts: an entry with a twin of its signature is another entry, and skipped.
#[test]
fn readers_take_one_form_of_a_wallet_signature_only() {
    let draft = Draft::create(wallet(1).account(), 0, Timestamp(1));
    let normal = wallet(1).sign(&draft.text());
    for form in forms(normal) {
        let normalised = draft.clone().wallet_signature(address(&wallet(1)), &form).unwrap();
        assert_eq!(first(&normalised).skipped, None);
        assert_eq!(normalised.encode(), draft.clone().sign_with_wallet(&wallet(1)).encode());
        if form != normal {
            let mut raw = IdentityUpdate::decode(&normalised.encode()).unwrap();
            raw.signatures[0].bytes = form.to_vec();
            let read = fold(raw.inbox, None, 0, &raw.encode());
            assert_eq!(read.skipped, Some(IdentityFault::BadSignature), "v {}", form[64]);
        }
    }
    let der = [&[0x30, 70, 2, 33, 0], &normal[..32], &[2, 32], &normal[32..64]].concat();
    assert!(draft.wallet_signature(address(&wallet(1)), &der).is_none());
}

/// S11, scenario 46: neither for another inbox of the same wallet, nor for another action.
#[test]
fn a_wallet_signature_counts_for_its_own_text_only() {
    let here = Draft::create(wallet(1).account(), 0, Timestamp(1));
    let signature = wallet(1).sign(&here.text());
    let elsewhere = Draft::create(wallet(1).account(), 1, Timestamp(1));
    let moved = elsewhere.wallet_signature(address(&wallet(1)), &signature).unwrap();
    assert_eq!(first(&moved).skipped, Some(IdentityFault::BadSignature));

    let state = founded();
    let add = |id| {
        Draft::following(&state, Timestamp(2))
            .add_installation(installation(id), wallet(1).account())
            .sign_with_installation(&key(id))
    };
    let for_three = wallet(1).sign(&add(3).text());
    let for_four = add(4).wallet_signature(address(&wallet(1)), &for_three).unwrap();
    let read = fold(state.inbox, Some(&state), 0, &for_four.encode());
    assert_eq!(read.skipped, Some(IdentityFault::BadSignature));
    // The same text without what EIP-191 puts in front is not what a wallet signs.
    let bare = key(1);
    let by_key = add(4).sign_with_account(&bare);
    let read = fold(state.inbox, Some(&state), 0, &by_key.encode());
    assert_eq!(read.skipped, Some(IdentityFault::MissingSignature));
}

/// S11: a signature in an earlier update does not count again, however it is spelled.
#[test]
fn a_spent_wallet_signature_is_refused() {
    let state = founded();
    let mut again = IdentityUpdate::decode(&founding().encode()).unwrap();
    again.previous = state.head;
    let read = fold(state.inbox, Some(&state), 0, &again.encode());
    assert_eq!(read.skipped, Some(IdentityFault::SpentSignature));
}

/// I4: schemes and kinds that rules version 1 does not know are skipped, not taken.
#[test]
fn an_unknown_scheme_of_a_wallet_does_not_count() {
    let mut update = IdentityUpdate::decode(&founding().encode()).unwrap();
    update.signatures[0].scheme = 1;
    let read = fold(update.inbox, None, 0, &update.encode());
    assert_eq!(read.skipped, Some(IdentityFault::BadSignature));
}

/// E10, I3, I4: text, entry and state of an inbox of a wallet are frozen.
#[test]
fn a_founding_by_a_wallet_is_frozen() {
    let draft = founding();
    assert_eq!(draft.text(), GOLDEN_TEXT);
    assert_eq!(hex(&draft.encode()), GOLDEN_ENTRY);
    assert_eq!(hex(&encode_bare(&founded())), GOLDEN_STATE);
}

/// S18: keys that sign do not show themselves.
#[test]
fn the_debug_output_of_account_keys_is_empty() {
    assert_eq!(format!("{:?} {:?}", wallet(1), p256(1)), "WalletKey(..) P256Key(..)");
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn installation(seed: u8) -> InstallationId {
    InstallationId(key(seed).verifying_key().to_bytes())
}

fn wallet(seed: u8) -> WalletKey {
    WalletKey::from_bytes(&[seed; 32]).unwrap()
}

fn p256(seed: u8) -> P256Key {
    P256Key::from_bytes(&[seed; 32]).unwrap()
}

fn address(key: &WalletKey) -> [u8; 20] {
    key.account().key.try_into().unwrap()
}

fn founding() -> Draft {
    Draft::create(wallet(1).account(), 0, Timestamp(1))
        .add_installation(installation(2), wallet(1).account())
        .sign_with_wallet(&wallet(1))
        .sign_with_installation(&key(2))
}

fn founded() -> IdentityState {
    first(&founding()).state.unwrap()
}

fn first(draft: &Draft) -> Read {
    fold(draft.inbox(), None, 0, &draft.encode())
}

fn accepted(state: &IdentityState, draft: &Draft) -> IdentityState {
    let read = fold(state.inbox, Some(state), 0, &draft.encode());
    assert_eq!(read.skipped, None);
    read.state.unwrap()
}

/// The four spellings of one signature that wallets use.
fn forms(normal: [u8; 65]) -> [[u8; 65]; 4] {
    let mut high = normal;
    high[32..64].copy_from_slice(&negative(&normal[32..64]));
    high[64] ^= 1;
    let from_27 = |mut form: [u8; 65]| {
        form[64] += 27;
        form
    };
    assert_eq!(normalise_wallet_signature(&high), Some(normal));
    [normal, from_27(normal), high, from_27(high)]
}

/// The order of secp256k1 (SEC 2 §2.4.1) less a scalar.
fn negative(scalar: &[u8]) -> Vec<u8> {
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];
    let mut borrow = 0;
    let mut digits: Vec<u8> = order
        .iter()
        .zip(scalar)
        .rev()
        .map(|(order, digit)| {
            let difference = i16::from(*order) - i16::from(*digit) - borrow;
            borrow = i16::from(difference < 0);
            u8::try_from(difference.rem_euclid(256)).unwrap()
        })
        .collect();
    digits.reverse();
    digits
}

const GOLDEN_TEXT: &str = concat!(
    "Conclave identity update, version 1\n",
    "\n",
    "Inbox: 0d05a8c5aa4a47150dd325ec99a0e8d0bcd74c98f6b852d944840390159f76b2\n",
    "Time: 1970-01-01T00:00:00.001Z\n",
    "Builds on: 0000000000000000000000000000000000000000000000000000000000000000\n",
    "\n",
    "- Create the inbox\n",
    "  (Account: 0x1a642f0e3c3af545e7acbd38b07251b3990914f1, nonce: 0)\n",
    "\n",
    "- Add to the inbox\n",
    "  (Device: 8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394, added by: 0x1a642f0e3c3af545e7acbd38b07251b3990914f1)\n",
    "\n",
    "Sign only if you asked for this.\n",
);
const GOLDEN_ENTRY: &str = "\
    010d05a8c5aa4a47150dd325ec99a0e8d0bcd74c98f6b852d944840390159f76b20000000000000000000000\
    00000000000000000000000000000000000000000001020003141a642f0e3c3af545e7acbd38b07251b39909\
    14f10001018139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39403141a642f0e3c\
    3af545e7acbd38b07251b3990914f1020003141a642f0e3c3af545e7acbd38b07251b3990914f10041d3ae6a\
    de50c27b4a37463f851d804160b8732b0f119a0525433a334a9bac424a79c85f84960d1ef3ae1e3b71eaac07\
    f8a9cb8baa0e45b8b3f8feabf2d18fc52600018139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25d\
    f60f5b8fc9b3940040999b5c0065d1c9a1b45607b08d5ece3e2463da22aca9fc091f9574b15c90df718d6733\
    491fa5d2d05cad7f2f63a0fb68f89425d92ef2234c8490fe4e6ba4f901";
const GOLDEN_STATE: &str = "\
    0d05a8c5aa4a47150dd325ec99a0e8d0bcd74c98f6b852d944840390159f76b20167c26e6b0e8fac04d192a8\
    13eaafbc70950bd267ba790bda332666ed46e63ce003141a642f0e3c3af545e7acbd38b07251b3990914f101\
    03141a642f0e3c3af545e7acbd38b07251b3990914f1018139770ea87d175f56a35466c34c7ecccb8d8a91b4\
    ee37a25df60f5b8fc9b39403141a642f0e3c3af545e7acbd38b07251b3990914f1020a82789e77a036680e49\
    69896f7b095c637447d01efa178531d581922e2dece4";
