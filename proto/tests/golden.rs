//! Golden bytes of the wire types (E10): what was written once is read for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Cursor, Epoch, GroupId, InboxId, InstallationId, Seq, Timestamp, Topic, TransmitId, Wire,
    codec::encode_bare,
    group::{
        Flags, GroupState, InboxChange, Policy, Right, RosterEntry, SettingChange, Settings,
        StateDelta,
    },
    id::ChainHash,
    identity::{Account, Action, IdentityState, IdentityUpdate, Member, Signature, hex},
    limits,
    package::{PackageExtension, PackageUpload, kem},
    record::Record,
    relay::{
        Answer, ClientHello, Delivery, Failure, Goodbye, PageLimit, Publish, PublishOutcome,
        RelayHello, Request, SignedHead, ToClient, ToRelay, TopicPage, Uploaded, Watch, WriteProof,
    },
    welcome::{SealedWelcome, WelcomeBody, WelcomePointer},
};

fn account() -> Account {
    Account::ed25519([1; 32])
}

fn identity() -> IdentityState {
    IdentityState {
        inbox: InboxId([2; 32]),
        sequence: 300,
        head: [3; 32],
        recovery: account(),
        accounts: BTreeSet::from([account()]),
        installations: BTreeMap::from([(InstallationId([4; 32]), account())]),
        spent: BTreeSet::from([[5; 16]]),
    }
}

fn check<T: Wire>(name: &str, value: &T, golden: &str) {
    let bytes = value.encode();
    keep(name, &bytes);
    assert_eq!(hex(&bytes), golden.replace(char::is_whitespace, ""), "{name}");
    assert_eq!(T::decode_canonical(&bytes).expect(name).encode(), bytes, "{name}");
}

/// With `CONCLAVE_BLESS` set, keeps the bytes as an input of the fuzz target.
fn keep(name: &str, bytes: &[u8]) {
    if std::env::var_os("CONCLAVE_BLESS").is_some() {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/decode");
        std::fs::write(format!("{folder}/{name}"), bytes).expect("the corpus can be written");
    }
}

/// `n` bytes of `byte`, in hex.
fn of(byte: u8, n: usize) -> String {
    hex(&vec![byte; n])
}

#[test]
fn the_encoding_of_an_identity_update_is_frozen() {
    let update = IdentityUpdate {
        inbox: InboxId([2; 32]),
        previous: [3; 32],
        time: Timestamp(300),
        actions: vec![
            Action::Create { account: account(), nonce: 7 },
            Action::Add { member: Member::Installation(InstallationId([4; 32])), by: account() },
            Action::Revoke { member: Member::Account(account()) },
            Action::ChangeRecovery { account: account() },
        ],
        signatures: vec![Signature {
            signer: Member::Account(account()),
            scheme: 0,
            bytes: vec![9; 3],
        }],
    };
    let account = format!("0120{}", of(1, 32));
    let golden = format!(
        "01 {} {} ac02 04 00{account}07 01 01{} {account} 0200{account} 03{account} \
         01 00{account} 00 03090909",
        of(2, 32),
        of(3, 32),
        of(4, 32),
    );
    check("identity update", &update, &golden);
}

#[test]
fn the_encoding_of_a_group_state_is_frozen() {
    let settings = Settings {
        rules: 1,
        flags: Flags::POST_QUANTUM,
        policy: Policy { remove: Right::Admins, post: Right::Nobody, ..Policy::OPEN },
        admins: BTreeSet::new(),
        super_admins: BTreeSet::from([InboxId([2; 32])]),
        fields: BTreeMap::from([(1, b"hi".to_vec())]),
        home: vec![],
    };
    let entry = RosterEntry {
        identity: identity(),
        incarnation: Epoch(6),
        absent: BTreeSet::from([InstallationId([4; 32])]),
    };
    let state = GroupState { settings, roster: BTreeMap::from([(InboxId([2; 32]), entry)]) };
    let account = format!("0120{}", of(1, 32));
    let golden = format!(
        "01 01 01 000100020203 00 01{two} 01 01 026869 00 01 {two} {two} ac02 {three} {account} \
         01{account} 01{four}{account} 01{five} 06 01{four}",
        two = of(2, 32),
        three = of(3, 32),
        four = of(4, 32),
        five = of(5, 16),
    );
    check("group state", &state, &golden);
}

#[test]
fn the_encoding_of_a_state_delta_is_frozen() {
    let delta = StateDelta {
        inboxes: BTreeMap::from([
            (
                InboxId([1; 32]),
                InboxChange::Join { entries: vec![vec![7]], absent: BTreeSet::new() },
            ),
            (InboxId([2; 32]), InboxChange::Follow { entries: vec![], absent: BTreeSet::new() }),
            (InboxId([3; 32]), InboxChange::Leave),
        ]),
        settings: vec![
            SettingChange::Field(1, None),
            SettingChange::Policy(Policy::OPEN),
            SettingChange::Admin(InboxId([1; 32]), true),
            SettingChange::SuperAdmin(InboxId([1; 32]), false),
            SettingChange::Rules(2),
        ],
        statements: vec![vec![8]],
    };
    let golden = format!(
        "01 03 {one} 00 01 01 07 00 {two} 01 00 00 {three} 02 \
         05 000100 01000000020200 02{one}01 03{one}00 0402 01 01 08",
        one = of(1, 32),
        two = of(2, 32),
        three = of(3, 32),
    );
    check("state delta", &delta, &golden);
}

#[test]
fn the_encodings_of_packages_and_welcomes_are_frozen() {
    let extension =
        PackageExtension { algorithm: kem::X_WING, key: vec![1; 2], expires: Timestamp(1) };
    check("package extension", &extension, "01 fac801 020101 01");

    let (inbox, installation) = (InboxId([1; 32]), InstallationId([2; 32]));
    let upload =
        PackageUpload { inbox, installation, counter: 3, package: vec![4], signature: vec![5] };
    let golden = format!("01 {}{} 03 0104 0105", of(1, 32), of(2, 32));
    check("package upload", &upload, &golden);

    let sealed = SealedWelcome {
        algorithm: kem::X_WING,
        recipient: [1; 32],
        encapsulated: vec![2],
        ciphertext: vec![3],
    };
    check("sealed welcome", &sealed, &format!("01 fac801 {} 0102 0103", of(1, 32)));

    let pointer = WelcomePointer {
        group: GroupId([1; 16]),
        body: [2; 32],
        body_key: [3; 32],
        secrets: vec![4],
        start: Cursor { seq: Seq(5), hash: ChainHash([6; 32]) },
        commit: [7; 32],
        inviter: InboxId([8; 32]),
        inviter_installation: InstallationId([9; 32]),
        signature: vec![10],
    };
    let golden = format!(
        "01 {}{}{} 0104 05{} {}{}{} 010a",
        of(1, 16),
        of(2, 32),
        of(3, 32),
        of(6, 32),
        of(7, 32),
        of(8, 32),
        of(9, 32)
    );
    check("welcome pointer", &pointer, &golden);

    let body = WelcomeBody { group_info: vec![1], tree: vec![2], state: vec![3] };
    check("welcome body", &body, "01 0101 0102 0103");
}

#[test]
fn the_encodings_of_messages_to_a_relay_are_frozen() {
    let topic = || Topic::Group(GroupId([1; 16]));
    let ask = |request| ToRelay::Request { id: 300, admission: None, request };
    let start = Cursor { seq: Seq(5), hash: ChainHash([6; 32]) };
    let group = format!("00{}", of(1, 16));

    let hello = ClientHello { versions: vec![1, 300], features: 3 };
    check("hello", &ToRelay::Hello(hello), "01 00 02 01ac02 03");

    let publish = Publish {
        topic: topic(),
        id: TransmitId([2; 16]),
        expect: Some(Seq(4)),
        payload: vec![5],
        write: Some(WriteProof { key: [3; 32], signature: vec![7] }),
    };
    let golden =
        format!("01 01 ac02 00 00 01 {group} {} 0104 0105 01{}0107", of(2, 16), of(3, 32),);
    check("publish", &ask(Request::Publish(vec![publish])), &golden);

    let fetch = Request::Fetch {
        after: vec![(Topic::Welcome(InstallationId([2; 32])), start)],
        limit: PageLimit { records: 300, bytes: 1 },
    };
    let golden = format!("01 01 ac02 00 01 01 01{} 05{} ac02 01", of(2, 32), of(6, 32));
    check("fetch", &ask(fetch), &golden);

    let heads = Request::Heads(vec![(Topic::Identity(InboxId([2; 32])), Seq(4))]);
    check("heads", &ask(heads), &format!("01 01 ac02 00 02 01 02{}04", of(2, 32)));

    let packages = Request::KeyPackages(vec![InstallationId([2; 32])]);
    let golden = format!("01 01 02 01 0109 03 01{}", of(2, 32));
    let admitted = ToRelay::Request { id: 2, admission: Some(vec![9]), request: packages };
    check("key packages", &admitted, &golden);

    check("upload", &ask(Request::Upload(vec![8])), "01 01 ac02 00 04 0108");
    let golden = format!("01 01 ac02 00 05 01 0120{}", of(1, 32));
    check("resolve", &ask(Request::Resolve(vec![account()])), &golden);

    let add = Watch::Add(vec![(Topic::Blob([2; 32]), Seq(4))]);
    check("add", &ToRelay::Watch(add), &format!("01 02 00 01 03{}04", of(2, 32)));
    let remove = ToRelay::Watch(Watch::Remove(vec![topic()]));
    check("remove", &remove, &format!("01 02 01 01 {group}"));
    check("mark", &ToRelay::Watch(Watch::Mark(300)), "01 02 02 ac02");
}

#[test]
fn the_encodings_of_messages_to_a_client_are_frozen() {
    let topic = || Topic::Group(GroupId([1; 16]));
    let answer = |answer| ToClient::Answer { id: 300, answer };
    let group = format!("00{}", of(1, 16));
    let head = Cursor { seq: Seq(5), hash: ChainHash([6; 32]) };
    let record = || Record {
        seq: Seq(5),
        prev: Seq(4),
        id: TransmitId([2; 16]),
        hash: ChainHash([6; 32]),
        payload: vec![9],
    };
    let record_hex = format!("05 04 {} {} 0109", of(2, 16), of(6, 32));

    let hello = RelayHello { version: 1, features: 3, incarnation: [2; 16], key: [3; 32] };
    let golden = format!("01 00 01 03 {} {}", of(2, 16), of(3, 32));
    check("hello", &ToClient::Hello(hello), &golden);

    let published = Answer::Published(vec![
        PublishOutcome::Accepted { seq: Seq(5), prev: Seq(4) },
        PublishOutcome::Conflict { head: Seq(3) },
        PublishOutcome::TooLarge { max: 300 },
        PublishOutcome::Invalid,
        PublishOutcome::Behind,
        PublishOutcome::NotStored { retry_ms: 250 },
        PublishOutcome::Unknown,
    ]);
    let golden = "01 01 ac02 00 07 000504 0103 02ac02 03 04 05fa01 06";
    check("published", &answer(published), golden);

    let signed = SignedHead {
        inbox: InboxId([2; 32]),
        seq: Seq(5),
        hash: ChainHash([6; 32]),
        time: Timestamp(300),
        signature: vec![7],
    };
    let page =
        |signed| TopicPage { topic: topic(), records: vec![record()], head, more: true, signed };
    let golden = format!(
        "01 01 ac02 01 02 {page} 00 {page} 01{}05{}ac020107",
        of(2, 32),
        of(6, 32),
        page = format_args!("{group} 01{record_hex} 05{} 01", of(6, 32)),
    );
    check("pages", &answer(Answer::Pages(vec![page(None), page(Some(signed))])), &golden);

    let golden = format!("01 01 ac02 02 01 {group} 05{}", of(6, 32));
    check("heads", &answer(Answer::Heads(vec![(topic(), head)])), &golden);
    let found = answer(Answer::KeyPackages(vec![None, Some(vec![8])]));
    check("key packages", &found, "01 01 ac02 03 02 00 010108");
    let uploaded =
        Answer::Uploaded(Uploaded { outcome: PublishOutcome::Invalid, welcome_head: Seq(4) });
    check("uploaded", &answer(uploaded), "01 01 ac02 04 03 04");
    let inboxes = answer(Answer::Inboxes(vec![None, Some(InboxId([2; 32]))]));
    check("inboxes", &inboxes, &format!("01 01 ac02 05 02 00 01{}", of(2, 32)));
    let failed = |failure| answer(Answer::Failed(failure));
    check("busy", &failed(Failure::Unavailable { retry_ms: 250 }), "01 01 ac02 06 00 fa01");
    check("too much", &failed(Failure::TooMuch), "01 01 ac02 06 01");
    let truncated = failed(Failure::Truncated { topic: topic(), first: Seq(5) });
    check("truncated", &truncated, &format!("01 01 ac02 06 02 {group} 05"));
    check("not admitted", &failed(Failure::NotAdmitted), "01 01 ac02 06 03");

    let delivered = ToClient::Delivery(Delivery::Record(topic(), record()));
    check("record", &delivered, &format!("01 02 00 {group} {record_hex}"));
    let said = ToClient::Delivery(Delivery::Head { topic: topic(), seq: Seq(5) });
    check("head", &said, &format!("01 02 01 {group} 05"));
    check("caught up", &ToClient::Delivery(Delivery::CaughtUp(300)), "01 02 02 ac02");

    let unknown = Goodbye::UnknownVersion { speaks: vec![1] };
    check("unknown version", &ToClient::Goodbye(unknown), "01 03 00 01 01");
    check("malformed", &ToClient::Goodbye(Goodbye::Malformed), "01 03 01");
    check("too much", &ToClient::Goodbye(Goodbye::TooMuch), "01 03 02");
    check("shutting down", &ToClient::Goodbye(Goodbye::ShuttingDown), "01 03 03");
    check("silent", &ToClient::Goodbye(Goodbye::Silent), "01 03 04");
}

/// R3: one byte too many is refused before anything is allocated.
#[test]
fn messages_of_the_relay_protocol_have_a_limit() {
    let long = vec![1; limits::RELAY_MESSAGE_BYTES + 1];
    assert!(ToRelay::decode(&long).is_err() && ToClient::decode(&long).is_err());
}

/// Signed bytes are frozen like encodings.
#[test]
fn what_is_signed_starts_with_its_own_context() {
    let upload = PackageUpload::signed_bytes(&InboxId([1; 32]), &InstallationId([2; 32]), 3, b"p");
    assert_eq!(upload.len(), 26 + 32 + 32 + 8 + 1);
    assert!(upload.starts_with(b"conclave package upload v1"));
    assert_eq!(
        hex(&SealedWelcome::info(kem::X_WING, &[1; 32])),
        format!("{}01647a{}", hex(b"conclave welcome"), of(1, 32))
    );
    assert_eq!(encode_bare(&account()).len(), 34);
}
