//! Ctrl-C, termination and hang-up as a question that loops ask, because the CLI has no async runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::Exit;
use crate::fault::Fault;

/// How often a wait looks whether it was interrupted.
pub const LOOK: Duration = Duration::from_millis(50);

/// Whether somebody asked us to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP. Every wait of the CLI is bounded and looks at the flag.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("taking over Ctrl-C")?;
        }
        Ok(Self(flag))
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
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("taking over Ctrl-C")?;
        }
        Ok(Self(flag))
    }

    /// One that never happens unless [`Interrupt::raise`] is called: for tests.
    pub fn never() -> Self {
        Self::default()
    }

    /// As if Ctrl-C had been pressed.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it happened.
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
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
