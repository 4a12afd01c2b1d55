//! Output kept within a bound: the beginning, the end, and the digest and length of all of it.

use std::collections::VecDeque;

use writ_protocol::digest::{Digest, Hasher};

/// What a tree wrote to its standard streams, in the order in which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedOutput {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes; empty unless more came than the head holds.
    pub tail: Vec<u8>,
    /// Bytes in all, kept or not.
    pub total: u64,
    /// Whether bytes between head and tail were dropped.
    pub truncated: bool,
    /// Digest of all bytes.
    pub digest: Digest,
}

/// Takes output in; memory is bounded by the number given at the start.
#[derive(Debug)]
pub(crate) struct Capture {
    head: Vec<u8>,
    head_max: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    total: u64,
    hasher: Hasher,
}

impl Capture {
    /// Keeps at most `bytes` in all, half of it from the end.
    pub(crate) fn new(bytes: usize) -> Self {
        let tail_max = bytes / 2;
        let head_max = bytes.saturating_sub(tail_max);
        Self {
            head: Vec::new(),
            head_max,
            tail: VecDeque::new(),
            tail_max,
            total: 0,
            hasher: Hasher::new(),
        }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.total = self.total.saturating_add(bytes.len() as u64);
        let room = self.head_max.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        // Of a chunk longer than the tail only its end can stay.
        let (_, rest) = rest.split_at(rest.len().saturating_sub(self.tail_max));
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn finish(self) -> CapturedOutput {
        let tail: Vec<u8> = self.tail.into();
        let truncated = self.total > (self.head.len() + tail.len()) as u64;
        CapturedOutput {
            head: self.head,
            tail,
            total: self.total,
            truncated,
            digest: self.hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(bound: usize, chunks: &[&[u8]]) -> CapturedOutput {
        let mut capture = Capture::new(bound);
        for chunk in chunks {
            capture.take(chunk);
        }
        capture.finish()
    }

    #[test]
    fn short_output_is_whole() {
        let output = captured(8, &[b"abc", b"de"]);
        assert_eq!(
            (output.head.as_slice(), output.tail.as_slice()),
            (&b"abcd"[..], &b"e"[..])
        );
        assert!(!output.truncated);
        assert_eq!(output.digest, Digest::of(b"abcde"));
    }

    #[test]
    fn long_output_keeps_both_ends_whatever_its_chunks() {
        let all: Vec<u8> = (0..200_u8).collect();
        for size in [1, 3, 7, 50, 200] {
            let output = captured(10, &all.chunks(size).collect::<Vec<_>>());
            assert_eq!(output.head, [0, 1, 2, 3, 4]);
            assert_eq!(output.tail, [195, 196, 197, 198, 199]);
            assert!(output.truncated);
            assert_eq!((output.total, output.digest), (200, Digest::of(&all)));
        }
    }

    #[test]
    fn a_bound_of_zero_keeps_nothing_and_counts_all() {
        let output = captured(0, &[b"abc"]);
        assert!(output.head.is_empty() && output.tail.is_empty() && output.truncated);
        assert_eq!(output.total, 3);
    }
}
