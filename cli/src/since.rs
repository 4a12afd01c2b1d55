//! Instants as people name them: `10m` ago, or an instant.

use std::time::Duration;

use writ_protocol::time::Timestamp;

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Duration),
    /// At an instant.
    At(Timestamp),
}

impl Since {
    /// As the command line has it.
    ///
    /// # Errors
    /// What is wanted instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "a time such as 90s, 10m, 2h, 1d, or 2026-01-31T12:00:00Z is wanted".to_owned();
        if let Ok(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        let unit = text.chars().last().ok_or_else(wanted)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wanted()),
        };
        let number: u32 = text.trim_end_matches(unit).parse().map_err(|_| wanted())?;
        Ok(Self::Ago(Duration::from_secs(u64::from(number) * seconds)))
    }

    /// The instant, seen from now.
    pub(crate) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.minus(ago),
            Self::At(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_instants_are_read_and_nothing_else() {
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        for (text, then) in [
            ("90s", "2026-01-31T11:58:30Z"),
            ("10m", "2026-01-31T11:50:00Z"),
            ("2h", "2026-01-31T10:00:00Z"),
            ("1d", "2026-01-30T12:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ] {
            let then = Timestamp::parse(then).unwrap();
            assert_eq!(Since::parse(text).unwrap().instant(now), then, "{text}");
        }
        for wrong in ["", "10", "m", "-5m", "1.5h", "10 m", "yesterday", "99999999999s"] {
            assert!(Since::parse(wrong).unwrap_err().contains("10m"), "{wrong}");
        }
    }
}
