//! The pipe: how an agent that is started for one run talks with the desk that started it, over standard input and output.
//!
//! What is said is what is said on the bus: the same subjects, the same signed statements, the same requests and answers. Only the carrier
//! differs, so an agent on a pipe believes nothing that it would not believe of a bus. A frame is four bytes of length, the highest first,
//! and a MessagePack map of one entry: what is said, by name.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};

/// Longest frame, bytes without its length: an event batch or a part of a bundle, and some words around it.
pub const PIPE_FRAME_MAX: usize = 512 << 10;
/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToDesk {
    /// Something that is answered.
    Ask(Ask),
    /// A batch of events, answered when it is safe: a stream's place on the bus.
    Store(Ask),
    /// Something that may be lost.
    Tell {
        /// The subject that it would go to on the bus.
        subject: String,
        /// Its bytes.
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// Number of the question, which its answer repeats.
    pub id: u64,
    /// The subject that it would go to on the bus.
    pub subject: String,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

/// What a desk says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToAgent {
    /// The first word: how to enrol, where the agent is not yet, and the newest trust policy, which the agent's root must have signed.
    Welcome {
        /// A join token's text.
        token: String,
        /// The policy's envelope as JSON; empty where the agent is to have it from its enrolment.
        policy: String,
    },
    /// The answer to a question.
    Answer {
        /// The question's number.
        id: u64,
        /// Its bytes.
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
        /// The bus's own status, such as 404.
        status: Option<u16>,
        /// The code of a desk that could not serve it.
        refusal: Option<String>,
    },
    /// There is a newer manifest.
    Wake,
    /// A watermark.
    Mark {
        /// The envelope.
        #[serde(with = "serde_bytes")]
        envelope: Vec<u8>,
    },
    /// A halt or a lift.
    Control {
        /// The envelope.
        #[serde(with = "serde_bytes")]
        envelope: Vec<u8>,
    },
}

/// The bytes of a frame, its length before it.
///
/// # Errors
/// [`CodecError`] when it is longer than [`PIPE_FRAME_MAX`].
pub fn frame<T: Serialize>(word: &T) -> Result<Vec<u8>, CodecError> {
    let body = codec::to_msgpack("pipe frame", word)?;
    let length = bounded(body.len())?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How many bytes follow a length; nothing is set aside for more than may come.
///
/// # Errors
/// [`CodecError::TooLong`] above [`PIPE_FRAME_MAX`].
pub fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, CodecError> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    bounded(length).map(|_| length)
}

/// What a frame says, from the bytes after its length.
///
/// # Errors
/// [`CodecError`].
pub fn open<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    codec::from_msgpack("pipe frame", body, PIPE_FRAME_MAX)
}

fn bounded(len: usize) -> Result<u32, CodecError> {
    let too_long = CodecError::TooLong {
        what: "pipe frame",
        len,
        max: PIPE_FRAME_MAX,
    };
    match u32::try_from(len) {
        Ok(length) if len <= PIPE_FRAME_MAX => Ok(length),
        _ => Err(too_long),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BATCH_MESSAGE_BYTES_MAX, BUNDLE_CHUNK_BYTES};

    fn back<T: Serialize + DeserializeOwned>(word: &T) -> T {
        let bytes = frame(word).expect("frames");
        let (prefix, body) = bytes.split_at(LENGTH_BYTES);
        assert_eq!(
            length(prefix.try_into().expect("four")).expect("fits"),
            body.len()
        );
        open(body).expect("opens")
    }

    #[test]
    fn every_word_comes_back_as_it_was_said() {
        let ask = |payload: Vec<u8>| Ask {
            id: 7,
            subject: "writ.v1.rpc.U.hello".into(),
            payload,
        };
        let said = [
            ToDesk::Ask(ask(vec![1, 2, 3])),
            ToDesk::Store(ask(vec![0; BATCH_MESSAGE_BYTES_MAX])),
            ToDesk::Tell {
                subject: "writ.v1.log.U".into(),
                payload: Vec::new(),
            },
        ];
        for word in said {
            assert_eq!(back(&word), word);
        }
        let answered = [
            ToAgent::Welcome {
                token: "writ1.x".into(),
                policy: "{}".into(),
            },
            ToAgent::Answer {
                id: u64::MAX,
                payload: vec![9; BUNDLE_CHUNK_BYTES],
                status: Some(404),
                refusal: Some("W0003".into()),
            },
            ToAgent::Wake,
            ToAgent::Mark { envelope: vec![1] },
            ToAgent::Control { envelope: vec![2] },
        ];
        for word in answered {
            assert_eq!(back(&word), word);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_anything_is_set_aside_for_it() {
        let fits = u32::try_from(PIPE_FRAME_MAX).expect("small");
        assert_eq!(length(fits.to_be_bytes()).expect("fits"), PIPE_FRAME_MAX);
        assert!(length((fits + 1).to_be_bytes()).is_err());
        assert!(length([0xff; LENGTH_BYTES]).is_err());
        let envelope = vec![0; PIPE_FRAME_MAX];
        assert!(frame(&ToAgent::Mark { envelope }).is_err());
    }

    #[test]
    fn what_is_no_word_is_an_error() {
        let good = frame(&ToAgent::Wake).expect("frames").split_off(LENGTH_BYTES);
        assert!(open::<ToAgent>(&[]).is_err());
        assert!(
            open::<ToAgent>(&[good.clone(), vec![0]].concat()).is_err(),
            "a byte too many"
        );
        assert!(open::<ToDesk>(&good).is_err(), "an agent does not say that");
    }
}
