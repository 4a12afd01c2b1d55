//! "Did you mean": the name that is nearest to one that does not exist.

/// Most edits between a name and the one that was meant.
const EDITS_MAX: usize = 3;
/// Longest name that is compared, characters.
const NAME_CHARS_MAX: usize = 128;

/// The known name nearest to `name`, when one is near enough: a third of it may be wrong, and what it begins is near too.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(NAME_CHARS_MAX).collect();
    let bound = (wanted.len() / 3).clamp(1, EDITS_MAX);
    let scored = known.into_iter().filter_map(|other| {
        let there: Vec<char> = other.chars().take(NAME_CHARS_MAX).collect();
        let edits = edits(&wanted, &there);
        let begins = wanted.len() >= 3 && there.starts_with(&wanted);
        (edits <= bound || begins).then_some((edits, other))
    });
    scored.min().map(|(_, other)| other)
}

/// A sentence for a help text.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|other| format!("did you mean {other:?}?"))
}

/// How many characters must be put in, taken out, changed, or swapped with their neighbour.
fn edits(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (n, one) in from.iter().enumerate() {
        let mut row = vec![n + 1];
        for (m, other) in to.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, m + 1) + 1)
                .min(at(&row, m) + 1)
                .min(at(&last, m) + usize::from(one != other));
            let swapped = n > 0 && m > 0 && from.get(n - 1) == Some(other) && to.get(m - 1) == Some(one);
            if swapped {
                best = best.min(at(&before, m - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["web-1", "web-2", "database", "controller-1"];
        assert_eq!(nearest("wbe-1", known), Some("web-1"), "swapped");
        assert_eq!(nearest("databse", known), Some("database"));
        assert_eq!(nearest("contr", known), Some("controller-1"), "begun");
        assert_eq!(nearest("mail", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(did_you_mean("web-3", known).unwrap(), "did you mean \"web-1\"?");
    }
}
