//! A relay inside of the process that uses it: for tests, for tools, and for applications on one
//! machine.

use std::sync::Arc;

use conclave_core::{bounds::BoxFuture, delivery::TransportError, link::Link};
use conclave_remote::{Connector, Remote, RemoteLimits};

use crate::host::Host;
use crate::store::LogStore;

/// Opens links in memory to a host.
struct Inside<S>(Arc<Host<S>>);

impl<S: LogStore> Connector for Inside<S> {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let (ours, theirs) = conclave_links::memory::pair(64 * 1024);
            tokio::spawn(self.0.serve(theirs));
            Ok(Box::new(ours) as Box<dyn Link>)
        })
    }
}

impl<S: LogStore> Host<S> {
    /// A delivery service that reaches this host without leaving the process. Everything but the
    /// network is as it would be from afar.
    #[must_use]
    pub fn local(self: &Arc<Self>) -> Remote {
        Remote::new(Inside(Arc::clone(self)), RemoteLimits::default())
    }
}
