//! The thread on which calls of the relay wait.

use std::io;

use conclave_core::bounds::BoxFuture;
use tokio::runtime::Runtime;

use crate::inside;

/// A tokio runtime with one thread: enough for what waits. Dropping it waits for nothing, so it
/// can be dropped anywhere.
#[derive(Debug)]
pub struct Network(Option<Runtime>);

impl Network {
    /// Starts it.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("conclave network")
            .on_thread_start(inside::enter)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a task.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(task);
        }
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.0.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
