//! The pairs of the database in order: the layers in memory over what is in sled.

use std::ops::Range;

use super::{
    Error,
    database::{Database, Pair},
    overlay::{Order, Recent, Value},
    schema::{Table, key},
    trees::trees_error,
};

/// Which pairs are asked for.
pub(super) struct Query {
    /// Of whole keys.
    pub range: Range<Vec<u8>>,
    /// Bytes of a key that are not told.
    pub prefix: usize,
    pub limit: usize,
    pub order: Order,
}

impl Database {
    /// Up to `limit` pairs whose key begins with `prefix`, in order, from the key part `from` (inclusive) on, as they were at
    /// one moment. The keys come without table byte and prefix.
    pub fn scan(&self, table: Table, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, Error> {
        let begin = key(table, &[prefix]);
        let range = key(table, &[prefix, from])..after(&begin);
        self.pairs(&Query { range, prefix: begin.len(), limit, order: Order::Up }, || {})
    }

    /// The last pair whose key begins with `prefix`, with the next key part in this window; the key as from `scan`.
    pub fn last_within(&self, table: Table, prefix: &[u8], window: Range<&[u8]>) -> Result<Option<Pair>, Error> {
        let range = key(table, &[prefix, window.start])..key(table, &[prefix, window.end]);
        Ok(self.pairs(&Query { range, prefix: 1 + prefix.len(), limit: 1, order: Order::Down }, || {})?.pop())
    }

    /// Does something, for tests, between the look at the layers in memory and that at the trees, when others may commit.
    pub(super) fn pairs(&self, query: &Query, between: impl FnOnce()) -> Result<Vec<Pair>, Error> {
        let recent = self.inner.memory.read().recent(query);
        between();
        let pairs = self.merge(&recent, query)?;
        let memory = self.inner.memory.read();
        if memory.is_turn_of(&recent) {
            return Ok(pairs);
        }
        // The log has turned meanwhile, which is rare, and does not as long as the lock is held.
        self.merge(&memory.recent(query), query)
    }

    /// Each pair from the newest layer that says something of its key.
    fn merge(&self, recent: &Recent, query: &Query) -> Result<Vec<Pair>, Error> {
        let Query { range, prefix, limit, order } = query;
        let mut active = recent.active.iter().map(|(key, value)| (&key[..], value)).peekable();
        let mut frozen = order.of(recent.frozen.range(range)).map(|(key, value)| (&key[..], value)).peekable();
        let mut rest = order.of(self.inner.trees.range(range.clone()));
        let mut next_stored = || rest.next().transpose().map_err(trees_error);
        let mut stored = next_stored()?;
        let mut pairs = Vec::new();
        // There may be thousands of deleted keys between two that are there: of those no bytes are copied.
        while pairs.len() < *limit {
            let oldest = stored.clone();
            let oldest = oldest.as_ref().map(|(key, value)| (&key[..], &value[..]));
            let keys = [active.peek().map(|pair| pair.0), frozen.peek().map(|pair| pair.0), oldest.map(|pair| pair.0)];
            let Some(next) = keys.into_iter().flatten().reduce(|one, other| order.first(one, other)) else { break };
            let newest = active.next_if(|pair| pair.0 == next).map(|pair| bytes(pair.1));
            let older = frozen.next_if(|pair| pair.0 == next).map(|pair| bytes(pair.1));
            let oldest = oldest.filter(|pair| pair.0 == next).map(|pair| Some(pair.1));
            if let Some(Some(value)) = newest.or(older).or(oldest) {
                pairs.push((next[*prefix..].to_vec(), value.to_vec()));
            }
            if oldest.is_some() {
                stored = next_stored()?;
            }
        }
        Ok(pairs)
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    value.as_deref()
}

/// The least key after all that begin with this one, which begins with the byte of a table.
fn after(begin: &[u8]) -> Vec<u8> {
    let mut end = begin.to_vec();
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
