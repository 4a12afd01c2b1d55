//! Frames on a pipe: read without setting anything aside that has not come, written whole.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use writ_protocol::codec::CodecError;
use writ_protocol::provider::{self, LENGTH_BYTES};

/// Why nothing was read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The pipe does not work.
    #[error("the pipe failed")]
    Io(#[from] io::Error),
    /// The pipe ended inside a frame.
    #[error("the pipe ended after {got} of {wanted} bytes of a frame")]
    Torn {
        /// Bytes that came.
        got: usize,
        /// Bytes that the frame has.
        wanted: usize,
    },
    /// What came is no word, or is too long.
    #[error("a frame is not readable")]
    Codec(#[from] CodecError),
}

/// Reads a word; `None` where the other side closed its end between two.
///
/// # Errors
/// [`WireError`], after which the pipe is of no use.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, WireError> {
    let prefix = take(from, LENGTH_BYTES)?;
    if prefix.is_empty() {
        return Ok(None);
    }
    let torn = |got: usize, wanted: usize| WireError::Torn { got, wanted };
    let prefix = <[u8; LENGTH_BYTES]>::try_from(prefix.as_slice());
    let prefix = prefix.map_err(|_short| torn(0, LENGTH_BYTES))?;
    let wanted = provider::length(prefix)?;
    let body = take(from, wanted)?;
    if body.len() < wanted {
        return Err(torn(body.len(), wanted));
    }
    Ok(Some(provider::open(&body)?))
}

/// At most so many bytes; fewer where the pipe ends. Grows with what comes, so a length that lies costs nothing.
fn take(from: &mut impl Read, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    from.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a word and flushes it.
///
/// # Errors
/// [`WireError`].
pub fn write<T: Serialize>(to: &mut impl Write, word: &T) -> Result<(), WireError> {
    to.write_all(&provider::frame(word)?)?;
    to.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use writ_protocol::provider::ToProvider;

    #[test]
    fn words_follow_one_another_and_the_end_is_no_error() {
        let mut pipe = Vec::new();
        for id in [1, 2] {
            write(&mut pipe, &ToProvider::Cancel { id }).expect("writes");
        }
        let mut from = pipe.as_slice();
        for id in [1, 2] {
            let word = read::<ToProvider>(&mut from).expect("reads");
            assert_eq!(word, Some(ToProvider::Cancel { id }));
        }
        assert!(read::<ToProvider>(&mut from).expect("reads").is_none());
    }

    #[test]
    fn a_torn_frame_a_lying_length_and_noise_are_errors() {
        let mut pipe = Vec::new();
        write(&mut pipe, &ToProvider::Cancel { id: 1 }).expect("writes");
        for cut in 1..pipe.len() {
            let error = read::<ToProvider>(&mut &pipe[..cut]).expect_err("torn");
            assert!(matches!(error, WireError::Torn { .. }), "{cut}: {error}");
        }
        let lie = [0, 0xff, 0xff, 0xff, 1];
        assert!(matches!(
            read::<ToProvider>(&mut lie.as_slice()),
            Err(WireError::Torn { got: 1, .. })
        ));
        let noise = [0, 0, 0, 1, 0xc1];
        assert!(matches!(
            read::<ToProvider>(&mut noise.as_slice()),
            Err(WireError::Codec(_))
        ));
        let endless = [0xff; 8];
        assert!(matches!(
            read::<ToProvider>(&mut endless.as_slice()),
            Err(WireError::Codec(_))
        ));
    }
}
