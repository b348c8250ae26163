//! Where the library under test is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The library under test.
pub(crate) fn library() -> PathBuf {
    let path = env::var_os("MQTT_ACL_SO").map_or_else(|| target_dir().join("release/libmqtt_acl.so"), PathBuf::from);
    fs::canonicalize(&path).unwrap_or_else(|error| {
        panic!("{}: {error} (build it with `cargo build --release`, or name one in MQTT_ACL_SO)", path.display())
    })
}

/// The library with its fault hook, built here so that nobody mistakes it for the one to install.
pub(crate) fn faulty_library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let folder = target_dir().join("fault");
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--release", "--lib", "--features", "fault-injection", "--target-dir"])
                .arg(&folder)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap();
            assert!(status.success(), "building with the feature fault-injection");
            folder.join("release/libmqtt_acl.so")
        })
        .clone()
}

fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}
