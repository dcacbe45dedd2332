//! What stands between the types that applications use and whatever runs an engine: threads in
//! products, a simulated world in tests.

use std::sync::Arc;

use conclave_core::{
    engine::{ActorId, Answer, Context, Error, ReplyToken, Request},
    store::Store,
};
use conclave_proto::GroupId;

use crate::{account::AccountSigner, front::Front};

/// Runs an engine for the handles of an application.
///
/// [`Engine`](crate::Engine), [`GroupHandle`](crate::GroupHandle) and [`Events`](crate::Events)
/// stand over it. Products get one from [`Builder::open`](crate::Builder::open); a simulation
/// brings its own to [`Engine::over`](crate::Engine::over).
pub trait EnginePort: Send + Sync + 'static {
    /// What applications see of the engine.
    fn front(&self) -> &Arc<Front>;

    /// What the engine's actors share.
    fn context(&self) -> &Context;

    /// The store, for reading.
    fn store(&self) -> &dyn Store;

    /// The groups that are known.
    fn groups(&self) -> Vec<GroupId>;

    /// Hands in a request. Its answer comes through [`Front::answer`], exactly once; `signer`
    /// signs for a registration.
    ///
    /// # Errors
    /// Why the request is not taken; there is no answer then.
    fn submit(
        &self,
        reply: ReplyToken,
        request: Request,
        signer: Option<Arc<dyn AccountSigner>>,
    ) -> Result<(), Error>;

    /// The application waits for this answer no longer.
    fn withdraw(&self, actor: ActorId, reply: ReplyToken);

    /// Erases events up to a position.
    fn forget_events(&self, upto: conclave_core::event::log::EventCursor);

    /// Ends the engine, see [`Engine::shut_down`](crate::Engine::shut_down).
    fn shut_down(&self);

    /// Whether this is a fork of the process that opened the engine: none of the engine's threads
    /// are here, and its locks may be held for ever.
    fn is_forked(&self) -> bool {
        false
    }

    /// Whether waiting on this thread would wait for ever: a simulation goes on only when its
    /// applications let it.
    fn may_block(&self) -> bool {
        true
    }
}

/// The answer to a call of the engine.
pub(crate) type Answered = Result<Answer, Error>;
