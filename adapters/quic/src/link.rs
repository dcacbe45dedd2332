//! One stream of one connection as a link.

use std::sync::Arc;

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, watch},
    time::timeout,
};

use crate::{
    framing::{FrameTooLong, Unframed, framed},
    settings::{LINGER, MTU, code},
};

/// A reliable link with frames of up to [`MTU`] bytes: the one stream of a QUIC connection.
///
/// It belongs to the tokio runtime that it was made in. Dropping it closes it.
#[derive(Debug)]
pub struct QuicLink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
    /// Turns true once, by [`Link::close`].
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Writer {
    stream: SendStream,
    /// What a dropped call left: the rest of a frame must not be lost between two others.
    unsent: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
struct Reader {
    stream: RecvStream,
    unframed: Unframed,
    /// Why nothing more arrives.
    end: Option<LinkError>,
}

impl QuicLink {
    /// Starts the task that ends the connection after [`Link::close`], or when `ending` turns
    /// true. It keeps the permit until then.
    pub(crate) fn start(
        connection: Connection,
        (sends, receives): (SendStream, RecvStream),
        ending: Option<watch::Receiver<bool>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let writer = Writer { stream: sends, unsent: Vec::new(), sent: 0 };
        let reader = Reader { stream: receives, unframed: Unframed::default(), end: None };
        let shared = Arc::new(Shared {
            connection,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(end(Arc::clone(&shared), ending, permit));
        Self { shared }
    }
}

impl Link for QuicLink {
    fn info(&self) -> LinkInfo {
        LinkInfo { mtu: MTU, reliable: true }
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            if frames.iter().any(|frame| frame.len() > MTU) {
                return Err(LinkError::TooLong { mtu: MTU });
            }
            self.shared.unless_closed(self.shared.send(&frames)).await
        })
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(self.shared.receive())
    }

    fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

impl Drop for QuicLink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    async fn send(&self, frames: &[Vec<u8>]) -> Result<(), LinkError> {
        let mut writer = self.writer.lock().await;
        writer.flush().await?;
        writer.unsent = framed(frames);
        writer.sent = 0;
        writer.flush().await
    }

    async fn receive(&self) -> Result<Vec<Vec<u8>>, LinkError> {
        let mut reader = self.reader.lock().await;
        loop {
            // Nothing waits between taking frames and returning them.
            match reader.unframed.take(MTU) {
                Ok(frames) if frames.is_empty() => {}
                Ok(frames) => return Ok(frames),
                Err(FrameTooLong) => {
                    let why = b"frame too long";
                    self.connection.close(VarInt::from_u32(code::FRAME_TOO_LONG), why);
                    return Err(LinkError::Misconfigured(TOO_LONG_FROM_PEER));
                }
            }
            if let Some(end) = &reader.end {
                let end = end.clone();
                self.closed.send_replace(true);
                return Err(end);
            }
            self.unless_closed(reader.read()).await?;
        }
    }

    async fn unless_closed<T>(
        &self,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        tokio::select! {
            biased;
            () = turned(self.closed.subscribe()) => Err(LinkError::Closed),
            done = work => done,
        }
    }

    /// Lets the other end have what was taken, for some seconds.
    async fn finish(&self) {
        self.closed.send_replace(true);
        let stopped = {
            let mut writer = self.writer.lock().await;
            // Fails if it is finished already.
            let _ = writer.stream.finish();
            writer.stream.stopped()
        };
        {
            let mut reader = self.reader.lock().await;
            if reader.end.is_none() {
                // Tells a peer that only sends. Fails if it has ended already.
                let _ = reader.stream.stop(VarInt::from_u32(code::CLOSED));
            }
        }
        // Acknowledged is not read yet, and a peer may forget what it has not read once the
        // connection is closed; so it is the peer who closes, unless it reads no more.
        let settled = async {
            if let Ok(None) = stopped.await {
                self.connection.closed().await;
            }
        };
        let _ = timeout(LINGER, settled).await;
        self.connection.close(VarInt::from_u32(code::CLOSED), b"closed");
    }
}

impl Writer {
    /// Can be dropped at any time: `write` counts what it took before it returns.
    async fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += self.stream.write(rest).await.map_err(|error| match error {
                WriteError::ConnectionLost(error) => lost(&error),
                WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                    LinkError::Closed
                }
            })?;
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Ok(())
    }
}

impl Reader {
    /// Can be dropped at any time: `read_chunk` takes nothing before it returns.
    async fn read(&mut self) -> Result<(), LinkError> {
        match self.stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => self.unframed.push(&chunk.bytes),
            Ok(None) => self.end = Some(LinkError::Closed),
            Err(ReadError::ConnectionLost(error)) => self.end = Some(lost(&error)),
            Err(
                ReadError::Reset(_)
                | ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected,
            ) => self.end = Some(LinkError::Closed),
        }
        Ok(())
    }
}

async fn end(
    shared: Arc<Shared>,
    ending: Option<watch::Receiver<bool>>,
    permit: Option<OwnedSemaphorePermit>,
) {
    let server_ends = async {
        match ending {
            Some(ending) => turned(ending).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = turned(shared.closed.subscribe()) => shared.finish().await,
        () = server_ends => shared.finish().await,
        _ = shared.connection.closed() => {}
    }
    drop(permit);
}

/// Waits until it is true, or nobody is left who could make it so.
async fn turned(mut receiver: watch::Receiver<bool>) {
    let _ = receiver.wait_for(|turned| *turned).await;
}

fn lost(error: &ConnectionError) -> LinkError {
    match error {
        ConnectionError::ApplicationClosed(close)
            if close.error_code == VarInt::from_u32(code::FRAME_TOO_LONG) =>
        {
            LinkError::Misconfigured(TOO_LONG_FOR_PEER)
        }
        ConnectionError::ApplicationClosed(close)
            if close.error_code == VarInt::from_u32(code::NO_PREAMBLE) =>
        {
            LinkError::Misconfigured("the server expects other streams")
        }
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => LinkError::Closed,
    }
}

const TOO_LONG_FROM_PEER: &str = "the peer sends longer frames than agreed";
const TOO_LONG_FOR_PEER: &str = "the peer takes shorter frames than agreed";

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
