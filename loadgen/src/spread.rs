//! Several measurements of one thing: their median, and how far apart they are.

use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }

    /// Of what each round's value is of the same round's other one, so that what slows a whole round down is left out.
    /// Rounds that lack one of the two do not count.
    pub fn of_ratios(values: &[Option<f64>], of: &[Option<f64>]) -> Option<Self> {
        let both = values.iter().zip(of).filter_map(|(&value, &of)| value.zip(of));
        let ratios: Vec<f64> = both.filter(|&(_, of)| of > 0.0).map(|(value, of)| value / of).collect();
        Self::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_lies_between_the_two_middle_ones() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0, 4.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
    }

    #[test]
    fn a_ratio_is_made_within_a_round_and_never_by_nothing() {
        // The second round was twice as slow for both.
        let ratios = Spread::of_ratios(&[Some(30.0), Some(15.0), Some(33.0)], &[Some(10.0), Some(5.0), Some(10.0)]);
        assert_eq!(ratios, Some(Spread { median: 3.0, min: 3.0, max: 3.3 }));
        assert_eq!(Spread::of_ratios(&[Some(1.0), None, Some(2.0)], &[None, Some(1.0), Some(0.0)]), None);
    }
}
