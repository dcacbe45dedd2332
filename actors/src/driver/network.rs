//! The thread on which calls of the relay wait.

use std::io;

use conclave_core::bounds::BoxFuture;
use tokio::runtime::Runtime;

use crate::inside::{self, Process};

/// A tokio runtime with one thread: enough for what waits. Dropping it waits for nothing, so it
/// can be dropped anywhere.
#[derive(Debug)]
pub struct Network {
    runtime: Option<Runtime>,
    process: Process,
}

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
        Ok(Self { runtime: Some(runtime), process: Process::here() })
    }

    /// Runs a task.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process.is_forked() {
            std::mem::forget(runtime);
        } else {
            runtime.shutdown_background();
        }
    }
}
