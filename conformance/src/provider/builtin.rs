//! Examples of the kinds that come with an agent, which serves them with `writ-agent provider serve`.

use std::collections::BTreeMap;

use super::examples::{EXAMPLES_VERSION, Examples, ExamplesError};

/// Kinds and their examples.
const ALL: [(&str, &str); 6] = [
    ("command", include_str!("../../providers/command.json")),
    ("file", include_str!("../../providers/file.json")),
    ("group", include_str!("../../providers/group.json")),
    ("package", include_str!("../../providers/package.json")),
    ("service", include_str!("../../providers/service.json")),
    ("user", include_str!("../../providers/user.json")),
];

/// Arguments with which an agent serves them.
pub const ARGUMENTS: [&str; 2] = ["provider", "serve"];

/// Names of all kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The examples of one kind, or of `all`; of no kind for a name that is none.
///
/// # Errors
/// Not for the files that are compiled in.
pub fn examples(wanted: &str) -> Result<Examples, ExamplesError> {
    let mut all = Examples {
        version: EXAMPLES_VERSION,
        lends: BTreeMap::new(),
        kinds: BTreeMap::new(),
    };
    for (_, text) in ALL.iter().filter(|(name, _)| wanted == "all" || wanted == *name) {
        let one = Examples::read(text.as_bytes())?;
        all.lends.extend(one.lends);
        all.kinds.extend(one.kinds);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_the_examples_of_its_kind() {
        for kind in kinds() {
            let examples = examples(kind).expect("reads");
            let names: Vec<&String> = examples.kinds.keys().collect();
            assert_eq!(names, [kind]);
        }
        assert_eq!(examples("all").expect("reads").kinds.len(), kinds().count());
        assert!(examples("no-such-kind").expect("reads").kinds.is_empty());
    }
}
