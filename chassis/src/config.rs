//! Configuration: defaults < YAML file < environment, and secrets that do not print. The one place that reads environment variables.
//!
//! Defaults come from the type: write `#[serde(default, deny_unknown_fields)]` on every section. The environment names a value by its
//! path, in capitals, with `__` between levels: `WRIT_LOG__LEVEL=debug` sets `log.level`. Its text is read as a number, a boolean or a
//! list where it looks like one; quote it (`'"123"'`) to keep digits a text.
//!
//! Secrets belong in files named by `…_file` keys, read by [`read_secret_file`].

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;
use serde_saphyr::figment::Yaml;

pub use secret::Secret;

mod secret;

/// The largest configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The largest file holding a secret, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// The variable, after the prefix, that names the configuration file: for the command line, not a value of the configuration.
const FILE_VARIABLE: &str = "config";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than its bound.
    #[error("{path} is larger than {limit} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// The file is not YAML, or not a mapping.
    #[error("{path} is not a YAML mapping", path = .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// Values are missing, unknown or wrong.
    #[error("{}", lines(.0))]
    Values(Vec<Problem>),
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the value, such as `log.level`; empty for the whole.
    pub key: String,
    /// Where it was set: a file or the environment.
    pub place: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() {
            "(top level)"
        } else {
            &self.key
        };
        write!(f, "configuration value {key}")?;
        if !self.place.is_empty() {
            write!(f, ", set in {}", self.place)?;
        }
        write!(f, ": {}", self.what)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Loads `T` from its own defaults, then `file`, then the environment variables that begin with `prefix` (such as `WRIT_`).
///
/// `<prefix>CONFIG` is not a value: it names the file and is the command line's to read.
///
/// # Errors
/// When the file cannot be read or parsed, or a value is unknown, missing or of the wrong form; every such error names the key and where
/// it was set. A `T` must be `deny_unknown_fields` in every section for misspelt keys to be refused.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, prefix: &str) -> Result<T, ConfigError> {
    let mut figment = Figment::new();
    if let Some(path) = file {
        figment = figment.merge(YamlFile::read(path)?);
    }
    let environment = Env::prefixed(prefix).ignore(&[FILE_VARIABLE]).split("__");
    figment
        .merge(environment)
        .extract()
        .map_err(|error| values(error, prefix))
}

/// The text of the environment variable `name`, if it is set and is text.
pub fn env_text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The secret in the file `path`, without the line end that editors leave.
///
/// # Errors
/// When the file cannot be read, is not text, or is larger than [`SECRET_BYTES_MAX`]. The error does not show what was read.
pub fn read_secret_file(path: &Path) -> Result<Secret<String>, ConfigError> {
    let mut text = read_bounded(path, SECRET_BYTES_MAX)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(Secret::new(text))
}

/// The text of the file `path`, of at most `limit` bytes.
///
/// # Errors
/// When the file cannot be read, is not text, or is larger.
pub fn read_bounded(path: &Path, limit: u64) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(read)?;
    let mut text = String::new();
    // One byte more than allowed tells a file that is too large from one that fits exactly.
    file.take(limit.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(read)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= limit) {
        Ok(text)
    } else {
        Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit,
        })
    }
}

/// A YAML file, read by us: figment's own reader takes a missing file for an empty one and looks for it in parent directories.
struct YamlFile {
    path: PathBuf,
    values: Dict,
}

impl YamlFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path, FILE_BYTES_MAX)?;
        let values = Yaml::from_str::<Option<Dict>>(&text).map_err(|source| ConfigError::Yaml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            values: values.unwrap_or_default(),
        })
    }
}

impl Provider for YamlFile {
    fn metadata(&self) -> Metadata {
        Metadata::from("YAML file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn values(error: figment::Error, prefix: &str) -> ConfigError {
    ConfigError::Values(error.into_iter().map(|error| problem(error, prefix)).collect())
}

fn problem(error: figment::Error, prefix: &str) -> Problem {
    use figment::error::Kind;
    let mut path = error.path;
    let place = match error.metadata.as_ref().map(|metadata| metadata.source.as_ref()) {
        Some(Some(source)) => source.to_string(),
        Some(None) => format!(
            "the environment variable {prefix}{}",
            path.join("__").to_uppercase()
        ),
        None => String::new(),
    };
    let mut what = error.kind.to_string();
    if let Kind::UnknownField(field, known) = error.kind {
        what = format!(
            "there is no such key; remove it or use {}",
            figment::error::OneOf(known)
        );
        // The path ends in the field already, unless the whole is not a mapping of its own.
        if path.last() != Some(&field) {
            path.push(field);
        }
    } else if let Kind::MissingField(field) = error.kind {
        "is missing; set it".clone_into(&mut what);
        path.push(field.into_owned());
    }
    Problem {
        key: path.join("."),
        place,
        what,
    }
}

#[cfg(test)]
mod tests;
