//! Server-sent events as they stand in a stream: lines in, events out, every size bounded.

use std::io::{self, BufRead, Read as _};

/// Longest line, bytes; longest data of one event is a few of them.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Longest data of one event, bytes.
const DATA_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id: where a reader goes on after it. Kept from the event before where it has none of its own.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// What stands next in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An event.
    Event(Event),
    /// A comment: the server lives.
    Heartbeat,
}

/// Reads events from lines.
#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    event: Event,
    has_data: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            event: Event::default(),
            has_data: false,
        }
    }

    /// The next event or heartbeat; none at the end of the stream. Half an event at the end is no event.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        loop {
            let mut line = Vec::new();
            let read = self
                .from
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            if line.pop() != Some(b'\n') {
                return Err(too_long());
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let line = String::from_utf8_lossy(&line);
            if line.is_empty() {
                if let Some(event) = self.finish() {
                    return Ok(Some(Item::Event(event)));
                }
            } else if line.starts_with(':') {
                return Ok(Some(Item::Heartbeat));
            } else {
                self.field(&line)?;
            }
        }
    }

    fn field(&mut self, line: &str) -> io::Result<()> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.event.data.len() + value.len() > DATA_BYTES_MAX {
                    return Err(too_long());
                }
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            // What is not known is not for us.
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Option<Event> {
        let next = Event {
            id: self.event.id.clone(),
            ..Event::default()
        };
        let event = std::mem::replace(&mut self.event, next);
        let has_data = std::mem::take(&mut self.has_data);
        has_data.then_some(event)
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a line of the stream is longer than its bound, or breaks off",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Item> {
        let mut reader = Reader::new(text.as_bytes());
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> Item {
        Item::Event(Event {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        })
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = "retry: 1000\nid: 7-1\nevent: open\ndata: {}\n\n:\n\ndata: a\r\ndata:b\nodd\n\nevent: none\n\nid:8-2\ndata: x\n\ndata: half";
        let found = {
            let mut reader = Reader::new(text.as_bytes());
            let mut found = Vec::new();
            while let Ok(Some(item)) = reader.next() {
                found.push(item);
            }
            found
        };
        assert_eq!(
            found,
            [
                event(Some("7-1"), "open", "{}"),
                Item::Heartbeat,
                event(Some("7-1"), "", "a\nb"),
                event(Some("8-2"), "", "x"),
            ],
            "an event without data and half an event are none"
        );
    }

    #[test]
    fn lines_and_events_have_a_bound() {
        let long = format!(
            "data: {}\n\n",
            "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap())
        );
        assert!(Reader::new(long.as_bytes()).next().is_err());
        let line = format!("data: {}\n", "x".repeat(1 << 19));
        assert!(Reader::new(line.repeat(9).as_bytes()).next().is_err());
        assert_eq!(all(&format!("{line}\n")).len(), 1);
    }
}
