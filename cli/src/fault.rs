//! What went wrong, as a person reads it and as the shell sees it: one error with a stable code, a cause, a next step and an exit code.

use std::fmt;

use writ_protocol::reason::Code;

use crate::exit::Exit;

/// A failure that knows its exit code. Wrapped in `anyhow::Error`; whatever is not a `Fault` ends with [`Exit::Failed`].
#[derive(Clone, Debug)]
pub struct Fault {
    /// What the shell sees.
    pub exit: Exit,
    /// Stable code (`W####`), where there is one.
    pub code: Option<String>,
    /// What happened, one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Fault {
    /// A failure without a stable code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            help: None,
        }
    }

    /// A failure with a stable code, which also decides the exit code.
    pub fn coded(code: Code, message: impl Into<String>) -> Self {
        Self {
            exit: exit_of(code),
            code: Some(code.to_string()),
            message: message.into(),
            help: None,
        }
    }

    /// With a next step.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Which exit code a stable code ends with.
pub const fn exit_of(code: Code) -> Exit {
    match code {
        Code::Malformed
        | Code::TooLarge
        | Code::BadConfiguration
        | Code::NoTargets
        | Code::GraphInvalid
        | Code::ExamplesUnusable
        | Code::CueFails => Exit::Invalid,
        Code::Unauthenticated => Exit::Unauthenticated,
        Code::Forbidden => Exit::PolicyDenied,
        Code::Unavailable | Code::SshUnreachable => Exit::Unreachable,
        Code::SignatureInvalid
        | Code::DigestMismatch
        | Code::WrongAudience
        | Code::WrongTenant
        | Code::Regressed => Exit::SignatureInvalid,
        Code::Expired => Exit::Expired,
        Code::EvidenceIncomplete | Code::Fork | Code::Gap => Exit::EvidenceIncomplete,
        Code::Halted => Exit::Halted,
        Code::Stale | Code::PlanOutdated => Exit::Stale,
        Code::BudgetExhausted | Code::GrantExhausted => Exit::BudgetExhausted,
        Code::Unresolved | Code::Indeterminate => Exit::Unresolved,
        _ => Exit::Failed,
    }
}

/// The exit code of any error.
pub fn exit(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<Fault>()
        .map_or(Exit::Failed, |fault| fault.exit)
}

/// The error as lines for people: `error[W####]: …`, causes, `help: …`.
pub fn tell(error: &anyhow::Error) -> String {
    let fault = error.downcast_ref::<Fault>();
    let code = fault
        .and_then(|f| f.code.as_deref())
        .map(|c| format!("[{c}]"))
        .unwrap_or_default();
    let mut lines = vec![format!("error{code}: {error}")];
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // A fault's own text may stand under a context line.
        if !lines.iter().any(|line| line.contains(&cause)) {
            lines.push(format!("  because: {cause}"));
        }
    }
    if let Some(help) = fault.and_then(|f| f.help.as_deref()) {
        lines.extend(help.lines().map(|line| format!("help: {line}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The error as one JSON object, for `-o json`.
pub fn to_json(error: &anyhow::Error) -> serde_json::Value {
    let fault = error.downcast_ref::<Fault>();
    serde_json::json!({
        "error": error.to_string(),
        "code": fault.and_then(|f| f.code.clone()),
        "causes": error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>(),
        "help": fault.and_then(|f| f.help.clone()),
        "exit": exit(error).code(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_keeps_its_exit_code_and_help_under_context() {
        let error = anyhow::Error::new(Fault::coded(Code::Stale, "web-1 changed").help("make a new plan"));
        let error = error.context("applying");
        assert_eq!(exit(&error), Exit::Stale);
        let text = tell(&error);
        assert!(text.starts_with("error[W0312]: applying\n"), "{text}");
        assert!(text.contains("because: web-1 changed\n"), "{text}");
        assert!(text.ends_with("help: make a new plan\n"), "{text}");
        assert_eq!(to_json(&error)["exit"], 13);
    }

    #[test]
    fn an_error_without_a_code_is_a_failure() {
        let error = anyhow::anyhow!("disk").context("writing");
        assert_eq!(exit(&error), Exit::Failed);
        assert_eq!(tell(&error), "error: writing\n  because: disk\n");
    }
}
