//! What is asked of a run beside the work itself: everything, or only what a quick trial needs.

use serde::{Deserialize, Serialize};

/// What is put before the ending of an artefact's name by a `dev-fast` run.
pub const DEV_FAST_LABEL: &str = "_devfast";

/// How much is asked of a run. Signatures, limits, isolation, the journal and evidence are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunMode {
    /// All of it: what counts.
    #[default]
    Strict,
    /// A trial on the author's own machine: nobody is asked, nothing is looked at again at the end, half as much again may be spent, and what it
    /// produces bears a label by which no strict plan takes it.
    DevFast,
}

impl RunMode {
    /// Whether it is the one that counts.
    pub const fn is_strict(&self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::DevFast => "dev-fast",
        }
    }

    /// The mode of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Strict, Self::DevFast]
            .into_iter()
            .find(|mode| mode.name() == name)
    }

    /// Whether a person says yes before anything is changed.
    pub const fn asks(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Whether everything is looked at once more when a run is over, so that the state it left is evidence of its own.
    pub const fn takes_snapshot(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// What may be spent of an amount that a config allows, micro-units.
    pub const fn budget(self, micros: u64) -> u64 {
        match self {
            Self::Strict => micros,
            Self::DevFast => micros.saturating_add(micros / 2),
        }
    }

    /// The name under which an artefact is known.
    pub fn label(self, path: &str) -> String {
        if self.is_strict() {
            return path.to_owned();
        }
        let (folder, name) = path.rfind('/').map_or(("", path), |at| path.split_at(at + 1));
        match name.rfind('.').filter(|at| *at > 0).map(|at| name.split_at(at)) {
            Some((stem, ending)) => format!("{folder}{stem}{DEV_FAST_LABEL}{ending}"),
            None => format!("{path}{DEV_FAST_LABEL}"),
        }
    }
}

/// Whether a file's name bears the label of a `dev-fast` run.
pub fn is_labelled(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.rfind('.').filter(|at| *at > 0).and_then(|at| name.get(..at));
    [Some(name), stem]
        .into_iter()
        .flatten()
        .any(|part| part.ends_with(DEV_FAST_LABEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_differ_in_what_stands_here_and_nowhere_else() {
        let row = |mode: RunMode| {
            (
                mode.name(),
                mode.asks(),
                mode.takes_snapshot(),
                mode.budget(100),
                mode.label("/o.txt"),
            )
        };
        assert_eq!(row(RunMode::Strict), ("strict", true, true, 100, "/o.txt".into()));
        assert_eq!(
            row(RunMode::DevFast),
            ("dev-fast", false, false, 150, "/o_devfast.txt".into())
        );
        assert_eq!(RunMode::default(), RunMode::Strict);
        assert_eq!(RunMode::DevFast.budget(u64::MAX), u64::MAX);
    }

    #[test]
    fn every_name_bears_the_label_once_it_is_given() {
        for (path, wanted) in [
            ("/srv/out/report.txt", "/srv/out/report_devfast.txt"),
            ("/srv/out/report", "/srv/out/report_devfast"),
            ("/srv/.hidden", "/srv/.hidden_devfast"),
            ("/srv.d/a.tar.gz", "/srv.d/a.tar_devfast.gz"),
            ("out", "out_devfast"),
        ] {
            assert_eq!(RunMode::DevFast.label(path), wanted);
            assert!(is_labelled(wanted), "{wanted}");
            assert!(!is_labelled(path), "{path}");
        }
        assert!(
            !is_labelled("/srv/a_devfast/plain.txt"),
            "a folder's name is not the file's"
        );
    }

    #[test]
    fn a_mode_is_found_by_its_name() {
        for mode in [RunMode::Strict, RunMode::DevFast] {
            assert_eq!(RunMode::of(mode.name()), Some(mode));
            assert_eq!(serde_json::to_value(mode).expect("encodes"), mode.name());
        }
        assert_eq!(RunMode::of("fast"), None);
    }
}
