//! PostgreSQL put back to an earlier point in time, as its operators do it: the log is archived while it works, a base backup is copied out of the
//! running server, and a new cluster replays the archive up to a moment that it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use writ_cli::clock;
use writ_cli::dev::account::Account;
use writ_cli::dev::postgres::{Cluster, DATABASE};
use writ_cli::dev::process;
use writ_cli::dev::programs::{Programs, Wanted};

use super::World;
use super::disk::{copy, run};

/// Where a restore begins, and what was archived since.
#[derive(Debug)]
struct Places {
    cluster: Cluster,
    data: PathBuf,
    base: PathBuf,
    archive: PathBuf,
}

impl World {
    /// Has PostgreSQL archive its log from now on. It is restarted once.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn archive_ledger(&mut self) -> anyhow::Result<()> {
        let places = self.places()?;
        fs::create_dir_all(&places.archive)?;
        Account::own(Account::for_servers()?.as_ref(), &places.archive)?;
        let archive = places.archive.display();
        // A server that was killed before it noted what it had archived offers it again; another file under the name is refused.
        let command = format!(
            "if test -f {archive}/%f; then cmp -s %p {archive}/%f; else cp %p {archive}/%f.half && mv {archive}/%f.half {archive}/%f; fi"
        );
        append(
            &places.data.join("postgresql.conf"),
            &format!("archive_mode = on\narchive_command = '{command}'\n"),
        )?;
        self.stop("postgres")?;
        self.start_part("postgres")
    }

    /// Has PostgreSQL make each file of its log anew from its next start on, so that a full disk is felt at once.
    ///
    /// # Errors
    /// When its settings cannot be written.
    pub fn never_reuse_log(&self) -> anyhow::Result<()> {
        append(
            &self.places()?.data.join("postgresql.conf"),
            "wal_recycle = off
min_wal_size = 32MB
",
        )
    }

    /// Takes a base backup of the running server in place of the one before, and lets go of the log that only that one needed.
    ///
    /// # Errors
    /// When `pg_basebackup` fails; its words are in the error.
    pub fn back_ledger_up(&mut self) -> anyhow::Result<()> {
        let places = self.places()?;
        let older = segments(&places.archive)?;
        let fresh = places.base.with_extension("new");
        let mut backup = Command::new(programs()?.pg("pg_basebackup")?);
        backup
            .current_dir("/")
            .stdin(Stdio::null())
            .args(["--username", DATABASE, "--checkpoint=fast", "--no-sync", "--host"])
            .arg(places.cluster.socket())
            .arg("--pgdata")
            .arg(&fresh);
        Account::wear(Account::for_servers()?.as_ref(), &mut backup);
        run(&mut backup)?;
        if places.base.exists() {
            fs::remove_dir_all(&places.base)?;
        }
        fs::rename(&fresh, &places.base)?;
        self.backed_up = Some(clock::now());
        for segment in older {
            fs::remove_file(segment)?;
        }
        Ok(())
    }

    /// Stops all controllers and PostgreSQL and restores the database to what it was so long ago, or to the base backup where that is younger.
    /// PostgreSQL runs again then; controllers do not.
    ///
    /// # Errors
    /// When there is no base backup, or the restored server does not come up.
    pub fn restore_ledger(&mut self, back: Duration) -> anyhow::Result<()> {
        let places = self.places()?;
        ensure!(places.base.is_dir(), "there is no base backup to restore from");
        for controller in self.controllers() {
            self.kill(&controller)?;
        }
        // Replay ends at the first commit after the moment: one must follow.
        self.db("SELECT txid_current()")?;
        let moment = clock::now().minus(back);
        // Asked to end, it archives what it has written to the last record.
        self.stop("postgres")?;
        fs::remove_dir_all(&places.data)?;
        copy(&places.base, &places.data)?;
        let goal = match self.backed_up {
            // While it reads its settings the server knows no zone by a name, not even `Z`.
            Some(earliest) if moment > earliest => {
                let moment = moment.to_string().replace('Z', "+00");
                format!("recovery_target_time = '{moment}'")
            }
            _ => "recovery_target = 'immediate'".to_owned(),
        };
        let archive = places.archive.display();
        append(
            &places.data.join("postgresql.auto.conf"),
            &format!("restore_command = 'cp {archive}/%f %p'\nrecovery_target_action = 'promote'\n{goal}\n"),
        )?;
        fs::write(places.data.join("recovery.signal"), "")?;
        Account::own(
            Account::for_servers()?.as_ref(),
            &places.data.join("recovery.signal"),
        )?;
        self.start_part("postgres")?;
        // It lets readers in while it still replays.
        super::eventually("the restored server's promotion", super::LONG, || {
            let row = self.db("SELECT pg_is_in_recovery()").ok()?;
            (row == ["f"]).then_some(())
        })
    }

    /// Begins a new epoch, as one must after a restore: `writ-controller raise-epoch`.
    ///
    /// # Errors
    /// When the controller refuses; its words are in the error.
    pub fn raise_epoch(&self) -> anyhow::Result<()> {
        self.controller_says("raise-epoch").map(drop)
    }

    /// Runs a command of the first controller's program under its configuration and gives all that it printed.
    ///
    /// # Errors
    /// When it fails; its words are in the error.
    pub fn controller_says(&self, command: &str) -> anyhow::Result<String> {
        let name = self.controllers().into_iter().next();
        let name = name.context("there is no controller")?;
        let mut program = Command::new(programs()?.controller);
        process::without_our_variables(&mut program);
        let output = program
            .stdin(Stdio::null())
            .arg("--config")
            .arg(self.stack.layout().root().join(format!("{name}.yaml")))
            .arg(command)
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!(
                "writ-controller {command} failed ({}): {}",
                output.status,
                words.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn places(&self) -> anyhow::Result<Places> {
        let cluster = Cluster::of(self.stack.layout())?;
        let folder = cluster.folder();
        Ok(Places {
            data: folder.join("data"),
            base: folder.join("base"),
            archive: folder.join("archive"),
            cluster,
        })
    }
}

fn programs() -> anyhow::Result<Programs> {
    Programs::find(&Wanted {
        no_nats: true,
        ..Wanted::default()
    })
}

fn append(file: &Path, text: &str) -> anyhow::Result<()> {
    let present = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(fs::write(file, present + text)?)
}

/// Segments of the log that were archived; what tells one life of the server from another is no segment and is always kept.
fn segments(archive: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(archive)? {
        let path = entry?.path();
        if path.extension().is_none() {
            found.push(path);
        }
    }
    Ok(found)
}
