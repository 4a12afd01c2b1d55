//! The container of an evidence pack: a POSIX ustar archive (IEEE Std 1003.1, pax "ustar Interchange Format") in one canonical form.
//!
//! Any `tar` opens it. Names are sorted, and every header field but name, size and checksum is fixed, so equal contents give equal bytes and
//! the reader can demand that the bytes it got are the bytes it would have written: no byte of a pack is beyond the seal's reach.

use std::collections::BTreeMap;

const BLOCK: usize = 512;
const NAME_MAX: usize = 100;
/// Most files in one pack.
pub const FILES_MAX: usize = 65_536;
/// Largest pack, bytes.
pub const PACK_BYTES_MAX: usize = 1 << 30;

/// Files by name.
pub type Files<'a> = BTreeMap<String, &'a [u8]>;

/// Why bytes are no archive of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The archive ends early.
    #[error("the archive ends early, at byte {at}")]
    Short {
        /// Where.
        at: usize,
    },
    /// A byte is not what the canonical form has there.
    #[error("the archive is not in canonical form at byte {at}")]
    NotCanonical {
        /// Where, to the block.
        at: usize,
    },
    /// A file name is empty, too long or not clean.
    #[error("file name {name:?} cannot stand in an archive")]
    Name {
        /// The name.
        name: String,
    },
    /// There are too many files or bytes.
    #[error("the archive is larger than {FILES_MAX} files or {PACK_BYTES_MAX} bytes")]
    TooLarge,
}

/// Writes an archive.
///
/// # Errors
/// [`ArchiveError`] for a name that does not fit, or too much.
pub fn write(files: &Files<'_>) -> Result<Vec<u8>, ArchiveError> {
    let total: usize = files
        .values()
        .map(|bytes| BLOCK + bytes.len().next_multiple_of(BLOCK))
        .sum();
    if files.len() > FILES_MAX || total > PACK_BYTES_MAX {
        return Err(ArchiveError::TooLarge);
    }
    let mut out = Vec::with_capacity(total + 2 * BLOCK);
    for (name, bytes) in files {
        out.extend_from_slice(&header(name, bytes.len())?);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Ok(out)
}

/// Reads an archive; the files are slices of it.
///
/// # Errors
/// [`ArchiveError`]: anything but the canonical form is refused.
pub fn read(bytes: &[u8]) -> Result<Files<'_>, ArchiveError> {
    if bytes.len() > PACK_BYTES_MAX {
        return Err(ArchiveError::TooLarge);
    }
    let mut files = Files::new();
    let mut at = 0;
    loop {
        let block = bytes.get(at..at + BLOCK).ok_or(ArchiveError::Short { at })?;
        if block.iter().all(|b| *b == 0) {
            let end = bytes.get(at..).unwrap_or_default();
            return match end.len() {
                len if len < 2 * BLOCK => Err(ArchiveError::Short { at }),
                len if len > 2 * BLOCK || end.iter().any(|b| *b != 0) => {
                    Err(ArchiveError::NotCanonical { at })
                }
                _ => Ok(files),
            };
        }
        let not_canonical = ArchiveError::NotCanonical { at };
        let (name, length) = parse_header(block).ok_or_else(|| not_canonical.clone())?;
        let last = files.last_key_value().map(|(last, _)| last.as_str());
        if header(&name, length)?.as_slice() != block || last.is_some_and(|last| last >= name.as_str()) {
            return Err(not_canonical);
        }
        let start = at + BLOCK;
        let content = bytes
            .get(start..start + length)
            .ok_or(ArchiveError::Short { at: start })?;
        at = (start + length).next_multiple_of(BLOCK);
        let padding = bytes
            .get(start + length..at)
            .ok_or(ArchiveError::Short { at: start })?;
        if padding.iter().any(|b| *b != 0) {
            return Err(not_canonical);
        }
        files.insert(name, content);
        if files.len() > FILES_MAX {
            return Err(ArchiveError::TooLarge);
        }
    }
}

fn parse_header(block: &[u8]) -> Option<(String, usize)> {
    let name = block.get(..NAME_MAX)?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(NAME_MAX);
    let name = std::str::from_utf8(name.get(..end)?).ok()?.to_owned();
    let size = std::str::from_utf8(block.get(124..135)?).ok()?;
    let length = usize::from_str_radix(size, 8)
        .ok()
        .filter(|length| *length <= PACK_BYTES_MAX)?;
    Some((name, length))
}

fn header(name: &str, length: usize) -> Result<[u8; BLOCK], ArchiveError> {
    let clean = !name.starts_with('/')
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if name.len() > NAME_MAX || !clean || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return Err(ArchiveError::Name {
            name: name.chars().take(NAME_MAX).collect(),
        });
    }
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| {
        for (slot, byte) in block.iter_mut().skip(at).zip(text) {
            *slot = *byte;
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\0");
    put(263, b"00");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    for (slot, byte) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").as_bytes()) {
        *slot = *byte;
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let files = Files::from([
            ("a/x.json".to_owned(), b"one".as_slice()),
            ("b".to_owned(), &[7; 600]),
        ]);
        write(&files).expect("writes")
    }

    #[test]
    fn archives_read_back() {
        let bytes = sample();
        let files = read(&bytes).expect("reads");
        assert_eq!(files.len(), 2);
        assert_eq!(files["a/x.json"], b"one");
        assert_eq!(write(&files).expect("writes"), bytes);
    }

    #[test]
    fn every_flip_outside_file_contents_is_refused_and_inside_is_visible() {
        let bytes = sample();
        let original = read(&bytes).expect("reads");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Ok(files) = read(&changed) {
                assert_ne!(files, original, "byte {at} changed unseen");
            }
        }
    }

    #[test]
    fn every_truncation_and_addition_is_refused() {
        let bytes = sample();
        for length in (0..bytes.len()).step_by(37) {
            assert!(read(&bytes[..length]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(read(&longer).is_err());
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["/etc/passwd", "../x", "a//b", "", "a/./b", "ä", &"n".repeat(101)] {
            let files = Files::from([((*name).to_owned(), b"".as_slice())]);
            assert!(matches!(write(&files), Err(ArchiveError::Name { .. })), "{name}");
        }
    }
}
