//! What happened, in order: a hash by which two runs are compared, and the words where they are asked for.

use std::fmt::{self, Write};
use std::time::Duration;

/// The history of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    lines: Option<Vec<String>>,
}

/// Feeds text into the hash without keeping it.
struct Hasher(u64);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// An empty history; `keep` says whether its words are wanted.
    pub fn new(keep: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            lines: keep.then(Vec::new),
        }
    }

    /// Notes that something happened.
    pub fn note(&mut self, at: Duration, what: fmt::Arguments<'_>) {
        let mut hasher = Hasher(self.hash);
        // Writing into a number cannot fail.
        let _always = writeln!(hasher, "{} {what}", at.as_micros());
        self.hash = hasher.0;
        self.count += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {what}", at.as_secs_f64()));
        }
    }

    /// The hash of everything so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How much has happened.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The words, where they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A fingerprint of bytes, for notes.
pub fn mark(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
