//! Policies of the size that a large fleet has (S37).

#[path = "support/scale.rs"]
mod scale;

use mqtt_acl_policy::{Trust, load, parse};
use scale::{ROLES, Scale};

/// As files and as one text, it is a policy without a warning, and of the size that it says.
#[test]
fn generated_policies_load() {
    let folder = std::env::temp_dir().join(format!("mqtt-acl-scale-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let scale = Scale { own_rules: 3, ..Scale::of(1_000) };
    let (path, size) = scale.write(&folder).unwrap();
    let from_files = load(&path, &Trust::process());
    std::fs::remove_dir_all(&folder).unwrap();
    let text = scale.text();
    assert!(text.len().abs_diff(usize::try_from(size).unwrap()) < 100);
    for loaded in [from_files.unwrap(), parse(&text, "p.toml").unwrap()] {
        assert_eq!(loaded.warnings, []);
        let size = loaded.policy.size();
        assert_eq!((size.users, size.roles, size.rules), (1_000, ROLES, scale.rules()));
        assert!(size.rules > ROLES * 10 + 3 * 30 && size.rules < ROLES * 10 + 3 * 70, "{size:?}");
    }
    let plain = parse(&Scale::plain(1_000).text(), "p.toml").unwrap();
    assert_eq!((plain.warnings, plain.policy.size().rules), (vec![], Scale::plain(1_000).rules()));
}
