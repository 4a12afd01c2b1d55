//! A Debian package and a service of a lab host, made where they are needed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A file of a package: its path, its text, its mode.
pub type Packed<'a> = (&'a str, &'a str, u32);

/// Builds a package of these files.
///
/// # Errors
/// When dpkg-deb is not there, or refuses.
pub fn package(folder: &Path, name: &str, version: &str, files: &[Packed<'_>]) -> anyhow::Result<Vec<u8>> {
    let tree = folder.join(format!("{name}-{version}"));
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Story <story@example.org>\nDescription: a story\n"
    );
    for (path, text, mode) in [("DEBIAN/control", control.as_str(), 0o644)].iter().chain(files) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("has a parent")?)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(*mode))?;
    }
    let file = folder.join(format!("{name}-{version}.deb"));
    let built = Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group"])
        .args([&tree, &file])
        .output()
        .context("starting dpkg-deb")?;
    ensure!(
        built.status.success(),
        "dpkg-deb: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(fs::read(file)?)
}

/// The script of a sysvinit service that sleeps for so many seconds, in a process that a story can tell from others by that.
pub fn service(name: &str, seconds: u32) -> String {
    format!(
        r"#!/bin/sh
### BEGIN INIT INFO
# Provides: {name}
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: a story
### END INIT INFO
pid=/run/of-{name}.pid
case $1 in
start) exec start-stop-daemon --start --oknodo --background --make-pidfile --pidfile $pid --exec /bin/sleep -- {seconds} ;;
stop) exec start-stop-daemon --stop --oknodo --remove-pidfile --pidfile $pid ;;
restart) $0 stop; exec $0 start ;;
status) start-stop-daemon --status --pidfile $pid ;;
esac
"
    )
}
