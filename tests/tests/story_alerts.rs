//! Story: something happens on a host, and those who are to know are told of it: soon, once, under a signature, through receivers that fail and controllers
//! that are killed; and nobody is told anything before somebody said so.

#[path = "story_alerts/sinks.rs"]
mod sinks;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use sinks::{Answer, Came, Sink};
use writ_cli::output::Teller;
use writ_protocol::time::Timestamp;
use writ_tests::world::{LONG, Options, SHORT, World, eventually, story};

const FILE: &str = "  - { file: \"@/one\", content: one, mode: \"0644\" }\n";
/// How soon somebody is told.
const SOON: Duration = Duration::from_secs(5);
/// Two secrets, as while one takes the place of the other.
const SECRETS: [&[u8]; 2] = [
    b"the secret of thirty-two bytes..",
    b"the one that comes after it.....",
];

/// Files with the secrets, in a folder that no config touches.
fn secrets(world: &World) -> anyhow::Result<Vec<String>> {
    let files = SECRETS.iter().enumerate().map(|(number, secret)| {
        let file = world.file(&format!("secret-{number}"));
        let text = format!("whsec_{}\n", data_encoding::BASE64.encode(secret));
        std::fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    });
    files.collect()
}

fn webhook(world: &World, sink: &Sink, tries: u32) -> anyhow::Result<Value> {
    Ok(json!({
        "webhook": { "url": format!("http://127.0.0.1:{}/hook?a=b", sink.port), "secret_files": secrets(world)? },
        "sees_security": false, "retry": { "tries": tries, "first_seconds": 1, "longest_seconds": 1 },
    }))
}

fn set(world: &mut World, deliver: bool, receivers: &Value, events: &[&str]) -> anyhow::Result<()> {
    let names: Vec<String> = receivers
        .as_object()
        .context("receivers")?
        .keys()
        .cloned()
        .collect();
    let rules = json!([{ "name": "all", "events": events, "receivers": names, "once_in_seconds": 1 }]);
    let alerts = json!({ "deliver": deliver, "receivers": receivers, "rules": rules });
    for controller in world.controllers() {
        world.configure_controller(&controller, "alerts", alerts.clone())?;
    }
    Ok(())
}

/// The host is looked at, and holds to the plan.
fn settled(world: &World, state: &str) -> anyhow::Result<()> {
    let client = world.client()?;
    eventually(state, LONG, || {
        let hosts = client.watched_hosts("").ok()?;
        (!hosts.is_empty() && hosts.iter().all(|host| host.state == state)).then_some(())
    })
}

/// How long after it was committed the first event of what came was told.
fn delay(came: &Came) -> anyhow::Result<Duration> {
    let event = came.json();
    let at = event.pointer("/data/events/0/at").and_then(Value::as_str);
    let at = Timestamp::parse(at.context("an instant")?)?;
    Ok(came.at.since(at))
}

/// A webhook, a channel and a mailbox.
fn three(world: &World, [hook, channel, mailbox]: &[Sink; 3]) -> anyhow::Result<Value> {
    let url = world.file("channel-url");
    std::fs::write(&url, format!("http://127.0.0.1:{}/services/secret", channel.port))?;
    Ok(json!({
        "hook": webhook(world, hook, 3)?,
        "channel": { "slack": { "url_file": url }, "sees_security": false },
        "mail": { "email": { "server": "127.0.0.1", "port": mailbox.port, "tls": "none", "from": "Writ <writ@example.org>",
            "to": ["ops@example.org", "Ann <ann@example.org>"] }, "sees_security": false },
    }))
}

/// What came to each first says what happened, under signatures.
fn holds(world: &World, [hook, channel, mail]: &[Came; 3]) -> anyhow::Result<()> {
    let event = hook.json();
    assert_eq!(
        hook.head.first().map(String::as_str),
        Some("POST /hook?a=b HTTP/1.1")
    );
    assert!(
        hook.header("content-type")
            .starts_with("application/cloudevents+json")
    );
    let of = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(hook.header("webhook-id"), of("/id"));
    assert!(SECRETS.iter().all(|secret| hook.is_signed_by(secret)), "{hook:?}");
    assert!(!hook.is_signed_by(b"a secret that nobody has set...."));
    assert_eq!((of("/specversion"), of("/source")), ("1.0", "/writ/dev"));
    let finding = world.client()?.findings("")?.pop().context("a finding")?;
    assert_eq!(of("/subject"), finding.id);
    // A file that came back is the same finding, which was cleared meanwhile.
    assert_eq!(of("/type"), "dev.writ.drift.reopened.v1");
    assert_eq!(
        (of("/data/events/0/host"), of("/data/events/0/environment")),
        ("lab-1", "dev")
    );
    let said = channel.json();
    let said = said.get("text").and_then(Value::as_str).unwrap_or_default();
    assert!(said.contains("lab-1"), "{said}");
    assert!(mail.body.contains("Subject: [warn] lab-1:"), "{}", mail.body);
    assert!(mail.body.contains("Message-ID: <alert_"), "{}", mail.body);
    assert_eq!(
        mail.head.iter().filter(|line| line.starts_with("RCPT")).count(),
        2
    );
    Ok(())
}

#[test]
fn drift_is_told_to_a_webhook_a_channel_and_a_mailbox_once_within_five_seconds() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let sinks = [Sink::web()?, Sink::web()?, Sink::mail()?];
        let receivers = three(world, &sinks)?;
        set(world, false, &receivers, &["drift.*"])?;
        world.run(FILE)?;
        settled(world, "clean")?;
        world.write("one", "changed while alerts are off")?;
        settled(world, "differs")?;
        world.write("one", "one")?;
        settled(world, "clean")?;
        let rows = world.db("SELECT count(*) FROM alert")?;
        assert_eq!(rows, ["0"], "a fresh installation tells nobody");

        set(world, true, &receivers, &["drift.*"])?;
        world.write("one", "changed")?;
        let told = |sink: &Sink| eventually("everybody is told", SHORT, || sink.came().into_iter().next());
        let [hook, channel, mailbox] = &sinks;
        let first = [told(hook)?, told(channel)?, told(mailbox)?];
        holds(world, &first)?;
        let took = delay(&first[0])?;
        let last = first.iter().map(|came| came.at).max().context("three")?;
        let last = took + last.since(first[0].at);
        assert!(last <= SOON, "told after {took:?} and {last:?}");
        Teller::default().say(&format!("told {took:?} and {last:?} after the commit"));

        // Killed and started again, a controller tells the next thing, and not the same again.
        world.kill("controller-1")?;
        world.start_part("controller-1")?;
        world.write("one", "one")?;
        for sink in &sinks {
            eventually("the end is told", LONG, || (sink.came().len() > 1).then_some(()))?;
        }
        for sink in &sinks {
            assert_eq!(sink.came().len(), 2, "each once: {:?}", sink.came());
        }
        assert_eq!(hook.of_kind("drift.cleared").len(), 1);
        eventually("all is delivered", SHORT, || {
            let rows = world
                .db("SELECT count(*) FROM alert WHERE state <> 'delivered'")
                .ok()?;
            (rows == ["0"]).then_some(())
        })
    })
}

#[test]
fn a_receiver_that_fails_first_is_told_once_it_takes_it_and_what_is_dead_comes_again_when_asked()
-> anyhow::Result<()> {
    story(Options::default(), |world| {
        let hook = Sink::web()?;
        let receivers = json!({ "hook": webhook(world, &hook, 3)? });
        set(world, true, &receivers, &["run.succeeded"])?;
        // Refused, no word within the time of a try, and then taken.
        hook.answer(&[Answer::Status(500), Answer::Hang]);
        world.check(FILE)?;
        eventually("the third try", LONG, || (hook.came().len() > 2).then_some(()))?;
        let client = world.client()?;
        let one = eventually("it is delivered", SHORT, || {
            client.alerts("?state=delivered").ok()?.pop()
        })?;
        let came = hook.came();
        assert_eq!((came.len(), one.attempts), (3, 3));
        assert!(
            came.iter()
                .all(|came| came.header("webhook-id") == one.id && came.is_signed_by(SECRETS[0]))
        );
        assert_eq!(hook.of_kind("run.succeeded").len(), 3);
        assert!(came[2].at.since(came[0].at) > Duration::from_secs(10));

        // Never taken: dead after three, and again when somebody asks.
        hook.answer(&[Answer::Status(503); 3]);
        world.check(FILE)?;
        let dead = eventually("it is dead", LONG, || client.alerts("?state=dead").ok()?.pop())?;
        assert_eq!((dead.attempts, dead.answer.as_deref()), (3, Some("503")));
        assert_eq!(hook.came().len(), 6);
        let replayed = client.replay_alert(&dead.id)?;
        assert_eq!(
            (replayed.state.as_str(), replayed.id.as_str()),
            ("waiting", dead.id.as_str())
        );
        eventually("it is taken", SHORT, || {
            (client.alert(&dead.id).ok()?.state == "delivered").then_some(())
        })?;
        let last = hook.came().pop().context("a fourth")?;
        assert_eq!(
            (last.header("webhook-id"), last.answered),
            (dead.id.as_str(), Answer::Status(204))
        );
        assert!(
            client.replay_alert(&dead.id).is_err(),
            "what was taken is not sent again"
        );

        // One that says that it is gone is not asked again.
        hook.answer(&[Answer::Status(410)]);
        let made = client.test_receiver("hook")?;
        eventually("it is dead at once", SHORT, || {
            let one = client.alert(&made.id).ok()?;
            (one.state == "dead" && one.attempts == 1).then_some(())
        })?;
        Ok(())
    })
}

#[test]
fn controllers_that_are_killed_while_they_tell_lose_nothing_and_tell_again_under_the_same_id()
-> anyhow::Result<()> {
    let options = Options {
        controllers: 2,
        ..Options::default()
    };
    story(options, |world| {
        let hook = Sink::web()?;
        let receivers = json!({ "hook": webhook(world, &hook, 5)? });
        world.run(FILE)?;
        settled(world, "clean")?;
        set(world, true, &receivers, &["run.succeeded", "drift.opened"])?;
        // Whoever has it is killed while the receiver thinks about it.
        hook.answer(&[Answer::Hang]);
        world.check(FILE)?;
        eventually("it is on its way", SHORT, || {
            (!hook.came().is_empty()).then_some(())
        })?;
        for controller in world.controllers() {
            world.kill(&controller)?;
        }
        // Meanwhile the host drifts, which is told when they are back.
        world.write("one", "changed")?;
        for controller in world.controllers() {
            world.start_part(&controller)?;
        }
        eventually("the drift is told", LONG, || {
            (hook.of_kind("drift.opened").len() == 1).then_some(())
        })?;
        let again = eventually("the run is told again", LONG, || {
            let came = hook.of_kind("run.succeeded");
            (came.len() == 2).then_some(came)
        })?;
        assert_eq!(again[0].header("webhook-id"), again[1].header("webhook-id"));
        assert_eq!(
            (again[0].answered, again[1].answered),
            (Answer::Hang, Answer::Status(204))
        );
        assert_eq!(
            again[0].body, again[1].body,
            "a try says what the one before said"
        );
        eventually("all is delivered", SHORT, || {
            let rows = world
                .db("SELECT state || attempts FROM alert ORDER BY alert_id")
                .ok()?;
            (rows == ["delivered2", "delivered1"]).then_some(())
        })?;
        Ok(())
    })
}
