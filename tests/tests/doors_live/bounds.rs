//! Clients that take their time: a head that drips, a body that never comes, answers nobody reads. Each costs one place for a bounded time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use writ_cli::clock::{Deadline, Stopwatch};

use super::http::Door;

/// Longest that a head may take, by the controller's own bound, and room for a busy machine.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// The same of a body.
const BODY_MAX: Duration = Duration::from_secs(20);
const ROOM: Duration = Duration::from_secs(20);
/// Pause between two bytes of a dripping head.
const DRIP: Duration = Duration::from_millis(500);

pub(crate) type Told = (&'static str, anyhow::Result<()>);

/// Runs a check beside the others.
pub(crate) fn in_background(
    door: &Door,
    name: &'static str,
    check: fn(&Door) -> anyhow::Result<()>,
) -> JoinHandle<Told> {
    let door = door.clone();
    std::thread::spawn(move || (name, check(&door)))
}

fn connect(door: &Door) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(door.address())?;
    stream.set_read_timeout(Some(HEAD_MAX + ROOM))?;
    Ok(stream)
}

/// A head that comes a byte at a time is cut off, and others are served meanwhile.
pub(crate) fn a_slow_head_is_cut_off(door: &Door) -> anyhow::Result<()> {
    let mut stream = connect(door)?;
    let watch = Stopwatch::start();
    let deadline = Deadline::after(HEAD_MAX + ROOM);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")?;
    stream.set_read_timeout(Some(DRIP))?;
    loop {
        let mut one = [0_u8; 64];
        match stream.read(&mut one) {
            // The other side has closed.
            Ok(0) => break,
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        ensure!(!deadline.is_over(), "still open after {:?}", watch.elapsed());
        if stream.write_all(b"x").is_err() {
            break;
        }
    }
    ensure!(
        watch.elapsed() > HEAD_MAX / 2,
        "cut off after only {:?}",
        watch.elapsed()
    );
    Ok(())
}

/// A body that does not come is refused as such, and nothing was done.
pub(crate) fn a_slow_body_is_refused(door: &Door) -> anyhow::Result<()> {
    let mut stream = connect(door)?;
    stream.set_read_timeout(Some(BODY_MAX + ROOM))?;
    write!(
        stream,
        "POST /api/v1/halts HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nIdempotency-Key: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        door.bearer(),
        Door::key()
    )?;
    let mut answer = String::new();
    // Either the whole answer and the end, or as much of it as came.
    let mut some = [0_u8; 4096];
    while !answer.contains("W0001") {
        let read = stream.read(&mut some)?;
        ensure!(read > 0, "closed without a word: {answer}");
        answer.push_str(&String::from_utf8_lossy(some.get(..read).unwrap_or_default()));
    }
    ensure!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    Ok(())
}
