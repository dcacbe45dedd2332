//! The relay of a simulation: honest logs, and every lie on request.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conclave_core::{
    delivery::{PublishOutcome, Transmit},
    step::Upload,
};
use conclave_proto::{
    ChainHash, Cursor, InboxId, InstallationId, Record, Seq, Topic, codec::Wire,
    package::PackageUpload, record::transmit_id,
};

/// What a relay does with one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Stores it and says so.
    Honest,
    /// Stores it; the answer is lost (scenario 10).
    LoseAnswer,
    /// Does not store it; the answer is lost.
    LoseRequest,
    /// Does not store it and says so.
    NotStored,
    /// Stores it and says that it never will (scenario 8).
    StoredButRefused,
    /// Says that it is stored and drops it (scenario 9).
    DroppedButAccepted,
}

impl Lie {
    /// A log shows what became of an envelope; what only one reader sees is settled by the relay's
    /// word, and a word that is a lie there is a lost invitation, which another mechanism heals.
    fn about(self, topic: &Topic) -> Self {
        match (self, topic) {
            (Self::DroppedButAccepted, Topic::Welcome(_) | Topic::Blob(_)) => Self::LoseRequest,
            (lie, _) => lie,
        }
    }
}

/// Ordered logs in memory.
///
/// A fork shows another log to some readers: `fork` copies a topic's log, `view` says who reads
/// which copy.
#[derive(Clone, Debug, Default)]
pub struct SimRelay {
    logs: BTreeMap<(Topic, u32), Vec<Record>>,
    packages: BTreeMap<InstallationId, Vec<Upload>>,
    views: BTreeMap<(usize, Topic), u32>,
    /// Identity logs, as their owners last published them.
    pub identities: BTreeMap<InboxId, Vec<Vec<u8>>>,
    lies: VecDeque<Lie>,
    seen: BTreeSet<(Topic, u32, [u8; 16])>,
    /// Whether a payload that is stored already is stored again (scenario 4).
    pub duplicates: bool,
}

impl SimRelay {
    /// What the relay does with the next publishes, one each; then it is honest.
    pub fn lie(&mut self, lies: impl IntoIterator<Item = Lie>) {
        self.lies.extend(lies);
    }

    /// Publishes an envelope for a device.
    pub fn publish(&mut self, device: usize, transmit: &Transmit) -> PublishOutcome {
        let lie = self.lies.pop_front().unwrap_or(Lie::Honest);
        match lie.about(&transmit.topic) {
            Lie::Honest => self.store(device, transmit),
            Lie::LoseAnswer => {
                self.store(device, transmit);
                PublishOutcome::Unknown
            }
            Lie::LoseRequest => PublishOutcome::Unknown,
            Lie::NotStored => PublishOutcome::not_stored(std::time::Duration::from_secs(1)),
            Lie::StoredButRefused => {
                self.store(device, transmit);
                PublishOutcome::Invalid
            }
            Lie::DroppedButAccepted => {
                let head = self.head(device, &transmit.topic).seq;
                PublishOutcome::Accepted { seq: Seq(head.0 + 1), prev: head }
            }
        }
    }

    fn store(&mut self, device: usize, transmit: &Transmit) -> PublishOutcome {
        let branch = self.branch(device, &transmit.topic);
        let known = (transmit.topic.clone(), branch, transmit.id.0);
        if !self.seen.insert(known) && !self.duplicates {
            let log = self.log(device, &transmit.topic);
            let place = log.iter().find(|record| record.id == transmit.id);
            let (seq, prev) = place.map_or((Seq(0), Seq(0)), |record| (record.seq, record.prev));
            return PublishOutcome::Accepted { seq, prev };
        }
        let record = self.append(&transmit.topic, branch, transmit.payload.clone());
        PublishOutcome::Accepted { seq: record.seq, prev: record.prev }
    }

    /// Appends bytes to a topic, as a hostile relay or member would.
    pub fn inject(&mut self, topic: &Topic, payload: Vec<u8>) -> Record {
        self.append(topic, 0, payload)
    }

    /// As [`SimRelay::inject`], for those who read a branch.
    pub fn append(&mut self, topic: &Topic, branch: u32, payload: Vec<u8>) -> Record {
        let log = self.logs.entry((topic.clone(), branch)).or_default();
        let head = log.last().map_or(Cursor::START, Record::cursor);
        // Sequences are not dense: readers must not count on it.
        let seq = Seq(head.seq.0 + 1 + u64::from(payload.len().is_multiple_of(3)));
        let record = Record::chained(topic, seq, head.seq, &head.hash, payload);
        log.push(record.clone());
        record
    }

    /// Puts back a log that ends before some record, keeping what follows out of sight; gives
    /// what was cut off.
    pub fn cut(&mut self, topic: &Topic, branch: u32, keep: usize) -> Vec<Record> {
        let log = self.logs.entry((topic.clone(), branch)).or_default();
        if keep >= log.len() {
            return Vec::new();
        }
        let cut = log.split_off(keep);
        for record in &cut {
            self.seen.remove(&(topic.clone(), branch, record.id.0));
        }
        cut
    }

    /// Copies a topic's log; from now on the device reads and writes the copy (scenario 7).
    pub fn fork(&mut self, device: usize, topic: &Topic, branch: u32) {
        let from = self.branch(device, topic);
        let key = (topic.clone(), branch);
        if !self.logs.contains_key(&key) {
            let log = self.logs.get(&(topic.clone(), from)).cloned().unwrap_or_default();
            self.seen.extend(log.iter().map(|r| (topic.clone(), branch, r.id.0)));
            self.logs.insert(key, log);
        }
        self.views.insert((device, topic.clone()), branch);
    }

    fn branch(&self, device: usize, topic: &Topic) -> u32 {
        self.views.get(&(device, topic.clone())).copied().unwrap_or_default()
    }

    /// The whole log as a device is shown it.
    #[must_use]
    pub fn log(&self, device: usize, topic: &Topic) -> &[Record] {
        let key = (topic.clone(), self.branch(device, topic));
        self.logs.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Records behind a cursor.
    #[must_use]
    pub fn after(&self, device: usize, topic: &Topic, cursor: Seq) -> Vec<Record> {
        let log = self.log(device, topic).iter();
        log.filter(|record| record.seq > cursor).cloned().collect()
    }

    /// The end of a topic's log.
    #[must_use]
    pub fn head(&self, device: usize, topic: &Topic) -> Cursor {
        self.log(device, topic).last().map_or(Cursor::START, Record::cursor)
    }

    /// The record at a cursor.
    #[must_use]
    pub fn at(&self, device: usize, topic: &Topic, seq: Seq) -> Option<Record> {
        self.log(device, topic).iter().find(|record| record.seq == seq).cloned()
    }

    /// The identity log of an inbox, as the relay shows it.
    #[must_use]
    pub fn identity_log(&self, inbox: &InboxId) -> Vec<Record> {
        let topic = Topic::Identity(*inbox);
        let (mut log, mut head) = (Vec::<Record>::new(), Cursor::START);
        for entry in self.identities.get(inbox).into_iter().flatten() {
            let seq = Seq(head.seq.0 + 1);
            let record = Record::chained(&topic, seq, head.seq, &head.hash, entry.clone());
            head = record.cursor();
            log.push(record);
        }
        log
    }

    /// The body under an address.
    #[must_use]
    pub fn body(&self, address: [u8; 32]) -> Option<Vec<u8>> {
        let log = self.logs.get(&(Topic::Blob(address), 0))?;
        log.first().map(|record| record.payload.clone())
    }

    /// Stores an uploaded key package.
    pub fn upload(&mut self, upload: &Upload) {
        if let Ok(package) = PackageUpload::decode(&upload.bytes) {
            self.packages.entry(package.installation).or_default().push(upload.clone());
        }
    }

    /// The newest key package of an installation.
    #[must_use]
    pub fn package(&self, id: &InstallationId) -> Option<Vec<u8>> {
        self.packages.get(id)?.last().map(|upload| upload.bytes.clone())
    }

    /// All bytes of all logs, for comparing two simulations.
    #[must_use]
    pub fn fingerprint(&self) -> ChainHash {
        let mut all = Vec::new();
        for ((topic, branch), log) in &self.logs {
            all.extend(topic.to_bytes());
            all.extend(branch.to_be_bytes());
            for record in log {
                all.extend(record.hash.0);
            }
        }
        for uploads in self.packages.values() {
            for upload in uploads {
                all.extend(&upload.bytes);
            }
        }
        let id = transmit_id(&Topic::Blob([0; 32]), &all);
        conclave_proto::record::chain_hash(&ChainHash::GENESIS, Seq(0), &id, &all)
    }
}
