//! Where the controller is and who we are there: contexts in the user's configuration file, overridden by environment and flags.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::dev::layout::write_file;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::nearest;

/// Longest configuration or token file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One controller, as the user knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// Address of its API.
    pub server: String,
    /// Authorities of its certificate, PEM; the public ones when absent.
    pub ca_file: Option<PathBuf>,
    /// File with the API token.
    pub token_file: Option<PathBuf>,
    /// Fingerprint of the root of trust, for offline verification.
    pub root: Option<String>,
    /// The operator's own signing key, for lifting halts.
    pub operator_key: Option<PathBuf>,
}

/// The user's configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextFile {
    /// The context that counts when none is named.
    pub current: Option<String>,
    /// All contexts by name.
    pub contexts: BTreeMap<String, Context>,
}

/// `$XDG_CONFIG_HOME/writ/config.yaml`, or below `~/.config`.
pub fn path() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    folder
        .unwrap_or_else(|| PathBuf::from("/etc"))
        .join("writ/config.yaml")
}

impl ContextFile {
    /// Reads the file; an empty one when there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        serde_saphyr::from_str(&text).map_err(|error| {
            let what = format!("{} is not a configuration of writ: {error}", path.display());
            Fault::coded(writ_protocol::reason::Code::BadConfiguration, what).into()
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path
            .parent()
            .context("the configuration file lies in no folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        write_file(
            path,
            serde_saphyr::to_string(self).context("writing YAML")?.as_bytes(),
            0o600,
        )
    }

    /// The context that counts.
    ///
    /// # Errors
    /// When the named one is not there.
    pub fn chosen(&self, name: Option<&str>) -> anyhow::Result<Context> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Ok(Context::default());
        };
        self.contexts.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let meant = nearest::did_you_mean(name, known.iter().copied());
            let known = format!("known contexts: {}; `writ dev up` makes `dev`", known.join(", "));
            let help = meant.into_iter().chain([known]).collect::<Vec<_>>().join("\n");
            Fault::new(Exit::Usage, format!("there is no context {name:?}"))
                .help(help)
                .into()
        })
    }
}

/// What flags and environment say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// A context's name.
    pub context: Option<String>,
    /// The API's address.
    pub server: Option<String>,
    /// File with the API token.
    pub token_file: Option<PathBuf>,
}

/// Settles the context: flags over environment over file.
///
/// # Errors
/// When the file is wrong or the named context is not there.
pub fn settle(file: &Path, overrides: &Overrides) -> anyhow::Result<Context> {
    let mut context = ContextFile::load(file)?.chosen(overrides.context.as_deref())?;
    if let Some(server) = &overrides.server {
        // A token must not go to another server than it was made for.
        if *server != context.server {
            context.token_file = None;
        }
        context.server.clone_from(server);
    }
    if overrides.token_file.is_some() {
        context.token_file.clone_from(&overrides.token_file);
    }
    Ok(context)
}

impl Context {
    /// The API's address.
    ///
    /// # Errors
    /// When none is known.
    pub fn address(&self) -> anyhow::Result<&str> {
        if self.server.is_empty() {
            return Err(Fault::new(Exit::Usage, "no controller is known")
                .help("`writ dev up` starts one; `--server URL` or WRIT_SERVER names one")
                .into());
        }
        Ok(&self.server)
    }

    /// The API token: from `WRIT_TOKEN`, else from the token file.
    ///
    /// # Errors
    /// When there is none or the file cannot be read.
    pub fn token(&self) -> anyhow::Result<String> {
        if let Ok(token) = std::env::var("WRIT_TOKEN") {
            return Ok(token.trim().to_owned());
        }
        let Some(path) = &self.token_file else {
            return Err(Fault::coded(
                writ_protocol::reason::Code::Unauthenticated,
                "no API token is known",
            )
            .help("set WRIT_TOKEN, or name a file with --token-file")
            .into());
        };
        Ok(read_bounded(path)?.trim().to_owned())
    }
}

fn read_bounded(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let file = fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    anyhow::ensure!(
        text.len() as u64 <= FILE_BYTES_MAX,
        "{} is larger than {FILE_BYTES_MAX} bytes",
        path.display()
    );
    Ok(text)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> Context {
        Context {
            server: "http://127.0.0.1:1".into(),
            ca_file: None,
            token_file: Some("/t".into()),
            root: Some("ab".into()),
            operator_key: None,
        }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("deep/config.yaml");
        let file = ContextFile {
            current: Some("dev".into()),
            contexts: [("dev".to_owned(), dev())].into(),
        };
        file.save(&path).unwrap();
        assert_eq!(ContextFile::load(&path).unwrap(), file);
        path
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        assert_eq!(settle(&path, &Overrides::default()).unwrap(), dev());
        let other = Overrides {
            server: Some("http://other".into()),
            ..Overrides::default()
        };
        let settled = settle(&path, &other).unwrap();
        assert_eq!(settled.server, "http://other");
        assert_eq!(
            settled.token_file, None,
            "the token of one server does not go to another"
        );
    }

    #[test]
    fn an_unknown_context_and_a_wrong_file_are_errors_with_help() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let named = Overrides {
            context: Some("prod".into()),
            ..Overrides::default()
        };
        let error = settle(&path, &named).unwrap_err();
        assert!(crate::fault::tell(&error).contains("known contexts: dev"));
        fs::write(&path, "contexts: [").unwrap();
        assert_eq!(
            crate::fault::exit(&settle(&path, &Overrides::default()).unwrap_err()),
            Exit::Invalid
        );
        assert_eq!(
            settle(&folder.path().join("none"), &Overrides::default()).unwrap(),
            Context::default()
        );
    }
}
