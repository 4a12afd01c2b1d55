//! Bytes from one side to the other and back, counted, until one side fails, both are done, or nothing moves for too long.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use writ_chassis::clock::{BootInstant, Clock};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Where bytes are counted: of this connection, and of all of its step.
#[derive(Clone, Copy)]
pub(super) struct Count<'a> {
    pub(super) one: &'a AtomicU64,
    pub(super) all: &'a AtomicU64,
}

impl Count<'_> {
    pub(super) fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.one.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why a relay ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Idle,
}

pub(super) async fn relay(
    program: &mut TcpStream,
    destination: &mut TcpStream,
    (sent, received): (Count<'_>, Count<'_>),
    (clock, idle): (&dyn Clock, Duration),
) -> End {
    let moved = AtomicU64::new(clock.boot().as_nanos());
    let (program_reads, program_writes) = program.split();
    let (destination_reads, destination_writes) = destination.split();
    let both = async {
        tokio::try_join!(
            pump(program_reads, destination_writes, sent, (clock, &moved)),
            pump(destination_reads, program_writes, received, (clock, &moved)),
        )
    };
    tokio::select! {
        _either = both => End::Done,
        () = stillness(clock, &moved, idle) => End::Idle,
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut into: WriteHalf<'_>,
    count: Count<'_>,
    (clock, moved): (&dyn Clock, &AtomicU64),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let got = from.read(&mut buffer).await?;
        if got == 0 {
            return into.shutdown().await;
        }
        // Before it is passed on: what is cut off on the way is counted rather than not.
        count.add(got);
        moved.store(clock.boot().as_nanos(), Ordering::Relaxed);
        into.write_all(buffer.get(..got).unwrap_or_default()).await?;
    }
}

/// Ends when nothing has moved for so long.
async fn stillness(clock: &dyn Clock, moved: &AtomicU64, idle: Duration) {
    loop {
        let last = BootInstant::from_nanos(moved.load(Ordering::Relaxed));
        let left = idle.saturating_sub(clock.boot().since(last));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}
