//! Rules for the burn of error budgets, written from the numbers of the rulebook (`writ_domain::slo`), so that a page and the API never disagree.

use std::fmt::Write as _;

use writ_domain::slo::{BurnRule, RULES, Slo, Urgency, short, windows};

/// Events of every promise.
const EVENTS: &str = "writ_controller_slo_events_total";

/// The file `rules/slo.yaml`.
pub fn rules() -> String {
    let mut out = String::from(
        "# Written from the code: controller/domain/src/slo.rs. After a change there: WRIT_UPDATE=1 cargo nextest run -p writ-tests observability\n\
         groups:\n  - name: writ-slo-shares\n    rules:\n",
    );
    // The last window is the promise's own, and no rule looks at it.
    let all = windows();
    for window in all
        .iter()
        .take(all.len().saturating_sub(1))
        .map(|one| short(*one))
    {
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "      - record: writ:slo_bad:ratio_rate{window}\n        expr: |\n          sum by (slo) (rate({EVENTS}{{outcome=\"bad\"}}[{window}]))\n            / \
             sum by (slo) (rate({EVENTS}[{window}]))"
        );
    }
    out.push_str("\n  - name: writ-slo-burns\n    rules:\n");
    for slo in Slo::ALL {
        alert(&mut out, slo, ("WritSloBurnsFast", "page"), Urgency::Page);
        alert(&mut out, slo, ("WritSloBurns", "ticket"), Urgency::Ticket);
    }
    out
}

fn alert(out: &mut String, slo: Slo, (name, severity): (&str, &str), urgency: Urgency) {
    let part = |rule: &BurnRule| {
        let over = |window| {
            let bound = rule.factor() * slo.allowed();
            format!(
                "writ:slo_bad:ratio_rate{}{{slo=\"{}\"}} >= {bound:.6}",
                short(window),
                slo.name()
            )
        };
        format!("({} and {})", over(rule.long), over(rule.short))
    };
    let parts: Vec<String> = RULES
        .iter()
        .filter(|rule| rule.urgency == urgency)
        .map(part)
        .collect();
    let _ = writeln!(
        out,
        "      - alert: {name}\n        expr: |\n          {}\n        labels: {{ severity: {severity}, slo: {} }}\n        annotations:\n          \
         summary: \"The error budget of {{{{ $labels.slo }}}} burns too fast: {{{{ $value | humanizePercentage }}}} are not good.\"\n          \
         action: \"`writ slo show {}` shows since when. Good are: {}.\"",
        parts.join("\n            or "),
        slo.name(),
        slo.name(),
        slo.about()
    );
}
