//! The pairs of the database in order: the layers in memory over what is in sled.

use std::{ops::Range, sync::Arc};

use super::{
    Error,
    database::{Database, Pair},
    schema::{Table, key},
    trees::trees_error,
};

impl Database {
    /// Up to `limit` pairs whose key begins with `prefix`, in order, from the key part `from` (inclusive) on.
    /// The keys come without table byte and prefix.
    pub fn scan(&self, table: Table, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, Error> {
        let start = key(table, &[prefix, from]);
        let begin = key(table, &[prefix]);
        let memory = self.inner.memory.read();
        let mut active = memory.active.range(start.clone()..).peekable();
        let mut frozen = memory.frozen.range(start.clone()..).peekable();
        let mut rest = self.inner.trees.range(start..);
        let mut next_stored = || rest.next().transpose().map_err(trees_error);
        let mut stored = next_stored()?;
        let mut pairs = Vec::new();
        // There may be thousands of deleted keys between two that are there: of those nothing is copied.
        while pairs.len() < limit {
            let (newer, older) = (active.peek().map(|pair| &pair.0[..]), frozen.peek().map(|pair| &pair.0[..]));
            let oldest = stored.clone();
            let least = [newer, older, oldest.as_ref().map(|(key, _)| &key[..])].into_iter().flatten().min();
            let Some(least) = least.filter(|key| key.starts_with(&begin)) else { break };
            let newest = active.next_if(|pair| *pair.0 == *least).map(|pair| pair.1.as_deref());
            let older = frozen.next_if(|pair| *pair.0 == *least).map(|pair| pair.1.as_deref());
            let oldest = oldest.as_ref().filter(|(key, _)| **key == *least).map(|(_, value)| Some(&value[..]));
            if let Some(Some(value)) = newest.or(older).or(oldest) {
                pairs.push((least[begin.len()..].to_vec(), value.to_vec()));
            }
            if oldest.is_some() {
                stored = next_stored()?;
            }
        }
        Ok(pairs)
    }

    /// The last pair whose key begins with `prefix`, with the next key part in this window; the key as from `scan`.
    pub fn last_within(&self, table: Table, prefix: &[u8], window: Range<&[u8]>) -> Result<Option<Pair>, Error> {
        let window = key(table, &[prefix, window.start])..key(table, &[prefix, window.end]);
        let memory = self.inner.memory.read();
        let mut active = memory.active.range(window.clone()).rev().peekable();
        let mut frozen = memory.frozen.range(window.clone()).rev().peekable();
        let mut stored = self.inner.trees.range(window).rev().peekable();
        loop {
            let stored_key = match stored.peek() {
                Some(Err(error)) => return Err(trees_error(error.clone())),
                found => found.and_then(|pair| pair.as_ref().ok()).map(|(key, _)| key.to_vec()),
            };
            let candidates = [active.peek().map(|pair| pair.0), frozen.peek().map(|pair| pair.0), stored_key.as_ref()];
            let Some(last) = candidates.into_iter().flatten().max().cloned() else { return Ok(None) };
            let newest = active.next_if(|pair| *pair.0 == last).map(|pair| bytes(pair.1));
            let older = frozen.next_if(|pair| *pair.0 == last).map(|pair| bytes(pair.1));
            let oldest = stored.next_if(|pair| pair.as_ref().is_ok_and(|(key, _)| **key == *last));
            let oldest = oldest.and_then(Result::ok).map(|(_, value)| Some(value.to_vec()));
            if let Some(Some(value)) = newest.or(older).or(oldest) {
                return Ok(Some((last[1 + prefix.len()..].to_vec(), value)));
            }
        }
    }
}

fn bytes(value: &Option<Arc<[u8]>>) -> Option<Vec<u8>> {
    value.as_deref().map(<[u8]>::to_vec)
}
