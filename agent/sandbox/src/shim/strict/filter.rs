//! The system call filter of `strict`: a classic BPF program, made from tables.
//!
//! It refuses, and does not kill: a program that asks for what it may not have gets `EPERM` as it would from a kernel without the feature, and goes
//! on. What is younger than these tables is unknown to the kernel as far as the program can tell (`ENOSYS`), so a new system call opens no door.
//! `clone3` is unknown too, because a filter cannot see its flags; every C library then falls back to `clone`.

mod reading;

use std::sync::OnceLock;

use libc::sock_filter;

/// The machine's name in a filter, and whether its system call numbers have a second set.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};
/// Marks calls of the x32 set on `x86_64`; no machine has numbers this high otherwise.
const SECOND_SET: u32 = 0x4000_0000;
/// The youngest system call that was looked at for these tables (`file_setattr`, Linux 6.17). Numbers from 424 on are the same on all machines.
const YOUNGEST_KNOWN: u32 = 469;

/// Offsets in what a filter sees: the number, the machine, the lower halves of the arguments (both machines are little-endian).
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | 0x01; // EPERM
const UNKNOWN: u32 = 0x0005_0000 | 0x26; // ENOSYS

/// Every flag of `clone` that makes a namespace. The one for time shares its bit with the exit signal and is not to be had through `clone`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `ioctl` requests that put words into a terminal's input, or speak to the console.
const TERMINAL_REQUESTS: [u32; 2] = [0x5412, 0x541c];
/// Kinds of sockets: the type's lower bits.
const SOCKET_KIND: u32 = 0xf;
const STREAM_OR_DATAGRAM: [u32; 2] = [1, 2];
/// Protocols that a socket of the internet may have: the kind's own, TCP, UDP. Not MPTCP, which walks past Landlock, nor ICMP, SCTP or raw IP.
const INTERNET_PROTOCOLS: [u32; 3] = [0, 6, 17];
const FAMILY_UNIX: u32 = 1;
const FAMILIES_INTERNET: [u32; 2] = [2, 10];
/// The C library asks this one (protocol 0, routes) which addresses the machine has.
const FAMILY_NETLINK: u32 = 16;

/// Calls of every machine that no step needs and that change the machine, reach into other processes, or are large and seldom looked at.
const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    467, // open_tree_attr
    457, // statmount
    458, // listmount
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    443, // quotactl_fd
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_fanotify_init,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    440, // process_madvise
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_personality,
    // Keys, clocks, names.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// The same, of this machine alone.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Numbers that are compared one after the other where a search ends.
const IN_A_ROW: usize = 2;

/// A number that is not simply allowed, and what becomes of it.
type Answer = (u32, Vec<sock_filter>);

static FILTER: OnceLock<Option<Vec<sock_filter>>> = OnceLock::new();
static OF_READERS: OnceLock<Option<Vec<sock_filter>>> = OnceLock::new();

/// The filter for this machine; `None` where none is written for its architecture. It is made once, and who is forked after that has it.
pub(super) fn filter() -> Option<&'static [sock_filter]> {
    FILTER.get_or_init(make).as_deref()
}

/// The filter of a thread that only reads; `None` where none is written for this architecture.
pub(super) fn of_readers() -> Option<&'static [sock_filter]> {
    OF_READERS.get_or_init(|| made_of(reading::answers())).as_deref()
}

fn make() -> Option<Vec<sock_filter>> {
    made_of(vec![
        (number(libc::SYS_clone), clone_body()),
        (number(libc::SYS_ioctl), ioctl_body()),
        (number(libc::SYS_socket), socket_body()?),
    ])
}

/// What refuses everything of the tables, and answers some calls more in its own way.
fn made_of(more: Vec<Answer>) -> Option<Vec<sock_filter>> {
    let machine = ARCHITECTURE?;
    let mut filter = vec![
        load(MACHINE),
        // Another set of numbers would make every table below speak of other calls.
        test(IF_EQUAL, machine, 1, 0),
        end(REFUSE),
        load(NUMBER),
        test(IF_GREATER, YOUNGEST_KNOWN, 0, 3),
        test(IF_ANY_BIT, SECOND_SET, 0, 1),
        end(REFUSE),
        end(UNKNOWN),
    ];
    let refused = REFUSED.iter().chain(REFUSED_HERE);
    let mut answers: Vec<Answer> = refused.map(|&call| (number(call), vec![end(REFUSE)])).collect();
    answers.push((number(libc::SYS_clone3), vec![end(UNKNOWN)]));
    answers.extend(more);
    answers.sort_by_key(|(number, _)| *number);
    filter.extend(search(&answers)?);
    Some(filter)
}

/// Finds the loaded number by halves: the kernel asks a filter about every number when it is installed, and one that looks at them in a row costs
/// each step a tenth of a millisecond there. Every way through ends with an answer. `None` where a half is longer than a step can leave out.
fn search(answers: &[Answer]) -> Option<Vec<sock_filter>> {
    if answers.len() <= IN_A_ROW {
        let mut row = Vec::new();
        for (number, body) in answers {
            row.push(test(IF_EQUAL, *number, 0, length(body)?));
            row.extend(body);
        }
        row.push(end(ALLOW));
        return Some(row);
    }
    let (low, high) = answers.split_at_checked(answers.len() / 2)?;
    let (last, _) = low.last()?;
    let (low, high) = (search(low)?, search(high)?);
    let mut all = vec![test(IF_GREATER, *last, length(&low)?, 0)];
    all.extend(low);
    all.extend(high);
    Some(all)
}

fn clone_body() -> Vec<sock_filter> {
    vec![
        load(argument(0)),
        test(IF_ANY_BIT, NEW_NAMESPACES, 0, 1),
        end(REFUSE),
        end(ALLOW),
    ]
}

fn ioctl_body() -> Vec<sock_filter> {
    let mut body = vec![load(argument(1))];
    body.extend(
        TERMINAL_REQUESTS
            .iter()
            .flat_map(|&request| [test(IF_EQUAL, request, 0, 1), end(REFUSE)]),
    );
    body.push(end(ALLOW));
    body
}

fn socket_body() -> Option<Vec<sock_filter>> {
    let mut internet = vec![load(argument(1)), step(AND, SOCKET_KIND)];
    internet.extend(one_of(&STREAM_OR_DATAGRAM));
    internet.push(load(argument(2)));
    internet.extend(one_of(&INTERNET_PROTOCOLS));
    internet.push(end(ALLOW));
    let mut netlink = vec![load(argument(2))];
    netlink.extend(one_of(&[0]));
    netlink.push(end(ALLOW));

    let mut body = vec![
        load(argument(0)),
        test(IF_EQUAL, FAMILY_UNIX, 0, 1),
        end(ALLOW),
        test(IF_EQUAL, FAMILY_NETLINK, 0, length(&netlink)?),
    ];
    body.extend(netlink);
    body.extend(one_of(&FAMILIES_INTERNET));
    body.extend(internet);
    Some(body)
}

/// Goes on when the loaded value is one of these, and refuses otherwise.
fn one_of(values: &[u32]) -> Vec<sock_filter> {
    let mut left = u8::try_from(values.len()).unwrap_or(u8::MAX);
    let mut tests: Vec<sock_filter> = Vec::with_capacity(values.len() + 1);
    for &value in values {
        // Over the tests that are left, and the refusal behind them.
        tests.push(test(IF_EQUAL, value, left, 0));
        left = left.saturating_sub(1);
    }
    tests.push(end(REFUSE));
    tests
}

fn load(offset: u32) -> sock_filter {
    step(LOAD, offset)
}

fn end(answer: u32) -> sock_filter {
    step(RETURN, answer)
}

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Compares the loaded value; then so many steps are left out.
fn test(code: u16, k: u32, when_true: u8, when_false: u8) -> sock_filter {
    sock_filter {
        code,
        jt: when_true,
        jf: when_false,
        k,
    }
}

/// As steps that a comparison leaves out.
fn length(body: &[sock_filter]) -> Option<u8> {
    u8::try_from(body.len()).ok()
}

/// Numbers of calls are small and positive; one that were not would be refused as the whole second set is.
fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(SECOND_SET)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter of a step answers: number, machine, arguments.
    fn asked(number: libc::c_long, machine: u32, arguments: [u64; 3]) -> u32 {
        answer(filter(), number, machine, arguments)
    }

    /// What a reader's answers.
    pub(super) fn to_a_reader(number: libc::c_long, arguments: [u64; 3]) -> u32 {
        answer(of_readers(), number, ARCHITECTURE.expect("known"), arguments)
    }

    fn answer(
        filter: Option<&[sock_filter]>,
        number: libc::c_long,
        machine: u32,
        arguments: [u64; 3],
    ) -> u32 {
        let filter = filter.expect("there is one for this machine");
        let (mut at, mut value) = (0, 0);
        loop {
            let step = filter[at];
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            at += 1;
            match step.code {
                LOAD => {
                    value = match step.k {
                        NUMBER => u32::try_from(number).expect("small"),
                        MACHINE => machine,
                        offset => {
                            let index = (offset as usize - 16) / 8;
                            u32::try_from(arguments[index] & 0xffff_ffff).expect("half")
                        }
                    }
                }
                AND => value &= step.k,
                IF_EQUAL => at += jump(value == step.k),
                IF_GREATER => at += jump(value > step.k),
                IF_ANY_BIT => at += jump(value & step.k != 0),
                RETURN => return step.k,
                other => panic!("{other:#x} is no step of ours"),
            }
        }
    }

    fn here(number: libc::c_long, arguments: [u64; 3]) -> u32 {
        asked(number, ARCHITECTURE.expect("known"), arguments)
    }

    #[test]
    fn what_every_program_does_is_allowed_and_what_none_needs_is_refused() {
        for call in [
            libc::SYS_read,
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_mmap,
            libc::SYS_futex,
            libc::SYS_seccomp,
        ] {
            assert_eq!(here(call, [0; 3]), ALLOW, "{call}");
        }
        for &call in REFUSED.iter().chain(REFUSED_HERE) {
            assert_eq!(here(call, [0; 3]), REFUSE, "{call}");
        }
    }

    #[test]
    fn every_number_has_the_answer_of_its_table() {
        let bodies = [libc::SYS_clone, libc::SYS_ioctl, libc::SYS_socket];
        for call in (0..=1_024).filter(|call| !bodies.contains(call)) {
            let wanted = if REFUSED.contains(&call) || REFUSED_HERE.contains(&call) {
                REFUSE
            } else if call == libc::SYS_clone3 || call > libc::c_long::from(YOUNGEST_KNOWN) {
                UNKNOWN
            } else {
                ALLOW
            };
            assert_eq!(here(call, [0; 3]), wanted, "{call}");
        }
    }

    #[test]
    fn other_machines_second_sets_and_calls_of_the_future_are_no_way_around() {
        let other = ARCHITECTURE.expect("known") ^ 1;
        assert_eq!(asked(libc::SYS_read, other, [0; 3]), REFUSE);
        assert_eq!(asked(libc::SYS_read, 0x4000_0003, [0; 3]), REFUSE, "32-bit x86");
        assert_eq!(here(libc::SYS_read | 0x4000_0000, [0; 3]), REFUSE);
        assert_eq!(here(libc::c_long::from(YOUNGEST_KNOWN), [0; 3]), ALLOW);
        assert_eq!(here(libc::c_long::from(YOUNGEST_KNOWN) + 1, [0; 3]), UNKNOWN);
        assert_eq!(here(libc::SYS_clone3, [0; 3]), UNKNOWN);
    }

    #[test]
    fn clone_makes_threads_and_processes_and_no_namespaces() {
        let fork = 0x0120_0011;
        let thread = 0x003d_0f00;
        assert_eq!(here(libc::SYS_clone, [fork, 0, 0]), ALLOW);
        assert_eq!(here(libc::SYS_clone, [thread, 0, 0]), ALLOW);
        for namespace in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWCGROUP,
        ] {
            let flags = fork | u64::from(namespace.cast_unsigned());
            assert_eq!(here(libc::SYS_clone, [flags, 0, 0]), REFUSE, "{namespace:#x}");
        }
    }

    #[test]
    fn sockets_are_ordinary_ones_or_none() {
        let socket = |family, kind, protocol| here(libc::SYS_socket, [family, kind, protocol]);
        let (close_on_exec, not_blocking) = (0x8_0000, 0x800);
        for (family, kind, protocol) in [
            (1, 1, 0),
            (1, 5, 0),
            (2, 1, 0),
            (2, 1 | close_on_exec | not_blocking, 6),
            (10, 2, 17),
            (16, 3, 0),
        ] {
            assert_eq!(
                socket(family, kind, protocol),
                ALLOW,
                "{family} {kind} {protocol}"
            );
        }
        for (family, kind, protocol, what) in [
            (2, 3, 1, "raw"),
            (2, 3, 0, "raw of no protocol"),
            (2, 2, 1, "ping"),
            (2, 1, 262, "MPTCP"),
            (10, 5, 132, "SCTP"),
            (17, 3, 0, "packet"),
            (17, 2, 0, "packet without the hardware's head"),
            (16, 3, 12, "netfilter"),
            (40, 1, 0, "a virtual machine's host"),
            (38, 5, 0, "the kernel's ciphers"),
            (44, 3, 0, "XDP"),
            (31, 3, 1, "bluetooth"),
            (0, 1, 0, "no family"),
        ] {
            assert_eq!(socket(family, kind, protocol), REFUSE, "{what}");
        }
    }

    #[test]
    fn nobody_types_into_a_terminal() {
        assert_eq!(here(libc::SYS_ioctl, [0, 0x5401, 0]), ALLOW);
        for request in TERMINAL_REQUESTS {
            assert_eq!(here(libc::SYS_ioctl, [0, u64::from(request), 0]), REFUSE);
            // The kernel reads 32 bits of it.
            let dressed_up = u64::from(request) | 1 << 40;
            assert_eq!(here(libc::SYS_ioctl, [0, dressed_up, 0]), REFUSE);
        }
    }
}
