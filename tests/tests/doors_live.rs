//! The doors for operators on one live system: real PostgreSQL, nats-server, controller and agents. One world serves every question, because
//! bringing it up is what takes time; each section says by itself what is wrong, and all of them are told.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null, and a list that lacks an item fails the test"
)]

#[path = "doors_live/agents.rs"]
mod agents;
#[path = "doors_live/alerts.rs"]
mod alerts;
#[path = "doors_live/bounds.rs"]
mod bounds;
#[path = "doors_live/budgets.rs"]
mod budgets;
#[path = "doors_live/contract.rs"]
mod contract;
#[path = "doors_live/costs.rs"]
mod costs;
#[path = "doors_live/drift.rs"]
mod drift;
#[path = "doors_live/http.rs"]
mod http;
#[path = "doors_live/incidents.rs"]
mod incidents;
#[path = "doors_live/pages.rs"]
mod pages;
#[path = "doors_live/refusals.rs"]
mod refusals;
#[path = "doors_live/remediations.rs"]
mod remediations;
#[path = "doors_live/schedules.rs"]
mod schedules;
#[path = "doors_live/slos.rs"]
mod slos;
#[path = "doors_live/streams.rs"]
mod streams;
#[path = "doors_live/tokens.rs"]
mod tokens;
#[path = "doors_live/triggers.rs"]
mod triggers;
#[path = "doors_live/watching.rs"]
mod watching;

use std::sync::Arc;

use anyhow::ensure;
use contract::Contract;
use http::Door;
use serde_json::{Value, json};
use writ_cli::clock::Stopwatch;
use writ_cli::output::Teller;
use writ_tests::world::{Options, World, story};

/// What the sections stand on.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) door: Door,
    /// A run that has succeeded, with steps, outputs and artefacts on two hosts.
    pub(crate) run: String,
    /// Its plan.
    pub(crate) plan: String,
}

/// A config that two hosts can carry out side by side, and that any later check finds done.
const WORK: &str = r#"
  - command: report
    argv: [sh, -c, "echo some output; mkdir -p @/out; echo made > @/out/report"]
    creates: "@/out/report"
    artefacts: ["@/out/report"]
  - command: second
    argv: [sh, -c, "echo more; echo x > @/second"]
    creates: "@/second"
    depends_on: ["command:report"]
"#;

impl Scene<'_> {
    /// The body that asks for a check.
    pub(crate) fn check(&self) -> Value {
        json!({ "kind": "check", "config": { "name": "doors.yaml", "text": self.world.config(WORK) } })
    }
}

type Section = fn(&mut Scene<'_>) -> anyhow::Result<()>;

/// In this order: the later ones hurt the world.
const SECTIONS: [(&str, Section); 26] = [
    ("who asks", tokens::tokens_are_shown_once_and_end_at_once),
    ("who may", tokens::roles_are_scopes),
    ("refusals", refusals::every_class_is_a_problem_document),
    ("twice", refusals::a_key_makes_one_effect),
    ("pages", pages::walks_see_everything_once),
    ("lists", pages::walks_of_halts_and_tokens_see_everything_once),
    ("blobs", pages::what_a_run_left_is_served),
    ("halts", agents::a_halt_goes_through_its_life),
    ("lockdown", agents::a_lockdown_holds_every_change_up),
    ("incidents", incidents::an_incident_is_answered_for),
    ("drift", drift::a_finding_goes_through_its_life),
    ("remediations", remediations::a_remediation_goes_through_its_life),
    ("schedules", schedules::a_schedule_goes_through_its_life),
    (
        "cost reports",
        schedules::a_week_is_reported_and_anybody_can_verify_it,
    ),
    ("budgets", budgets::a_budget_stands_in_the_way_and_is_raised),
    ("costs", costs::reports_are_the_sums_of_the_ledger),
    ("service levels", slos::promises_are_counted),
    ("resume", streams::a_reader_goes_on_where_it_was),
    ("places", streams::there_are_so_many_places),
    ("numbers", watching::metrics_are_those_of_the_catalogue),
    ("traces", watching::a_trace_goes_on),
    ("document", watching::the_document_is_served_as_reviewed),
    ("triggers", triggers::alerts_of_others_start_what_the_file_says),
    ("agents", agents::an_agent_goes_through_its_life),
    ("alerts", alerts::a_notification_goes_through_its_life),
    ("everything was seen", everything_was_seen),
];

#[test]
fn the_doors_hold_on_a_live_system() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        let (base, token) = world.door()?;
        let document = include_str!("../../docs/openapi.json");
        let door = Door::new(&base, &token, Arc::new(Contract::new(document)?));
        // What waits for a bound to pass, waits beside everything else.
        let waiting = [
            bounds::in_background(&door, "a slow head", bounds::a_slow_head_is_cut_off),
            bounds::in_background(&door, "a slow body", bounds::a_slow_body_is_refused),
            bounds::in_background(&door, "a heartbeat", streams::a_silent_stream_says_that_it_lives),
        ];
        let plan = world.check(WORK)?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        ensure!(world.end_of(&run.id)?.has_succeeded(), "the scene's run failed");
        let mut scene = Scene {
            world,
            door,
            run: run.id,
            plan: plan.digest.to_hex(),
        };
        let mut wrong = Vec::new();
        for (name, section) in SECTIONS {
            let watch = Stopwatch::start();
            if let Err(error) = section(&mut scene) {
                wrong.push(format!("{name}: {error:#}"));
            }
            let took = watch.elapsed().as_millis();
            Teller::default().say(&format!("   {name}: {took} ms"));
        }
        for one in waiting {
            let (name, told) = one
                .join()
                .unwrap_or(("a thread", Err(anyhow::anyhow!("panicked"))));
            if let Err(error) = told {
                wrong.push(format!("{name}: {error:#}"));
            }
        }
        // Last: from here on nothing else could be asked.
        if let Err(error) = watching::readiness_names_what_is_away(&mut scene) {
            wrong.push(format!("the ledger is away: {error:#}"));
        }
        ensure!(
            wrong.is_empty(),
            "{} sections failed\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    })
}

/// Every operation of the document was answered well at least once, and refused at least once.
fn everything_was_seen(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let (never_well, never_refused) = scene.door.contract.unseen();
    ensure!(never_well.is_empty(), "never answered well: {never_well:?}");
    ensure!(never_refused.is_empty(), "never refused: {never_refused:?}");
    Ok(())
}
