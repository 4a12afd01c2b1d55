//! Attacks on the sandbox: each tries one way out, and says whether it was held. What counts as held is decided here, from inside; what can only
//! be seen from outside, the tests look at.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::{Command, exit};

/// Exit status of an attack that went through.
const ESCAPED: i32 = 99;

/// Ok: held, and by what. Err: it went through, and how far.
type Verdict = Result<String, String>;

/// Does what the words say, prints the verdict, and ends with it.
pub(crate) fn attack(words: &[&str]) -> ! {
    let verdict = match words {
        ["calls", names @ ..] => calls(names),
        ["other-machine"] => other_machine(),
        ["sockets", names @ ..] => sockets(names),
        ["reach-process", pid] => reach_process(pid),
        ["open-for-writing", paths @ ..] => all(paths, open_for_writing),
        ["read", paths @ ..] => all(paths, |path| must_fail(path, std::fs::read(path))),
        ["create", paths @ ..] => all(paths, create),
        ["link", from, to] => must_fail("a hard link", std::fs::hard_link(from, to)),
        ["follow", from, to] => follow(from, to),
        ["connect", address] => must_fail("a connection", TcpStream::connect(address)),
        ["door", port] => Ok(door(number(port))),
        ["fast-open", port] => fast_open(number(port)),
        ["multipath", port] => multipath(number(port)),
        ["datagram", address] => Ok(datagram(address)),
        ["unix", path] => must_fail("a connection", UnixStream::connect(path)),
        ["abstract", name] => abstract_socket(name),
        ["fill", path] => fill(path),
        ["raise-limits"] => raise_limits(),
        ["rights"] => rights(),
        ["who-am-i"] => Ok(format!("{}", rustix::process::geteuid().as_raw())),
        ["become-root-by", program] => become_root_by(program),
        ["hide-below-a-subreaper"] => hide_below_a_subreaper(),
        ["kill-everyone"] => Ok(kill_everyone()),
        other => panic!("unknown attack {other:?}"),
    };
    match verdict {
        Ok(by) => println!("held: {by}"),
        Err(how) => {
            println!("escaped: {how}");
            exit(ESCAPED);
        }
    }
    exit(0)
}

fn number(text: &str) -> u16 {
    text.parse().expect("a number")
}

fn all(each: &[&str], what: impl Fn(&str) -> Verdict) -> Verdict {
    let verdicts: Result<Vec<String>, String> = each.iter().map(|one| what(one)).collect();
    verdicts.map(|held| held.join("; "))
}

fn must_fail<T>(what: &str, tried: std::io::Result<T>) -> Verdict {
    match tried {
        Ok(_) => Err(format!("{what} was had")),
        Err(error) => Ok(format!("{what}: {error}")),
    }
}

/// A system call by its number; the error is the kernel's number for it.
#[expect(unsafe_code, reason = "an attacker is not held to safe functions")]
fn call(number: libc::c_long, arguments: [libc::c_long; 6]) -> Result<libc::c_long, i32> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: no call that is made here is given a pointer that is not null or to a live constant; what the kernel does with nonsense is what is tested.
    let returned = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    if returned < 0 {
        Err(std::io::Error::last_os_error()
            .raw_os_error()
            .expect("the kernel's"))
    } else {
        Ok(returned)
    }
}

/// Each of these calls must be refused as such: a kernel that looks at the arguments has been reached.
fn calls(names: &[&str]) -> Verdict {
    all(names, |name| {
        let (number, arguments, wanted) = named(name);
        match call(number, arguments) {
            Err(error) if error == wanted || (*name == *"device" && error == libc::EACCES) => {
                Ok(format!("{name}: {error}"))
            }
            Err(error) => Err(format!("{name} reached the kernel, which says {error}")),
            Ok(got) => Err(format!("{name} gave {got}")),
        }
    })
}

fn named(name: &str) -> (libc::c_long, [libc::c_long; 6], i32) {
    let new_user = libc::c_long::from(libc::CLONE_NEWUSER);
    let path =
        |text: &'static std::ffi::CStr| text.as_ptr().expose_provenance().cast_signed() as libc::c_long;
    let (number, arguments) = match name {
        "bpf" => (libc::SYS_bpf, [0; 6]),
        "perf" => (libc::SYS_perf_event_open, [0; 6]),
        "userfaultfd" => (libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        "io-uring-setup" => (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        "io-uring-enter" => (libc::SYS_io_uring_enter, [-1, 0, 0, 0, 0, 0]),
        "io-uring-register" => (libc::SYS_io_uring_register, [-1, 0, 0, 0, 0, 0]),
        "keyctl" => (libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]),
        "add-key" => (libc::SYS_add_key, [0; 6]),
        "request-key" => (libc::SYS_request_key, [0; 6]),
        "kexec" => (libc::SYS_kexec_load, [0, 0, 0, -1, 0, 0]),
        "kexec-file" => (libc::SYS_kexec_file_load, [-1, -1, 0, 0, -1, 0]),
        "module" => (libc::SYS_finit_module, [-1, 0, -1, 0, 0, 0]),
        "ptrace" => (
            libc::SYS_ptrace,
            [libc::c_long::from(libc::PTRACE_TRACEME), 0, 0, 0, 0, 0],
        ),
        "read-memory" => (libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
        "write-memory" => (libc::SYS_process_vm_writev, [1, 0, 0, 0, 0, 0]),
        "steal-descriptor" => (libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0, 0]),
        "mount" => (libc::SYS_mount, [0; 6]),
        "unmount" => (
            libc::SYS_umount2,
            [path(c"/"), libc::c_long::from(libc::MNT_DETACH), 0, 0, 0, 0],
        ),
        "new-mount" => (libc::SYS_fsopen, [path(c"tmpfs"), 0, 0, 0, 0, 0]),
        "copy-mount" => (libc::SYS_open_tree, [-100, path(c"/"), 1, 0, 0, 0]),
        "change-mount" => (libc::SYS_mount_setattr, [-1, path(c""), 0, 0, 0, 0]),
        "pivot" => (libc::SYS_pivot_root, [path(c"."), path(c"."), 0, 0, 0, 0]),
        "chroot" => (libc::SYS_chroot, [path(c"/tmp"), 0, 0, 0, 0, 0]),
        "open-by-handle" => (libc::SYS_open_by_handle_at, [-100, 0, 0, 0, 0, 0]),
        "unshare-user" => (libc::SYS_unshare, [new_user, 0, 0, 0, 0, 0]),
        "clone-user" => (
            libc::SYS_clone,
            [new_user | libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0, 0],
        ),
        "setns" => (libc::SYS_setns, [-1, 0, 0, 0, 0, 0]),
        "device" => {
            let block = libc::c_long::from(libc::S_IFBLK | 0o600);
            (libc::SYS_mknodat, [-100, path(c"disk"), block, 0x0801, 0, 0])
        }
        "reboot" => (libc::SYS_reboot, [0; 6]),
        "clock" => (libc::SYS_clock_settime, [0; 6]),
        "hostname" => (libc::SYS_sethostname, [path(c"x"), -1, 0, 0, 0, 0]),
        "type-into-terminal" => (libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
        "clone3" => return (libc::SYS_clone3, [0; 6], libc::ENOSYS),
        "future" => return (470, [0; 6], libc::ENOSYS),
        other => panic!("unknown call {other:?}"),
    };
    (number, arguments, libc::EPERM)
}

/// The same kernel by its other doors: the numbers of 32-bit programs, and the second set of 64-bit ones.
fn other_machine() -> Verdict {
    #[cfg(target_arch = "x86_64")]
    {
        let second = call(0x4000_0000 | libc::SYS_getpid, [0; 6]);
        let old = old_door();
        match (second, old) {
            (Err(libc::EPERM), old) if old == -i64::from(libc::EPERM) => Ok("both doors".to_owned()),
            other => Err(format!("{other:?}")),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Ok("this machine has no other door".to_owned())
}

/// `getpid` as a 32-bit program asks for it.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an attacker is not held to safe functions")]
fn old_door() -> i64 {
    let mut answer: u64 = 20;
    // SAFETY: the call takes no argument and changes only this register; 32-bit entries keep the others but for r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i64::from(u32::try_from(answer & 0xffff_ffff).expect("half").cast_signed())
}

fn sockets(names: &[&str]) -> Verdict {
    all(names, |name| {
        let (family, kind, protocol) = match name {
            "raw" => (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            "raw6" => (libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
            "packet" => (libc::AF_PACKET, libc::SOCK_RAW, 0x0300),
            "ping" => (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            "multipath" => (libc::AF_INET, libc::SOCK_STREAM, 262),
            "machine" => (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
            "netfilter" => (libc::AF_NETLINK, libc::SOCK_RAW, 12),
            "ciphers" => (libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
            other => panic!("unknown socket {other:?}"),
        };
        let arguments = [family, kind, protocol, 0, 0, 0].map(libc::c_long::from);
        match call(libc::SYS_socket, arguments) {
            Err(libc::EPERM | libc::EACCES) => Ok(format!("{name}: refused")),
            other => Err(format!("{name}: {other:?}")),
        }
    })
}

/// A process of the host: to signal it, to read it, to trace it.
fn reach_process(pid: &str) -> Verdict {
    let raw: i32 = pid.parse().expect("a number");
    let process = rustix::process::Pid::from_raw(raw).expect("a process");
    if rustix::process::test_kill_process(process).is_ok() {
        return Err("it can be signalled".to_owned());
    }
    for part in ["environ", "mem", "root/etc", "cwd", "fd"] {
        let path = format!("/proc/{pid}/{part}");
        if std::fs::metadata(&path).is_ok() {
            return Err(format!("{path} is there"));
        }
    }
    let attach = call(
        libc::SYS_ptrace,
        [libc::PTRACE_SEIZE.into(), raw.into(), 0, 0, 0, 0],
    );
    match attach {
        Ok(_) => Err("it can be traced".to_owned()),
        Err(error) => Ok(format!("nothing is there, {error}")),
    }
}

fn open_for_writing(path: &str) -> Verdict {
    match std::fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => Err(format!("{path} can be written")),
        Err(error) => Ok(format!("{path}: {error}")),
    }
}

/// A file in a directory that is not the step's: not to be had, or not where it seems to be (the tests look).
fn create(path: &str) -> Verdict {
    let path = Path::new(path).join("writ-was-here");
    match std::fs::write(&path, "x") {
        Ok(()) => Err(format!("{} was written", path.display())),
        Err(error) => Ok(format!("{}: {error}", path.display())),
    }
}

fn follow(from: &str, to: &str) -> Verdict {
    std::os::unix::fs::symlink(from, to).map_err(|e| format!("no link can be made: {e}"))?;
    must_fail("what the link points to", std::fs::read(to))
}

/// TCP fast open: the first data go with the request to connect, past whoever only looks at `connect`.
/// What stands at a port of our own loopback says.
fn door(port: u16) -> String {
    let mut said = String::new();
    match TcpStream::connect(("127.0.0.1", port)).and_then(|mut door| door.read_to_string(&mut said)) {
        Ok(_) => said,
        Err(error) => error.to_string(),
    }
}

fn fast_open(port: u16) -> Verdict {
    let address = rustix_address(port);
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let socket = socket.map_err(|e| format!("no socket at all: {e}"))?;
    let flag = rustix::net::SendFlags::from_bits_retain(0x2000_0000);
    let sent = rustix::net::sendto(&socket, b"out", flag, &address);
    must_fail("fast open", sent.map_err(std::io::Error::from))
}

fn multipath(port: u16) -> Verdict {
    let socket = call(libc::SYS_socket, [2, 1, 262, 0, 0, 0]);
    let Ok(number) = socket else {
        return Ok(format!("no such socket: {socket:?}"));
    };
    let path = format!("/proc/self/fd/{number}");
    let target = std::fs::read_link(path).map_err(|e| e.to_string())?;
    // Where there is one it is no better than another: the namespace has nobody to talk to.
    must_fail(
        &format!("a connection beside {}", target.display()),
        TcpStream::connect(("127.0.0.1", port)),
    )
}

fn rustix_address(port: u16) -> rustix::net::SocketAddrV4 {
    rustix::net::SocketAddrV4::new(rustix::net::Ipv4Addr::LOCALHOST, port)
}

/// Whether it was sent says little: the test looks whether it came.
fn datagram(address: &str) -> String {
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"out", address));
    format!("sending gave {sent:?}")
}

fn abstract_socket(name: &str) -> Verdict {
    use std::os::linux::net::SocketAddrExt;
    let address = SocketAddr::from_abstract_name(name).map_err(|e| e.to_string())?;
    must_fail("a connection", UnixStream::connect_addr(&address))
}

/// Writes files below the limit on one file until there is no room for more, which there must be an end of.
fn fill(path: &str) -> Verdict {
    let block = vec![7; 1 << 20];
    for file in 0..1_024 {
        let made = std::fs::File::create(Path::new(path).join(format!("fill-{file}")));
        let full = made.and_then(|mut file| file.write_all(&block));
        match full {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                return Ok(format!("full after {file} MiB"));
            }
            Err(error) => return Err(format!("after {file} MiB: {error}")),
        }
    }
    Err("it has room for a GiB".to_owned())
}

fn raise_limits() -> Verdict {
    use rustix::process::{Resource, Rlimit};
    for resource in [
        Resource::Nofile,
        Resource::Nproc,
        Resource::As,
        Resource::Fsize,
        Resource::Cpu,
    ] {
        let now = rustix::process::getrlimit(resource);
        let more = now.maximum.map(|most| most + 1);
        let wanted = Rlimit {
            current: more,
            maximum: more,
        };
        if rustix::process::setrlimit(resource, wanted).is_ok() {
            return Err(format!("{resource:?} was raised to {more:?}"));
        }
    }
    Ok("every limit stays".to_owned())
}

/// No user of the host's, no capability, no way to get one.
fn rights() -> Verdict {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let set = line.expect("there").trim();
        if set.bytes().any(|digit| digit != b'0') {
            return Err(format!("{name} {set}"));
        }
    }
    if rustix::process::geteuid().is_root() || rustix::process::getegid().is_root() {
        return Err("root".to_owned());
    }
    if rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_ok() {
        return Err("root at will".to_owned());
    }
    Ok("none".to_owned())
}

/// A program that would run as root, as its mode says.
fn become_root_by(program: &str) -> Verdict {
    let output = Command::new(program).args(["attack", "who-am-i"]).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return Ok(format!("it does not start: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if said == "held: 0" {
        Err("it was root".to_owned())
    } else {
        Ok(said)
    }
}

/// A child takes orphans for itself, so that they do not come to whoever watches, and goes.
fn hide_below_a_subreaper() -> Verdict {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| e.to_string())?;
    super::shell("setsid sh -c 'setsid sleep 1000 & setsid sleep 1000 &' </dev/null >/dev/null 2>&1 &");
    Ok("whether they are gone is seen from outside".to_owned())
}

/// Kills all that it may; the test sees whether anybody else is gone.
fn kill_everyone() -> String {
    match call(libc::SYS_kill, [-1, libc::SIGKILL.into(), 0, 0, 0, 0]) {
        Ok(_) => "everybody who can be seen".to_owned(),
        Err(error) => format!("nobody: {error}"),
    }
}
