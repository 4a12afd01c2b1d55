//! What a thread that only reads the host may not ask for, beside what no step may: everything that changes a file, its name or what is said of
//! it, and whatever reaches another process. A second wall behind Landlock, which knows nothing of modes, owners and times, and the only one on
//! kernels without it.

use super::ALLOW;
use super::{Answer, IF_ANY_BIT, REFUSE, argument, end, load, number, test};

/// Flags of `open` by which a file is written, made or cut: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`.
const TO_WRITE: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

/// Calls of every machine. `openat2` is not here: a filter cannot see its flags, and Landlock looks at what it opens.
const REFUSED: &[libc::c_long] = &[
    // Files and their names.
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_renameat2,
    libc::SYS_copy_file_range,
    // What is said of them.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_ioctl,
    452, // fchmodat2
    463, // setxattrat
    466, // removexattrat
    469, // file_setattr
    // Other processes, and other machines.
    libc::SYS_clone,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_socket,
];

/// The same, where old names of calls live on.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[libc::SYS_renameat];

/// What becomes of each of them.
pub(super) fn answers() -> Vec<Answer> {
    let refused = REFUSED.iter().chain(REFUSED_HERE);
    let mut answers: Vec<Answer> = refused.map(|&call| (number(call), vec![end(REFUSE)])).collect();
    answers.push((number(libc::SYS_openat), unless_to_write(2)));
    #[cfg(target_arch = "x86_64")]
    answers.push((number(libc::SYS_open), unless_to_write(1)));
    answers
}

/// Allows what has none of the flags of writing in this argument.
fn unless_to_write(flags: u32) -> Vec<libc::sock_filter> {
    vec![
        load(argument(flags)),
        test(IF_ANY_BIT, TO_WRITE, 0, 1),
        end(REFUSE),
        end(ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::to_a_reader;
    use super::*;

    #[test]
    fn a_reader_opens_to_read_and_changes_nothing() {
        let open =
            |flags: libc::c_int| to_a_reader(libc::SYS_openat, [0, 0, u64::from(flags.cast_unsigned())]);
        for flags in [
            0,
            libc::O_RDONLY | libc::O_CLOEXEC,
            libc::O_PATH,
            libc::O_DIRECTORY,
        ] {
            assert_eq!(open(flags), ALLOW, "{flags:#x}");
        }
        for flags in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_RDONLY | libc::O_TRUNC,
            libc::O_TMPFILE | libc::O_RDWR,
        ] {
            assert_eq!(open(flags), REFUSE, "{flags:#x}");
        }
        for &call in REFUSED.iter().chain(REFUSED_HERE).chain(super::super::REFUSED) {
            assert_eq!(to_a_reader(call, [0; 3]), REFUSE, "{call}");
        }
        for call in [
            libc::SYS_read,
            libc::SYS_statx,
            libc::SYS_newfstatat,
            libc::SYS_getdents64,
            libc::SYS_readlinkat,
            libc::SYS_mmap,
            libc::SYS_futex,
            libc::SYS_exit,
        ] {
            assert_eq!(to_a_reader(call, [0; 3]), ALLOW, "{call}");
        }
    }
}
