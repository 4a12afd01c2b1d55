//! Output of steps, told in whole lines: a program writes a line in pieces, and each piece comes as a word of its own.

use std::collections::BTreeMap;

/// Longest line that is waited for, bytes; of a longer one its pieces are told as they come.
const LINE_BYTES_MAX: usize = 4_096;

/// The lines that are not whole yet, by step and stream.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<(String, String), String>);

impl Lines {
    /// Takes a piece; what can be told by now, without its last line end.
    pub(super) fn take(&mut self, (step, stream): (&str, &str), piece: &str) -> Option<String> {
        let open = self.0.entry((step.to_owned(), stream.to_owned())).or_default();
        open.push_str(piece);
        if open.len() > LINE_BYTES_MAX {
            return Some(std::mem::take(open));
        }
        let (whole, rest) = open.rsplit_once('\n')?;
        let (whole, rest) = (whole.to_owned(), rest.to_owned());
        *open = rest;
        Some(whole)
    }

    /// What is left open of a step that has ended, or of all: steps with their text.
    pub(super) fn rest(&mut self, step: Option<&str>) -> Vec<(String, String)> {
        let is_wanted = |(of, _): &(String, String)| step.is_none_or(|step| step == of);
        let ended = self.0.extract_if(.., |key, _| is_wanted(key));
        let texts = ended.map(|((step, _), text)| (step, text.trim_end().to_owned()));
        texts.filter(|(_, text)| !text.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(of: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(step, text): &(&str, &str)| ((*step).to_owned(), (*text).to_owned());
        of.iter().map(pair).collect()
    }

    #[test]
    fn lines_are_told_whole_and_what_is_open_at_the_end_too() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(("a", "stderr"), "touch: "), None);
        assert_eq!(lines.take(("a", "stdout"), "made\n"), Some("made".to_owned()));
        let said = lines.take(("b", "stdout"), "one\ntwo\nthr");
        assert_eq!(said, Some("one\ntwo".to_owned()));
        let said = lines.take(("a", "stderr"), "denied\n");
        assert_eq!(said, Some("touch: denied".to_owned()));
        assert_eq!(lines.rest(Some("a")), []);
        assert_eq!(lines.take(("c", "stdout"), "no end"), None);
        assert_eq!(lines.rest(Some("b")), all(&[("b", "thr")]));
        assert_eq!(lines.rest(None), all(&[("c", "no end")]));
        assert_eq!(lines.rest(None), []);
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(lines.take(("c", "stdout"), &long), Some(long));
    }
}
