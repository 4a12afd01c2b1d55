//! Story: what was reviewed is what runs. A host that moved after its plan was made is left alone, and the plan is told stale.

use std::fs;

use writ_protocol::reason::Code;
use writ_tests::world::{Options, story};

const SITE: &str = r#"
  - file: "@/site"
    state: directory
  - file: "@/site/conf"
    content: "listen 80\n"
    notify: [command:reload]
  - command: reload
    argv: [sh, -c, "echo x >> @/reloads"]
    when_notified: true
  - command: build
    argv: [sh, -c, "echo x >> @/built"]
    creates: "@/built"
"#;

#[test]
fn a_plan_that_a_host_has_moved_away_from_changes_nothing() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let first = world.run(SITE)?;
        assert!(first.has_succeeded(), "{first:?}");
        let conf = world.file("site/conf");
        assert_eq!(
            (fs::read_to_string(&conf)?.as_str(), world.lines("reloads")),
            ("listen 80\n", 1)
        );

        // Planned for one change, and by then the host shows another.
        fs::write(&conf, "listen 81\n")?;
        let plan = world.check(SITE)?;
        fs::write(&conf, "listen 82\n")?;
        let stale = world.end_of(&world.client()?.submit_apply(&plan.digest)?.id)?;
        assert_eq!(stale.state, "failed", "{stale:?}");
        assert_eq!(
            stale.orders[0].code.as_deref(),
            Some(Code::Stale.to_string().as_str())
        );
        assert_eq!(stale.exit().code(), 13);
        assert_eq!(fs::read_to_string(&conf)?, "listen 82\n", "nothing was changed");
        assert_eq!(world.lines("reloads"), 1, "nothing was notified");
        let steps = world.steps(&stale)?;
        let told = steps.iter().find(|step| step.step.ends_with("/site/conf"));
        assert!(
            told.is_some_and(|step| step.code.as_deref() == Some("W0312")
                && step.rest["changes"].as_array().is_some_and(|all| !all.is_empty())),
            "{steps:?}"
        );

        // A new plan sees what is there, and is carried out.
        let plan = world.check(SITE)?;
        let mended = world.end_of(&world.client()?.submit_apply(&plan.digest)?.id)?;
        assert!(mended.has_succeeded(), "{mended:?}");
        assert_eq!(
            (fs::read_to_string(&conf)?.as_str(), world.lines("reloads")),
            ("listen 80\n", 2)
        );

        // Carried out once more there is nothing left to do, and nothing is stale.
        let again = world.end_of(&world.client()?.submit_apply(&plan.digest)?.id)?;
        assert!(again.has_succeeded(), "{again:?}");
        assert_eq!(world.lines("reloads"), 2);
        Ok(())
    })
}
