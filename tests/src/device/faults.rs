//! A fuse: the n-th draw of randomness panics, in whatever an actor is doing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use conclave_core::entropy::{EntropyError, EntropySource};

use crate::entropy::SimEntropy;

/// Makes an actor panic in the middle of an input. Clones are one fuse.
#[derive(Clone, Debug, Default)]
pub struct Fuse(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Draws until it burns; 0 is never.
    left: AtomicU32,
    /// Whether an actor is running: nobody else promises to go on.
    lit: AtomicBool,
    /// Whether it burnt in the present input.
    burnt: AtomicBool,
    /// How often it has burnt.
    count: AtomicU32,
}

impl Fuse {
    /// The `draws`-th draw of randomness from now on panics.
    pub fn set(&self, draws: u32) {
        self.0.left.store(draws, Ordering::SeqCst);
    }

    /// How often it has burnt.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.count.load(Ordering::SeqCst)
    }

    pub(super) fn light(&self) {
        self.0.burnt.store(false, Ordering::SeqCst);
        self.0.lit.store(true, Ordering::SeqCst);
    }

    pub(super) fn put_out(&self) {
        self.0.lit.store(false, Ordering::SeqCst);
    }

    pub(super) fn has_burnt(&self) -> bool {
        self.0.burnt.load(Ordering::SeqCst)
    }

    pub(super) fn guard(&self, source: SimEntropy) -> Guarded {
        Guarded { source, fuse: self.clone() }
    }

    fn burn(&self) {
        if !self.0.lit.load(Ordering::SeqCst) || self.0.left.load(Ordering::SeqCst) == 0 {
            return;
        }
        if self.0.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.burnt.store(true, Ordering::SeqCst);
            self.0.count.fetch_add(1, Ordering::SeqCst);
            panic!("a fuse that the simulation has lit");
        }
    }
}

/// A source of randomness with a fuse.
pub(super) struct Guarded {
    source: SimEntropy,
    fuse: Fuse,
}

impl EntropySource for Guarded {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        self.fuse.burn();
        self.source.fill(out)
    }

    fn child(&self, label: &str, id: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self { source: self.source.derive(label, id), fuse: self.fuse.clone() })
    }
}
