//! How many frames and messages of 1 KiB pass a link over loopback in a second, in one direction.
#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::time::Instant;

use conclave_core::{
    link::{
        Link,
        channel::{Channel, ChannelLimits},
    },
    proto::Timestamp,
};
use conclave_quic::{Listener, ServerCertificate, Trust, connect};

const COUNT: usize = 200_000;
const BYTES: usize = 1_024;

#[tokio::main]
async fn main() {
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &certificate).unwrap();
    let trust = Trust::Fingerprint(listener.fingerprint());
    let client = connect(listener.local_addr(), "localhost", trust).await.unwrap();
    let (relay, _) = listener.accept().await.unwrap();

    for batch in [1, 16, 256] {
        let start = Instant::now();
        let sends = async {
            for _ in 0..COUNT / batch {
                client.send(vec![vec![7; BYTES]; batch]).await.unwrap();
            }
        };
        let receives = async {
            let mut received = 0;
            while received < COUNT / batch * batch {
                received += relay.receive().await.unwrap().len();
            }
        };
        tokio::join!(sends, receives);
        report(&format!("frames, {batch} in a call"), start);
    }

    let start = Instant::now();
    let sends = async {
        let mut channel = Channel::new(client.info(), ChannelLimits::default());
        let mut left = COUNT;
        while left > 0 {
            while left > 0 && channel.can_send() {
                channel.send(&[7; BYTES]);
                left -= 1;
            }
            let frames = std::iter::from_fn(|| channel.poll_frame(Timestamp(0))).collect();
            client.send(frames).await.unwrap();
        }
    };
    let receives = async {
        let mut channel = Channel::new(relay.info(), ChannelLimits::default());
        let mut received = 0;
        while received < COUNT {
            for frame in relay.receive().await.unwrap() {
                channel.handle_frame(Timestamp(0), &frame).unwrap();
                received += std::iter::from_fn(|| channel.poll_message()).count();
            }
        }
    };
    tokio::join!(sends, receives);
    report("messages of a channel", start);
}

#[allow(clippy::cast_precision_loss, reason = "a rough figure")]
fn report(what: &str, start: Instant) {
    println!("{:>9.0} per second: {what}", COUNT as f64 / start.elapsed().as_secs_f64());
}
