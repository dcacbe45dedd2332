//! The tail of our own channel over a link that loses frames, against QUIC's (scenario 146).
//!
//! Both carry the same messages at the same time from a client to a server that echoes them, each
//! through a proxy on loopback that does to datagrams what a wire of the simulator does to frames:
//! it delays each and loses a fifth, either way. What is compared is the 99th percentile of the
//! times from a message to its echo.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use conclave_core::link::{
    Link, LinkInfo,
    channel::{Channel, ChannelLimits},
};
use conclave_proto::Timestamp;
use conclave_quic::{Listener, ServerCertificate, Trust, connect};
use conclave_testkit::{
    dice::Dice,
    wire::{Loss, Wire, WireSettings},
};
use futures_util::future::join_all;
use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet, time::sleep_until};

use crate::{
    measure::{Ratio, micros},
    served::runtime,
};

/// What the proxies do to datagrams, either way.
const AIR: WireSettings =
    WireSettings { delay_ms: 10, loss: Loss::Even(20), ..WireSettings::PERFECT };
/// Bytes of a message: a line of text, encrypted and padded.
const MESSAGE: usize = 256;
/// Longest datagram of our channel, about that of QUIC.
const MTU: usize = 1_200;
/// Echoes that come before anything is measured, so that both know the round trip.
const FIRST: usize = 20;

/// For each of some intervals between two messages: the 99th percentile of the channel over that
/// of QUIC, in runs of that length.
///
/// # Panics
/// If the loopback fails.
#[must_use]
pub fn tails_over_quic(runs: u64, length: Duration, intervals: &[Duration]) -> Vec<Ratio> {
    let runs: Vec<Vec<(f64, f64)>> = (0..runs)
        .map(|seed| {
            let sides = intervals.iter().map(|every| run(seed, length, *every));
            runtime().block_on(join_all(sides))
        })
        .collect();
    let of_interval = |index| runs.iter().map(|run| run[index]).collect::<Vec<_>>();
    (0..intervals.len()).map(|index| Ratio::of(&of_interval(index))).collect()
}

async fn run(seed: u64, length: Duration, every: Duration) -> (f64, f64) {
    let messages = (length.as_millis() / every.as_millis()) as usize;
    let (ours, theirs) = tokio::join!(channel_side(2 * seed), quic_side(2 * seed + 1));
    let (ours, theirs) =
        tokio::join!(ours.measure(messages, every), theirs.measure(messages, every));
    (micros(tail(ours), 1), micros(tail(theirs), 1))
}

fn tail(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// A client whose messages come back.
struct Side {
    send: mpsc::UnboundedSender<Vec<u8>>,
    echoes: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Ends with the side.
    _tasks: JoinSet<()>,
}

impl Side {
    /// The times that echoes took, after the first ones.
    async fn measure(mut self, messages: usize, every: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let (mut sent, mut times) = (Vec::new(), Vec::new());
        while times.len() < FIRST + messages {
            let next = (sent.len() < FIRST + messages).then(|| start + every * sent.len() as u32);
            tokio::select! {
                () = until(next) => {
                    let mut message = vec![7; MESSAGE];
                    message[..8].copy_from_slice(&sent.len().to_be_bytes());
                    sent.push(Instant::now());
                    self.send.send(message).expect("the side is there");
                }
                echo = self.echoes.recv() => {
                    let echo = echo.expect("the side is there");
                    let number = times.len();
                    assert_eq!(echo[..8], number.to_be_bytes(), "echoes come once and in order");
                    times.push(sent[number].elapsed());
                }
            }
        }
        times.split_off(FIRST)
    }
}

/// A moment, or never.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Our channel, a frame in each datagram.
async fn channel_side(seed: u64) -> Side {
    let server = socket().await;
    let address = server.local_addr().expect("it is bound");
    let mut tasks = JoinSet::new();
    let proxy = proxy(address, seed, &mut tasks).await;
    let client = socket().await;
    client.connect(proxy).await.expect("the loopback works");
    let (send, outgoing) = mpsc::unbounded_channel();
    let (incoming, echoes) = mpsc::unbounded_channel();
    tasks.spawn(drive(client, outgoing, incoming));
    let (back, outgoing) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        // The first datagram shows who talks.
        let (_, from) = server.peek_from(&mut [0; MTU]).await.expect("the loopback works");
        server.connect(from).await.expect("the loopback works");
        drive(server, outgoing, back).await;
    });
    Side { send, echoes, _tasks: tasks }
}

/// Runs a channel over a connected socket.
async fn drive(
    socket: UdpSocket,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    incoming: mpsc::UnboundedSender<Vec<u8>>,
) {
    let info = LinkInfo { mtu: MTU, reliable: false };
    let mut channel = Channel::new(info, ChannelLimits::default());
    let start = Instant::now();
    let now = || Timestamp(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut datagram = vec![0; 2_048];
    loop {
        while let Some(frame) = channel.poll_frame(now()) {
            // A socket that refuses a datagram is one more loss.
            let _ = socket.send(&frame).await;
        }
        while let Some(message) = channel.poll_message() {
            if incoming.send(message).is_err() {
                return;
            }
        }
        let timeout = channel.next_timeout().map(|at| start + Duration::from_millis(at.0));
        tokio::select! {
            received = socket.recv(&mut datagram) => {
                let length = received.expect("the loopback works");
                channel.handle_frame(now(), &datagram[..length]).expect("the peer is honest");
            }
            message = outgoing.recv() => match message {
                Some(message) => channel.send(&message),
                None => return,
            },
            () = until(timeout) => channel.handle_timeout(now()).expect("the peer is there"),
        }
    }
}

/// QUIC as products use it.
async fn quic_side(seed: u64) -> Side {
    let certificate = ServerCertificate::self_signed(&["localhost"]).expect("a valid name");
    let listener = Listener::bind(loopback(), &certificate).expect("the loopback works");
    let mut tasks = JoinSet::new();
    let proxy = proxy(listener.local_addr(), seed, &mut tasks).await;
    let trust = Trust::Fingerprint(listener.fingerprint());
    tasks.spawn(async move {
        // A handshake may be lost altogether; the client tries again then.
        while let Ok((server, _)) = listener.accept().await {
            while let Ok(frames) = server.receive().await {
                if server.send(frames).await.is_err() {
                    break;
                }
            }
        }
    });
    let client = loop {
        if let Ok(client) = connect(proxy, "localhost", trust.clone()).await {
            break client;
        }
    };
    let (send, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let (incoming, echoes) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                message = outgoing.recv() => match message {
                    Some(message) => client.send(vec![message]).await.expect("QUIC goes on"),
                    None => return,
                },
                frames = client.receive() => {
                    for frame in frames.expect("QUIC goes on") {
                        if incoming.send(frame).is_err() {
                            return;
                        }
                    }
                }
            }
        }
    });
    Side { send, echoes, _tasks: tasks }
}

/// Starts a proxy before a server, for one client at a time, and returns its address.
async fn proxy(server: SocketAddr, seed: u64, tasks: &mut JoinSet<()>) -> SocketAddr {
    let (front, back) = (socket().await, socket().await);
    let address = front.local_addr().expect("it is bound");
    back.connect(server).await.expect("the loopback works");
    tasks.spawn(async move {
        let (mut up, mut down) = (Wire::unreliable(AIR), Wire::unreliable(AIR));
        let mut dice = Dice::new(seed);
        let mut client = None;
        let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
        let start = Instant::now();
        let now = || Timestamp(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        loop {
            while let Some(datagram) = up.poll(now()) {
                // A socket that refuses a datagram is one more loss, to either side alike.
                let _ = back.send(&datagram).await;
            }
            while let (Some(datagram), Some(client)) = (down.poll(now()), client) {
                let _ = front.send_to(&datagram, client).await;
            }
            let next = [up.next_timeout(), down.next_timeout()].into_iter().flatten().min();
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    up.send(now(), there[..length].to_vec(), &mut dice);
                }
                Ok(length) = back.recv(&mut here) => {
                    down.send(now(), here[..length].to_vec(), &mut dice);
                }
                () = until(next.map(|at| start + Duration::from_millis(at.0))) => {}
            }
        }
    });
    address
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(loopback()).await.expect("the loopback works")
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
