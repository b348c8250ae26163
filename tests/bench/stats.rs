//! Figures of many measurements.

/// The value that this share of the measurements does not exceed (nearest rank). Not a number where there are none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The two-sample test of Kolmogorov and Smirnov: the largest distance of the two distributions, and how likely it is to be as
/// large or larger if both samples are of one distribution (asymptotically, with Stephens' correction for small samples).
pub(crate) fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let share =
        |sorted: &[f64], value: f64| sorted.partition_point(|other| *other <= value) as f64 / sorted.len() as f64;
    let distance = a.iter().chain(&b).map(|value| (share(&a, *value) - share(&b, *value)).abs()).fold(0.0, f64::max);
    let size = (a.len() as f64 * b.len() as f64 / (a.len() + b.len()) as f64).sqrt();
    (distance, kolmogorov((size + 0.12 + 0.11 / size) * distance))
}

/// How likely Kolmogorov's distribution exceeds this.
fn kolmogorov(lambda: f64) -> f64 {
    // The series converges too slowly below, where the answer is 1 to eight digits.
    if lambda < 0.25 {
        return 1.0;
    }
    let term = |k: i32| (-2.0 * f64::from(k * k) * lambda * lambda).exp() * if k % 2 == 0 { -1.0 } else { 1.0 };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}
