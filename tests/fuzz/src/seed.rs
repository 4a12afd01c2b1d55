//! Seeds: the golden vectors of the areas that a target is about, in the forms that it reads.

use std::fs;
use std::path::Path;

use writ_conformance::make;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::provider::{self, Change, Hello, Problem, Reason, Subject, ToHost, ToProvider};

/// Configs to begin with: every kind of resource, selectors, templates, mistakes.
const CONFIGS: [&str; 4] = [
    "version: 1\nproject: web\ntargets: { labels: { role: web } }\nresources:\n  - file: /etc/motd\n    content: hello\n",
    "version: 1\nproject: web\ntargets: { labels: { role: web } }\nlimits: { cpu: 30s, memory: 256MiB, wall: 2m, processes: 64 }\nbudget: { amount: 0.50, currency: USD }\nvars: { port: 8080 }\nresources:\n  - file: /etc/app.conf\n    template: app.j2\n    mode: \"0644\"\n    notify: [command:smoke]\n  - command: smoke\n    argv: [curl, -fsS, \"http://127.0.0.1:{{ port }}/\"]\n    mode: once\n    artefacts: [/var/lib/smoke/index.html]\n    depends_on: [file:/etc/app.conf]\n",
    "version: 1\nproject: p\ntargets: { agents: [a] }\nresources:\n  - command: c\n    argv: [\"true\"]\n    creates: /x\n    env: { A: \"{{ 1 + 1 }}\" }\n",
    "version: 2\nproject: [\nresources: *a\n",
];

/// Requests to begin with: both forms, both kinds of addresses, headers that go and that stay, and what is refused.
const REQUESTS: [&str; 6] = [
    "CONNECT feeds.example.com:443 HTTP/1.1\r\nHost: feeds.example.com:443\r\n\r\n\x16\x03\x01",
    "CONNECT [2001:db8::7]:443 HTTP/1.0\r\n\r\n",
    "GET http://example.com/a?b=c HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: x\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    "GET http://[::1]:8080 HTTP/1.1\r\n\r\n",
    "CONNECT 0x7f.1:0443 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    "GET http://user@example.com/#x HTTP/1.1\nHost x\r\n\r\n",
];

/// Writes the seeds of a target.
pub(crate) fn write(target: &str, folder: &Path) {
    fs::create_dir_all(folder).expect("the folder of seeds");
    let save = |name: String, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a seed");
    if target == "config" {
        for (n, text) in CONFIGS.iter().enumerate() {
            save(format!("config-{n}"), text.as_bytes());
        }
        return;
    }
    if target == "request" {
        for (n, text) in REQUESTS.iter().enumerate() {
            save(format!("request-{n}"), text.as_bytes());
        }
        return;
    }
    if target == "provider" {
        for (n, word) in provider_words().iter().enumerate() {
            save(format!("provider-{n}"), word);
        }
        return;
    }
    let areas: &[&str] = match target {
        "statement" => &[
            "statement",
            "envelope",
            "hello",
            "watermark",
            "halt",
            "enrol",
            "plan",
        ],
        "token" => &["enrol", "key"],
        "record" => &["record", "frame"],
        "journal" => &["frame", "record"],
        other => &[other],
    };
    for vector in make::all().expect("vectors") {
        if !areas.contains(&vector.case.area.as_str()) {
            continue;
        }
        let bytes = &vector.files[&vector.case.input];
        let name = format!("{}-{}", vector.case.area, vector.case.name);
        if target == "record" {
            // The target reads a kind and a payload; the vectors are frames.
            if let Ok((frame, _)) = writ_protocol::frame::Frame::parse(bytes) {
                save(name, &[&[frame.kind], frame.payload].concat());
            }
            continue;
        }
        if let Ok(envelope) = Envelope::parse(bytes) {
            save(format!("{name}-payload"), envelope.unverified_payload());
        }
        save(name, bytes);
    }
}

/// One word of each sort that a provider hears or says, without its length.
fn provider_words() -> Vec<Vec<u8>> {
    let spec = serde_json::json!({"path": "/a", "list": [1, null, true, 1.5]});
    let subject = Subject {
        id: "note:a".into(),
        kind: "note".into(),
        spec: spec.as_object().cloned().expect("an object"),
        notified: false,
        wall_ms: 1,
    };
    let change = Change { attribute: "text".into(), want: "a".into(), got: "b".into() };
    let asked = [
        ToProvider::Hello(Hello { versions: vec![1], host: "h".into() }),
        ToProvider::Lend { digest: Digest::of(b"x"), bytes: b"x".to_vec() },
        ToProvider::Diff { id: 1, subject: subject.clone(), observation: spec.clone() },
        ToProvider::Apply { id: 2, subject, changes: vec![change.clone()] },
        ToProvider::Cancel { id: 3 },
    ];
    let said = [
        ToHost::Unfit { versions: vec![1] },
        ToHost::Observed { id: 1, observation: spec },
        ToHost::Differs { id: 2, changes: vec![change] },
        ToHost::Failed { id: 3, problem: Problem::new(Reason::Refused, "no") },
    ];
    let bare = |frame: Vec<u8>| frame[provider::LENGTH_BYTES..].to_vec();
    let asked = asked.iter().map(|word| bare(provider::frame(word).expect("frames")));
    asked.chain(said.iter().map(|word| bare(provider::frame(word).expect("frames")))).collect()
}
