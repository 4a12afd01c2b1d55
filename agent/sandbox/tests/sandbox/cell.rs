//! The cell: it serves one step and nothing of it is left for the next; whatever happens to one that waits costs no step; and nobody is left with one.

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use writ_protocol::exec::{Exit, Isolation};
use writ_sandbox::{CgroupBase, Config, Network, Outcome, Sandbox, Spec};

use super::stage::{OFFENDER, Stage, said};

/// Steps that may find that this machine's mounts have just changed.
const TRIES_MAX: usize = 5;

/// The processes of a cell that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    reaper: i32,
    init: i32,
    program: i32,
}

fn children(pid: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let lists = tasks.into_iter().flatten().flatten();
    let lists = lists.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn below(pid: i32) -> Vec<i32> {
    u32::try_from(pid).map(children).unwrap_or_default()
}

/// The cells of an agent: chains of three.
fn cells_of(agent: u32) -> Vec<Waiting> {
    let mut found = Vec::new();
    for reaper in children(agent) {
        for init in below(reaper) {
            let programs = below(init).into_iter();
            found.extend(programs.map(|program| Waiting {
                reaper,
                init,
                program,
            }));
        }
    }
    found
}

fn cells() -> Vec<Waiting> {
    cells_of(std::process::id())
}

/// A stage for strict steps, where this host gives them, of each kind of cgroup; one at a time, each with a cell of its own.
fn stages() -> impl Iterator<Item = Stage> {
    let bases = [CgroupBase::Discover, CgroupBase::Off].into_iter();
    bases
        .map(|base| Stage::new(base, Isolation::Strict))
        .filter(Stage::is_offered)
}

/// The one cell that waits when all is done.
fn settled(stage: &Stage) -> Waiting {
    assert!(stage.sandbox.settle(), "{}: no cell was made", stage.name());
    let found = cells();
    match found.as_slice() {
        [cell] => *cell,
        other => panic!("{}: {other:?}", stage.name()),
    }
}

/// This machine's mounts: a cell that was made before they changed is not used, and others here may change them.
struct Mounts(std::fs::File);

impl Mounts {
    fn watch() -> Self {
        Self(std::fs::File::open("/proc/self/mountinfo").expect("opens"))
    }

    /// Since the last time.
    fn have_changed(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&at_once)).expect("polls") > 0
    }
}

/// What a step brought that ran in the cell which waited for it.
fn in_cell(stage: &Stage, spec: &Spec, mounts: &Mounts) -> (Waiting, Outcome) {
    for _ in 0..TRIES_MAX {
        let cell = settled(stage);
        let outcome = stage.run(spec);
        if outcome.pid == cell.program {
            return (cell, outcome);
        }
        assert!(mounts.have_changed(), "{}: started the long way", stage.name());
    }
    panic!("{}: this machine's mounts never rest", stage.name());
}

fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a number");
    rustix::process::kill_process(pid, signal).expect("is there");
}

#[test]
fn a_cell_serves_one_step_and_never_a_second_one() {
    for stage in stages() {
        let (mut seen, mounts) = (Vec::new(), Mounts::watch());
        for code in 0..4 {
            let (cell, outcome) = in_cell(&stage, &stage.offence(&["exit", &code.to_string()]), &mounts);
            assert!(!seen.contains(&cell), "{}: it came back", stage.name());
            assert_eq!(outcome.exit, Exit::Code(code));
            seen.push(cell);
        }
        settled(&stage);
        for Waiting {
            reaper,
            init,
            program,
        } in seen
        {
            for pid in [reaper, init, program] {
                assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{}", stage.name());
            }
        }
    }
}

#[test]
fn what_runs_in_a_cell_is_what_runs_without_one() {
    for stage in stages() {
        // What depends on the step is what it is with and without a cell: limits, ids, rights, and what is seen around it.
        let mut spec = stage.shell(
            "cat /proc/self/limits /etc/passwd /etc/group; sort /proc/self/mounts; stat -c '%n %A %u %g' /* /etc/*; \
             grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp|Sig)' /proc/self/status; env | sort; pwd",
        );
        spec.limits.memory_bytes = 200 << 20;
        spec.limits.open_files = 77;
        let mounts = Mounts::watch();
        let fresh = Stage::new(CgroupBase::Off, Isolation::Strict);
        let long_way = fresh.try_run(&spec).expect("runs");
        drop(fresh);
        let (_, short_way) = in_cell(&stage, &spec, &mounts);
        assert_eq!(said(&short_way), said(&long_way), "{}", stage.name());
        let names = |outcome: &Outcome| -> Vec<(String, u64, u64)> {
            let limits = outcome.effective.iter().filter(|limit| limit.name != "uid");
            limits
                .filter(|limit| limit.by != "cgroup")
                .map(|limit| (limit.name.clone(), limit.requested, limit.effective))
                .collect()
        };
        assert_eq!(names(&short_way), names(&long_way), "{}", stage.name());
    }
}

#[test]
fn two_steps_after_one_another_see_nothing_of_one_another() {
    for stage in stages() {
        let mounts = Mounts::watch();
        settled(&stage);
        let mut first = stage.shell(
            "echo left > /tmp/left; echo left > /dev/shm/more; ls /tmp; sleep 0.05; setsid sleep 1000 &",
        );
        first.env.insert("SECRET".to_owned(), "of-the-first".to_owned());
        assert_eq!(said(&stage.run(&first)), "left\nmore\n");
        let other = tempfile::tempdir().expect("makes a directory");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(other.path(), Some(54_321), Some(54_322)).expect("gives it away");
        }
        let place = other.path().canonicalize().expect("resolves");
        let mut second = stage.shell("ls -A /tmp | grep -v '^\\.tmp'; env; ls /proc/self/fd; pwd; id -u");
        second.cwd = place.to_str().expect("is UTF-8").to_owned();
        let (_, outcome) = in_cell(&stage, &second, &mounts);
        let text = said(&outcome);
        assert!(!text.contains("left") && !text.contains("more"), "{text}");
        assert!(
            !text.contains("SECRET") && !text.contains("of-the-first"),
            "{text}"
        );
        assert!(text.contains(place.to_str().expect("is UTF-8")), "{text}");
        if rustix::process::geteuid().is_root() {
            assert!(text.lines().any(|line| line == "54321"), "its own id: {text}");
        }
        let first_directory = stage
            .dir
            .path()
            .file_name()
            .expect("has one")
            .to_str()
            .expect("is UTF-8");
        assert!(!text.contains(first_directory), "{text}");
        // The listing itself, and 0, 1, 2.
        let descriptors = text
            .lines()
            .filter(|line| line.len() == 1 && line.parse::<u32>().is_ok_and(|n| n < 4));
        assert!(descriptors.count() >= 4, "{text}");
        assert!(
            !text.lines().any(|line| line == "4" || line == "5"),
            "a descriptor too many: {text}"
        );
    }
}

#[test]
fn a_cell_that_was_killed_or_stopped_is_not_used_and_costs_no_step() {
    for stage in stages() {
        for with in [Signal::KILL, Signal::STOP] {
            for whom in 0..3 {
                let cell = settled(&stage);
                let Waiting {
                    reaper,
                    init,
                    program,
                } = cell;
                signal([reaper, init, program][whom], with);
                let outcome = stage.run(&stage.offence(&["exit", "3"]));
                assert_eq!(outcome.exit, Exit::Code(3), "{}: {with:?} {whom}", stage.name());
                assert_ne!(outcome.pid, program, "{}: {with:?} {whom}", stage.name());
            }
        }
    }
}

#[test]
fn a_cell_whose_root_was_touched_is_not_used() {
    // Only root gets in.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for stage in stages() {
        type Touch = fn(i32);
        let touches: [(&str, Touch); 5] = [
            ("a file more", |pid| {
                std::fs::write(format!("/proc/{pid}/cwd/etc/ld.so.preload"), "/evil-of-a-test.so")
                    .expect("writes");
            }),
            ("a file changed", |pid| {
                std::fs::write(format!("/proc/{pid}/cwd/etc/hosts"), "6.6.6.6 localhost").expect("writes");
            }),
            ("a file in its /tmp", |pid| {
                std::fs::write(format!("/proc/{pid}/cwd/tmp/laid-by-a-test"), "x").expect("writes");
            }),
            ("a mount more", |pid| {
                mounts(pid, "mount -t tmpfs -o ro,nosuid evil-of-a-test /usr/share");
            }),
            ("a mount less", |pid| {
                mounts(pid, "umount -l /etc/ssl/certs || umount -l /opt");
            }),
        ];
        for (what, touch) in touches {
            let cell = settled(&stage);
            touch(cell.program);
            let outcome =
                stage.run(&stage.shell("cat /etc/ld.so.preload /etc/hosts; ls -A /tmp; ls /usr/share"));
            let text = said(&outcome);
            assert_ne!(outcome.pid, cell.program, "{}: {what}", stage.name());
            assert!(
                !text.contains("evil-of-a-test")
                    && !text.contains("6.6.6.6")
                    && !text.contains("laid-by-a-test"),
                "{what}: {text}"
            );
            assert!(text.contains("doc"), "{what}: {text}");
        }
    }
}

/// Runs a shell in the cell's mounts, as root of the host can.
fn mounts(pid: i32, script: &str) {
    let status = Command::new("nsenter")
        .args([
            &format!("--mount=/proc/{pid}/ns/mnt"),
            &format!("--pid=/proc/{pid}/ns/pid"),
            &format!("--root=/proc/{pid}/root"),
        ])
        .args(["--wd=/", "sh", "-c", script])
        .status()
        .expect("starts");
    assert!(status.success(), "{script}");
}

#[test]
fn a_step_that_asks_for_something_else_is_run_all_the_same() {
    for stage in stages() {
        let mounts = Mounts::watch();
        let cell = settled(&stage);
        let hosts = std::fs::read_link("/proc/self/ns/net").expect("reads");
        let mut spec = stage.program(&["readlink", "/proc/self/ns/net"]);
        spec.network = Network::Host;
        let outcome = stage.run(&spec);
        assert_ne!(outcome.pid, cell.program, "{}", stage.name());
        assert_eq!(said(&outcome).trim(), hosts.to_str().expect("is UTF-8"));
        // The next one is of the kind last asked for.
        in_cell(&stage, &spec, &mounts);
        settled(&stage);
        assert!(stage.try_run(&stage.program(&["no-such-program"])).is_err());
        let mut spec = stage.shell("true");
        spec.cwd = "/no/such/directory".to_owned();
        settled(&stage);
        let error = stage.try_run(&spec).expect_err("there is none");
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
        spec.cwd = "/proc".to_owned();
        settled(&stage);
        let error = stage.try_run(&spec).expect_err("it is not for steps");
        assert!(error.to_string().contains("the new root has no part"), "{error}");
    }
}

#[test]
fn a_cell_that_nobody_needs_goes_and_so_does_that_of_a_sandbox_that_goes() {
    for mut stage in stages() {
        let sandbox = Sandbox::new(Config {
            shim: OFFENDER.into(),
            cgroup: CgroupBase::Off,
            linger: Duration::from_secs(2),
            ..Config::default()
        })
        .expect("makes a sandbox");
        stage.sandbox = sandbox;
        let idle = stage;
        idle.run(&idle.shell("true"));
        assert!(idle.sandbox.settle());
        let is_gone = || cells().is_empty();
        assert!(
            std::iter::repeat_with(is_gone).take(10_000_000).any(|gone| gone),
            "nobody needs it"
        );
        idle.run(&idle.shell("true"));
        assert!(idle.sandbox.settle());
        drop(idle);
        assert_eq!(cells(), [], "it outlived its sandbox");
    }
}

#[test]
fn a_cell_dies_with_its_agent() {
    let mut agent = Command::new(OFFENDER)
        .arg("be-an-agent-with-a-cell")
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let said = agent.stdout.take().expect("is there");
    std::io::BufReader::new(said).read_line(&mut line).expect("reads");
    let found = cells_of(agent.id());
    agent.kill().expect("kills");
    agent.wait().expect("reaps");
    if line.trim() != "true" {
        // This host gives no strict isolation.
        assert_eq!(stages().count(), 0);
        return;
    }
    assert_eq!(found.len(), 1);
    for Waiting {
        reaper,
        init,
        program,
    } in found
    {
        for pid in [reaper, init, program] {
            let path = format!("/proc/{pid}/exe");
            // One that was not reaped yet by whoever adopted it has no program any more.
            let is_gone = || std::fs::read_link(&path).is_err();
            assert!(
                std::iter::repeat_with(is_gone).take(1_000_000).any(|gone| gone),
                "{pid}"
            );
        }
    }
}
