//! What a server of the bus says, cut out of the bytes that come.

use serde_json::Value;

use super::BusError;

/// Longest line; a server's first one lists its neighbours.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest message with its headers.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// One word of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What it says of itself.
    Info(Value),
    /// A message of a subscription.
    Message(Message),
    /// It asks whether the client is there.
    Ping,
    /// It is there.
    Pong,
    /// It took what was said.
    Taken,
    /// It did not.
    Refused(String),
}

/// A message of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// On what it came.
    pub subject: String,
    /// The number of the subscription.
    pub subscription: String,
    /// Where an answer is wanted.
    pub reply: Option<String>,
    /// Its headers as they came, with the line before them; empty where it has none.
    pub headers: String,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// The number that a server answers with in place of somebody who is not there; absent in what somebody said.
    pub fn status(&self) -> Option<u16> {
        let line = self.headers.lines().next()?.strip_prefix("NATS/1.0 ")?;
        line.split(' ').next()?.parse().ok()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// As the server says it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (word, head) = match self.headers.len() {
            0 => ("MSG", String::new()),
            length => ("HMSG", format!(" {length}")),
        };
        let reply = self.reply.as_ref().map(|reply| format!(" {reply}"));
        let (subject, number) = (&self.subject, &self.subscription);
        let total = self.headers.len() + self.payload.len();
        let line = format!(
            "{word} {subject} {number}{}{head} {total}\r\n",
            reply.unwrap_or_default()
        );
        [line.as_bytes(), self.headers.as_bytes(), &self.payload, b"\r\n"].concat()
    }
}

/// Whether a connection goes on after this refusal.
pub(super) fn lives_on(why: &str) -> bool {
    why.to_ascii_lowercase().contains("permissions violation")
}

/// Bytes that came and are not read yet.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole word.
    ///
    /// # Errors
    /// [`BusError::Malformed`].
    pub fn cut(&mut self) -> Result<Option<Frame>, BusError> {
        let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") else {
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(BusError::Malformed("a line without end"));
            }
            return Ok(None);
        };
        let line = self.buffer.get(..end).unwrap_or_default();
        let line = String::from_utf8(line.to_vec()).map_err(|_| BusError::Malformed("a line is no text"))?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let frame = match word.to_ascii_uppercase().as_str() {
            "INFO" => {
                Frame::Info(serde_json::from_str(rest).map_err(|_| BusError::Malformed("INFO is no JSON"))?)
            }
            "PING" => Frame::Ping,
            "PONG" => Frame::Pong,
            "+OK" => Frame::Taken,
            "-ERR" => Frame::Refused(rest.trim_matches('\'').to_owned()),
            "MSG" => return self.message(end + 2, rest, false),
            "HMSG" => return self.message(end + 2, rest, true),
            _ => return Err(BusError::Malformed("an unknown word")),
        };
        self.buffer.drain(..end + 2);
        Ok(Some(frame))
    }

    fn message(&mut self, begin: usize, line: &str, has_headers: bool) -> Result<Option<Frame>, BusError> {
        let bad = || BusError::Malformed("a message's line");
        let mut words = line.split_ascii_whitespace();
        let (subject, subscription) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
        let mut rest: Vec<&str> = words.collect();
        let mut number = || -> Result<usize, BusError> {
            let text = rest.pop().ok_or_else(bad)?;
            text.parse().map_err(|_| bad())
        };
        let total = number()?;
        let head = if has_headers { number()? } else { 0 };
        if rest.len() > 1 || head > total {
            return Err(bad());
        }
        if total > MESSAGE_BYTES_MAX {
            return Err(BusError::Malformed("a message is too long"));
        }
        if self.buffer.len() < begin + total + 2 {
            return Ok(None);
        }
        let part = |from: usize, to: usize| self.buffer.get(from..to).unwrap_or_default().to_vec();
        let message = Message {
            subject: subject.to_owned(),
            subscription: subscription.to_owned(),
            reply: rest.first().map(|reply| (*reply).to_owned()),
            headers: String::from_utf8(part(begin, begin + head))
                .map_err(|_| BusError::Malformed("headers are no text"))?,
            payload: part(begin + head, begin + total),
        };
        self.buffer.drain(..begin + total + 2);
        Ok(Some(Frame::Message(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_from_pieces_and_written_as_they_were() {
        let said = b"INFO {\"nonce\":\"n\"}\r\nMSG a.b 1 5\r\nhe\r\nl\r\nHMSG a 2 in.1 40 42\r\nNATS/1.0 503 None\r\nWrit-Error: W0200\r\n\r\nno\r\nPING\r\n-ERR 'Permissions Violation'\r\n";
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for byte in said {
            frames.push(&[*byte]);
            found.extend(frames.cut().unwrap());
        }
        let [
            Frame::Info(info),
            Frame::Message(plain),
            Frame::Message(headed),
            Frame::Ping,
            Frame::Refused(why),
        ] = found.as_slice()
        else {
            panic!("{found:?}");
        };
        assert_eq!(info["nonce"], "n");
        assert_eq!(
            (plain.payload.as_slice(), plain.status()),
            (&b"he\r\nl"[..], None)
        );
        assert_eq!(headed.reply.as_deref(), Some("in.1"));
        assert_eq!(
            (headed.status(), headed.header("writ-error")),
            (Some(503), Some("W0200"))
        );
        assert_eq!(headed.payload, b"no");
        assert!(lives_on(why) && !lives_on("Authorization Violation"));
        for message in [plain, headed] {
            frames.push(&message.to_bytes());
            assert_eq!(frames.cut().unwrap(), Some(Frame::Message(message.clone())));
        }
    }

    #[test]
    fn what_no_server_says_is_refused_before_it_is_kept() {
        for bad in [
            "HELLO\r\n",
            "MSG a 1\r\n",
            "MSG a 1 99999999\r\n",
            "HMSG a 1 9 3\r\n",
            "MSG a 1 b c 3\r\n",
            "INFO {\r\n",
        ] {
            let mut frames = Frames::default();
            frames.push(bad.as_bytes());
            assert!(frames.cut().is_err(), "{bad:?}");
        }
        let mut frames = Frames::default();
        frames.push(&vec![b'a'; LINE_BYTES_MAX + 1]);
        assert!(frames.cut().is_err());
    }
}
