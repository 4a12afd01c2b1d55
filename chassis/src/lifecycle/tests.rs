//! The lifecycle seen from outside: who ends when, and with what verdict.

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;

use super::*;

const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
#[error("lost the bus")]
struct Lost(#[source] io::Error);

/// Sets its flag when dropped: how a test sees that a task's future is gone.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn flag() -> (Flag, Arc<AtomicBool>) {
    let seen = Arc::new(AtomicBool::new(false));
    (Flag(Arc::clone(&seen)), seen)
}

#[tokio::test(start_paused = true)]
async fn a_soft_stop_waits_for_work_that_is_held() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    let (finished, seen) = flag();
    let inner = handle.clone();
    handle.spawn("work", async move {
        inner.stopping().await;
        tokio::time::sleep(GRACE / 2).await;
        drop(finished);
        Ok::<_, Infallible>(())
    });
    assert_eq!(handle.running(), ["work"]);
    handle.stop();
    lifecycle.run().await.expect("ends well");
    assert!(seen.load(Ordering::SeqCst), "the work was finished");
    assert!(handle.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn grace_ends_in_a_hard_stop_that_names_the_late() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    let (held, dropped) = flag();
    handle.spawn("deaf", async move {
        let _held = held;
        std::future::pending::<Result<(), Infallible>>().await
    });
    handle.stop();
    let started = tokio::time::Instant::now();
    let error = lifecycle.run().await.expect_err("cut off");
    assert!(
        matches!(&error, LifecycleError::CutOff { tasks } if tasks == &["deaf"]),
        "{error}"
    );
    assert_eq!(started.elapsed(), GRACE);
    assert!(dropped.load(Ordering::SeqCst), "the future was dropped");
}

#[tokio::test]
async fn an_error_of_a_critical_task_stops_the_process_with_its_causes() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    let inner = handle.clone();
    handle.spawn("polite", async move {
        inner.stopping().await;
        Ok::<_, Infallible>(())
    });
    handle.spawn("bus", async { Err(Lost(io::Error::other("cable cut"))) });
    let error = lifecycle.run().await.expect_err("crashed");
    assert_eq!(error.to_string(), "task bus crashed: lost the bus: cable cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_critical_task_stops_the_process() {
    let lifecycle = Lifecycle::new(GRACE);
    lifecycle.handle().spawn("bug", async {
        panic!("index {} of 3", 7) as Result<(), Infallible>
    });
    let error = lifecycle.run().await.expect_err("crashed");
    assert_eq!(error.to_string(), "task bug crashed: panicked: index 7 of 3");
}

#[tokio::test]
async fn a_contained_panic_does_not_stop_the_process() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    let (held, dropped) = oneshot::channel::<()>();
    handle.spawn_contained("request", async move {
        let _held = held;
        panic!("one bad request");
    });
    dropped.await.expect_err("the task is gone");
    assert!(!handle.is_stopping());
    handle.stop();
    lifecycle.run().await.expect("ends well");
}

#[tokio::test]
async fn an_ended_or_aborted_task_is_no_crash() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    handle.spawn("once", async { Ok::<_, Infallible>(()) });
    let (held, dropped) = oneshot::channel::<()>();
    let task = handle.spawn("aborted", async move {
        let _held = held;
        std::future::pending::<Result<(), Infallible>>().await
    });
    task.abort();
    dropped.await.expect_err("the task is gone");
    assert!(!handle.is_stopping());
    handle.stop();
    lifecycle.run().await.expect("ends well");
}

#[tokio::test]
async fn a_hard_stop_cuts_at_once_even_what_is_spawned_later() {
    let lifecycle = Lifecycle::new(GRACE);
    let handle = lifecycle.handle();
    handle.stop_hard();
    let (held, dropped) = flag();
    handle.spawn("late", async move {
        let _held = held;
        std::future::pending::<Result<(), Infallible>>().await
    });
    let started = tokio::time::Instant::now();
    lifecycle.run().await.expect_err("cut off");
    assert!(started.elapsed() < HARD_STOP_WAIT);
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn blocking_work_answers_and_its_panic_is_an_error() {
    let handle = Lifecycle::new(GRACE).handle();
    assert_eq!(handle.run_blocking("sum", || 2 + 2).await.expect("answers"), 4);
    let error = handle
        .run_blocking("bug", || -> u8 { panic!("bad disk") })
        .await
        .expect_err("panicked");
    assert_eq!(
        error.to_string(),
        "blocking task bug gave no answer: panicked: bad disk"
    );
    assert!(handle.running().is_empty());
}

/// Signals are the process's own, so both verdicts are seen in one test: they must not meet another test's signals.
#[tokio::test]
async fn the_first_signal_stops_softly_and_the_second_hard() {
    let lifecycle = Lifecycle::with_signals(GRACE).expect("signals");
    let handle = lifecycle.handle();
    let (stopping, soft_seen) = oneshot::channel();
    let inner = handle.clone();
    handle.spawn("stubborn", async move {
        inner.stopping().await;
        stopping.send(()).expect("the test listens");
        std::future::pending::<Result<(), Infallible>>().await
    });
    let me = rustix::process::getpid();
    let outside = async {
        rustix::process::kill_process(me, rustix::process::Signal::TERM).expect("sent");
        soft_seen.await.expect("the first signal stops softly");
        rustix::process::kill_process(me, rustix::process::Signal::INT).expect("sent");
    };
    let started = tokio::time::Instant::now();
    let (verdict, ()) = tokio::join!(lifecycle.run(), outside);
    assert!(
        matches!(verdict, Err(LifecycleError::CutOff { .. })),
        "{verdict:?}"
    );
    assert!(started.elapsed() < GRACE);
}
