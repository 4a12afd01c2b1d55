//! A stack that goes when its owner goes: for tests, whose failures must leave nothing behind.

use std::ops::{Deref, DerefMut};

use super::stack::{DevStack, StackOptions};
use crate::interrupt::Interrupt;
use crate::output::Teller;

/// A private stack that is taken down, and whose data outside its folder is removed, when it is dropped.
#[derive(Debug)]
pub struct GuardedStack(DevStack);

impl GuardedStack {
    /// Brings a stack up, quietly. The data folder is the caller's to remove.
    ///
    /// # Errors
    /// As [`DevStack::up`].
    pub fn up(options: StackOptions) -> anyhow::Result<Self> {
        Self::up_unless(options, &Interrupt::never())
    }

    /// As [`GuardedStack::up`]; an interrupt ends the start, and every later start of a part.
    ///
    /// # Errors
    /// As [`DevStack::up`].
    pub fn up_unless(options: StackOptions, interrupt: &Interrupt) -> anyhow::Result<Self> {
        DevStack::up(options, interrupt, &Teller::new(true)).map(Self)
    }
}

impl Deref for GuardedStack {
    type Target = DevStack;

    fn deref(&self) -> &DevStack {
        &self.0
    }
}

impl DerefMut for GuardedStack {
    fn deref_mut(&mut self) -> &mut DevStack {
        &mut self.0
    }
}

impl Drop for GuardedStack {
    fn drop(&mut self) {
        let down = self.0.down().and_then(|()| self.0.remove_outside());
        if let Err(error) = down {
            Teller::default().say(&format!("the stack could not be taken down: {error:#}"));
        }
    }
}
