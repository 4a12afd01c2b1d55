//! Whether the host wants a question to end early. It comes while the provider works, on the thread that reads.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What wants to be told of a stop, once.
type Hook = Box<dyn FnOnce() + Send>;

/// The host's wish that a question ends; a copy is the same one.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The question that is being worked on; 0 between two.
    working: u64,
    /// The last question that was to end: it may come before the work has begun.
    asked: u64,
    hook: Option<Hook>,
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("asked", &self.is_asked()).finish()
    }
}

impl Cancel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the question that is being worked on should end. Ask between two things that take their time.
    pub fn is_asked(&self) -> bool {
        let state = self.state();
        state.working != 0 && state.working == state.asked
    }

    /// Calls `hook` when the question should end, and at once where that was said already: to end a process that is waited for.
    pub fn on_ask(&self, hook: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.working != 0 && state.working == state.asked {
            drop(state);
            hook();
        } else {
            state.hook = Some(Box::new(hook));
        }
    }

    pub(crate) fn ask(&self, id: u64) {
        let mut state = self.state();
        state.asked = id;
        let hook = if state.working == id {
            state.hook.take()
        } else {
            None
        };
        drop(state);
        if let Some(hook) = hook {
            hook();
        }
    }

    pub(crate) fn begin(&self, id: u64) {
        let mut state = self.state();
        state.working = id;
        state.hook = None;
    }

    pub(crate) fn end(&self) {
        self.begin(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn only_the_question_that_is_meant_is_stopped_whenever_the_word_comes() {
        let (cancel, told) = (Cancel::default(), Arc::new(AtomicU32::new(0)));
        let hook = |told: &Arc<AtomicU32>| {
            let told = Arc::clone(told);
            move || {
                told.fetch_add(1, Ordering::SeqCst);
            }
        };
        cancel.begin(1);
        cancel.on_ask(hook(&told));
        cancel.ask(7);
        assert!(!cancel.is_asked());
        cancel.end();
        assert!(!cancel.is_asked());
        cancel.begin(7);
        assert!(cancel.is_asked(), "said before the work began");
        cancel.on_ask(hook(&told));
        assert_eq!(told.load(Ordering::SeqCst), 1);
        cancel.begin(8);
        cancel.on_ask(hook(&told));
        cancel.ask(8);
        cancel.ask(8);
        assert_eq!(told.load(Ordering::SeqCst), 2, "once");
    }
}
