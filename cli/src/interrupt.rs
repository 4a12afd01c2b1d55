//! Ctrl-C, termination and hang-up as a question that loops ask, because the CLI has no async runtime.

use std::ffi::c_int;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::Exit;
use crate::fault::Fault;

/// How often a wait that cannot hear the bell looks whether it was interrupted.
pub const LOOK: Duration = Duration::from_millis(50);

/// Whether somebody asked us to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Has something to read once a signal came; none where no signal is taken over.
    bell: Option<Arc<UnixStream>>,
}

const SIGNALS: [c_int; 3] = [SIGINT, SIGTERM, SIGHUP];

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP. Every wait of the CLI is bounded and looks at the flag.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install() -> anyhow::Result<Self> {
        Self::on(Arc::default())
    }

    /// As [`Interrupt::install`], for commands that leave nothing behind: a second Ctrl-C ends the process at once, even while it waits for an
    /// answer.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install_leaving() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let code = Exit::Interrupted.code().into();
        // In this order: the first signal finds the flag down and puts it up, the second finds it up.
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&flag))
            .context("taking over Ctrl-C")?;
        Self::on(flag)
    }

    /// Puts the flag up at a signal, then rings: who hears the bell finds the flag up.
    fn on(flag: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let (bell, rung) = UnixStream::pair().context("a bell for Ctrl-C")?;
        for signal in SIGNALS {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("taking over Ctrl-C")?;
            let rung = rung.try_clone().context("a bell for Ctrl-C")?;
            signal_hook::low_level::pipe::register(signal, rung).context("taking over Ctrl-C")?;
        }
        Ok(Self {
            flag,
            bell: Some(Arc::new(bell)),
        })
    }

    /// One that never happens unless [`Interrupt::raise`] is called: for tests.
    pub fn never() -> Self {
        Self::default()
    }

    /// As if Ctrl-C had been pressed.
    pub fn raise(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether it happened.
    pub fn happened(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Waits for it, for a span at the most (above zero); true when it happened.
    pub fn wait(&self, most: Duration) -> bool {
        if !self.happened() {
            match self.bell.as_deref() {
                Some(mut bell) if bell.set_read_timeout(Some(most)).is_ok() => {
                    bell.read_exact(&mut [0]).ok();
                }
                _ => std::thread::park_timeout(most),
            }
        }
        self.happened()
    }

    /// Fails when it happened.
    ///
    /// # Errors
    /// A [`Fault`] with [`Exit::Interrupted`].
    pub fn check(&self) -> anyhow::Result<()> {
        if self.happened() {
            return Err(Fault::new(Exit::Interrupted, "interrupted").into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_signal_ends_a_wait_and_every_later_one() {
        let interrupt = Interrupt::install().unwrap();
        assert!(!interrupt.wait(Duration::from_millis(1)));
        let (waiter, began) = (interrupt.clone(), Stopwatch::start());
        let waiting = std::thread::spawn(move || waiter.wait(LONG));
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        assert!(waiting.join().unwrap());
        assert!(interrupt.wait(LONG) && interrupt.check().is_err());
        assert!(began.elapsed() < LONG);
    }
}
