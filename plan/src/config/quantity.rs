//! Text to numbers, exactly: durations, sizes, counts, money, permission bits. No floating point anywhere.

/// Why a quantity was refused: what is wrong, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) hint: String,
}

const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
/// Micro-units in one unit of a currency.
const MICROS: u64 = 1_000_000;
/// Decimals of an amount that micro-units can hold.
const DECIMALS_MAX: usize = 6;

/// A duration such as `30s`, in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, Refused> {
    with_unit(
        text,
        "duration",
        DURATION_UNITS,
        "write a whole number and a unit: `500ms`, `30s`, `2m` or `1h`",
    )
}

/// A size such as `256MiB`, in bytes.
pub(crate) fn size_bytes(text: &str) -> Result<u64, Refused> {
    with_unit(
        text,
        "size",
        SIZE_UNITS,
        "write a whole number and a unit: `512B`, `64KiB`, `256MiB`, `1GiB` (powers of 1024)",
    )
}

/// A count such as `64`.
pub(crate) fn count(text: &str) -> Result<u64, Refused> {
    let refused = || Refused {
        message: format!("{:?} is not a count", short(text)),
        hint: "write a whole number, such as `64`".into(),
    };
    digits(text).ok_or_else(refused)
}

/// An amount of money such as `0.50`, in micro-units.
pub(crate) fn money_micros(text: &str) -> Result<u64, Refused> {
    let refused = |why: &str| Refused {
        message: format!("amount {:?} {why}", short(text)),
        hint: "write an amount such as `0.50`, with at most six decimals".into(),
    };
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return Err(refused("ends with its point")),
        None => (text, ""),
    };
    if decimals.len() > DECIMALS_MAX {
        return Err(refused("has more than six decimals"));
    }
    let whole = digits(whole).ok_or_else(|| refused("is not a number, or is too large"))?;
    let padded = format!("{decimals:0<DECIMALS_MAX$}");
    let micros = digits(&padded).ok_or_else(|| refused("is not a number"))?;
    whole
        .checked_mul(MICROS)
        .and_then(|sum| sum.checked_add(micros))
        .filter(|sum| i64::try_from(*sum).is_ok())
        .ok_or_else(|| refused("is too large"))
}

/// Permission bits such as `0644`.
pub(crate) fn permission_bits(text: &str) -> Option<u32> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal {
        u32::from_str_radix(text, 8).ok()
    } else {
        None
    }
}

fn with_unit(text: &str, what: &str, units: &[(&str, u64)], hint: &str) -> Result<u64, Refused> {
    let refused = |why: String| Refused {
        message: format!("{what} {:?} {why}", short(text)),
        hint: hint.to_owned(),
    };
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    if unit.is_empty() {
        return Err(refused("has no unit".into()));
    }
    if number.is_empty() {
        return Err(refused("does not begin with a number".into()));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(refused(format!("has the unknown unit {:?}", short(unit))));
    };
    digits(number)
        .and_then(|n| n.checked_mul(*factor))
        .ok_or_else(|| refused("is too large".into()))
}

/// A number of decimal digits only; `parse` alone would take a plus.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_exact_and_need_their_units() {
        assert_eq!(duration_ms("500ms"), Ok(500));
        assert_eq!(duration_ms("2m"), Ok(120_000));
        assert_eq!(size_bytes("256MiB"), Ok(256 << 20));
        for bad in [
            "30",
            "",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "30 s",
            "30sec",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
        for bad in ["256MB", "256M", "1kib", "16777216TiB"] {
            assert!(size_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(count("64"), Ok(64));
        assert!(count("6_4").is_err());
    }

    #[test]
    fn money_is_whole_micro_units() {
        assert_eq!(money_micros("0.50"), Ok(500_000));
        assert_eq!(money_micros("12"), Ok(12_000_000));
        assert_eq!(money_micros("0.000001"), Ok(1));
        for bad in [
            "0.0000001",
            "-1",
            "1.",
            ".5",
            "1e3",
            "0.5.0",
            "1,50",
            "9223372036855",
            ".inf",
            "NaN",
            "0x10",
            "",
        ] {
            assert!(money_micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn permission_bits_are_three_or_four_octal_digits() {
        assert_eq!(permission_bits("0644"), Some(0o644));
        assert_eq!(permission_bits("4755"), Some(0o4755));
        for bad in ["644x", "888", "7", "00644", "", "-644", "+644"] {
            assert_eq!(permission_bits(bad), None, "{bad}");
        }
    }
}
