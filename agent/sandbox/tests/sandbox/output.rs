//! Output: drained always, kept within bounds, counted and digested whole.

use writ_protocol::digest::Hasher;
use writ_protocol::exec::Exit;
use writ_sandbox::{Control, OUTPUT_CHUNK_BYTES_MAX, Stream};

use super::stage::Stage;

#[test]
fn a_gibibyte_of_output_neither_blocks_nor_grows_memory() {
    let stage = Stage::all().remove(0);
    let mut spec = stage.offence(&["flood", "1024"]);
    spec.limits.output_bytes = 4_096;
    let before = resident();
    let outcome = stage.run(&spec);
    assert_eq!(outcome.exit, Exit::Code(0));
    assert_eq!(
        (outcome.output.total, outcome.usage.output_bytes),
        (1 << 30, 1 << 30)
    );
    assert!(outcome.output.truncated);
    assert_eq!(outcome.output.head.len() + outcome.output.tail.len(), 4_096);
    let mut hasher = Hasher::new();
    let block = vec![b'x'; 1 << 20];
    (0..1_024).for_each(|_| hasher.update(&block));
    assert_eq!(outcome.output.digest, hasher.finish());
    assert!(resident() < before + (8 << 20), "{before} became {}", resident());
}

#[test]
fn both_streams_come_live_in_bounded_chunks_and_the_ends_are_kept() {
    for stage in Stage::all() {
        let mut spec = stage.shell("echo first; head -c 100000 /dev/zero >&2; echo last");
        spec.limits.output_bytes = 64;
        let (mut out, mut err, mut longest) = (Vec::new(), 0, 0);
        let on_output = &mut |stream: Stream, bytes: &[u8]| {
            longest = longest.max(bytes.len());
            match stream {
                Stream::Stdout => out.extend_from_slice(bytes),
                Stream::Stderr => err += bytes.len(),
            }
        };
        let outcome = stage
            .sandbox
            .run(&spec, &Control::new().expect("makes a handle"), on_output)
            .expect("runs");
        assert_eq!((out.as_slice(), err), (&b"first\nlast\n"[..], 100_000));
        assert!(longest <= OUTPUT_CHUNK_BYTES_MAX);
        assert_eq!(outcome.output.total, 100_011);
        assert_eq!(outcome.output.head.len(), 32);
        let output = outcome
            .effective
            .iter()
            .find(|limit| limit.name == "output")
            .expect("reported");
        assert_eq!(output.effective, 64);
    }
}

#[test]
fn a_tree_that_holds_its_output_open_does_not_hold_us_up() {
    for stage in Stage::all() {
        let outcome = stage.run(&stage.shell("setsid sleep 1000 & echo done"));
        assert_eq!(outcome.output.head, b"done\n");
        assert!(outcome.usage.wall_us < 5_000_000);
    }
}

#[test]
fn output_right_before_a_kill_is_not_lost() {
    for stage in Stage::all() {
        let spec = stage.offence(&["say-and-wait", "last words"]);
        let outcome = stage.run_until_it_speaks(&spec, |control| control.kill("halt"));
        assert_eq!(outcome.output.head, b"last words\n");
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("there");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        * 1_024
}
