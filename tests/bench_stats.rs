//! The benchmark's own arithmetic.

#[path = "bench/profile.rs"]
mod profile;
#[path = "bench/stats.rs"]
mod stats;

use fastrand::Rng;
use profile::Profile;
use stats::{kolmogorov_smirnov, median, percentile};

#[track_caller]
fn assert_near(value: f64, expected: f64, by: f64) {
    assert!((value - expected).abs() <= by, "{value} is not {expected}");
}

#[test]
fn percentiles_are_measured_values() {
    let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!([1.0, 50.0, 99.0, 100.0].map(|percent| percentile(&hundred, percent)), [1.0, 50.0, 99.0, 100.0]);
    assert_eq!(percentile(&[7.0], 99.0), 7.0);
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert!(median(&[]).is_nan());
}

/// Distances by hand, and the tail of the distribution as tables give it: 5 % beyond 1.358, 1 % beyond 1.628.
#[test]
fn kolmogorov_smirnov_knows_its_tables() {
    assert_eq!(kolmogorov_smirnov(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), (0.0, 1.0));
    assert_eq!(kolmogorov_smirnov(&[1.0, 2.0], &[3.0, 4.0]).0, 1.0);
    assert_eq!(kolmogorov_smirnov(&[1.0, 1.0, 2.0, 2.0], &[1.0, 2.0, 2.0, 2.0]).0, 0.25);
    // Two samples of 2 n of which one is shifted by a share: the distance is that share.
    for (lambda, p) in [(1.358, 0.05), (1.628, 0.01)] {
        let size = 100_000;
        let shift = (lambda / f64::from(size).sqrt() * f64::from(2 * size)).round();
        let a: Vec<f64> = (0..2 * size).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|value| value + shift).collect();
        assert_near(kolmogorov_smirnov(&a, &b).1, p, 0.0005);
    }
}

/// The same distribution is taken for another about as often as the level says, a shifted one nearly always.
#[test]
fn kolmogorov_smirnov_tells_apart_what_differs() {
    let mut rng = Rng::with_seed(20);
    let mut found = |shift: f64| {
        let mut sample = |shift: f64| (0..1000).map(|_| rng.f64() + rng.f64() + shift).collect::<Vec<_>>();
        (0..200).filter(|_| kolmogorov_smirnov(&sample(0.0), &sample(shift)).1 < 0.05).count()
    };
    let (same, shifted) = (found(0.0), found(0.1));
    assert!((1..=25).contains(&same), "{same} of 200");
    assert!(shifted >= 190, "{shifted} of 200");
}

/// `main` of a program calls `check` of a library twice, which calls `compare` of another file once each time.
const PROFILE: &str = "\
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

ob=(1) /bin/program
fl=(1) ???
fn=(1) main
0 30
cob=(2) /lib/check.so
cfn=(2) check
calls=2 0
0 500

ob=(2)
fn=(2)
0 100
+5 20
cob=(3) /lib/libc.so.6
cfi=(2) memcmp.S
cfn=(3) compare
calls=2 17
* 380

ob=(3)
fl=(2)
fn=(3)
17 380

totals: 530
";

#[test]
fn profiles_are_summed_up_by_function() {
    let profile = Profile::parse(PROFILE).unwrap();
    assert_eq!(profile.total, 530);
    let cost = |name| {
        let cost = profile.function(name);
        [cost.inclusive, cost.own, cost.calls]
    };
    assert_eq!([cost("main"), cost("check"), cost("compare")], [[530, 30, 0], [500, 120, 2], [380, 380, 2]]);
    let of_file: Vec<&str> = profile.of_file("check.so").into_iter().map(|(name, _)| name).collect();
    assert_eq!(of_file, ["check"]);
    // One that is still being written.
    assert!(Profile::parse(&PROFILE.replace("totals: 530\n", "")).is_err());
}

#[test]
fn the_difference_of_two_profiles_is_what_came_between() {
    let more = PROFILE.replace("0 100", "0 150").replace("0 500", "0 550").replace("calls=2 0", "calls=3 0");
    let more = Profile::parse(&more.replace("totals: 530", "totals: 580")).unwrap();
    let between = more.beyond(&Profile::parse(PROFILE).unwrap());
    let check = between.function("check");
    assert_eq!((between.total, [check.inclusive, check.own, check.calls]), (50, [50, 50, 1]));
    assert_eq!(between.function("compare").inclusive, 0);
}
