//! Opening an engine.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use conclave_core::{
    BlockedOn, Class,
    delivery::DeliveryService,
    engine::{Context, Ended, EngineLimits, Opening},
    entropy::{Entropy, EntropySource},
    event::log::EventLog,
    step::Committer,
    store::{Claim, Store, StoreError, StoreLimits},
};

use crate::{
    capacity,
    clock::{Clock, OsEntropy, SystemClock},
    driver::{Driver, default_driver},
    engine::Engine,
    front::Front,
    lent::{Lent, LentStore},
    shell::{Parts, Shell},
    writer::{QueueLimits, Writer},
};

/// Why an engine could not be opened. Nothing was changed but the claim on the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No store or no delivery service was given.
    #[error("the engine needs {0}")]
    Incomplete(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store takes less than the engine needs, even under the chunked layer; these are its
    /// limits. Or an engine has used it without that layer, and it takes less than it did then.
    #[error(
        "the store takes keys of {} bytes, values of {}, and {} writes or {} bytes at once, \
         which is too little for an engine",
        .0.key_bytes, .0.value_bytes, .0.batch_writes, .0.batch_bytes
    )]
    StoreTooSmall(StoreLimits),
    /// No randomness.
    #[error("no randomness available")]
    Entropy,
    /// The system has no further thread.
    #[error("no thread can be started")]
    Threads(#[from] std::io::Error),
}

impl OpenError {
    /// What a caller does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Incomplete(_) | Self::StoreTooSmall(_) => Class::Permanent,
            Self::Store(error) => error.class(),
            Self::Entropy => Class::Blocked(BlockedOn::Entropy),
            Self::Threads(_) => Class::Transient,
        }
    }
}

/// Collects what an engine is made of; see [`Engine::builder`].
#[must_use = "nothing happens before it is opened"]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    delivery: Option<Arc<dyn DeliveryService>>,
    entropy: Box<dyn EntropySource>,
    clock: Arc<dyn Clock>,
    driver: Option<Arc<dyn Driver>>,
    limits: EngineLimits,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            store: None,
            delivery: None,
            entropy: Box::new(OsEntropy),
            clock: Arc::new(SystemClock),
            driver: None,
            limits: EngineLimits::default(),
        }
    }
}

impl Builder {
    /// Where everything is kept. One engine owns a store: opening another one on it fences this
    /// one off.
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// As [`Builder::store`], for a store that others hold as well, to look at it. If its limits
    /// are below [`STORE_NEEDS`](conclave_core::config::STORE_NEEDS), they see what the chunked layer
    /// makes of the engine's records.
    pub fn shared_store(self, store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// What carries envelopes. It is driven by the tokio runtime of the driver, whatever runtime
    /// the application has.
    pub fn delivery(self, delivery: impl DeliveryService) -> Self {
        Self { delivery: Some(Arc::new(delivery)), ..self }
    }

    /// Another source of randomness than the system's, for tests. Two engines must never be
    /// opened with sources that give the same bytes.
    pub fn entropy(self, entropy: impl EntropySource) -> Self {
        Self { entropy: Box::new(entropy), ..self }
    }

    /// Another clock than the system's.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Another driver than the default one (actix actors, or plain threads without the feature
    /// `actix`).
    pub fn driver(self, driver: impl Driver) -> Self {
        self.shared_driver(Arc::new(driver))
    }

    /// As [`Builder::driver`], for a driver that runs other engines as well: each further engine
    /// then costs one thread, which commits to its store. The engines share the threads that run
    /// their actors: a store that hangs holds up all of them once the queue to its writer is full.
    pub fn shared_driver(self, driver: Arc<dyn Driver>) -> Self {
        Self { driver: Some(driver), ..self }
    }

    /// Other limits than the default ones.
    pub fn limits(self, limits: EngineLimits) -> Self {
        Self { limits, ..self }
    }

    /// Opens the engine: claims the store, starts the threads, and goes on where the last engine
    /// on this store has ended. Blocks for some reads of the store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self) -> Result<Engine, OpenError> {
        let store = capacity::fit(self.store.ok_or(OpenError::Incomplete("a store"))?)?;
        let delivery = self.delivery.ok_or(OpenError::Incomplete("a delivery service"))?;
        let mut entropy = Entropy::new(self.entropy);
        let claim = Claim(entropy.step().map_err(|_| OpenError::Entropy)?.array());
        store.claim(claim)?;
        let events = EventLog::open(&*store, self.limits.events)?;
        let committer = Committer::with_event_log(claim, events.last());
        let context = Arc::new(Context::new(self.limits, entropy));
        let opening = Opening::read(&*store, &context)?;
        let (driver, owned) = match self.driver {
            Some(driver) => (driver, false),
            None => (default_driver()?, true),
        };
        let front = Arc::new(Front::new(events));
        let lent = Arc::new(LentStore::new(store));
        let lost = Arc::new(OnceLock::<Weak<Shell>>::new());
        let panicked = {
            let lost = Arc::clone(&lost);
            move || {
                if let Some(shell) = lost.get().and_then(Weak::upgrade) {
                    shell.end(Ended::StoreLost);
                }
            }
        };
        let store: Arc<dyn Store> = Arc::<LentStore>::clone(&lent);
        let writer = Writer::with_committer(store, committer, QueueLimits::default(), panicked)?;
        let shell = Shell::new(Parts {
            store: lent,
            delivery: Lent::new(delivery),
            clock: self.clock,
            driver: Lent::new(driver),
            context,
            front,
            writer: writer.handle(),
        });
        // Set once, here.
        drop(lost.set(Arc::downgrade(&shell)));
        opening.messages().for_each(|message| shell.tell(message));
        for group in opening.groups {
            drop(shell.group(group));
        }
        Ok(Engine::running(shell, writer, owned))
    }
}
