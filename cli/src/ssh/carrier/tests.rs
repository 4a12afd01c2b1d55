//! The carrier against a stand-in for ssh that runs the host's line here: what goes over, what comes back, and what is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use writ_protocol::digest::Digest;

use super::*;

/// A folder with a program that stands in for ssh, for the agent, and for a host's own folder.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// `ssh` runs its last word with a shell; `before` is said first.
    fn new(before: &str) -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bench.folder.path().join("host")).unwrap();
        let text = format!("#!/bin/sh\n{before}\nfor last do :; done\neval \"$last\"\n");
        let ssh = bench.folder.path().join("ssh");
        fs::write(&ssh, text).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn carrier(&self, agent: &str) -> Carrier {
        let machine = match std::env::consts::ARCH {
            "x86_64" => "Linux x86_64",
            "aarch64" => "Linux aarch64",
            _ => "Linux riscv64",
        };
        let bytes = agent.as_bytes().to_vec();
        let host = self.folder.path().join("host");
        Carrier {
            means: Means::new(Some(self.folder.path().join("ssh")), None)
                .making_folders_in(host.to_str())
                .unwrap(),
            carried: Arc::new(Carried {
                digest: Digest::of(&bytes),
                bytes,
                machine,
            }),
            teller: Teller::new(true),
            interrupt: Interrupt::never(),
        }
    }

    fn nothing_is_left(&self) -> bool {
        fs::read_dir(self.folder.path().join("host")).unwrap().count() == 0
    }
}

fn refused(carrier: &Carrier) -> Fault {
    let error = carrier.open(&"web-1".parse().unwrap()).unwrap_err();
    error.downcast_ref::<Fault>().unwrap().clone()
}

/// Says where it lies and what it was given, then waits for its input's end.
const AGENT: &str = "#!/bin/sh\n[ \"$1\" = --version ] && exit\necho \"$0 $*\"\ncat\n";

#[test]
fn an_agent_is_started_at_the_other_end_and_nothing_stays_of_it() {
    let bench = Bench::new("echo Welcome to this host");
    let carrier = bench.carrier(AGENT);
    let line = carrier.open(&"web-1".parse().unwrap()).unwrap();
    let (mut child, mut to, mut from) = line.into_parts();
    to.write_all(b"a word").unwrap();
    drop(to);
    let mut said = String::new();
    from.read_to_string(&mut said).unwrap();
    let (first, rest) = said.split_once('\n').unwrap();
    let place = first.split(' ').next().unwrap();
    assert!(
        Path::new(place).starts_with(bench.folder.path().join("host")),
        "{said}"
    );
    assert!(first.ends_with(&format!("--silence {SILENCE_SECONDS}")), "{said}");
    assert_eq!(rest, "a word");
    assert!(child.wait().unwrap().success());
    assert!(bench.nothing_is_left());
}

#[test]
fn what_a_host_cannot_take_is_told_and_leaves_nothing() {
    let bench = Bench::new("");
    let broken = refused(&bench.carrier("#!/bin/sh\nexit 3\n"));
    assert_eq!(broken.code.as_deref(), Some("W0163"));
    assert!(broken.message.contains("exit 3"), "{broken}");

    let mut damaged = bench.carrier(AGENT);
    damaged.carried = Arc::new(Carried {
        bytes: AGENT.as_bytes().to_vec(),
        digest: Digest::ZERO,
        machine: damaged.carried.machine,
    });
    let fault = refused(&damaged);
    assert_eq!(fault.code.as_deref(), Some("W0163"));
    assert!(fault.message.contains("did not come whole"), "{fault}");

    let mut foreign = bench.carrier(AGENT);
    foreign.carried = Arc::new(Carried {
        bytes: AGENT.as_bytes().to_vec(),
        digest: Digest::of(AGENT.as_bytes()),
        machine: "Linux vax",
    });
    assert_eq!(refused(&foreign).code.as_deref(), Some("W0162"));

    let mut nowhere = bench.carrier(AGENT);
    nowhere.means.folder = Some("/nonexistent".to_owned());
    assert_eq!(refused(&nowhere).code.as_deref(), Some("W0163"));
    assert!(bench.nothing_is_left());
}

#[test]
fn a_connection_that_is_none_is_told_in_the_words_of_ssh() {
    let unreachable = "echo 'ssh: connect to host web-1 port 22: Connection refused' >&2; exit 255";
    let bench = Bench::new(unreachable);
    let fault = refused(&bench.carrier(AGENT));
    assert_eq!(
        (fault.code.as_deref(), fault.exit),
        (Some("W0161"), Exit::Unreachable)
    );
    assert!(fault.message.contains("Connection refused"), "{fault}");

    let bench = Bench::new("echo 'This account is not available.' >&2; exit 1");
    let fault = refused(&bench.carrier(AGENT));
    assert_eq!(fault.code.as_deref(), Some("W0164"));
    assert!(fault.message.contains("not available"), "{fault}");

    let bench = Bench::new("yes | head -c 100000; exit 0");
    assert_eq!(refused(&bench.carrier(AGENT)).code.as_deref(), Some("W0164"));

    let bench = Bench::new("sleep 600");
    let carrier = bench.carrier(AGENT);
    carrier.interrupt.raise();
    assert_eq!(refused(&carrier).exit, Exit::Interrupted);

    let mut none = bench.carrier(AGENT);
    none.means.program = bench.folder.path().join("no-such-program");
    assert!(refused(&none).help.unwrap().contains("openssh-client"));
}

#[test]
fn ssh_is_given_words_and_what_keeps_us_safe_stands_before_the_users() {
    let bench = Bench::new("");
    let mut carrier = bench.carrier(AGENT);
    carrier.means.options = vec!["BatchMode=no".to_owned()];
    let words = carrier.words(&"admin@web-1".parse().unwrap());
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let place = |word: &str| words.iter().position(|one| *one == word).unwrap();
    assert!(place("BatchMode=yes") < place("BatchMode=no"));
    assert!(place("BatchMode=no") < place("ConnectTimeout=15"));
    assert_eq!(words[words.len() - 3..words.len() - 1], ["--", "admin@web-1"]);
    assert!(!words.iter().any(|word| word.starts_with("StrictHostKeyChecking")));
    assert!(Means::new(None, None).with(&["-v".to_owned()]).is_err());
    assert!(Means::new(None, None).with(&["A=b\nC=d".to_owned()]).is_err());
    assert!(Means::new(None, None).making_folders_in(Some("tmp")).is_err());
}
