//! Story: one plan for all hosts says what is for each of them, is made from several files and values of the command line, and can be a part.

use std::collections::BTreeMap;
use std::fs;

use writ_cli::api::{PlanAnswer, Run};
use writ_plan::compile::{Given, Sources};
use writ_tests::world::{Options, World, story};

const CONFIG: &str = r#"
version: 1
project: story
targets: { labels: { env: dev } }
include: [roles/sites.yaml]
defaults: { greeting: nobody }
resources:
  - file: "@/elsewhere"
    content: never
    when: cpus > 1000000
  - command: announce
    argv: [sh, -c, "echo x >> @/announced"]
    creates: "@/announced"
    tags: [last]
    depends_on: ["file:@/*.conf", "file:@/elsewhere"]
"#;

const SITES: &str = r#"
vars: { sites: { shop: { port: 80 }, blog: { port: 81 } } }
resources:
  - file: "@/{{ each.key }}.conf"
    for_each: "{{ sites }}"
    content: "{{ greeting }} {{ each.value.port }}\n"
    when: cpus >= 1
    tags: ["{{ each.key }}"]
"#;

fn sources(world: &World, given: &Given) -> Sources {
    let text = |text: &str| text.replace('@', &world.place());
    let mut sources = Sources {
        config_name: "story.yaml".to_owned(),
        config_text: text(CONFIG),
        files: BTreeMap::from([("roles/sites.yaml".to_owned(), text(SITES).into_bytes())]),
    };
    sources.give(given);
    sources
}

fn plan(world: &World, given: &Given) -> anyhow::Result<PlanAnswer> {
    let client = world.client()?;
    let sources = sources(world, given);
    let checked = world.end_of(&client.submit_check(&sources)?.id)?;
    assert!(checked.has_succeeded(), "{checked:?}");
    let answer = client.plan_of(&checked.id)?;
    assert_eq!(
        answer.plan.config_digest,
        sources.digest(),
        "the plan is of this config"
    );
    Ok(answer)
}

fn apply(world: &World, plan: &PlanAnswer) -> anyhow::Result<Run> {
    let run = world.end_of(&world.client()?.submit_apply(&plan.digest)?.id)?;
    assert!(run.has_succeeded(), "{run:?}");
    Ok(run)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_plan_says_what_is_for_whom_and_what_it_is_made_from() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let shop = Given {
            vars: words(&["greeting=hello"]),
            tags: words(&["shop"]),
            ..Given::default()
        };
        let part = plan(world, &shop)?;
        let selection = part.plan.selection.as_ref();
        assert_eq!(
            selection.map(|one| (one.tags.as_slice(), one.left_out)),
            Some((words(&["shop"]).as_slice(), 3))
        );
        apply(world, &part)?;
        assert_eq!(fs::read_to_string(world.file("shop.conf"))?, "hello 80\n");
        assert!(!world.file("blog.conf").exists() && !world.file("announced").exists());

        let hello = Given {
            tags: Vec::new(),
            ..shop
        };
        let whole = plan(world, &hello)?;
        assert_eq!(whole.plan.selection, None);
        for host in &whole.plan.hosts {
            let elsewhere: Vec<_> = host
                .not_applying()
                .map(|entry| entry.not_applying.as_deref())
                .collect();
            assert_eq!(elsewhere, [Some("cpus > 1000000")]);
        }
        let shown = whole.plan.render();
        assert!(
            shown.contains("/elsewhere  (does not apply: cpus > 1000000)"),
            "{shown}"
        );
        apply(world, &whole)?;
        assert_eq!(fs::read_to_string(world.file("blog.conf"))?, "hello 81\n");
        assert_eq!(
            world.lines("announced"),
            1,
            "who depends on what does not apply goes on"
        );
        assert!(!world.file("elsewhere").exists(), "it is not for this host");

        let again = plan(world, &hello)?;
        assert!(!again.plan.has_changes(), "{}", again.plan.render());
        let other = plan(world, &Given::default())?;
        assert!(other.plan.has_changes(), "without the value it is another config");
        world.audit()
    })
}
