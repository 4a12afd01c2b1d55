//! Words: tokens that may stand only in some rooms, words that may stand in no file, and notes of unfinished work.

use super::source::{Line, Source, is_word};
use super::{Finding, Text, covers};
use crate::rules::{self, TIDY, Token};

/// Tokens outside the places the tables name.
pub(crate) fn tokens(sources: &[Source], rules: &[Token], table: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for rule in rules.iter().filter(|rule| forbids(rule, &source.path)) {
            for (number, line) in source.numbered(rule.tests) {
                let text = if rule.strings { &line.strings } else { &line.code };
                for token in rule.tokens.iter().filter(|token| stands(text, token)) {
                    findings.push(Finding {
                        file: source.path.clone(),
                        line: number,
                        rule: "token",
                        what: format!("`{token}` {}", places(rule)),
                        reason: rule.reason.clone(),
                        written: format!("{table} [[token]]"),
                    });
                }
            }
        }
    }
    findings
}

fn forbids(rule: &Token, path: &str) -> bool {
    if rule.not_in.is_empty() {
        !rule.only_in.iter().any(|entry| covers(entry, path))
    } else {
        rule.not_in.iter().any(|entry| covers(entry, path))
    }
}

fn places(rule: &Token) -> String {
    if !rule.not_in.is_empty() {
        format!("may not stand in {}", rule.not_in.join(", "))
    } else if rule.only_in.is_empty() {
        "may stand nowhere".to_owned()
    } else {
        format!("may stand only in {}", rule.only_in.join(", "))
    }
}

/// Whether the token is in the text as a word of its own.
fn stands(text: &str, token: &str) -> bool {
    text.match_indices(token).any(|(at, _)| {
        let end = at + token.len();
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(end..).and_then(|text| text.chars().next());
        let joined_before = token.chars().next().is_some_and(is_word) && before.is_some_and(is_word);
        let joined_after = token.chars().next_back().is_some_and(is_word) && after.is_some_and(is_word);
        !joined_before && !joined_after
    })
}

/// Words that may stand in no file, in whatever language it is written.
pub(crate) fn texts(files: &[Text], rules: &rules::Tidy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| {
        !rules
            .text_skip
            .iter()
            .any(|name| file.path.rsplit('/').next() == Some(name))
    }) {
        for rule in &rules.text {
            for word in rule.pieces.iter().map(|pieces| pieces.concat()) {
                for (number, _) in file
                    .content
                    .lines()
                    .enumerate()
                    .filter(|(_, line)| holds(line, &word, rule.paths))
                {
                    findings.push(Finding {
                        file: file.path.clone(),
                        line: number + 1,
                        rule: "text",
                        what: format!("`{word}` may stand in no file"),
                        reason: rule.reason.clone(),
                        written: format!("{TIDY} [[text]]"),
                    });
                }
            }
        }
    }
    findings
}

fn holds(line: &str, word: &str, path: bool) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !path || !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '/' | '-'))
    })
}

/// Notes of unfinished work: each needs the number of the issue that will finish it.
pub(crate) fn unfinished(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.numbered(true) {
            if let Some(what) = unfinished_note(line) {
                findings.push(Finding {
                    file: source.path.clone(),
                    line: number,
                    rule: "unfinished",
                    what,
                    reason: "a note without an issue is work nobody will find".to_owned(),
                    written: "xtask/src/tidy/words.rs, unfinished".to_owned(),
                });
            }
        }
    }
    findings
}

fn unfinished_note(line: &Line) -> Option<String> {
    const NOTE: &str = "TODO";
    if let Some(word) = ["FIXME", "XXX", "HACK"]
        .into_iter()
        .find(|word| stands(&line.comment, word))
    {
        return Some(format!(
            "`{word}`: write `{NOTE}(#issue)` instead, with the number of the issue"
        ));
    }
    let at = line.comment.find(NOTE).filter(|_| stands(&line.comment, NOTE))?;
    let rest = line.comment.get(at + NOTE.len()..).unwrap_or_default();
    let issue = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    let numbered =
        issue.is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()));
    (!numbered).then(|| format!("`{NOTE}` without an issue: write `{NOTE}(#issue)`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn rule(token: &str, only_in: &[&str], not_in: &[&str]) -> Token {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect();
        Token {
            tokens: vec![token.to_owned()],
            only_in: owned(only_in),
            not_in: owned(not_in),
            strings: false,
            tests: false,
            reason: "because".to_owned(),
        }
    }

    fn found(path: &str, content: &str, rule: Token) -> Vec<usize> {
        let sources = [Source::read(path, content)];
        tokens(&sources, &[rule], "xtask/arch.toml")
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_token_outside_its_room_is_found_and_inside_it_is_not() {
        let sql = || rule("sqlx::", &["controller/store"], &[]);
        assert_eq!(
            found("controller/src/app.rs", "//! x\nuse sqlx::Pool;\n", sql()),
            [2]
        );
        assert_eq!(
            found("controller/store/src/run.rs", "use sqlx::Pool;\n", sql()),
            NONE
        );
    }

    #[test]
    fn comments_strings_tests_and_longer_words_are_not_the_token() {
        let sql = || rule("sqlx::", &[], &[]);
        for content in [
            "// sqlx::Pool\n",
            "f(\"sqlx::Pool\");\n",
            "use mysqlx::A;\n",
            "#[cfg(test)]\nmod tests { use sqlx::A; }\n",
        ] {
            assert_eq!(found("a/src/a.rs", content, sql()), NONE, "{content}");
        }
        assert_eq!(
            found("a/src/a.rs", "#![deny(unsafe_code)]\n", rule("unsafe", &[], &[])),
            NONE
        );
        assert_eq!(
            found(
                "a/src/a.rs",
                "fn a() {\n    unsafe { b() }\n}\n",
                rule("unsafe", &[], &[])
            ),
            [2]
        );
    }

    #[test]
    fn a_rule_can_look_at_strings_and_hold_tests() {
        let subject = Token {
            strings: true,
            ..rule("writ.v1.", &["protocol/src/subject.rs"], &[])
        };
        assert_eq!(
            found("agent/src/a.rs", "let s = \"writ.v1.agent\";\n", subject),
            [1]
        );
        let ignore = Token {
            tests: true,
            ..rule("#[ignore", &[], &[])
        };
        assert_eq!(
            found("tests/tests/a.rs", "#[test]\n#[ignore]\nfn a() {}\n", ignore),
            [2]
        );
    }

    #[test]
    fn a_rule_can_name_the_rooms_where_a_token_may_not_stand() {
        let files = || rule("std::fs", &[], &["plan/src"]);
        assert_eq!(found("plan/src/a.rs", "use std::fs;\n", files()), [1]);
        assert_eq!(found("agent/src/a.rs", "use std::fs;\n", files()), NONE);
    }

    #[test]
    fn a_word_in_pieces_is_found_in_any_file_and_a_path_only_where_it_begins_one() {
        assert!(holds("see https://an.index/x", "an.index", false));
        assert!(holds("cd /ho/x", "/ho/", true));
        assert!(holds("\"/ho/x\"", "/ho/", true));
        assert!(!holds("cd /my/ho/x", "/ho/", true));
        assert!(!holds("cd ./ho/x", "/ho/", true));
    }

    #[test]
    fn a_note_needs_an_issue() {
        let notes = |comment: &str| unfinished(&[Source::read("a/src/a.rs", comment)]).len();
        assert_eq!(notes("// TODO: later\n"), 1);
        assert_eq!(notes("// TODO(#): later\n"), 1);
        assert_eq!(notes("// FIXME(#3)\n"), 1);
        assert_eq!(notes("// TODO(#12): later\n"), 0);
        assert_eq!(notes("let x = \"TODO\"; // a MASTODON\n"), 0);
    }
}
