//! Welcomes of an applied own commit: released by the write set that applies it (PROTOCOL 8).

use conclave_proto::{
    Envelope, EnvelopeKind, Record, Timestamp, Topic, TransmitId,
    codec::Wire,
    welcome::{SealedWelcome, WelcomeBody, WelcomePointer, body_address},
};
use sha2::{Digest, Sha256};

use super::{
    Group,
    commits::{KeptCommit, Recipient},
    envelope::SentEnvelope,
};
use crate::{
    mls::MlsError,
    seal::{Kem, seal, seal_body},
};

impl Group {
    /// Queues the body and one sealed pointer for each installation that the commit added.
    pub(super) fn queue_welcomes(
        &mut self,
        now: Timestamp,
        record: &Record,
        kept: &KeptCommit,
    ) -> Result<(), MlsError> {
        let Some(welcome) = &kept.welcome else { return Ok(()) };
        let body = WelcomeBody {
            group_info: welcome.group_info.clone(),
            tree: welcome.tree.clone(),
            state: self.state.encode(),
        };
        let body_key = self.mls.array::<32>()?;
        let sealed = seal_body(&body_key, &body.encode());
        let pointer = WelcomePointer {
            group: self.id,
            body: body_address(&sealed),
            body_key,
            secrets: Vec::new(),
            start: record.cursor(),
            // As the log has it: the envelope may not be the one that was sent.
            commit: Sha256::digest(&record.payload).into(),
            inviter: self.installation.inbox(),
            inviter_installation: self.installation.id(),
            signature: Vec::new(),
        };
        let body = self.queue_body(now, &pointer, sealed);
        for recipient in &welcome.recipients {
            self.queue_pointer(now, &pointer, recipient, body)?;
        }
        Ok(())
    }

    fn queue_body(
        &mut self,
        now: Timestamp,
        pointer: &WelcomePointer,
        sealed: Vec<u8>,
    ) -> TransmitId {
        let topic = Topic::Blob(pointer.body);
        let mark = self.installation.mark(&topic, self.marks.life(), 0);
        let envelope = SentEnvelope::new(topic, mark, self.epoch(), sealed, now);
        let id = envelope.id;
        self.outbox.send_plain(&mut self.draft, envelope, None);
        id
    }

    fn queue_pointer(
        &mut self,
        now: Timestamp,
        shared: &WelcomePointer,
        recipient: &Recipient,
        body: TransmitId,
    ) -> Result<(), MlsError> {
        let mut pointer = WelcomePointer { secrets: recipient.secrets.clone(), ..shared.clone() };
        let signed = pointer.signed_bytes(&recipient.reference);
        pointer.signature = self.installation.sign(&signed).to_vec();
        let kem = Kem::from_id(recipient.algorithm)
            .ok_or_else(|| MlsError("a package of an unknown algorithm was added".into()))?;
        let info = SealedWelcome::info(recipient.algorithm, &recipient.reference);
        let plaintext = zeroize::Zeroizing::new(pointer.encode());
        let sealing = self.mls.sealing()?;
        // A key that cannot be sealed to was checked when the wish was taken; a member that
        // cannot be reached any more is invited again later, not a reason to lose the commit.
        let Ok(sealed) = seal(kem, &sealing, &recipient.key, &info, &[], &plaintext) else {
            return Ok(());
        };
        let welcome = SealedWelcome {
            algorithm: recipient.algorithm,
            recipient: recipient.reference,
            encapsulated: sealed.encapsulated,
            ciphertext: sealed.ciphertext,
        };
        let topic = Topic::Welcome(recipient.installation);
        let mark = self.marks.draw(&mut self.draft, &self.installation, &topic);
        let kind = EnvelopeKind::Welcome(welcome.encode());
        let payload = Envelope { mark, beacon: None, kind }.encode();
        let envelope = SentEnvelope::new(topic, mark, self.epoch(), payload, now);
        self.outbox.send_plain(&mut self.draft, envelope, Some(body));
        Ok(())
    }
}
