//! Readers of Ansible's inventories held to what they owe to any text: they come to an end without a panic, say the same twice, name a place that is in the file, and
//! take over only what keeps to their bounds. The texts are the corpus, broken in many ways by a generator whose seed is fixed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::fs;
use std::path::Path;

use writ_cli::ansible::{AnsibleError, HOSTS_MAX, Source, Sources, import};

/// How many texts are tried of each file, in each form.
const TRIES: u64 = 300;
/// Most breaks of one text.
const BREAKS_MAX: u64 = 6;
/// Longest text after its breaks, bytes: a part that is repeated must not make a test slow.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// What readers take for more than text.
const WORDS: [&str; 24] = [
    "[",
    "]",
    ":",
    "\n",
    "=",
    "'",
    "\"",
    "#",
    "{",
    "}",
    "\t",
    "  ",
    "[a:children]\n",
    "[a:vars]\n",
    "h[01:99999999]",
    "h[a:z:0]",
    "!vault |",
    "&a ",
    "*a",
    "- ",
    "hosts:",
    "\u{0}",
    "é",
    "{\"_meta\":{\"hostvars\":",
];

/// Numbers that are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn part(&mut self, text: &[char]) -> (usize, usize) {
        let (one, other) = (self.below(text.len() + 1), self.below(text.len() + 1));
        (one.min(other), one.max(other).min(one.min(other) + 64))
    }

    fn broken(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(usize::try_from(BREAKS_MAX).unwrap()) {
            let (from, to) = self.part(&text);
            let place = self.below(text.len() + 1);
            match self.below(4) {
                0 => drop(text.drain(from..to)),
                1 => {
                    let part = text[from..to].to_vec();
                    drop(text.splice(place..place, part));
                }
                2 => {
                    let word = WORDS[self.below(WORDS.len())];
                    drop(text.splice(place..place, word.chars()));
                }
                _ => text.truncate(place.max(text.len() / 2)),
            }
        }
        let mut text = String::from_iter(text);
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text
    }
}

/// Tries a text in one form; whether it was taken over.
fn tried(name: &str, is_script: bool, text: String) -> bool {
    let lines = text.lines().count().max(1) + 1;
    let sources = Sources {
        inventory: Source {
            name: name.to_owned(),
            text,
        },
        is_script,
        group_vars: Vec::new(),
        host_vars: Vec::new(),
    };
    let (first, second) = (import(&sources), import(&sources));
    let text = &sources.inventory.text;
    match (first, second) {
        (Ok((imported, notes)), Ok(again)) => {
            assert_eq!((&imported, &notes), (&again.0, &again.1), "{text}");
            assert!(imported.hosts.len() <= HOSTS_MAX, "{text}");
            assert!(
                notes.iter().all(|note| note.file == name && note.line <= lines),
                "{notes:?}: {text}"
            );
            true
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string(), "{text}");
            if let AnsibleError::Malformed { file, line, .. } = &error {
                assert!(file == name && *line <= lines, "{error} of {lines} lines: {text}");
            }
            false
        }
        (one, other) => panic!("{one:?}, {other:?}: {text}"),
    }
}

#[test]
fn broken_inventories_are_read_or_refused_with_a_place_and_the_same_twice() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ansible");
    let cases = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = cases.filter(|path| path.is_dir()).collect();
    cases.sort();
    let mut chance = Chance(1);
    let (mut taken, mut refused) = (0, 0);
    for case in cases {
        let files = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for _ in 0..TRIES {
                let broken = chance.broken(&text);
                for (name, is_script) in [("hosts", false), ("hosts.yml", false), ("hosts.sh", true)] {
                    if tried(name, is_script, broken.clone()) {
                        taken += 1;
                    } else {
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(
        taken > 1_000 && refused > 1_000,
        "{taken} taken, {refused} refused: both are to be seen"
    );
}
