//! Did you mean: the closest known word, where one is close enough to be meant.

/// Longest word compared; longer ones are no slips of the finger.
const WORD_CHARS_MAX: usize = 64;
/// Most known words compared with one found.
const KNOWN_MAX: usize = 2_000;

/// The closest of `known` to `found`: at most a third of its letters off, ties by order.
pub fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found: Vec<char> = found
        .chars()
        .take(WORD_CHARS_MAX + 1)
        .flat_map(char::to_lowercase)
        .collect();
    if found.len() > WORD_CHARS_MAX {
        return None;
    }
    let bound = (found.len() / 3).max(1);
    let near = known.into_iter().take(KNOWN_MAX).filter_map(|word| {
        let letters: Vec<char> = word
            .chars()
            .flat_map(char::to_lowercase)
            .take(WORD_CHARS_MAX + 1)
            .collect();
        if letters.len().abs_diff(found.len()) > bound {
            return None;
        }
        let distance = distance(&found, &letters);
        (distance <= bound).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Edit distance: letters added, dropped, replaced, or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut older: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut previous_b = None;
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, j) + usize::from(x != y);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && previous_a == Some(y) && previous_b == Some(x) {
                best = best.min(at(&older, j - 1) + 1);
            }
            row.push(best);
            previous_b = Some(y);
        }
        older = std::mem::replace(&mut last, row);
        previous_a = Some(x);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["depends_on", "timeout", "template", "owner", "group"];
        for (slip, meant) in [
            ("tiemout", Some("timeout")),
            ("depend_on", Some("depends_on")),
            ("Owner", Some("owner")),
            ("templat", Some("template")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(closest(slip, known), meant, "{slip}");
        }
    }
}
