//! How a file is to be kept, as the extended attributes `user.openbucket.*` show and set it.
//!
//! What is set on a directory is handed on to what is made in it from then on. What is set on a file is applied to the
//! data it has already by `apply`.

use std::sync::Arc;

use time::{Date, OffsetDateTime, UtcDateTime, format_description::well_known::Rfc3339};

use super::{
    Bucket, Error, FileKind, Inner,
    cell::{Cell, CellState},
    records::{Expiry, Inode},
};
use crate::{
    base::{Ino, Scheme},
    store::{Batch, Table},
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// A century: longer is a mistake, or `never`.
const TERM_DAYS: u64 = 36_525;

/// Where the names begin of the attributes that the bucket computes.
pub(super) const PREFIX: &[u8] = b"user.openbucket.";

/// What an attribute is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Id,
    State,
    Cost,
    Durability,
    Availability,
    Tier,
    Expires,
    Pinned,
}

impl Attribute {
    fn of(name: &[u8]) -> Option<Self> {
        match name.strip_prefix(PREFIX)? {
            b"id" => Some(Self::Id),
            b"state" => Some(Self::State),
            b"cost" => Some(Self::Cost),
            b"durability" => Some(Self::Durability),
            b"availability" => Some(Self::Availability),
            b"tier" => Some(Self::Tier),
            b"expires" => Some(Self::Expires),
            b"pinned" => Some(Self::Pinned),
            _ => None,
        }
    }
}

impl Inode {
    /// A new inode takes over how its directory says that things are to be kept.
    pub(super) fn inherit(&mut self, directory: &Inode) {
        self.scheme = directory.scheme;
        self.is_pinned = directory.is_pinned;
        self.expires = match directory.expires {
            Some(Expiry::After(seconds)) if self.kind != FileKind::Directory => {
                Some(Expiry::At(self.created.seconds.saturating_add_unsigned(seconds)))
            }
            expires => expires,
        };
    }

    /// Whether its term is over.
    pub(super) fn is_expired(&self, now_seconds: i64) -> bool {
        matches!(self.expires, Some(Expiry::At(seconds)) if seconds <= now_seconds)
    }

    /// Its term as people read it.
    pub(super) fn expires_text(&self) -> String {
        match self.expires {
            None => "never".to_owned(),
            Some(Expiry::After(seconds)) if seconds % DAY == 0 => format!("{}d", seconds / DAY),
            Some(Expiry::After(seconds)) => format!("{}h", seconds / HOUR),
            Some(Expiry::At(seconds)) => OffsetDateTime::from_unix_timestamp(seconds)
                .ok()
                .and_then(|time| time.format(&Rfc3339).ok())
                .unwrap_or_else(|| "never".to_owned()),
        }
    }
}

/// Reads a term: `never`, a date, a time of RFC 3339, or hours, days or weeks from now on: `12h`, `90d`, `4w`.
fn parse_expiry(text: &str) -> Option<Option<Expiry>> {
    if text == "never" {
        return Some(None);
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(Some(Expiry::At(time.unix_timestamp())));
    }
    let date = time::format_description::parse_borrowed::<2>("[year]-[month]-[day]").ok()?;
    if let Ok(date) = Date::parse(text, &date) {
        return Some(Some(Expiry::At(UtcDateTime::new(date, time::Time::MIDNIGHT).unix_timestamp())));
    }
    let units = [("h", HOUR), ("d", DAY), ("w", 7 * DAY)];
    let (count, unit) = units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let seconds = count.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=TERM_DAYS * DAY).contains(&seconds).then_some(Some(Expiry::After(seconds)))
}

impl Inner {
    /// Changes the policy of a locked cell; None takes it back to what the bucket says.
    fn change_policy(&self, inode: &mut Inode, attribute: Attribute, value: Option<&str>) -> Result<(), Error> {
        match (attribute, value) {
            (Attribute::Id | Attribute::State | Attribute::Cost | Attribute::Durability, _) => {
                return Err(Error::NotPermitted);
            }
            (Attribute::Tier | Attribute::Availability, None) => inode.scheme = None,
            (Attribute::Tier, Some(text)) => {
                let tier = text.parse().map_err(|_| Error::Invalid("write free, basic, plus, premium, or k+m"));
                inode.scheme = Some(tier?);
            }
            (Attribute::Availability, Some(text)) => {
                // So many consumers must vanish before data is gone: one more than there are parity shards.
                let k = self.scheme_of(inode).k() as u64;
                let m = text.parse::<u64>().ok().and_then(|availability| availability.checked_sub(1));
                let scheme = m.and_then(|m| Scheme::new(k, m).ok());
                inode.scheme = Some(scheme.ok_or(Error::Invalid("write a number from 1 to 65 - k"))?);
            }
            (Attribute::Expires, None) => inode.expires = None,
            (Attribute::Expires, Some(text)) => {
                let expires =
                    parse_expiry(text).ok_or(Error::Invalid("write a date, a duration such as 90d, or never"));
                inode.expires = match expires? {
                    Some(Expiry::After(seconds)) if inode.kind != FileKind::Directory => {
                        Some(Expiry::At(self.timestamp().seconds.saturating_add_unsigned(seconds)))
                    }
                    expires => expires,
                };
            }
            (Attribute::Pinned, None | Some("0")) => inode.is_pinned = false,
            (Attribute::Pinned, Some("1")) => inode.is_pinned = true,
            (Attribute::Pinned, Some(_)) => return Err(Error::Invalid("write 0 or 1")),
        }
        Ok(())
    }

    /// Puts a file whose policy has changed in line for `apply`, if it has data to apply it to.
    pub(super) fn queue_policy(&self, ino: Ino, state: &CellState, batch: &mut Batch) {
        let has_data = state.inode.extent_bytes != Some(0) || !state.dirty.is_empty();
        if state.inode.kind == FileKind::File && has_data {
            batch.put(Table::Policy, &[&ino.0.to_be_bytes()], Vec::new());
        }
    }
}

impl Bucket {
    /// The value of one of our own attributes.
    pub(super) fn policy_attribute(&self, cell: &Arc<Cell>, name: &[u8]) -> Result<Vec<u8>, Error> {
        let attribute = Attribute::of(name).ok_or(Error::NoAttribute)?;
        let inode = cell.lock().inode.clone();
        let is_file = inode.kind == FileKind::File;
        let text = match attribute {
            Attribute::Id => cell.ino.to_string(),
            // Without a chain consumers keep at price zero.
            Attribute::Cost if is_file => "0".to_owned(),
            Attribute::State if is_file => self.state_of(cell)?.state.to_string(),
            Attribute::Durability if is_file => self.durability(cell)?.to_string(),
            Attribute::Availability if is_file => self.state_of(cell)?.availability.to_string(),
            Attribute::Availability => (self.inner.scheme_of(&inode).m() + 1).to_string(),
            Attribute::Cost | Attribute::State | Attribute::Durability => return Err(Error::NoAttribute),
            Attribute::Tier => {
                let scheme = self.inner.scheme_of(&inode);
                scheme.tier().map_or_else(|| scheme.to_string(), str::to_owned)
            }
            Attribute::Expires => inode.expires_text(),
            Attribute::Pinned => u8::from(inode.is_pinned).to_string(),
        };
        Ok(text.into_bytes())
    }

    /// Sets one of our own attributes, or takes it back (None).
    ///
    /// # Errors
    /// `Invalid` for a name that nobody knows and for a malformed value, `NotPermitted` for what is only shown.
    pub(super) fn set_policy(&self, ino: Ino, name: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let outcome = self.try_set_policy(ino, name, value);
        if let Err(error @ (Error::Invalid(_) | Error::NotPermitted)) = &outcome {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value.unwrap_or_default()));
            let value: String = value.chars().take(80).collect();
            tracing::warn!(op = "setxattr", file = ino.0, %name, value, %error, "a policy was refused");
        }
        outcome
    }

    fn try_set_policy(&self, ino: Ino, name: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let attribute = Attribute::of(name).ok_or(Error::Invalid("no such attribute of OpenBucket"))?;
        let text = value.map(std::str::from_utf8).transpose().map_err(|_| Error::Invalid("the value is not text"))?;
        let inner = &*self.inner;
        let cell = inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        let mut changed = state.inode.clone();
        inner.change_policy(&mut changed, attribute, text.map(str::trim))?;
        changed.changed = inner.timestamp();
        state.inode = changed;
        let mut batch = Batch::new();
        if attribute != Attribute::Expires {
            inner.queue_policy(ino, &state, &mut batch);
        }
        state.put(ino, &mut batch);
        inner.database.commit(batch)?;
        drop(state);
        inner.apply.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_shown() {
        assert_eq!(parse_expiry("never"), Some(None));
        assert_eq!(parse_expiry("2027-01-31"), Some(Some(Expiry::At(1_801_353_600))));
        assert_eq!(parse_expiry("2027-01-31T01:00:00+01:00"), Some(Some(Expiry::At(1_801_353_600))));
        assert_eq!(parse_expiry("90d"), Some(Some(Expiry::After(90 * 86_400))));
        for text in ["", "soon", "0d", "-1d", "2027-13-01", "2027-02-30", "d", "99999999999999999999d"] {
            assert_eq!(parse_expiry(text), None, "{text}");
        }
    }
}
