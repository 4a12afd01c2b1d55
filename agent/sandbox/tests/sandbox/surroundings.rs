//! What a program finds around it: a clean environment, no descriptors, its own namespaces.

use writ_protocol::exec::{Exit, Isolation};

use super::stage::{Stage, said};

#[test]
fn the_environment_is_exactly_what_the_spec_says() {
    for stage in Stage::all() {
        let outcome = stage.run(&stage.offence(&["environment"]));
        let text = said(&outcome);
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["PATH", "WRIT_MARK"]);
    }
}

#[test]
fn no_descriptor_leaks_into_the_program_nor_stays_with_us() {
    for stage in Stage::all() {
        // One that would be inherited if nobody closed it.
        let open = std::fs::File::open("/dev/zero").expect("opens");
        rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).expect("sets");
        let text = said(&stage.run(&stage.offence(&["descriptors"])));
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0 /dev/null", "1 pipe", "2 pipe"], "{}", stage.name());
        drop(open);
        // The cell that is kept ready has some, each time others.
        stage.sandbox.settle();
        let before = descriptors();
        for _ in 0..3 {
            stage.run(&stage.shell("true"));
            assert!(stage.try_run(&stage.program(&["no-such-program"])).is_err());
        }
        stage.sandbox.settle();
        assert_eq!(descriptors(), before, "{}", stage.name());
    }
}

/// What this process holds open; of pipes and sockets how many. Other tests run in processes of their own (nextest).
fn descriptors() -> Vec<String> {
    let own = std::fs::read_dir("/proc/self/fd").expect("lists").flatten();
    let mut targets: Vec<String> = own
        .filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()))
        .map(|target| target.split(":[").next().unwrap_or_default().to_owned())
        .collect();
    targets.sort_unstable();
    targets
}

#[test]
fn a_program_sees_what_its_isolation_says() {
    for stage in Stage::all() {
        let outcome = stage.run(&stage.offence(&["identity"]));
        assert_eq!(outcome.exit, Exit::Code(0));
        let text = said(&outcome);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .trim()
                .to_owned()
        };
        assert_eq!(value("NoNewPrivs:"), "1");
        assert_eq!(value("SigBlk:"), "0000000000000000");
        // Rust's own runtime ignores SIGPIPE (13) in the offender itself.
        assert_eq!(value("SigIgn:"), "0000000000001000");
        assert_eq!(value("stdin"), "/dev/null");
        assert_eq!(value("loopback"), "true");
        assert_eq!(value("child"), "true");
        assert_eq!(
            value("cwd"),
            stage
                .dir
                .path()
                .canonicalize()
                .expect("resolves")
                .to_str()
                .expect("is UTF-8")
        );
        if stage.isolation >= Isolation::Namespaces {
            assert_eq!(value("pid"), "2", "the first process after the init");
            assert_eq!(value("processes"), "2");
            assert_eq!(value("interfaces"), "lo");
        } else {
            assert_eq!(value("pid"), outcome.pid.to_string());
        }
        assert!(outcome.pid > 2 && outcome.started_boot_us > 0);
    }
}

#[test]
fn namespaces_keep_the_hosts_network_only_when_asked() {
    for stage in Stage::all()
        .into_iter()
        .filter(|stage| stage.isolation >= Isolation::Namespaces)
    {
        let hosts = std::fs::read_link("/proc/self/ns/net").expect("reads");
        let mut spec = stage.program(&["readlink", "/proc/self/ns/net"]);
        assert_ne!(said(&stage.run(&spec)).trim(), hosts.to_str().expect("is UTF-8"));
        spec.network = writ_sandbox::Network::Host;
        assert_eq!(said(&stage.run(&spec)).trim(), hosts.to_str().expect("is UTF-8"));
    }
}

#[test]
fn mounts_and_names_made_inside_stay_inside() {
    // Without root the program has no rights in its namespaces either.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for stage in Stage::all()
        .into_iter()
        .filter(|stage| stage.isolation == Isolation::Namespaces)
    {
        let name = rustix::system::uname().nodename().to_owned();
        let script =
            "mkdir m && mount -t tmpfs none m && touch m/inside && hostname writ-inside && test -e m/inside";
        assert_eq!(
            stage.run(&stage.shell(script)).exit,
            Exit::Code(0),
            "{}",
            stage.name()
        );
        assert!(stage.dir.path().join("m").exists() && !stage.dir.path().join("m/inside").exists());
        assert_eq!(rustix::system::uname().nodename(), name.as_c_str());
    }
}
