//! Packages on a lab host, with real dpkg and apt-get, from archives built here and a repository in a folder: no network.

use writ_protocol::graph::{PackageSpec, PackageState, Resource, Spec};
use writ_providers::Error;

use super::lab::Lab;
use super::stage::{Stage, step};

/// Builds two versions of two packages, the second of which needs the first, and makes them apt's only repository.
const REPOSITORY: &str = r#"
set -e
mkdir -p /srv/repo && cd /srv/repo
deb() { # name version depends
    d=/tmp/$1-$2; mkdir -p $d/DEBIAN $d/usr/share/$1 $d/etc/$1
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n' $1 $2 > $d/DEBIAN/control
    [ -z "$3" ] || echo "Depends: $3" >> $d/DEBIAN/control
    echo /etc/$1/conf > $d/DEBIAN/conffiles; echo $2 > $d/etc/$1/conf; echo $2 > $d/usr/share/$1/version
    dpkg-deb --build --root-owner-group $d /srv/repo/$1_$2_all.deb > /dev/null
}
deb writ-base 1.0-1; deb writ-base 1.1-1; deb writ-base 2.0-1; deb writ-top 1.0-1 writ-base
for f in *.deb; do
    dpkg-deb -f $f; printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $f $(stat -c %s $f) $(sha256sum $f | cut -d' ' -f1)
done > Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list
echo 'APT::Sandbox::User "root";' > /etc/apt/apt.conf.d/99writ
"#;

fn package(name: &str, state: PackageState, hold: Option<bool>, source: Option<&str>) -> Resource {
    let spec = PackageSpec {
        name: name.to_owned(),
        state,
        source: source.map(str::to_owned),
        hold,
        manager: None,
    };
    step(format!("package:{name}"), Spec::Package(spec))
}

fn at(name: &str, version: Option<&str>) -> Resource {
    let version = version.map(str::to_owned);
    package(name, PackageState::Installed { version }, None, None)
}

fn gone(name: &str, purge: bool) -> Resource {
    package(name, PackageState::Absent { purge }, None, None)
}

fn host() -> Option<(Lab, Stage)> {
    let lab = Lab::start()?;
    lab.sh(REPOSITORY);
    let stage = Stage::at(&lab.root());
    Some((lab, stage))
}

#[test]
fn versions_holds_and_absence() {
    let Some((lab, mut stage)) = host() else { return };
    let held = |hold| {
        let version = Some("1.*".to_owned());
        package("writ-base", PackageState::Installed { version }, Some(hold), None)
    };
    let cases = [
        (
            "a pin, and old lists",
            at("writ-base", Some("1.0-1")),
            "state",
            "1.0-1",
        ),
        ("any version is this one", at("writ-base", None), "", "1.0-1"),
        ("a pattern that fits", at("writ-base", Some("1.?-*")), "", "1.0-1"),
        ("up", at("writ-base", Some("2.*")), "version", "2.0-1"),
        ("down", at("writ-base", Some("1.0-1")), "version", "1.0-1"),
        ("held", held(true), "hold", "1.0-1"),
        ("let go", held(false), "hold", "1.0-1"),
    ];
    for (what, resource, first, version) in cases {
        let attributes = stage.converge(&resource);
        assert_eq!(attributes.first().map_or("", String::as_str), first, "{what}");
        assert_eq!(lab.sh("cat /usr/share/writ-base/version"), version, "{what}");
    }
    assert_eq!(stage.converge(&gone("writ-base", false)), ["state"]);
    assert_eq!(stage.converge(&gone("writ-base", false)), Vec::<String>::new());
    assert!(
        lab.root().join("etc/writ-base/conf").exists(),
        "configuration stays"
    );
    assert_eq!(stage.converge(&gone("writ-base", true)), ["state"]);
    assert!(!lab.root().join("etc/writ-base/conf").exists());
    let local = PackageState::Installed { version: None };
    let local = package(
        "writ-base",
        local,
        None,
        Some("/srv/repo/writ-base_1.1-1_all.deb"),
    );
    assert_eq!(stage.converge(&local), ["state"]);
    assert_eq!(lab.sh("cat /usr/share/writ-base/version"), "1.1-1");
}

fn failure(stage: &mut Stage, resource: &Resource) -> String {
    let changes = stage.changes(resource).expect("differs");
    match stage.apply(resource, &changes) {
        Ok(applied) => applied.failure.expect("fails").to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nobody_elses_package_goes_and_holds_are_kept() {
    let Some((lab, mut stage)) = host() else { return };
    stage.converge(&at("writ-top", None));
    let said = failure(&mut stage, &gone("writ-base", false));
    assert!(said.contains("writ-top"), "{said}");
    assert!(lab.root().join("usr/share/writ-base/version").exists());
    lab.sh("apt-mark hold writ-base");
    let said = failure(&mut stage, &at("writ-base", Some("1.0-1")));
    assert!(said.contains("eld"), "{said}");
    let said = failure(&mut stage, &at("writ-none", None));
    assert!(said.contains("writ-none"), "{said}");
    // A name is a name: neither a pattern nor a way to take others in.
    let said = failure(&mut stage, &at("writ-t.p", None));
    assert!(said.contains("writ-t.p"), "{said}");
}

#[test]
fn what_a_killed_dpkg_left_is_settled_first() {
    let Some((lab, mut stage)) = host() else { return };
    stage.converge(&at("writ-base", Some("1.0-1")));
    lab.sh("dpkg --unpack /srv/repo/writ-base_1.1-1_all.deb");
    let resource = at("writ-base", Some("1.1-1"));
    assert_eq!(stage.attributes(&resource), ["state", "version"]);
    stage.converge(&resource);
    // In the middle of unpacking.
    lab.sh("sed -i '/^Package: writ-base$/,/^$/s/^Status:.*/Status: install reinstreq half-installed/' /var/lib/dpkg/status");
    stage.converge(&resource);
    // Another package's mess does not keep this one from coming.
    lab.sh("dpkg --unpack /srv/repo/writ-base_2.0-1_all.deb");
    stage.converge(&at("writ-top", None));
    assert_eq!(lab.sh("dpkg --audit"), "");
}

#[test]
fn a_locked_database_is_waited_for_and_named() {
    let Some((lab, mut stage)) = host() else { return };
    let mut resource = at("writ-base", None);
    resource.limits.wall_ms = 2_000;
    let lock = std::fs::File::options()
        .write(true)
        .open(lab.root().join("var/lib/dpkg/lock"))
        .expect("opens");
    // A lock of this very process would not be in its own way: another one holds it.
    drop(lock);
    let holds = "import fcntl,sys; f=open('/var/lib/dpkg/lock','w'); fcntl.lockf(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()";
    let mut other = std::process::Command::new("chroot")
        .arg(lab.root())
        .args(["python3", "-c", holds])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let out = other.stdout.take().expect("has an output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("reads");
    assert_eq!(line, "held\n");
    let changes = stage.changes(&resource).expect("a look needs no lock");
    let error = stage.apply(&resource, &changes).expect_err("locked");
    let pid = other.id().to_string();
    assert!(
        matches!(&error, Error::Locked { holder, .. } if holder.contains(&pid)),
        "{error}"
    );
    drop(other.stdin.take());
    other.wait().expect("ends");
    resource.limits.wall_ms = 60_000;
    stage.converge(&resource);
}

/// Bytes that this thread asked the kernel to read.
fn read_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").expect("reads");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn five_hundred_packages_are_one_read() {
    let Some((lab, stage)) = host() else { return };
    let length = std::fs::metadata(lab.root().join("var/lib/dpkg/status"))
        .expect("there")
        .len();
    let before = read_bytes();
    for number in 0..500 {
        stage.see(&at(&format!("none-{number}"), None)).expect("observes");
    }
    let read = read_bytes() - before;
    assert!(
        read >= length && read < length * 2,
        "{read} bytes of {length} were read"
    );
    // What changes the database is seen at the next look.
    lab.sh("dpkg --install /srv/repo/writ-base_1.0-1_all.deb");
    assert_eq!(stage.attributes(&at("writ-base", None)), Vec::<String>::new());
}
