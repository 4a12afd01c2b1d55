//! Looks taken ahead: what was seen of steps that follow a step that was asked for, until the rules ask for them. A host of ten thousand files
//! would otherwise go to another thread and back for each.
//!
//! Steps are seen ahead as far as nothing changes between them: all of them while an order only looks
//! ([`AgentCore::is_looking`](crate::core::AgentCore::is_looking)), and up to the first that differs right after a change. What was seen ahead is used
//! within the go in which it came, or never.

use std::collections::VecDeque;

use writ_protocol::id::OrderId;

use crate::core::{Effect, Failure, Input, Seen};

/// What was seen of a step, or why it could not be.
pub(super) type Look = Result<Seen, Failure>;

/// Looks at steps that follow each other.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) order_id: OrderId,
    /// The step that the first look is of.
    pub(super) first: usize,
    pub(super) seen: VecDeque<Look>,
}

impl Looks {
    /// The next look as the rules are told of it.
    pub(super) fn next(&mut self) -> Option<Input> {
        let result = self.seen.pop_front()?;
        let index = self.first;
        self.first = index.saturating_add(1);
        Some(Input::Observed {
            order_id: self.order_id,
            index,
            result,
        })
    }

    /// The answer to a wish to look at a step that was seen; steps before it that nobody asked for are let go of.
    fn answer(&mut self, effect: &Effect) -> Option<Input> {
        let Effect::Observe(step) = effect else {
            return None;
        };
        // A notified step may be looked at in another way than one that nobody notified.
        if step.order.order_id != self.order_id || step.notified {
            return None;
        }
        let passed = step.index.checked_sub(self.first)?;
        self.seen.drain(..passed.min(self.seen.len()));
        self.first = step.index;
        self.next()
    }
}

/// Splits what the rules ask for into what was looked at already, which goes to the end of `inputs` so that a stop that came meanwhile counts
/// first, and the rest.
pub(super) fn answer(
    ahead: &mut Option<Looks>,
    asked: Vec<Effect>,
    inputs: &mut VecDeque<Input>,
    effects: &mut Vec<Effect>,
) {
    let Some(looks) = ahead else {
        effects.extend(asked);
        return;
    };
    for effect in asked {
        match looks.answer(&effect) {
            Some(input) => inputs.push_back(input),
            None => effects.push(effect),
        }
    }
}
