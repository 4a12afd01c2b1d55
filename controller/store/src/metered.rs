//! What counts as metered: one piece of SQL for all who ask what an order cost, so that budgets and reports never come to different figures.

/// Whether everything that an order `o` did left its cost. It did not where
/// - its agent ended it without a word about cost, or says less than its steps' own results do;
/// - an attempt of a step left no result and a later one did, or was begun (record kind 5) and nothing that it would have left is there. A step
///   that was only looked at begins nothing: it is `unchanged`, or failed in the instant in which it began;
/// - it was refused because the agent's journal is damaged (W0400): whether it ran before, nobody knows.
macro_rules! metered {
    () => {
        "((o.cost_micros IS NOT NULL OR o.state NOT IN ('succeeded', 'failed', 'aborted', 'stopped'))
            AND COALESCE(o.cost_micros, 0) >= (SELECT COALESCE(sum(s.cost_micros), 0) FROM step s WHERE s.order_id = o.order_id)
            AND NOT EXISTS (SELECT FROM step s WHERE s.order_id = o.order_id GROUP BY s.step HAVING max(s.attempt) > count(*))
            AND (SELECT count(*) FROM event e WHERE e.order_id = o.order_id AND e.kind = 5)
                <= (SELECT count(*) FROM step s WHERE s.order_id = o.order_id AND (s.outcome IN ('changed', 'aborted', 'indeterminate')
                        OR s.outcome = 'failed' AND s.ended_at <> s.started_at))
            AND (o.state <> 'refused' OR o.code IS DISTINCT FROM 'W0400'))"
    };
}

/// What is known of what an order `o` cost: its agent's word about the whole, or its steps' where they say more.
macro_rules! known_cost {
    () => {
        "GREATEST(o.cost_micros, (SELECT LEAST(sum(s.cost_micros), 9223372036854775807)::bigint FROM step s
                                  WHERE s.order_id = o.order_id HAVING count(*) > 0))"
    };
}

pub(crate) use {known_cost, metered};

#[cfg(test)]
mod tests {
    use writ_protocol::reason::Code;
    use writ_protocol::record::Kind;

    #[test]
    fn the_words_of_the_statement_are_those_of_the_protocol() {
        let text = metered!();
        for word in [
            format!("e.kind = {})", Kind::StepIntent.number()),
            format!("'{}'", Code::JournalDamaged),
        ] {
            assert!(text.contains(&word), "{word}");
        }
    }
}
