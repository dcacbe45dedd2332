//! The key ring: this installation's key packages, and the Welcomes sealed to them.
//!
//! At most two packages exist, the published one and the one before it (S9). A Welcome that used
//! the published one makes it rotate, in the write set that makes the group exist: a crash in
//! between loses neither.

mod stored;
mod welcome;

use std::sync::Arc;

use conclave_proto::{
    Cursor, InstallationId, Seq, Timestamp, Topic, codec::Wire, package::PackageUpload,
};

pub use crate::group::Held;
pub use crate::mls::{PackageError, VerifiedPackage};
pub use welcome::{Gathered, Invitation, WelcomeOutcome};

use crate::{
    config::Limits,
    delivery::PublishOutcome,
    entropy::{Entropy, EntropyError},
    group::LoadError,
    installation::Installation,
    mls::{MlsError, new_package},
    step::{Effects, Lineage, Step, Upload},
    store::{Key, Store, Table, Write},
};
use stored::{Package, Ring};

/// The key packages of one installation.
#[derive(Debug)]
pub struct KeyRing {
    installation: Arc<Installation>,
    limits: Limits,
    entropy: Entropy,
    lineage: Lineage,
    ring: Ring,
    current: Package,
    previous: Option<Package>,
    loads: u64,
    /// When the last upload was given to the driver; starts over with a load.
    uploaded: Timestamp,
    /// Since when a Welcome has waited for what it names.
    waiting: Option<(Seq, Timestamp)>,
}

/// Why a key ring could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// No randomness.
    #[error("no randomness available")]
    Entropy(#[from] EntropyError),
    /// A bug of the engine or of the MLS library.
    #[error("internal failure")]
    Internal(#[from] MlsError),
}

impl KeyRing {
    /// The ring of an installation that has none, with its first package to upload. `load` differs
    /// from that of every other value of this ring in this process.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn create(
        now: Timestamp,
        installation: Arc<Installation>,
        limits: Limits,
        mut entropy: Entropy,
        load: u64,
    ) -> Result<Step<Self>, RingError> {
        let current = make(now, &installation, &limits, &mut entropy)?;
        let lineage = Lineage { owner: scope(&installation.id()), life: 0, load };
        let ring = Ring::new(now);
        let mut ring = Self {
            installation,
            limits,
            entropy,
            lineage,
            ring,
            current,
            previous: None,
            loads: 0,
            uploaded: now,
            waiting: None,
        };
        let mut effects = Effects::default();
        let mut writes = vec![ring.put_package(&ring.current)];
        ring.publish(&mut effects);
        writes.push(ring.put_ring());
        Ok(Step::new(lineage, writes, effects, ring))
    }

    /// Loads the ring of an installation; `None` if the store holds none. Upload
    /// [`KeyRing::unsettled`] afterwards.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        store: &dyn Store,
        installation: Arc<Installation>,
        limits: Limits,
        entropy: Entropy,
        load: u64,
    ) -> Result<Option<Self>, LoadError> {
        let owner = scope(&installation.id());
        let read = |key: Key| store.get(Table::KeyRing, &key);
        let Some(ring) = read(stored::ring_key(owner))? else { return Ok(None) };
        let ring = Ring::decode(&ring).map_err(LoadError::undecoded("key ring"))?;
        let package = |number: u64| -> Result<Option<Package>, LoadError> {
            let value = read(stored::package_key(owner, number))?;
            value
                .map(|value| Package::decode(&value))
                .transpose()
                .map_err(LoadError::undecoded("key package"))
        };
        let current = package(ring.current)?.ok_or(LoadError::Damaged("key package"))?;
        let previous = ring.previous.map(package).transpose()?.flatten();
        let lineage = Lineage { owner, life: 0, load };
        let loaded = Self {
            installation,
            limits,
            entropy,
            lineage,
            ring,
            current,
            previous,
            loads: load,
            uploaded: Timestamp(0),
            waiting: None,
        };
        Ok(Some(loaded))
    }

    /// Its Welcome topic.
    #[must_use]
    pub fn topic(&self) -> Topic {
        Topic::Welcome(self.installation.id())
    }

    /// How far the Welcome topic has been handled.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.ring.cursor
    }

    /// How many packages with private keys exist: at most two (S9).
    #[must_use]
    pub const fn len(&self) -> usize {
        if self.previous.is_some() { 2 } else { 1 }
    }

    /// Never: the published package is always there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether the package will be rotated as soon as it may be.
    #[must_use]
    pub const fn is_rotation_due(&self) -> bool {
        self.ring.rotate
    }

    /// The published package, as uploaded.
    #[must_use]
    pub fn upload(&self) -> Upload {
        let counter = self.ring.uploads;
        let (inbox, installation) = (self.installation.inbox(), self.installation.id());
        let package = self.current.public.clone();
        let signed = PackageUpload::signed_bytes(&inbox, &installation, counter, &package);
        let signature = self.installation.sign(&signed).to_vec();
        let upload = PackageUpload { inbox, installation, counter, package, signature };
        Upload { counter, bytes: upload.encode() }
    }

    /// The upload that the relay has not acknowledged.
    #[must_use]
    pub fn unsettled(&self) -> Option<Upload> {
        (!self.ring.acknowledged).then(|| self.upload())
    }

    /// What became of an upload. With an acknowledgement comes the head that the Welcome topic
    /// had then: up to there, Welcomes may use the package before.
    pub fn handle_upload(
        &mut self,
        now: Timestamp,
        counter: u64,
        outcome: &PublishOutcome,
        head: Seq,
    ) -> Step {
        let accepted = matches!(outcome, PublishOutcome::Accepted { .. });
        if counter != self.ring.uploads || !accepted || self.ring.acknowledged {
            return self.step(Vec::new(), Effects::default(), ());
        }
        self.ring.acknowledged = true;
        self.ring.acknowledged_at = now;
        self.ring.drain_to = head;
        let mut effects = Effects::default();
        let mut writes = self.rotate_if_due(now, &mut effects);
        writes.push(self.put_ring());
        self.step(writes, effects, ())
    }

    /// When [`KeyRing::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if !self.ring.acknowledged {
            return Some(self.uploaded.plus_ms(self.limits.republish_ms));
        }
        if !self.ring.rotate {
            return Some(self.ring.made.plus_ms(self.limits.package_ms / 2));
        }
        let rotation = self.ring.made.plus_ms(self.limits.rotation_ms);
        let drained = if self.is_drained() { rotation } else { self.drain_deadline() };
        Some(rotation.max(drained))
    }

    /// Does what is due: uploads again what was not acknowledged; rotates after a Welcome, or
    /// because half of the package's time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Step {
        if now.since_ms(self.ring.made) >= self.limits.package_ms / 2 {
            self.ring.rotate = true;
        }
        let mut effects = Effects::default();
        let mut writes = self.rotate_if_due(now, &mut effects);
        if !writes.is_empty() {
            writes.push(self.put_ring());
        } else if !self.ring.acknowledged && now.since_ms(self.uploaded) >= self.limits.republish_ms
        {
            self.uploaded = now;
            effects.uploads.push(self.upload());
        }
        self.step(writes, effects, ())
    }

    /// Whether every Welcome has been read that can still use the package before.
    fn is_drained(&self) -> bool {
        self.previous.is_none() || self.ring.cursor.seq >= self.ring.drain_to
    }

    /// When the package before goes whatever the relay says of its Welcome topic.
    const fn drain_deadline(&self) -> Timestamp {
        self.ring.acknowledged_at.plus_ms(self.limits.drain_ms)
    }

    /// The package before may be erased once it is drained, or has had its time.
    fn may_erase(&self, now: Timestamp) -> bool {
        self.previous.is_none()
            || (self.ring.acknowledged && (self.is_drained() || self.drain_deadline() <= now))
    }

    /// A new package; the oldest goes in the same write set, so there are never more than two.
    /// At most one rotation per interval: triggers in between join the next one (scenario 95).
    fn rotate_if_due(&mut self, now: Timestamp, effects: &mut Effects) -> Vec<Write> {
        let rested =
            now.since_ms(self.ring.made) >= self.limits.rotation_ms || self.ring.rotations == 0;
        if !self.ring.rotate || !self.may_erase(now) || !rested {
            return Vec::new();
        }
        // Without randomness the trigger stays.
        let Ok(fresh) = make(now, &self.installation, &self.limits, &mut self.entropy) else {
            return Vec::new();
        };
        let mut writes = Vec::new();
        if let (Some(_), Some(number)) = (self.previous.take(), self.ring.previous) {
            writes.push(self.delete_package(number));
        }
        self.previous = Some(std::mem::replace(&mut self.current, fresh));
        self.ring.turn(now);
        writes.push(self.put_package(&self.current));
        self.uploaded = now;
        self.publish(effects);
        writes
    }

    fn publish(&mut self, effects: &mut Effects) {
        self.ring.uploads = self.ring.uploads.saturating_add(1);
        self.ring.acknowledged = false;
        effects.uploads.push(self.upload());
    }

    fn step<T>(&self, writes: Vec<Write>, effects: Effects, reply: T) -> Step<T> {
        Step::new(self.lineage, writes, effects, reply)
    }

    fn put_ring(&self) -> Write {
        self.put(stored::ring_key(self.lineage.owner), self.ring.encode())
    }

    fn put_package(&self, package: &Package) -> Write {
        let key = stored::package_key(self.lineage.owner, self.ring.current);
        self.put(key, package.encode())
    }

    fn delete_package(&self, number: u64) -> Write {
        let key = stored::package_key(self.lineage.owner, number);
        Write::Delete { table: Table::KeyRing, key }
    }

    fn put(&self, key: Key, value: Vec<u8>) -> Write {
        Write::Put { table: Table::KeyRing, key, value }
    }
}

/// The scope of an installation's ring: the first half of its id.
fn scope(id: &InstallationId) -> crate::store::Scope {
    *id.0.first_chunk::<16>().unwrap_or(&[0; 16])
}

fn make(
    now: Timestamp,
    installation: &Arc<Installation>,
    limits: &Limits,
    entropy: &mut Entropy,
) -> Result<Package, RingError> {
    let expires = now.plus_ms(limits.package_ms);
    Ok(Package::of(&new_package(installation, entropy.step()?, expires)?))
}
