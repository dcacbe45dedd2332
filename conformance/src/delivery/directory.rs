//! What a service promises of key packages and accounts.

use conclave_core::{
    delivery::{DeliveryService, PublishOutcome, Transmit},
    identity::{Draft, fold},
    installation::Installation,
    step::Upload,
};
use conclave_proto::{
    InboxId, InstallationId, Seq, Timestamp, Topic, codec::Wire, identity::Account,
    package::PackageUpload,
};
use ed25519_dalek::SigningKey;

use super::kit::{accepted, group, several, transmit};
use crate::link::within;

/// Key packages of persons 1 and 2 as an engine makes them. They are files because making them takes
/// the MLS library; the tests of `conclave-testkit` compare them with what a key ring makes.
const PACKAGES: [&[u8]; 2] = [include_bytes!("packages/1.bin"), include_bytes!("packages/2.bin")];

/// A person, 1 or 2, with an account and an installation.
#[derive(Debug)]
pub(super) struct Person {
    account: SigningKey,
    installation: Installation,
    draft: Draft,
    package: &'static [u8],
}

impl Person {
    pub(super) fn new(number: u8) -> Self {
        let account = SigningKey::from_bytes(&[number; 32]);
        let by = Account::ed25519(account.verifying_key().to_bytes());
        let draft = Draft::create(by.clone(), 0, Timestamp(1));
        let keys = ([number.wrapping_add(100); 32], [number.wrapping_add(101); 32]);
        let installation = Installation::new(draft.inbox(), keys.0, keys.1);
        let draft = draft
            .add_installation(installation.id(), by)
            .sign_with_account(&account)
            .sign_with_installation(installation.signing_key());
        let package = PACKAGES[usize::from(number - 1)];
        Self { account, installation, draft, package }
    }

    pub(super) fn topic(&self) -> Topic {
        Topic::Identity(self.inbox())
    }

    fn inbox(&self) -> InboxId {
        self.draft.inbox()
    }

    fn account(&self) -> Account {
        Account::ed25519(self.account.verifying_key().to_bytes())
    }

    fn id(&self) -> InstallationId {
        self.installation.id()
    }

    /// The first entry of the identity log.
    pub(super) fn founding(&self) -> Transmit {
        let entry = transmit(&self.topic(), self.draft.encode());
        Transmit { expect: Some(Seq(0)), ..entry }
    }

    /// The second, behind the first at `head`.
    pub(super) fn second(&self, head: Seq) -> Transmit {
        let state = fold(self.inbox(), None, 0, &self.draft.encode()).state;
        let state = state.expect("an honest entry founds an inbox");
        let added = Installation::new(self.inbox(), [201; 32], [202; 32]);
        let entry = Draft::following(&state, Timestamp(2))
            .add_installation(added.id(), self.account())
            .sign_with_account(&self.account)
            .sign_with_installation(added.signing_key())
            .encode();
        Transmit { expect: Some(head), ..transmit(&self.topic(), entry) }
    }

    /// The upload of the key package with a counter.
    fn upload(&self, counter: u64) -> Upload {
        let (inbox, installation, package) = (self.inbox(), self.id(), self.package.to_vec());
        let signed = PackageUpload::signed_bytes(&inbox, &installation, counter, &package);
        let signature = self.installation.sign(&signed).to_vec();
        let upload = PackageUpload { inbox, installation, counter, package, signature };
        Upload { counter, bytes: upload.encode() }
    }
}

async fn uploaded(service: &impl DeliveryService, upload: Upload) -> PublishOutcome {
    within("an upload", service.upload(upload)).await.outcome
}

async fn packages(service: &impl DeliveryService, of: Vec<InstallationId>) -> Vec<Option<Vec<u8>>> {
    within("key packages", service.key_packages(of)).await.expect("a healthy service can be read")
}

fn is_accepted(outcome: &PublishOutcome) -> bool {
    outcome.is_accepted()
}

/// R7: an installation has one package at a time, the last that it uploaded; an upload says how
/// far the Welcome log had come.
pub async fn an_upload_replaces_the_one_before<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let person = Person::new(1);
    let first = within("an upload", service.upload(person.upload(1))).await;
    assert!(is_accepted(&first.outcome), "{first:?}");
    assert_eq!(first.welcome_head, Seq(0), "no Welcome has come yet");
    let of = vec![person.id()];
    assert_eq!(packages(&service, of.clone()).await, [Some(person.upload(1).bytes)]);
    let welcomes = several(&Topic::Welcome(person.id()), 0..2);
    let head = accepted(&service, welcomes).await[1];
    let second = within("an upload", service.upload(person.upload(5))).await;
    assert!(is_accepted(&second.outcome), "{second:?}");
    assert_eq!(second.welcome_head, head, "Welcomes up to here may use the package before");
    assert_eq!(packages(&service, of).await, [Some(person.upload(5).bytes)]);
}

/// The answer has one place for each installation that was asked for, in that order.
pub async fn missing_packages_are_said_in_the_order_asked<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let (one, two) = (Person::new(1), Person::new(2));
    for person in [&two, &one] {
        let outcome = uploaded(&service, person.upload(1)).await;
        assert!(is_accepted(&outcome), "{outcome:?}");
    }
    let nobody = InstallationId([9; 32]);
    let found = packages(&service, vec![two.id(), nobody, one.id(), two.id()]).await;
    let (one, two) = (one.upload(1).bytes, two.upload(1).bytes);
    assert_eq!(found, [Some(two.clone()), None, Some(one), Some(two)]);
    assert_eq!(packages(&service, vec![nobody]).await, [None]);
}

/// Scenario 94: an old upload cannot be replayed, whoever does it; the last one may be repeated.
pub async fn an_upload_with_an_old_counter_is_refused<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let person = Person::new(1);
    for counter in [3, 7, 7] {
        let outcome = uploaded(&service, person.upload(counter)).await;
        assert!(is_accepted(&outcome), "{outcome:?}");
    }
    for counter in [3, 6] {
        let outcome = uploaded(&service, person.upload(counter)).await;
        assert!(outcome.is_refused(), "counter {counter}: {outcome:?}");
    }
    let forged = {
        let mut upload = PackageUpload::decode(&person.upload(9).bytes).expect("it decodes");
        upload.signature = Person::new(2).installation.sign(b"something else").to_vec();
        Upload { counter: 9, bytes: upload.encode() }
    };
    let outcome = uploaded(&service, forged).await;
    assert!(outcome.is_refused(), "forged: {outcome:?}");
    assert_eq!(packages(&service, vec![person.id()]).await, [Some(person.upload(7).bytes)]);
}

/// I8: the directory of accounts follows the identity logs.
pub async fn accounts_resolve_to_the_inbox_that_they_founded<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let (one, two) = (Person::new(1), Person::new(2));
    let resolve = async |people: &[&Person]| {
        let accounts = people.iter().map(|person| person.account()).collect();
        let found = within("resolving", service.resolve(accounts)).await;
        found.expect("a healthy service can be read")
    };
    assert_eq!(resolve(&[&one]).await, [None]);
    accepted(&service, vec![one.founding()]).await;
    accepted(&service, several(&group(1), 0..1)).await;
    assert_eq!(resolve(&[&two, &one]).await, [None, Some(one.inbox())]);
    accepted(&service, vec![two.founding()]).await;
    assert_eq!(resolve(&[&two, &one]).await, [Some(two.inbox()), Some(one.inbox())]);
}
