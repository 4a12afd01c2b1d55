//! Where everything of a private stack lies below its data folder.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use writ_protocol::digest::Digest;

use super::trust::Vault;

/// Longest path of a Unix socket that Linux binds, bytes (108 with the closing zero).
pub const SOCKET_PATH_MAX: usize = 107;
/// The name PostgreSQL gives its socket, with the slash before it; its port is only a name here.
pub const PG_SOCKET: &str = "/.s.PGSQL.5432";

/// The data folder of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`, which is made absolute.
    ///
    /// # Errors
    /// When the present folder is not known.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(root).context("finding the data folder")?;
        Ok(Self { root })
    }

    /// Makes the folders, closed to others where they hold secrets.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn make(&self) -> anyhow::Result<()> {
        for folder in [
            self.root.clone(),
            self.logs(),
            self.trust(),
            self.tls(),
            self.agents(),
        ] {
            make_folder(&folder, 0o755)?;
        }
        for folder in [self.keys(), self.keys().join("nats"), self.secrets(), self.nats()] {
            make_folder(&folder, 0o700)?;
        }
        Ok(())
    }

    /// The data folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What runs.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Held while something starts or stops.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Logs of all parts.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of one part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// Root and trust policy.
    pub fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// The controller's keys, and the bus's.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// What only the operator holds: root keys, the operator's key, the API token.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secret")
    }

    /// Keys and trust.
    pub fn vault(&self) -> Vault {
        Vault {
            trust: self.trust(),
            keys: self.keys(),
            secrets: self.secrets(),
        }
    }

    /// The operator's own signing key.
    pub fn operator_key(&self) -> PathBuf {
        self.secrets().join("operator.pem")
    }

    /// The operator's API token.
    pub fn api_token(&self) -> PathBuf {
        self.secrets().join("api.token")
    }

    /// Certificates.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The bus server's folder.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// All agents' folders.
    pub fn agents(&self) -> PathBuf {
        self.root.join("agents")
    }

    /// One agent's folder.
    pub fn agent(&self, name: &str) -> PathBuf {
        self.agents().join(name)
    }

    /// Twelve characters that differ between data folders: for names outside of it.
    pub fn short_name(&self) -> String {
        Digest::of(self.root.as_os_str().as_encoded_bytes()).short()
    }

    /// Where PostgreSQL's socket lies: below the data folder, or in a short folder when the path would be longer than a socket's may be.
    pub fn pg_socket_folder(&self, cluster: &Path) -> PathBuf {
        let beside = cluster.join("socket");
        if beside.as_os_str().len() + PG_SOCKET.len() <= SOCKET_PATH_MAX {
            return beside;
        }
        PathBuf::from(format!("/tmp/writ-{}", self.short_name()))
    }
}

/// Makes a folder with the given rights; one that is there keeps its content and gets the rights.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("making the folder {}", path.display()))
}

/// Writes a file whole or not at all, with the given rights from its first byte on.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let part = path.with_added_extension("part");
    let write = || {
        drop(fs::remove_file(&part));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_never_exceeds_its_bound() {
        let short = Layout::new(Path::new("/srv/x")).unwrap();
        assert_eq!(
            short.pg_socket_folder(Path::new("/srv/x/pg")),
            Path::new("/srv/x/pg/socket")
        );
        for length in 60..200 {
            let root = PathBuf::from(format!("/{}", "d".repeat(length)));
            let layout = Layout::new(&root).unwrap();
            let folder = layout.pg_socket_folder(&root.join("pg"));
            assert!(
                folder.as_os_str().len() + PG_SOCKET.len() <= SOCKET_PATH_MAX,
                "{length}"
            );
        }
    }

    #[test]
    fn two_data_folders_share_no_short_folder() {
        let long = |c: &str| Layout::new(Path::new(&format!("/{}", c.repeat(150)))).unwrap();
        let folder = |l: &Layout| l.pg_socket_folder(&l.root().join("pg"));
        assert_ne!(folder(&long("a")), folder(&long("b")));
    }

    #[test]
    fn files_are_written_whole_with_their_rights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        write_file(&path, b"one", 0o600).unwrap();
        write_file(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}
