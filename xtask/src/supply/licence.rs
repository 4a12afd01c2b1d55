//! SPDX expressions, as far as manifests use them: identifiers, `WITH`, `AND`, `OR`, brackets, and the old `/` for `OR`.

/// Whether what the expression demands can be met with licences of the list. What cannot be read is not allowed.
pub(super) fn allows(expression: &str, list: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut expression = Expression {
        words: spaced.split_whitespace().collect(),
        at: 0,
        list,
    };
    expression
        .any()
        .is_some_and(|allowed| allowed && expression.at == expression.words.len())
}

struct Expression<'a> {
    words: Vec<&'a str>,
    at: usize,
    list: &'a [String],
}

impl<'a> Expression<'a> {
    fn take(&mut self, word: &str) -> bool {
        let taken = self.words.get(self.at) == Some(&word);
        self.at += usize::from(taken);
        taken
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    /// Terms joined by `OR`, which binds loosest.
    fn any(&mut self) -> Option<bool> {
        let mut allowed = self.all()?;
        while self.take("OR") {
            allowed |= self.all()?;
        }
        Some(allowed)
    }

    fn all(&mut self) -> Option<bool> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Some(allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let allowed = self.any()?;
            return self.take(")").then_some(allowed);
        }
        let mut name = self
            .next()
            .filter(|word| !matches!(*word, "AND" | "OR" | "WITH" | ")"))?
            .to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.list.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str) -> bool {
        allows(
            expression,
            &[
                "MIT".to_owned(),
                "Apache-2.0".to_owned(),
                "Apache-2.0 WITH LLVM-exception".to_owned(),
            ],
        )
    }

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND Apache-2.0",
            "(MIT OR GPL-3.0) AND Apache-2.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR GPL-3.0) AND ISC",
            "GPL-3.0 AND MIT OR ISC",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!allowed("MIT WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_read_is_not_allowed() {
        for bad in [
            "",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "OR MIT",
            "MIT WITH",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
