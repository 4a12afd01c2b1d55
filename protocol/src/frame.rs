//! A journal frame: the unit of evidence. The same bytes stand on the agent's disk, travel in event batches, lie in the ledger and in packs.
//!
//! Layout, little-endian, padded with zeros to a multiple of 16 bytes:
//!
//! ```text
//! offset  size  field
//!      0     4  payload length n (at most FRAME_PAYLOAD_MAX)
//!      4     4  CRC-32C (Castagnoli) over bytes 8 .. 36+n
//!      8     1  kind (record::Kind)
//!      9     1  format (1)
//!     10     2  zero
//!     12     8  sequence number, from 1, contiguous within a journal
//!     20     8  boot-time clock, nanoseconds
//!     28     8  wall clock, microseconds since the Unix epoch
//!     36     n  payload, MessagePack
//! ```
//!
//! Chain: `H(n) = SHA-256(H(n-1) ‖ bytes 8 .. 36+n of frame n)`, `H(0)` = 32 zero bytes. The checksum finds torn writes; the chain, signed
//! in checkpoints and batches, finds everything else.

use crate::digest::Digest;
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::time::Timestamp;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 36;
/// Frames begin at multiples of this.
pub const ALIGN: usize = 16;
const FORMAT: u8 = 1;

/// One frame, taken apart; the payload is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is: a [`crate::record::Kind`] number; unknown numbers are kept as they are.
    pub kind: u8,
    /// Position in the journal.
    pub seq: u64,
    /// Boot-time clock when it was written, nanoseconds.
    pub boot_ns: u64,
    /// Wall clock when it was written.
    pub wall: Timestamp,
    /// MessagePack of the record.
    pub payload: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("frame is cut short: {have} of {need} bytes")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The length field is above the bound.
    #[error("frame says it has {length} bytes, at most {FRAME_PAYLOAD_MAX} are accepted")]
    TooLong {
        /// What it says.
        length: usize,
    },
    /// The checksum does not match.
    #[error("frame checksum does not match")]
    Checksum,
    /// A fixed field or the padding is not as it must be.
    #[error("frame has a wrong fixed field")]
    Form,
}

impl<'a> Frame<'a> {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let length = self.payload.len();
        if length > FRAME_PAYLOAD_MAX {
            return Err(FrameError::TooLong { length });
        }
        let body = self.body();
        let crc = crc32c(&body, self.payload);
        out.reserve(padded(length));
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(self.payload);
        out.resize(out.len() + padded(length) - HEADER_BYTES - length, 0);
        Ok(())
    }

    /// Reads the frame at the start of `bytes` and says how many bytes it takes, padding included.
    ///
    /// # Errors
    /// [`FrameError`]; nothing is allocated.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let short = |need| FrameError::Short {
            have: bytes.len(),
            need,
        };
        let header = bytes.get(..HEADER_BYTES).ok_or_else(|| short(HEADER_BYTES))?;
        let length = usize::try_from(u32::from_le_bytes(field(header, 0)?)).unwrap_or(usize::MAX);
        if length > FRAME_PAYLOAD_MAX {
            return Err(FrameError::TooLong { length });
        }
        let total = padded(length);
        let whole = bytes.get(..total).ok_or_else(|| short(total))?;
        let (_, rest) = whole.split_at_checked(8).ok_or(FrameError::Form)?;
        let (body, rest) = rest.split_at_checked(HEADER_BYTES - 8).ok_or(FrameError::Form)?;
        let (payload, padding) = rest.split_at_checked(length).ok_or(FrameError::Form)?;
        if crc32c(body, payload) != u32::from_le_bytes(field(header, 4)?) {
            return Err(FrameError::Checksum);
        }
        let [kind, format, zero_a, zero_b] = field::<4>(header, 8)?;
        if format != FORMAT || zero_a != 0 || zero_b != 0 || padding.iter().any(|b| *b != 0) {
            return Err(FrameError::Form);
        }
        let frame = Self {
            kind,
            seq: u64::from_le_bytes(field(header, 12)?),
            boot_ns: u64::from_le_bytes(field(header, 20)?),
            wall: Timestamp::from_micros(i64::from_le_bytes(field(header, 28)?)),
            payload,
        };
        Ok((frame, total))
    }

    /// The chain's value after this frame.
    pub fn link(&self, previous: &Digest) -> Digest {
        Digest::of_parts(&[previous.as_bytes(), &self.body(), self.payload])
    }

    fn body(&self) -> [u8; HEADER_BYTES - 8] {
        let mut body = [0_u8; HEADER_BYTES - 8];
        let fields: [&[u8]; 4] = [
            &[self.kind, FORMAT, 0, 0],
            &self.seq.to_le_bytes(),
            &self.boot_ns.to_le_bytes(),
            &self.wall.as_micros().to_le_bytes(),
        ];
        let bytes = fields.into_iter().flatten();
        for (slot, byte) in body.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        body
    }
}

/// Bytes that a frame with a payload of `length` bytes takes, padding included.
pub const fn padded(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(ALIGN)
}

/// Takes frames off the front of `bytes` one by one; stops after the first error.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, FrameError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Frame::parse(rest) {
            Ok((frame, taken)) => {
                rest = rest.get(taken..).unwrap_or_default();
                Some(Ok(frame))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn crc32c(body: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(body), payload)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FrameError> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(FrameError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: &[u8]) -> (Vec<u8>, Digest) {
        let frame = Frame {
            kind: 3,
            seq: 7,
            boot_ns: 11,
            wall: Timestamp::from_micros(-5),
            payload,
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).expect("encodes");
        assert_eq!(bytes.len() % ALIGN, 0);
        assert_eq!(Frame::parse(&bytes).expect("parses"), (frame, bytes.len()));
        (bytes, frame.link(&Digest::ZERO))
    }

    #[test]
    fn every_bit_flip_is_an_error() {
        let (bytes, _) = sample(b"seventeen bytes!!");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&changed).is_err(), "bit {bit} went unseen");
        }
    }

    #[test]
    fn every_truncation_is_short() {
        let (bytes, _) = sample(b"payload");
        for length in 0..bytes.len() {
            assert!(
                matches!(Frame::parse(&bytes[..length]), Err(FrameError::Short { .. })),
                "length {length}"
            );
        }
    }

    #[test]
    fn the_chain_covers_times_and_payload() {
        let (_, link) = sample(b"a");
        let (_, other) = sample(b"b");
        assert_ne!(link, other);
        let moved = Frame {
            kind: 3,
            seq: 7,
            boot_ns: 12,
            wall: Timestamp::from_micros(-5),
            payload: b"a",
        };
        assert_ne!(moved.link(&Digest::ZERO), link);
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_reading_on() {
        let mut bytes = vec![0_u8; HEADER_BYTES];
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Frame::parse(&bytes), Err(FrameError::TooLong { .. })));
        let payload = vec![0; FRAME_PAYLOAD_MAX + 1];
        let frame = Frame {
            kind: 1,
            seq: 1,
            boot_ns: 0,
            wall: Timestamp::default(),
            payload: &payload,
        };
        assert!(frame.encode(&mut Vec::new()).is_err());
    }
}
