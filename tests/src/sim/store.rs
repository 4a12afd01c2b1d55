//! The database as controllers meet it: transactions that commit, fail, or do one of both without saying so; and a past to be restored to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::books::Books;
use super::chance::Chance;

/// Why a transaction gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing was committed.
    Unavailable,
    /// The connection was lost at the commit: committed or not.
    CommitUnknown,
    /// The lease that it was done under is gone; nothing was committed.
    Fenced,
}

/// How well the database works; times out of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Transactions that fail.
    pub fails: u64,
    /// Commits whose outcome is not told.
    pub unknown: u64,
}

/// The database.
#[derive(Debug)]
pub struct Store(Mutex<State>);

#[derive(Debug)]
struct State {
    books: Books,
    past: BTreeMap<u64, Books>,
    is_down: bool,
    trouble: Trouble,
    chance: Chance,
}

impl Store {
    /// A database with these rows.
    pub fn new(seed: u64, books: Books) -> Self {
        Self(Mutex::new(State {
            books,
            past: BTreeMap::new(),
            is_down: false,
            trouble: Trouble::default(),
            chance: Chance::new(seed, "store"),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction. `work` must look before it writes: what it refuses must have changed nothing.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn tx<T>(&self, work: impl FnOnce(&mut Books) -> Result<T, Failed>) -> Result<T, Failed> {
        let (begin, commit) = {
            let mut state = self.state();
            let draw =
                |chance: &mut Chance| chance.span(Duration::from_micros(300), Duration::from_millis(3));
            (draw(&mut state.chance), draw(&mut state.chance))
        };
        // A crash between begin and commit is a crash in one of these waits.
        tokio::time::sleep(begin).await;
        let done = self.commit(work);
        tokio::time::sleep(commit).await;
        done
    }

    fn commit<T>(&self, work: impl FnOnce(&mut Books) -> Result<T, Failed>) -> Result<T, Failed> {
        let mut state = self.state();
        let Trouble { fails, unknown } = state.trouble;
        if state.is_down || state.chance.hit(fails) {
            return Err(Failed::Unavailable);
        }
        if state.chance.hit(unknown) {
            if state.chance.hit(500) {
                work(&mut state.books)?;
            }
            return Err(Failed::CommitUnknown);
        }
        work(&mut state.books)
    }

    /// Looks at what is committed; no controller can do this.
    pub fn look<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.state().books)
    }

    /// Changes what is committed by an operator's hand.
    pub fn touch<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(&mut self.state().books)
    }

    /// Sets how well it works.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// Whether nothing is wrong with it.
    pub fn is_well(&self) -> bool {
        let state = self.state();
        !state.is_down && state.trouble == Trouble::default()
    }

    /// Takes it down or up.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Keeps what is committed now under a name, to be restored.
    pub fn keep(&self, name: u64) {
        let mut state = self.state();
        let books = state.books.clone();
        state.past.insert(name, books);
    }

    /// Goes back to what was kept; whether there was such a thing.
    pub fn restore(&self, name: u64) -> bool {
        let mut state = self.state();
        let Some(books) = state.past.remove(&name) else {
            return false;
        };
        state.books = books;
        true
    }
}
