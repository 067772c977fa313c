//! What a change of the database is made of.

use super::{
    log::Op,
    schema::{Table, key},
};

/// What must change together.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) ops: Vec<Op>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Its steps.
    #[cfg(test)]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// A key gets a value.
    pub fn put(&mut self, table: Table, parts: &[&[u8]], value: Vec<u8>) {
        self.ops.push(Op::Put { key: key(table, parts), value });
    }

    /// A key goes.
    pub fn delete(&mut self, table: Table, parts: &[&[u8]]) {
        self.ops.push(Op::Delete { key: key(table, parts) });
    }

    /// Bytes that are in a staging file but not flushed there: the log carries them.
    pub fn inline(&mut self, ino: u64, offset: u64, bytes: Vec<u8>) {
        self.ops.push(Op::Inline { ino, offset, bytes });
    }

    /// A range of a staging file is flushed there, or no longer used.
    pub fn supersede(&mut self, ino: u64, start: u64, end: u64) {
        self.ops.push(Op::Supersede { ino, start, end });
    }
}
