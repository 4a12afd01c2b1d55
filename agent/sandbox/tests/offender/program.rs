//! The other side of the sandbox's tests: a shim when started as one, else a program that does what its first argument says.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's program: it is meant to misbehave"
)]

mod agent;
mod attacks;
mod burner;

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::time::Duration;

/// Character device 1:3 as `stat` encodes it.
const NULL_DEVICE: u64 = (1 << 8) | 3;

fn main() {
    writ_sandbox::maybe_run_shim();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["limits"] => print!("{}", std::fs::read_to_string("/proc/self/limits").expect("reads")),
        ["environment"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["descriptors"] => descriptors(),
        ["identity"] => identity(),
        ["burn", millis] => burn(number(millis)),
        ["burn-and-stay", millis] => {
            burn(number(millis));
            println!("burnt");
            forever();
        }
        ["burn-by-others-and-stay", how, times, millis] => {
            let me = std::env::current_exe().expect("known");
            for _ in 0..number(times) {
                Command::new(&me).args([how, millis]).status().expect("runs");
            }
            println!("burnt");
            forever();
        }
        ["burn-in-processes", count, millis] => burn_in_processes(number(count), millis),
        ["burn-ignoring-xcpu", millis] => {
            ignore("XCPU");
            burn(number(millis));
        }
        ["burn-daemonised", millis] => burn_daemonised(millis),
        ["burn-truly", shape, millis] => burner::burn_truly(shape, millis),
        ["keep-leaf", name, threads, millis] => burner::keep_leaf(name, threads, millis),
        ["burn-leaf", name, threads, millis] => burner::burn_as_leaf(name, threads, millis),
        ["hold", mebibytes] => {
            hold(number(mebibytes));
            println!("held");
        }
        ["hold-and-wait", mebibytes] => {
            hold(number(mebibytes));
            forever();
        }
        ["hold-until", mebibytes, path] => hold_until(number(mebibytes), path),
        ["write-file", path, mebibytes] => write_file(path, number(mebibytes)),
        ["open-files", count] => open_files(number(count)),
        ["flood", mebibytes] => flood(number(mebibytes)),
        ["say-and-wait", text] => {
            println!("{text}");
            forever();
        }
        ["exit", code] => exit(i32::try_from(number(code)).expect("fits")),
        ["die", signal] => {
            shell(&format!("kill -{signal} {}", std::process::id()));
            forever();
        }
        ["stay"] => forever(),
        ["be-an-agent", mark] => agent::stays(mark),
        ["be-an-agent-with-a-cell"] => agent::keeps_a_cell(),
        ["be-an-agent-that-leaves", mark] => agent::leaves(mark),
        ["be-an-agent-for", request] => agent::serves(request),
        ["attack", rest @ ..] => attacks::attack(rest),
        other => panic!("unknown offence {other:?}"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1_000));
    }
}

fn shell(script: &str) {
    Command::new("sh")
        .args(["-c", script])
        .status()
        .expect("runs a shell");
}

/// Makes this very program again, under a shell that ignores a signal: ignored signals stay ignored.
fn ignore(signal: &str) {
    if std::env::var_os("IGNORING").is_some() {
        return;
    }
    let me = std::env::current_exe().expect("known");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
    let error = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(me)
        .args(arguments)
        .env("IGNORING", "1")
        .exec();
    panic!("{error}");
}

fn own_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(used.tv_sec).expect("positive"),
        u32::try_from(used.tv_nsec).expect("small"),
    )
}

fn burn(millis: u64) {
    let end = own_cpu() + Duration::from_millis(millis);
    let mut sum = 0_u64;
    while own_cpu() < end {
        for i in 0..10_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
}

fn burn_in_processes(count: u64, millis: &str) {
    let me = std::env::current_exe().expect("known");
    let start = |_| Command::new(&me).args(["burn", millis]).spawn().expect("starts");
    let burners: Vec<_> = (0..count).map(start).collect();
    for mut burner in burners {
        burner.wait().expect("ends");
    }
}

/// A child that leaves the session and the parent, burns by a child of its own, lets us know when that is done, and stays.
fn burn_daemonised(millis: &str) {
    let me = std::env::current_exe().expect("known");
    let done = "burnt-out";
    let script = format!("setsid \"$0\" burn {millis} && touch {done} && sleep 1000");
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "sh -c '{script}' \"$0\" </dev/null >/dev/null 2>&1 & exit 0"
        ))
        .arg(me)
        .status()
        .expect("runs a shell");
    while !std::path::Path::new(done).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn hold(mebibytes: u64) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mebibytes {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            println!("refused after {} MiB", held.len());
            exit(42);
        }
        block.resize(1 << 20, 1);
        held.push(std::hint::black_box(block));
    }
    std::mem::forget(held);
}

/// Holds until a file appears, lets go, and stays.
fn hold_until(mebibytes: u64, path: &str) {
    let held = std::hint::black_box(vec![1_u8; usize::try_from(mebibytes << 20).expect("fits")]);
    println!("held");
    while !std::path::Path::new(path).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(held);
    forever();
}

fn write_file(path: &str, mebibytes: u64) {
    let mut file = std::fs::File::create(path).expect("creates");
    let block = vec![7; 1 << 20];
    for _ in 0..mebibytes {
        file.write_all(&block).expect("writes");
    }
    file.sync_all().expect("syncs");
}

fn open_files(count: u64) {
    let mut open = Vec::new();
    for _ in 0..count {
        match std::fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => {
                println!("refused after {}: {error}", open.len());
                exit(42);
            }
        }
    }
}

fn flood(mebibytes: u64) {
    let block = vec![b'x'; 1 << 20];
    let mut out = std::io::stdout().lock();
    for _ in 0..mebibytes {
        out.write_all(&block).expect("writes");
    }
}

fn descriptors() {
    for entry in std::fs::read_dir("/proc/self/fd").expect("lists") {
        let path = entry.expect("reads").path();
        // The listing itself is open while it is read.
        if let Ok(target) = opened(&path)
            && !target.ends_with("/fd")
        {
            println!(
                "{} {}",
                path.file_name().expect("has one").display(),
                target.split(':').next().unwrap_or_default()
            );
        }
    }
}

/// What a descriptor stands for. The null device is known by its number: in a new mount namespace the name of what was opened before may begin
/// outside this root.
fn opened(link: &std::path::Path) -> std::io::Result<String> {
    let device = std::fs::metadata(link).map(|m| (m.file_type().is_char_device(), m.rdev()));
    if device.is_ok_and(|(is_char, number)| is_char && number == NULL_DEVICE) {
        return Ok("/dev/null".to_owned());
    }
    Ok(std::fs::read_link(link)?.display().to_string())
}

/// What a program can tell about its surroundings.
fn identity() {
    println!("pid {}", std::process::id());
    println!(
        "processes {}",
        std::fs::read_dir("/proc")
            .expect("lists")
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok())
            .count()
    );
    let interfaces = std::fs::read_to_string("/proc/net/dev").expect("reads");
    println!(
        "interfaces {}",
        interfaces
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next())
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(",")
    );
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    for wanted in ["NoNewPrivs:", "SigIgn:", "SigBlk:"] {
        println!(
            "{}",
            status
                .lines()
                .find(|line| line.starts_with(wanted))
                .expect("there")
        );
    }
    let stdin = opened(std::path::Path::new("/proc/self/fd/0")).expect("reads");
    println!("stdin {stdin}");
    let loopback = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?));
    println!("loopback {}", loopback.is_ok());
    let quiet = Command::new("true").stdin(Stdio::null()).status().expect("runs");
    println!("child {}", quiet.success());
    println!("cwd {}", std::env::current_dir().expect("known").display());
}
