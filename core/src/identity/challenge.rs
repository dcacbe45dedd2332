//! The text that people sign (I3).

use alloc::{format, string::String};

use conclave_proto::{
    Timestamp,
    identity::{Action, IdentityUpdate, Member, hex},
};

/// The one human-readable text of an update; every signature in it is over these bytes (UTF-8).
///
/// It names the inbox, so no signature counts for another one (S11); the head it builds on, so
/// none counts twice in one log; the time; and each action in a block of its own.
#[must_use]
pub fn challenge_text(update: &IdentityUpdate) -> String {
    let mut text = String::from("Conclave identity update, version 1\n\n");
    text += &format!("Inbox: {}\n", update.inbox.to_hex());
    text += &format!("Time: {}\n", utc(update.time));
    text += &format!("Builds on: {}\n", hex(&update.previous));
    for action in &update.actions {
        text += "\n";
        text += &block(action);
    }
    text += "\nSign only if you asked for this.\n";
    text
}

fn block(action: &Action) -> String {
    match action {
        Action::Create { account, nonce } => {
            format!("- Create the inbox\n  (Account: {}, nonce: {nonce})\n", account.identifier())
        }
        Action::Add { member, by } => {
            format!("- Add to the inbox\n  ({}, added by: {})\n", name(member), by.identifier())
        }
        Action::Revoke { member } => format!("- Remove from the inbox\n  ({})\n", name(member)),
        Action::ChangeRecovery { account } => {
            format!("- Change the recovery account\n  (Account: {})\n", account.identifier())
        }
    }
}

fn name(member: &Member) -> String {
    match member {
        Member::Account(account) => format!("Account: {}", account.identifier()),
        Member::Installation(id) => format!("Device: {}", hex(&id.0)),
    }
}

/// RFC 3339 in UTC, with milliseconds. Days to civil date after the usual 400-year cycle.
fn utc(time: Timestamp) -> String {
    let (seconds, ms) = (time.0 / 1_000, time.0 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The proleptic Gregorian date of a day counted from 1970-01-01: years start in March, so that
/// the leap day is the last day of a year and months have a regular pattern.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use conclave_proto::{
        InboxId, Timestamp,
        identity::{Account, Action, IdentityUpdate},
    };

    use super::{challenge_text, utc};

    #[test]
    fn times_are_written_as_utc() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(Timestamp(951_782_400_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(Timestamp(1_795_384_861_007)), "2026-11-22T22:01:01.007Z");
    }

    /// I3, E10: signatures are over these bytes for ever.
    #[test]
    fn the_challenge_text_is_frozen() {
        let account = Account::ed25519([0xab; 32]);
        let update = IdentityUpdate {
            inbox: InboxId([1; 32]),
            previous: [0; 32],
            time: Timestamp(0),
            actions: vec![Action::Create { account, nonce: 7 }],
            signatures: vec![],
        };
        let golden = "Conclave identity update, version 1\n\n\
            Inbox: 0101010101010101010101010101010101010101010101010101010101010101\n\
            Time: 1970-01-01T00:00:00.000Z\n\
            Builds on: 0000000000000000000000000000000000000000000000000000000000000000\n\n\
            - Create the inbox\n  \
            (Account: 1:abababababababababababababababababababababababababababababababab, \
            nonce: 7)\n\nSign only if you asked for this.\n";
        assert_eq!(challenge_text(&update), golden);
    }
}
