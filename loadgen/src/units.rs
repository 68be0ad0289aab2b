//! Figures as people read them: three digits and a unit that fits, or every digit of a count.

/// Less than this is shown with a unit, and not with the next larger one: three digits are rounded to.
const UNIT_MAX: f64 = 999.5;

/// A time in the unit that fits: `38.2 us`, `3.21 ms`, `1.50 s`.
pub fn micros(micros: f64) -> String {
    scaled(micros * 1e3, &["ns", "us", "ms", "s"])
}

/// A count or a rate in short: `812`, `41.3 k`, `2.05 M`.
pub fn short(count: f64) -> String {
    scaled(count, &["", "k", "M", "G"])
}

/// Memory, in decimal units: `732 B`, `1.77 kB`.
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB"])
}

/// A count, exactly: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut words = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// A share in percent, which is `0 %` for nothing only and `100 %` for everything only.
pub fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 / whole.max(1) as f64 * 100.0;
    match share {
        _ if part == 0 => "0 %".into(),
        _ if part == whole => "100 %".into(),
        ..0.001 => "< 0.001 %".into(),
        99.95..100.0 => "> 99.9 %".into(),
        _ => format!("{} %", digits(share)),
    }
}

/// Three digits of a figure, wherever its point is.
pub fn digits(figure: f64) -> String {
    let decimals = match figure.abs() {
        0.0 => 0,
        ..0.09995 => 4,
        ..0.9995 => 3,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}

fn scaled(figure: f64, units: &[&str]) -> String {
    let (mut figure, mut at) = (figure, 0);
    while figure.abs() >= UNIT_MAX && at + 1 < units.len() {
        (figure, at) = (figure / 1e3, at + 1);
    }
    let is_whole = at == 0 && figure.fract() == 0.0;
    let words = if is_whole { format!("{figure:.0}") } else { digits(figure) };
    format!("{words} {}", units[at]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_fits() {
        let cases = [
            (0.0, "0 ns"),
            (0.5, "500 ns"),
            (0.999_6, "1.00 us"),
            (38.2, "38.2 us"),
            (999.4, "999 us"),
            (999.6, "1.00 ms"),
            (3_211.0, "3.21 ms"),
            (38_249.0, "38.2 ms"),
            (1_500_000.0, "1.50 s"),
            (90_000_000.0, "90.0 s"),
            (3_600_000_000.0, "3600 s"),
        ];
        cases.iter().for_each(|&(time, words)| assert_eq!(micros(time), words));
    }

    #[test]
    fn counts_are_short_or_exact_and_bytes_are_decimal() {
        let cases =
            [(0.0, "0"), (7.0, "7"), (7.25, "7.25"), (999.0, "999"), (41_300.0, "41.3 k"), (2_047_000.0, "2.05 M")];
        cases.iter().for_each(|&(figure, words)| assert_eq!(short(figure), words));
        let exact = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        exact.iter().for_each(|&(figure, words)| assert_eq!(count(figure), words));
        assert_eq!((bytes(732.0), bytes(1_766.0)), ("732 B".into(), "1.77 kB".into()));
    }

    #[test]
    fn a_share_is_nothing_or_all_only_where_it_is() {
        let cases = [
            (0, 10, "0 %"),
            (0, 0, "0 %"),
            (10, 10, "100 %"),
            (1, 1_000_000, "< 0.001 %"),
            (24, 100_000, "0.0240 %"),
            (1, 3, "33.3 %"),
            (999, 1_000, "99.9 %"),
            (9_996, 10_000, "> 99.9 %"),
        ];
        cases.iter().for_each(|&(part, whole, words)| assert_eq!(percent(part, whole), words));
    }
}
