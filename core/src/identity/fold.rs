//! Reading identity logs: a pure fold (I2, I5).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use conclave_proto::{
    InboxId, InstallationId,
    codec::Wire,
    identity::{Account, Action, IdentityState, IdentityUpdate, Member, Signature},
    limits,
};
use sha2::{Digest, Sha256};

use super::{challenge_text, verify};

/// Why an entry is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityFault {
    /// Not an update, or not in its canonical encoding.
    Malformed,
    /// For another inbox.
    OtherInbox,
    /// Builds on another head.
    OtherHead,
    /// A creation in a log that has one, or anything else in one that has none.
    Order,
    /// Account and nonce do not give the inbox id.
    WrongId,
    /// A signature is wrong, or of a kind that cannot be judged here.
    BadSignature,
    /// A signature that an action needs is missing.
    MissingSignature,
    /// A signature that no action needs, or a second one of the same signer.
    SurplusSignature,
    /// A signature that was accepted before (S11).
    SpentSignature,
    /// The member is there already, or not there.
    Member,
    /// Too many actions, signatures, accounts or installations (I6).
    Limit,
}

/// What reading one entry gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The state after it; `None` while a log has no valid creation.
    pub state: Option<IdentityState>,
    /// Why the entry was skipped, if it was.
    pub skipped: Option<IdentityFault>,
}

/// Reads the next entry of an inbox's log.
///
/// An invalid entry is skipped: it moves the sequence, not the head, and never makes the inbox
/// unusable (I5). Until the creation, skipped entries leave nothing behind but their count.
#[must_use]
pub fn fold(inbox: InboxId, state: Option<&IdentityState>, skipped: u64, entry: &[u8]) -> Read {
    match apply(inbox, state, skipped, entry) {
        Ok(state) => Read { state: Some(state), skipped: None },
        Err(fault) => {
            let state = state.map(|state| IdentityState {
                sequence: state.sequence.saturating_add(1),
                ..state.clone()
            });
            Read { state, skipped: Some(fault) }
        }
    }
}

/// Reads entries on top of a state (or a whole log on top of none). `None` if there is no valid
/// creation in it.
#[must_use]
pub fn read_log<'a>(
    inbox: InboxId,
    state: Option<&IdentityState>,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Option<IdentityState> {
    let mut state = state.cloned();
    let mut skipped = 0;
    for entry in entries {
        let read = fold(inbox, state.as_ref(), skipped, entry);
        if read.state.is_none() {
            skipped += 1;
        }
        state = read.state;
    }
    state
}

/// Reads entries on top of a state and keeps those that count: what a commit carries.
///
/// A group's state cites accepted entries only. From inside a commit nobody could tell an entry
/// that was skipped in the log from one that was never in it, and a member could push the count
/// of somebody's log ahead with junk.
#[must_use]
pub fn accepted<'a>(
    inbox: InboxId,
    state: Option<&IdentityState>,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<(Vec<u8>, IdentityState)> {
    let mut state = state.cloned();
    let mut kept = Vec::new();
    for entry in entries {
        if let Ok(next) = apply(inbox, state.as_ref(), 0, entry) {
            kept.push((entry.to_vec(), next.clone()));
            state = Some(next);
        }
    }
    kept
}

/// Reads entries that all have to count; `None` if one does not, or if they found no inbox.
#[must_use]
pub fn read_strictly<'a>(
    inbox: InboxId,
    state: Option<&IdentityState>,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Option<IdentityState> {
    let mut state = state.cloned();
    for entry in entries {
        state = Some(apply(inbox, state.as_ref(), 0, entry).ok()?);
    }
    state
}

fn apply(
    inbox: InboxId,
    state: Option<&IdentityState>,
    skipped: u64,
    entry: &[u8],
) -> Result<IdentityState, IdentityFault> {
    let update = IdentityUpdate::decode_canonical(entry).map_err(|_| IdentityFault::Malformed)?;
    if update.inbox != inbox {
        return Err(IdentityFault::OtherInbox);
    }
    // Without an action nobody would have to sign, and the head would still move.
    if update.actions.is_empty() {
        return Err(IdentityFault::Malformed);
    }
    if update.actions.len() > limits::ACTIONS_PER_UPDATE
        || update.signatures.len() > limits::SIGNATURES_PER_UPDATE
    {
        return Err(IdentityFault::Limit);
    }
    let previous = state.map_or([0; 32], |state| state.head);
    if update.previous != previous {
        return Err(IdentityFault::OtherHead);
    }
    let mut signers = signers(&update, state)?;
    let mut next = state.cloned();
    for action in &update.actions {
        next = Some(act(inbox, next, action, &mut signers)?);
    }
    if signers.used != signers.present {
        return Err(IdentityFault::SurplusSignature);
    }
    let mut next = next.ok_or(IdentityFault::Order)?;
    next.sequence = state.map_or(skipped, |state| state.sequence).saturating_add(1);
    next.head = head(&previous, entry);
    next.spent.extend(update.signatures.iter().map(digest));
    within_limits(&next)?;
    Ok(next)
}

/// Who has signed, and whose signature an action needed.
struct Signers {
    present: BTreeSet<Member>,
    used: BTreeSet<Member>,
}

impl Signers {
    fn need(&mut self, member: &Member) -> Result<(), IdentityFault> {
        if !self.present.contains(member) {
            return Err(IdentityFault::MissingSignature);
        }
        self.used.insert(member.clone());
        Ok(())
    }
}

/// Who has signed; every signature in the update has to hold, and none may be spent.
fn signers(
    update: &IdentityUpdate,
    state: Option<&IdentityState>,
) -> Result<Signers, IdentityFault> {
    let text = challenge_text(update);
    let mut present = BTreeSet::new();
    for signature in &update.signatures {
        if state.is_some_and(|state| state.spent.contains(&digest(signature))) {
            return Err(IdentityFault::SpentSignature);
        }
        if !verify::holds(signature, &text) {
            return Err(IdentityFault::BadSignature);
        }
        if !present.insert(signature.signer.clone()) {
            return Err(IdentityFault::SurplusSignature);
        }
    }
    Ok(Signers { present, used: BTreeSet::new() })
}

fn act(
    inbox: InboxId,
    state: Option<IdentityState>,
    action: &Action,
    signers: &mut Signers,
) -> Result<IdentityState, IdentityFault> {
    match (state, action) {
        (None, Action::Create { account, nonce }) => create(inbox, account, *nonce, signers),
        (Some(state), Action::Add { member, by }) => add(state, member, by, signers),
        (Some(state), Action::Revoke { member }) => revoke(state, member, signers),
        (Some(state), Action::ChangeRecovery { account }) => {
            signed_by(signers, &state.recovery)?;
            Ok(IdentityState { recovery: account.clone(), ..state })
        }
        (Some(_), Action::Create { .. })
        | (None, Action::Add { .. } | Action::Revoke { .. } | Action::ChangeRecovery { .. }) => {
            Err(IdentityFault::Order)
        }
    }
}

fn create(
    inbox: InboxId,
    account: &Account,
    nonce: u64,
    signers: &mut Signers,
) -> Result<IdentityState, IdentityFault> {
    if InboxId::derive(&account.identifier(), nonce) != inbox {
        return Err(IdentityFault::WrongId);
    }
    signed_by(signers, account)?;
    Ok(IdentityState {
        inbox,
        sequence: 0,
        head: [0; 32],
        recovery: account.clone(),
        accounts: BTreeSet::from([account.clone()]),
        installations: BTreeMap::new(),
        spent: BTreeSet::new(),
    })
}

/// Signed by the new member and by an account that belongs already, or the recovery account;
/// installations add nobody (I2).
fn add(
    mut state: IdentityState,
    member: &Member,
    by: &Account,
    signers: &mut Signers,
) -> Result<IdentityState, IdentityFault> {
    signed_by(signers, by)?;
    signers.need(member)?;
    if !state.accounts.contains(by) && state.recovery != *by {
        return Err(IdentityFault::Member);
    }
    let fresh = match member {
        Member::Account(account) => state.accounts.insert(account.clone()),
        Member::Installation(id) => insert_installation(&mut state, *id, by),
    };
    if fresh { Ok(state) } else { Err(IdentityFault::Member) }
}

fn insert_installation(state: &mut IdentityState, id: InstallationId, by: &Account) -> bool {
    if state.installations.contains_key(&id) {
        return false;
    }
    state.installations.insert(id, by.clone());
    true
}

/// Only the recovery account revokes; with a member go the installations it added (I2).
fn revoke(
    mut state: IdentityState,
    member: &Member,
    signers: &mut Signers,
) -> Result<IdentityState, IdentityFault> {
    signed_by(signers, &state.recovery)?;
    let there = match member {
        Member::Installation(id) => state.installations.remove(id).is_some(),
        Member::Account(account) => {
            state.installations.retain(|_, by| by != account);
            state.accounts.remove(account)
        }
    };
    if there { Ok(state) } else { Err(IdentityFault::Member) }
}

fn signed_by(signers: &mut Signers, account: &Account) -> Result<(), IdentityFault> {
    signers.need(&Member::Account(account.clone()))
}

fn within_limits(state: &IdentityState) -> Result<(), IdentityFault> {
    let fits = state.installations.len() <= limits::INSTALLATIONS_PER_INBOX
        && state.accounts.len() <= limits::ACCOUNTS_PER_INBOX;
    if fits { Ok(()) } else { Err(IdentityFault::Limit) }
}

/// `SHA-256("conclave identity head v1" ‖ previous ‖ entry)`.
fn head(previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"conclave identity head v1")
        .chain_update(previous)
        .chain_update(entry)
        .finalize()
        .into()
}

fn digest(signature: &Signature) -> [u8; 16] {
    let full: Vec<u8> = Sha256::digest(&signature.bytes).to_vec();
    let mut short = [0; 16];
    for (slot, byte) in short.iter_mut().zip(full) {
        *slot = byte;
    }
    short
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use conclave_proto::{
        InboxId, Timestamp,
        identity::{Account, Action, Member},
    };

    use super::{IdentityFault, fold, read_log};
    use crate::identity::{
        Draft,
        people::{account, installation, key},
    };

    fn founding() -> (InboxId, Vec<u8>) {
        let draft = Draft::create(account(1), 0, Timestamp(1))
            .add_installation(installation(2), account(1))
            .sign_with_account(&key(1))
            .sign_with_installation(&key(2));
        (draft.inbox(), draft.encode())
    }

    /// I2: creation and addition, with both signatures.
    #[test]
    fn an_inbox_is_founded_with_its_first_installation() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        assert_eq!(state.sequence, 1);
        assert!(state.installations.contains_key(&installation(2)));
    }

    /// I2, I5: a bad entry is skipped with its reason; it moves the sequence, not the head.
    #[test]
    fn an_invalid_entry_is_skipped_and_moves_only_the_sequence() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        let unsigned = Draft::following(&state, Timestamp(2))
            .add_installation(installation(3), account(1))
            .sign_with_account(&key(1));
        let read = fold(inbox, Some(&state), 0, &unsigned.encode());
        assert_eq!(read.skipped, Some(IdentityFault::MissingSignature));
        let after = read.state.unwrap();
        assert_eq!((after.sequence, after.head), (2, state.head));
        assert_eq!(fold(inbox, Some(&state), 0, b"junk").skipped, Some(IdentityFault::Malformed));
    }

    /// I2: installations add nobody.
    #[test]
    fn an_installation_cannot_vouch_for_another() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        let impostor = Account::ed25519(installation(2).0);
        let draft = Draft::following(&state, Timestamp(2))
            .add_installation(installation(3), impostor)
            .sign_with_account(&key(2))
            .sign_with_installation(&key(3));
        let read = fold(inbox, Some(&state), 0, &draft.encode());
        assert_eq!(read.skipped, Some(IdentityFault::Member));
    }

    /// S11, scenario 46: a signature counts in one place only.
    #[test]
    fn an_entry_replayed_or_moved_to_another_inbox_is_skipped() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        let again = fold(inbox, Some(&state), 0, &entry);
        assert_eq!(again.skipped, Some(IdentityFault::OtherHead));
        let elsewhere = fold(InboxId([9; 32]), None, 0, &entry);
        assert_eq!(elsewhere.skipped, Some(IdentityFault::OtherInbox));
    }

    /// I2, I7: an update that nobody had to sign would move the head of anybody's log.
    #[test]
    fn an_update_without_actions_or_with_surplus_signatures_is_skipped() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        let empty = Draft::following(&state, Timestamp(2));
        let read = fold(inbox, Some(&state), 0, &empty.encode());
        assert_eq!(read.skipped, Some(IdentityFault::Malformed));
        let by_stranger = empty.sign_with_account(&key(9));
        let read = fold(inbox, Some(&state), 0, &by_stranger.encode());
        assert_eq!(read.skipped, Some(IdentityFault::Malformed));
        let surplus = Draft::following(&state, Timestamp(2))
            .add_installation(installation(3), account(1))
            .sign_with_account(&key(1))
            .sign_with_installation(&key(3))
            .sign_with_account(&key(9));
        let read = fold(inbox, Some(&state), 0, &surplus.encode());
        assert_eq!(read.skipped, Some(IdentityFault::SurplusSignature));
        assert_eq!(read.state.unwrap().head, state.head);
    }

    /// I2: revoking a member takes the installations it added along.
    #[test]
    fn a_revoked_account_takes_its_installations_along() {
        let (inbox, entry) = founding();
        let state = read_log(inbox, None, [&entry[..]]).unwrap();
        let second = Draft::following(&state, Timestamp(2))
            .action(Action::Add { member: Member::Account(account(4)), by: account(1) })
            .add_installation(installation(5), account(4))
            .sign_with_account(&key(1))
            .sign_with_account(&key(4))
            .sign_with_installation(&key(5))
            .encode();
        let state = read_log(inbox, Some(&state), [&second[..]]).unwrap();
        assert_eq!(state.installations.len(), 2);
        let revocation = Draft::following(&state, Timestamp(3))
            .action(Action::Revoke { member: Member::Account(account(4)) });
        let by_other =
            fold(inbox, Some(&state), 0, &revocation.clone().sign_with_account(&key(4)).encode());
        assert_eq!(by_other.skipped, Some(IdentityFault::MissingSignature));
        let entry = revocation.sign_with_account(&key(1)).encode();
        let state = read_log(inbox, Some(&state), [&entry[..]]).unwrap();
        assert_eq!(state.installations.keys().collect::<Vec<_>>(), [&installation(2)]);
    }
}
