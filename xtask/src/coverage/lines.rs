//! From counts to lines: which lines of a file hold code that can run, and which of them did.
//!
//! A region is a piece of source with a count. A line was reached when a region that begins on it was, or when the innermost region that it begins
//! in was: the rule by which LLVM's own reports count lines.

use std::fs;
use std::ops::Add;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use llvm_profparser::{CoverageMapping, merge_profiles};

/// From here on a file holds nothing but its tests.
const TESTS: &str = "#[cfg(test)]";

/// Lines that can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Those that did.
    pub(super) reached: u64,
    /// All of them.
    pub(super) all: u64,
}

impl Lines {
    pub(super) const fn missed(self) -> u64 {
        self.all.saturating_sub(self.reached)
    }

    /// How many of a hundred were reached; none where there are none.
    #[expect(clippy::cast_precision_loss, reason = "counts of lines are far below 2^52")]
    pub(super) fn percent(self) -> Option<f64> {
        (self.all > 0).then(|| self.reached as f64 * 100.0 / self.all as f64)
    }
}

impl Add for Lines {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reached: self.reached + other.reached,
            all: self.all + other.all,
        }
    }
}

/// A source file of ours.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Below the root.
    pub(super) path: String,
    /// Its lines.
    pub(super) lines: Lines,
    /// Those that were not reached, in order.
    pub(super) untouched: Vec<usize>,
}

impl File {
    /// The lines that were not reached, as ranges.
    pub(super) fn missed(&self) -> String {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for line in &self.untouched {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *line => *last = *line,
                _ => ranges.push((*line, *line)),
            }
        }
        let text = |(first, last): &(usize, usize)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        ranges.iter().map(text).collect::<Vec<_>>().join(" ")
    }
}

/// A piece of source with a count: first line and column, last line and column, how often it ran.
type Region = ((usize, usize), (usize, usize), usize);

/// Counts the lines of every file below `root` but tests, from what these programs left in `profiles`.
pub(super) fn count(root: &Path, programs: &[PathBuf], profiles: &Path) -> anyhow::Result<Vec<File>> {
    let left = fs::read_dir(profiles).with_context(|| format!("reading {}", profiles.display()))?;
    let left: Vec<PathBuf> = left
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    if left.is_empty() {
        bail!("no program has left counts in {}", profiles.display());
    }
    let profile =
        merge_profiles(&left).with_context(|| format!("reading the counts in {}", profiles.display()))?;
    let is_ours = |paths: &[PathBuf]| paths.iter().any(|path| path.starts_with(root));
    let report = CoverageMapping::new(programs, &profile, false)
        .and_then(|mapping| mapping.generate_subreport(is_ours))
        .map_err(|error| anyhow!("reading what the programs were compiled from: {error:#}"))?;
    let mut files = Vec::new();
    for (path, result) in &report.files {
        let Some(inside) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
            continue;
        };
        if is_test(inside) {
            continue;
        }
        let text = fs::read_to_string(path).with_context(|| format!("reading {inside}"))?;
        let regions = result.hits.iter().map(|(at, hits)| {
            (
                (at.line_start, at.column_start),
                (at.line_end, at.column_end),
                *hits,
            )
        });
        files.push(judge(inside, &text, &regions.collect::<Vec<_>>()));
    }
    Ok(files)
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/target/")
}

fn judge(path: &str, text: &str, regions: &[Region]) -> File {
    let end = text.lines().position(|line| line.trim() == TESTS);
    let end = end.unwrap_or_else(|| text.lines().count());
    let (mut lines, mut untouched) = (Lines::default(), Vec::new());
    for line in 1..=end {
        if let Some(reached) = is_reached(line, regions) {
            lines.all += 1;
            if reached {
                lines.reached += 1;
            } else {
                untouched.push(line);
            }
        }
    }
    File {
        path: path.to_owned(),
        lines,
        untouched,
    }
}

/// Whether a line was reached; none where no code stands on it.
fn is_reached(line: usize, regions: &[Region]) -> Option<bool> {
    let begun = regions.iter().filter(|((first, _), ..)| *first == line);
    let begun = begun.map(|(.., hits)| *hits).max();
    let around = regions
        .iter()
        .filter(|((first, _), (last, _), _)| *first < line && *last >= line);
    // The innermost begins last; of two that begin together, the one that ends first.
    let around = around.max_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
    let around = around.map(|(.., hits)| *hits);
    begun.max(around).map(|hits| hits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of six lines whose branch of two never ran, and one on a line of its own.
    const TEXT: &str = "fn a() {\n    if b {\n        c();\n        d();\n    }\n    e();\n}\n\nfn f() {}\n#[cfg(test)]\nmod tests {}\n";
    const REGIONS: [Region; 4] = [
        ((1, 1), (7, 2), 3),
        ((2, 10), (5, 6), 0),
        ((9, 1), (9, 10), 0),
        ((10, 1), (11, 12), 5),
    ];

    #[test]
    fn a_line_counts_by_what_begins_on_it_or_else_by_the_innermost_around_it() {
        let file = judge("a/src/a.rs", TEXT, &REGIONS);
        assert_eq!(file.lines, Lines { reached: 4, all: 8 });
        assert_eq!(file.untouched, [3, 4, 5, 9]);
        assert_eq!(file.missed(), "3-5 9");
    }

    #[test]
    fn tests_and_lines_without_code_are_not_counted() {
        assert!(is_reached(8, &REGIONS).is_none());
        let file = judge("a/src/a.rs", TEXT, &REGIONS);
        assert!(file.untouched.iter().all(|line| *line < 10));
        for path in [
            "agent/src/app/tests.rs",
            "agent/src/app/tests/leases.rs",
            "agent/tests/proxy.rs",
        ] {
            assert!(is_test(path), "{path}");
        }
        assert!(!is_test("controller/store/src/testing.rs"));
    }

    #[test]
    fn a_hundred_is_of_what_there_is() {
        assert_eq!(Lines { reached: 3, all: 4 }.percent(), Some(75.0));
        assert_eq!(Lines::default().percent(), None);
    }
}
