//! A verified pack in words: who ordered what, what ran under which limits, what it cost and what came out.

use std::fmt::Write as _;

use writ_protocol::evidence::verify::{OrderReport, Report};
use writ_protocol::exec::{EffectiveLimit, Exit, Source, Usage};
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::{StepOutcome, StepResult};

/// Tells a report. Plain lines without colours; the last line is the verdict.
pub fn tell(report: &Report) -> String {
    let mut out = String::new();
    let line = |out: &mut String, text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = writeln!(out, "{text}");
    };
    line(
        &mut out,
        format_args!("run {} of tenant {}", report.run_id, report.tenant),
    );
    line(
        &mut out,
        format_args!("  ordered by {}, ended {}", report.ordered_by, report.state),
    );
    line(
        &mut out,
        format_args!("  exported by {} at {}", report.exported_by, report.exported_at),
    );
    line(&mut out, format_args!("  trust root {}", report.root));
    for order in &report.orders {
        out.push('\n');
        tell_order(&mut out, order);
    }
    let (records, batches) = report
        .orders
        .iter()
        .fold((0, 0), |(r, b), o| (r + o.records, b + o.batches));
    out.push('\n');
    line(
        &mut out,
        format_args!("cost of the run: {}", money(report.cost_micros, currency(report))),
    );
    let hosts = report.orders.len();
    line(
        &mut out,
        format_args!(
            "verified: {hosts} hosts, {records} records in {batches} signed batches, every byte accounted for"
        ),
    );
    out
}

fn tell_order(out: &mut String, report: &OrderReport) {
    let _: std::fmt::Result = write_order(out, report);
}

fn write_order(out: &mut String, report: &OrderReport) -> std::fmt::Result {
    let order = &report.order;
    writeln!(out, "host {} ({})", order.name, order.identity.agent_id)?;
    if let Some((code, detail)) = &report.refusal {
        return writeln!(out, "  refused {}: {code} {}", order.order_id, one_line(detail));
    }
    let Some(says) = &report.execution else {
        return writeln!(
            out,
            "  {} ended {} without reaching the host",
            order.order_id, order.state
        );
    };
    let verb = match says.kind {
        OrderKind::Check => "check",
        OrderKind::Apply => "apply",
    };
    writeln!(
        out,
        "  {} ordered {verb} of bundle {}{}",
        says.ordered_by,
        says.bundle.digest.short(),
        if says.mode.is_strict() {
            ""
        } else {
            ", a dev-fast run"
        }
    )?;
    writeln!(
        out,
        "  under manifest ({}, {}), from {} to {}",
        says.at.epoch, says.at.generation, says.started_at, says.ended_at
    )?;
    let reason = says
        .code
        .map(|code| format!(" ({code} {})", one_line(&says.detail)))
        .unwrap_or_default();
    writeln!(
        out,
        "  ended {}{reason}, cost {}",
        says.outcome.name(),
        money(says.cost_micros, &says.currency)
    )?;
    for step in &report.steps {
        write_step(out, step, &says.currency)?;
    }
    Ok(())
}

fn write_step(out: &mut String, step: &StepResult, currency: &str) -> std::fmt::Result {
    let code = step
        .code
        .map(|code| format!(" {code} {}", one_line(&step.detail)))
        .unwrap_or_default();
    writeln!(out, "    {} {}{code}", step.step, step.outcome.name())?;
    if step.outcome == StepOutcome::Unchanged {
        return Ok(());
    }
    for change in &step.changes {
        writeln!(
            out,
            "      {}: {} instead of {}",
            change.attribute,
            one_line(&change.want),
            one_line(&change.got)
        )?;
    }
    if let Some(exit) = &step.exit {
        writeln!(
            out,
            "      ended {}, used {}, cost {}",
            exit_words(exit),
            usage_words(&step.usage),
            money(step.cost_micros, currency)
        )?;
    }
    if !step.limits.is_empty() {
        writeln!(
            out,
            "      under {}",
            step.limits.iter().map(limit_words).collect::<Vec<_>>().join(", ")
        )?;
    }
    for row in step.egress.iter().flat_map(|egress| &egress.connections) {
        let decision = if row.allowed { "reached" } else { "was refused" };
        writeln!(
            out,
            "      {decision} {}:{} {} times, {} bytes sent, {} received: {}",
            one_line(&row.host),
            row.port,
            row.times,
            row.sent_bytes,
            row.received_bytes,
            one_line(&row.reason)
        )?;
    }
    if let Some(policy) = step.egress.as_ref().and_then(|egress| egress.policy) {
        writeln!(
            out,
            "      asked the host's policy (sha256 {}): {} allowed, {} refused, {} not decided",
            policy.digest, policy.allowed, policy.denied, policy.failed
        )?;
    }
    for artefact in &step.artefacts {
        writeln!(
            out,
            "      brought back {} ({} bytes, sha256 {})",
            artefact.path, artefact.length, artefact.digest
        )?;
    }
    Ok(())
}

fn exit_words(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with exit code {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
        Exit::Limit(limit) => format!("at its {limit} limit"),
        Exit::Killed(why) => format!("killed: {why}"),
    }
}

fn usage_words(usage: &Usage) -> String {
    let at_least = if usage.lower_bound { "at least " } else { "" };
    let (cpu, wall) = (usage.cpu_us() / 1_000, usage.wall_us / 1_000);
    let first = format!(
        "{at_least}{cpu} ms of processor in {wall} ms, {} KiB of memory",
        usage.peak_memory_bytes >> 10
    );
    let Some(more) = &usage.measured else {
        return first;
    };
    let mut words = first;
    let kibibytes = more.memory_byte_seconds >> 10;
    for (source, text) in [
        (more.sources.memory, format!(", {kibibytes} KiB·s")),
        (
            more.sources.network,
            format!(", {} bytes of network", more.network_bytes),
        ),
        (
            more.sources.processes,
            format!(", at most {} processes at once", more.processes),
        ),
    ] {
        if !matches!(source, Source::None | Source::Unknown) {
            words.push_str(&text);
        }
    }
    words
}

fn limit_words(limit: &EffectiveLimit) -> String {
    let note = if limit.requested == limit.effective {
        String::new()
    } else {
        format!(" (asked {})", limit.requested)
    };
    format!("{} {}{note} by {}", limit.name, limit.effective, limit.by)
}

fn currency(report: &Report) -> &str {
    report
        .orders
        .iter()
        .find_map(|o| o.execution.as_ref())
        .map_or("", |e| e.currency.as_str())
}

/// An amount in micro-units, exactly.
fn money(micros: u64, currency: &str) -> String {
    format!("{}.{:06} {currency}", micros / 1_000_000, micros % 1_000_000)
        .trim_end()
        .to_owned()
}

/// Control characters of a host's words must not reach a terminal.
fn one_line(text: &str) -> String {
    let mut short: String = text.chars().take(120).flat_map(char::escape_debug).collect();
    if text.chars().nth(120).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(money(1_234_567, "USD"), "1.234567 USD");
        assert_eq!(money(1, "USD"), "0.000001 USD");
    }

    #[test]
    fn hostile_text_stays_on_one_line_without_escapes() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
    }
}
