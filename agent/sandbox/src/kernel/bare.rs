//! A process in the namespaces of a strict step and nothing else: no limit, no new root, nobody who watches. What a step is measured against.

use std::ffi::CStr;
use std::io;
use std::ptr;

use rustix::process::geteuid;

/// Stack of the child until it is the program, bytes.
const STACK_BYTES: usize = 64 << 10;
/// Exit status of a child that could not become the program.
const NOT_STARTED: i32 = 127;

/// What the child needs, made ready before there is one.
struct Call {
    argv: [*const libc::c_char; 2],
    envp: [*const libc::c_char; 1],
}

/// Runs a program without arguments to its end; its exit status, 127 also when it could not be started, -1 when a signal ended it.
///
/// # Errors
/// When the kernel refuses the process or one of its namespaces.
#[expect(
    unsafe_code,
    reason = "a process in new namespaces by one call is what no safe function offers"
)]
pub(crate) fn run_in_namespaces(program: &CStr) -> io::Result<i32> {
    let namespaces = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    let user = if geteuid().is_root() {
        0
    } else {
        libc::CLONE_NEWUSER
    };
    let flags = namespaces | user | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let call = Call {
        argv: [program.as_ptr(), ptr::null()],
        envp: [ptr::null()],
    };
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the child shares our memory and runs on a stack of its own, aligned as every machine asks, whose top is handed over; we go on only when
    // it has become the program or is gone, so `call`, `program` and `stack` outlive it. It does nothing but one system call.
    let pid = unsafe { libc::clone(become_it, top.cast(), flags, (&raw const call).cast_mut().cast()) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    // SAFETY: the pointer is to a live local of the right type.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        -1
    })
}

#[expect(unsafe_code, reason = "it runs in the memory of its parent")]
extern "C" fn become_it(call: *mut libc::c_void) -> i32 {
    let call = call.cast_const().cast::<Call>();
    // SAFETY: `run_in_namespaces` hands over a live `Call`, whose arrays end with a null and hold only live strings.
    unsafe {
        libc::execve((*call).argv[0], (*call).argv.as_ptr(), (*call).envp.as_ptr());
        libc::_exit(NOT_STARTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_program_runs_to_its_end_or_its_namespaces_are_refused() {
        for (program, status) in [(c"/bin/true", 0), (c"/bin/false", 1), (c"/no/such", NOT_STARTED)] {
            match run_in_namespaces(program) {
                Ok(ended) => assert_eq!(ended, status),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
            }
        }
    }
}
