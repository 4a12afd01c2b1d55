//! Every exit code of `writ`, in one table that is also its documentation.

use std::fmt::Write as _;
use std::process::ExitCode;

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $when:literal;)*) => {
        /// How the command ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Exit {
            $($(#[$doc])* $name,)*
        }

        impl Exit {
            /// Every exit code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number that the shell sees.
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// When it is given, for people.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)* }
            }
        }
    };
}

exits! {
    /// Done.
    Done = 0, "done; with --detailed-exitcode: nothing would change";
    /// Failed.
    Failed = 1, "failed; of a run also: it was cancelled";
    /// There are changes.
    Changes = 2, "plan --detailed-exitcode: applying would change something; apply --detailed-exitcodes: something was changed; drift list and scan: something is not as it should be, or nobody can see";
    /// The input is wrong.
    Invalid = 3, "the input is not valid";
    /// Some resources failed.
    ApplyFailed = 4, "apply --detailed-exitcodes: nothing was changed and something failed";
    /// Some resources changed and some failed.
    ApplyMixed = 6, "apply --detailed-exitcodes: something was changed and something failed";
    /// Waits for approval.
    ApprovalPending = 10, "approval pending";
    /// A policy says no.
    PolicyDenied = 11, "denied by policy or permissions";
    /// The budget does not cover it.
    BudgetExhausted = 12, "budget or grant exhausted";
    /// The hosts changed since the plan.
    Stale = 13, "the plan is stale: a host changed since it was made";
    /// A halt stops it.
    Halted = 14, "halted";
    /// An agent gave no word in time.
    Unresolved = 15, "unresolved: an agent gave no word in time, or an outcome is unknown";
    /// The evidence has a hole.
    EvidenceIncomplete = 16, "evidence incomplete";
    /// A signature does not hold.
    SignatureInvalid = 17, "signature invalid";
    /// A document's days are over.
    Expired = 18, "expired";
    /// Who are you?
    Unauthenticated = 19, "authentication needed";
    /// Nobody answers.
    Unreachable = 20, "server unreachable";
    /// The command line is wrong.
    Usage = 64, "wrong usage of the command line";
    /// Waited long enough.
    TimedOut = 124, "timed out";
    /// Ctrl-C.
    Interrupted = 130, "interrupted";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table as `writ help exit-codes` prints it.
pub fn table() -> String {
    let mut text = String::from("Exit codes of writ:\n\n");
    for exit in Exit::ALL {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = writeln!(text, "  {:>3}  {}", exit.code(), exit.when());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_design_keep_their_numbers() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(
            numbers,
            [
                0, 1, 2, 3, 4, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 64, 124, 130
            ]
        );
        assert!(
            Exit::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()),
            "each code once, in order"
        );
    }

    #[test]
    fn the_table_tells_every_code() {
        let text = table();
        for exit in Exit::ALL {
            assert!(text.contains(&format!("{:>3}  {}", exit.code(), exit.when())));
        }
    }
}
