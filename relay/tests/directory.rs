//! Identity logs, accounts and key packages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use conclave_core::identity::{Draft, read_log};
use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Timestamp, Topic,
    codec::Wire,
    identity::{Account, Action, IdentityState, Member},
    package::PackageUpload,
    relay::{PageLimit, PublishOutcome, SignedHead, Uploaded},
};
use conclave_relay::Logs;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kit::{append, append_one, everything, group, in_memory, seq_of, stored};

/// R1, R3: an identity log takes what folds onto it, by compare-and-append, and nothing else.
#[test]
fn an_identity_log_takes_only_entries_that_count() {
    let logs = in_memory();
    let (inbox, first) = founding_entry(1);
    let topic = Topic::Identity(inbox);
    let put = |entry: &[u8], head| append_one(&logs, append(&topic, entry).expecting(Seq(head)));
    assert_eq!(append_one(&logs, append(&topic, &first)), PublishOutcome::Invalid);
    assert_eq!(put(b"junk", 0), PublishOutcome::Invalid);
    let elsewhere = append(&Topic::Identity(InboxId([7; 32])), &first).expecting(Seq(0));
    assert_eq!(append_one(&logs, elsewhere), PublishOutcome::Invalid);
    assert_eq!(seq_of(put(&first, 0)), Seq(1));
    assert_eq!(seq_of(put(&first, 0)), Seq(1));

    let state = state_of(&logs, inbox);
    let unsigned = Draft::following(&state, Timestamp(2))
        .add_installation(installation(9), account(1))
        .sign_with_account(&key(1))
        .encode();
    assert_eq!(put(&unsigned, 1), PublishOutcome::Invalid);
    let second = adding(&state, 9, 1);
    assert_eq!(put(&second, 0), PublishOutcome::Conflict { head: Seq(1) });
    assert_eq!(seq_of(put(&second, 1)), Seq(2));
    let state = state_of(&logs, inbox);
    assert!(state.installations.contains_key(&installation(9)));
    assert_eq!(state.sequence, 2, "nothing in the log is skipped");
}

/// I8: the head of an identity log is signed as of the time of reading, also that of an empty one.
#[test]
fn heads_of_identity_logs_are_signed() {
    let logs = in_memory();
    let (inbox, first) = founding_entry(1);
    let topic = Topic::Identity(inbox);
    let signed = |time| {
        let after = [(topic.clone(), Cursor::START), (group(1), Cursor::START)];
        let pages = logs.read(time, &after, PageLimit::default()).unwrap();
        assert_eq!(pages.len(), 1, "a group without news is left out");
        let head = pages[0].signed.clone().unwrap();
        assert_eq!((head.seq, head.hash), (pages[0].head.seq, pages[0].head.hash));
        assert_eq!((head.inbox, head.time), (inbox, time));
        let bytes = SignedHead::signed_bytes(&inbox, head.seq, &head.hash, time);
        let key = VerifyingKey::from_bytes(&logs.identity().key).unwrap();
        key.verify_strict(&bytes, &Signature::from_slice(&head.signature).unwrap()).unwrap();
        head.seq
    };
    assert_eq!(signed(Timestamp(5)), Seq(0));
    stored(&logs, append(&topic, &first).expecting(Seq(0)));
    assert_eq!(signed(Timestamp(6)), Seq(1));
}

/// S17: the directory of accounts follows the logs; the last writer wins, and what is revoked goes.
#[test]
fn accounts_resolve_to_the_inbox_that_listed_them_last() {
    let logs = in_memory();
    let resolve = |seed| logs.resolve(&[account(seed), account(99)]).unwrap();
    let found = |seed: u8| {
        let (inbox, entry) = founding_entry(seed);
        stored(&logs, append(&Topic::Identity(inbox), &entry).expecting(Seq(0)));
        inbox
    };
    assert_eq!(resolve(1), [None, None]);
    let (one, two) = (found(1), found(2));
    assert_eq!(resolve(1), [Some(one), None]);

    let join = Draft::following(&state_of(&logs, two), Timestamp(2))
        .action(Action::Add { member: Member::Account(account(1)), by: account(2) })
        .sign_with_account(&key(1))
        .sign_with_account(&key(2))
        .encode();
    stored(&logs, append(&Topic::Identity(two), &join).expecting(Seq(1)));
    assert_eq!(resolve(1), [Some(two), None]);
    let leave = Draft::following(&state_of(&logs, two), Timestamp(3))
        .action(Action::Revoke { member: Member::Account(account(1)) })
        .sign_with_account(&key(2))
        .encode();
    stored(&logs, append(&Topic::Identity(two), &leave).expecting(Seq(2)));
    assert_eq!(resolve(1), [None, None]);
    assert_eq!(resolve(2), [Some(two), None]);
}

/// The answer to an accepted upload.
fn accepted(counter: u64, welcome_head: Seq) -> Uploaded {
    let prev = Seq(counter - 1);
    Uploaded { outcome: PublishOutcome::Accepted { seq: Seq(counter), prev }, welcome_head }
}

/// R7, scenario 94: an upload replaces older ones and is never replaced by one.
#[test]
fn a_replayed_key_package_upload_is_refused() {
    let logs = in_memory();
    let (one, two) = (upload(1, 5, b"one"), upload(1, 7, b"two"));
    let accepted = |counter| accepted(counter, Seq(0));
    assert_eq!(logs.upload(one.clone()), accepted(5));
    assert_eq!(logs.upload(two.clone()), accepted(7));
    assert_eq!(logs.upload(one).outcome, PublishOutcome::Invalid);
    assert_eq!(logs.upload(upload(1, 7, b"other")).outcome, PublishOutcome::Invalid);
    let of = [installation(2), installation(1)];
    assert_eq!(logs.key_packages(&of).unwrap(), [None, Some(two)]);
}

/// R7: only the installation itself publishes for itself.
#[test]
fn an_upload_that_the_installation_has_not_signed_is_refused() {
    let logs = in_memory();
    let good = PackageUpload::decode(&upload(1, 1, b"package")).unwrap();
    for forged in [
        PackageUpload { counter: 2, ..good.clone() },
        PackageUpload { installation: installation(2), ..good.clone() },
        PackageUpload { inbox: InboxId([8; 32]), ..good.clone() },
        PackageUpload { package: b"packagf".to_vec(), ..good.clone() },
        PackageUpload { signature: vec![0; 64], ..good.clone() },
        PackageUpload { signature: vec![], ..good },
    ] {
        assert_eq!(logs.upload(forged.encode()).outcome, PublishOutcome::Invalid);
    }
    assert_eq!(logs.upload(b"junk".to_vec()).outcome, PublishOutcome::Invalid);
    let long = logs.upload(vec![1; 100_000]);
    assert!(matches!(long.outcome, PublishOutcome::TooLarge { .. }));
    assert_eq!(logs.stats().unwrap().packages, 0);
}

/// R4: an upload says up to where Welcomes may use the package before it; a retry says the same.
#[test]
fn an_upload_names_the_head_of_the_welcome_log_when_it_took_effect() {
    let logs = in_memory();
    let welcomes = Topic::Welcome(installation(1));
    stored(&logs, append(&welcomes, b"to the package before"));
    let accepted = accepted(1, Seq(1));
    assert_eq!(logs.upload(upload(1, 1, b"package")), accepted);
    stored(&logs, append(&welcomes, b"to this package"));
    assert_eq!(logs.upload(upload(1, 1, b"package")), accepted);
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn account(seed: u8) -> Account {
    Account::ed25519(key(seed).verifying_key().to_bytes())
}

fn installation(seed: u8) -> InstallationId {
    InstallationId(key(seed).verifying_key().to_bytes())
}

fn founding_entry(seed: u8) -> (InboxId, Vec<u8>) {
    let draft = Draft::create(account(seed), 0, Timestamp(1)).sign_with_account(&key(seed));
    (draft.inbox(), draft.encode())
}

fn adding(state: &IdentityState, added: u8, by: u8) -> Vec<u8> {
    Draft::following(state, Timestamp(2))
        .add_installation(installation(added), account(by))
        .sign_with_account(&key(by))
        .sign_with_installation(&key(added))
        .encode()
}

fn state_of(logs: &Logs, inbox: InboxId) -> IdentityState {
    let records = everything(logs, &Topic::Identity(inbox));
    read_log(inbox, None, records.iter().map(|record| record.payload.as_slice())).unwrap()
}

fn upload(seed: u8, counter: u64, package: &[u8]) -> Vec<u8> {
    let (inbox, installation) = (InboxId([seed; 32]), installation(seed));
    let signed = PackageUpload::signed_bytes(&inbox, &installation, counter, package);
    let signature = key(seed).sign(&signed).to_vec();
    PackageUpload { inbox, installation, counter, package: package.to_vec(), signature }.encode()
}
