use crate::host::{Folder, POLICY, good};

const PASSING: &str = "\
policy.toml:17:23: ok: user `dev1` with client id `dev1` can publish `dt/dev1/x`: granted by role `device` publish \
                       `dt/%u/#` (policy.toml:4)
policy.toml:18:23: ok: user `dev1` with client id `dev1` cannot publish `dt/dev2/x`: no rule grants it
";

#[test]
fn each_line_is_told_in_the_order_of_the_file() {
    let folder = Folder::with(good());
    folder.run("test policy.toml").is(0, &format!("{PASSING}2 passed, 0 failed\n"), "");
}

#[test]
fn a_failed_test_is_told_among_the_others() {
    let folder = Folder::with(POLICY);
    let failed = "policy.toml:18:47: FAILED: user `dev1` with client id `dev1` can connect: the user is admitted under \
                  this client id\n";
    folder.run("test policy.toml").is(1, &format!("{PASSING}{failed}2 passed, 1 failed\n"), "");
}

#[test]
fn no_tests_is_fine_and_said() {
    let folder = Folder::with("version = 1\n");
    folder.run("test policy.toml").is(0, "no tests\n", "");
}

#[test]
fn other_problems_come_first() {
    let folder = Folder::with(format!("{POLICY}\n[roles.x]\npublish = [\"+x\"]\n"));
    let ran = folder.run("test policy.toml");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("policy.toml:21:12: `+x`"), "{}", ran.err);
    let folder = Folder::new();
    folder.run("test policy.toml").is(
        1,
        "",
        "policy.toml: there is no such file, and a broker that starts without it admits nobody (name the right one)\n",
    );
}
