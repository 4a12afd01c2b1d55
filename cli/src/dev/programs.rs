//! Finding the programs of a stack: PostgreSQL, nats-server, and our own controller and agent, with the fix in the error when one is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::exit::Exit;
use crate::fault::Fault;

/// Oldest PostgreSQL that the ledger's SQL needs.
pub const POSTGRES_OLDEST: u32 = 15;
/// Oldest nats-server: earlier ones have holes that the permission lists rely on being closed.
pub const NATS_OLDEST: [u32; 3] = [2, 12, 6];
/// What we use of it.
const POSTGRES_PROGRAMS: [&str; 4] = ["initdb", "postgres", "pg_isready", "psql"];
/// Where Debian keeps PostgreSQL's programs, one folder for each version.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// The programs of a stack.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The folder with `initdb`, `postgres` and `psql`; `None` where a server is given.
    pub pg_bin: Option<PathBuf>,
    /// `nats-server`; `None` where a server is given.
    pub nats_server: Option<PathBuf>,
    /// `writ-controller`.
    pub controller: PathBuf,
    /// `writ-agent`.
    pub agent: PathBuf,
}

/// Which programs a stack does without, and where to look first.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Folder of PostgreSQL's programs that the caller names.
    pub pg_bin: Option<PathBuf>,
    /// A database server is given.
    pub no_postgres: bool,
    /// A bus is given.
    pub no_nats: bool,
    /// Only the servers are wanted, no program of ours.
    pub no_controller: bool,
    /// Folder of our own programs that the caller names; nothing else is looked at then.
    pub own: Option<PathBuf>,
}

impl Programs {
    /// Finds everything, or says what is missing and how to get it.
    ///
    /// # Errors
    /// A [`Fault`] that names the missing program and the command that installs it.
    pub fn find(wanted: &Wanted) -> anyhow::Result<Self> {
        let pg_bin = if wanted.no_postgres {
            None
        } else {
            Some(postgres(wanted.pg_bin.as_deref())?)
        };
        let nats_server = if wanted.no_nats {
            None
        } else {
            Some(nats_server()?)
        };
        let own = |name| {
            if wanted.no_controller {
                Ok(PathBuf::new())
            } else {
                wanted
                    .own
                    .as_deref()
                    .map_or_else(|| own(name), |folder| Ok(folder.join(name)))
            }
        };
        let (controller, agent) = (own("writ-controller")?, own("writ-agent")?);
        // They are started from other folders than the present one.
        let absolute = |path: PathBuf| std::path::absolute(path).context("finding the present folder");
        Ok(Self {
            pg_bin: pg_bin.map(absolute).transpose()?,
            nats_server: nats_server.map(absolute).transpose()?,
            controller,
            agent,
        })
    }

    /// `writ-agent` alone, for whoever needs nothing else of a stack.
    ///
    /// # Errors
    /// A [`Fault`] that names the command that builds it.
    pub fn agent() -> anyhow::Result<PathBuf> {
        std::path::absolute(own("writ-agent")?).context("finding the present folder")
    }

    /// A program of PostgreSQL.
    ///
    /// # Errors
    /// When the stack uses a given server.
    pub fn pg(&self, program: &str) -> anyhow::Result<PathBuf> {
        let folder = self
            .pg_bin
            .as_ref()
            .context("the stack uses a PostgreSQL server of yours")?;
        Ok(folder.join(program))
    }
}

fn postgres(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let variable = std::env::var_os("WRIT_PG_BIN").map(PathBuf::from);
    if let Some(folder) = named.map(Path::to_path_buf).or(variable) {
        return match postgres_version(&folder) {
            Some(version) if version >= POSTGRES_OLDEST => Ok(folder),
            Some(version) => {
                Err(missing_postgres(&format!("{} holds PostgreSQL {version}", folder.display())).into())
            }
            None => {
                Err(missing_postgres(&format!("{} holds no PostgreSQL programs", folder.display())).into())
            }
        };
    }
    let debian = std::fs::read_dir(DEBIAN_POSTGRES)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path().join("bin"));
    let on_path = on_path("initdb").and_then(|program| program.parent().map(Path::to_path_buf));
    // Of equal versions the last is taken: Debian's own.
    let found = on_path
        .into_iter()
        .chain(debian)
        .filter_map(|folder| Some((postgres_version(&folder)?, folder)));
    match found.max_by_key(|(version, _)| *version) {
        Some((version, folder)) if version >= POSTGRES_OLDEST => Ok(folder),
        Some((version, _)) => {
            Err(missing_postgres(&format!("the newest PostgreSQL here is {version}")).into())
        }
        None => Err(missing_postgres("PostgreSQL is not installed").into()),
    }
}

/// `psql`: in a named folder, on the search path, or among Debian's.
pub fn psql(pg_bin: Option<&Path>) -> Option<PathBuf> {
    let named = pg_bin
        .map(|folder| folder.join("psql"))
        .filter(|program| program.is_file());
    let debian = || postgres(None).ok().map(|folder| folder.join("psql"));
    named.or_else(|| on_path("psql")).or_else(debian)
}

fn missing_postgres(what: &str) -> Fault {
    Fault::new(
        Exit::Failed,
        format!("{what}; {POSTGRES_OLDEST} or newer is needed"),
    )
    .help(
        "apt-get install --no-install-recommends postgresql\n\
         or name its folder with --pg-bin or WRIT_PG_BIN, or use a server of yours with --pg URL",
    )
}

/// The major version, when the folder holds what we need.
fn postgres_version(folder: &Path) -> Option<u32> {
    if !POSTGRES_PROGRAMS
        .iter()
        .all(|program| folder.join(program).is_file())
    {
        return None;
    }
    let text = version_text(&folder.join("postgres"))?;
    number_after_space(&text).next()
}

fn nats_server() -> anyhow::Result<PathBuf> {
    let help = "cargo xtask parts   (puts a pinned nats-server below target/parts)\n\
                or name one with WRIT_NATS_SERVER, or use a server of yours with --nats URL";
    let oldest = NATS_OLDEST.map(|n| n.to_string()).join(".");
    let mut too_old = None;
    for candidate in nats_candidates() {
        let Some(text) = version_text(&candidate) else {
            continue;
        };
        let version: Vec<u32> = number_after_space(&text.replace(": v", " ")).collect();
        if version.as_slice() >= NATS_OLDEST.as_slice() {
            return Ok(candidate);
        }
        too_old = Some(format!("{} is {}", candidate.display(), text.trim()));
    }
    let what = too_old.unwrap_or_else(|| "nats-server is not installed".to_owned());
    Err(
        Fault::new(Exit::Failed, format!("{what}; {oldest} or newer is needed"))
            .help(help)
            .into(),
    )
}

fn nats_candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("WRIT_NATS_SERVER") {
        return vec![named.into()];
    }
    let mut found = Vec::new();
    // Programs are built into target/debug or target/release; parts lie beside those.
    for folder in own_folders().iter().filter_map(|f| f.parent()) {
        let parts = std::fs::read_dir(folder.join("parts"))
            .into_iter()
            .flatten()
            .flatten();
        found.extend(
            parts
                .map(|e| e.path().join("nats-server"))
                .filter(|p| p.is_file()),
        );
    }
    found.sort();
    found.reverse();
    found.extend(on_path("nats-server"));
    found
}

/// One of our own programs, beside the present one.
/// A program of ours: beside this one, or on the search path.
///
/// # Errors
/// When it is in neither place.
pub fn own(name: &str) -> anyhow::Result<PathBuf> {
    let found = own_folders()
        .into_iter()
        .map(|f| f.join(name))
        .find(|p| p.is_file());
    found.or_else(|| on_path(name)).ok_or_else(|| {
        Fault::new(
            Exit::Failed,
            format!("{name} is not beside writ and not on the search path"),
        )
        .help("cargo build --workspace --bins")
        .into()
    })
}

/// The folder of the present program, and the one above when it is a test.
fn own_folders() -> Vec<PathBuf> {
    let exe = std::env::current_exe().ok();
    let folder = exe.as_deref().and_then(Path::parent);
    let above = folder.filter(|f| f.ends_with("deps")).and_then(Path::parent);
    folder.into_iter().chain(above).map(Path::to_path_buf).collect()
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|f| f.join(name))
        .find(|p| p.is_file())
}

/// What a program says when asked for its version.
pub fn version_text(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The dotted numbers of the first word that begins with a digit.
fn number_after_space(text: &str) -> impl Iterator<Item = u32> {
    let word = text
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default();
    word.split('.').map_while(|n| n.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        let read = |text: &str| number_after_space(&text.replace(": v", " ")).collect::<Vec<_>>();
        assert_eq!(
            read("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"),
            [15, 14]
        );
        assert_eq!(read("nats-server: v2.15.1"), [2, 15, 1]);
        assert!(read("nats-server: v2.9.10").as_slice() < NATS_OLDEST.as_slice());
        assert_eq!(read("no version"), [0_u32; 0]);
    }

    #[test]
    fn a_folder_without_postgresql_is_an_error_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let error = postgres(Some(folder.path())).unwrap_err();
        let text = crate::fault::tell(&error);
        assert!(
            text.contains("apt-get install --no-install-recommends postgresql"),
            "{text}"
        );
    }
}
