//! Values of the configuration that have to lie between two others.

/// Key, value, least and greatest.
pub(super) type Ranged = (&'static str, u64, u64, u64);

/// Those that do not.
pub(super) fn out_of_range(values: impl IntoIterator<Item = Ranged>) -> impl Iterator<Item = Ranged> {
    values.into_iter().filter(|&(_, value, min, max)| !(min..=max).contains(&value))
}
