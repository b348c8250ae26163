//! Whether a shared library could be loaded as the broker's plugin, told from the file: nothing of it is run.

use std::fs;
use std::path::Path;

use object::read::elf::{ElfFile, ElfFile32, ElfFile64, FileHeader};
use object::{Architecture, Endianness, FileKind, Object, ObjectKind, ObjectSymbol};

/// What the broker calls.
const FUNCTIONS: [&str; 3] = ["mosquitto_plugin_version", "mosquitto_plugin_init", "mosquitto_plugin_cleanup"];

/// The plugin says this, whatever its file is called.
const MARK: &[u8] = b"/etc/mosquitto/mqtt-acl/policy.toml";

/// Where a system keeps its C library.
const C_LIBRARIES: [&str; 6] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/arm-linux-gnueabihf/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib/libc.so.6",
    "/lib/libc.so.6",
];

type Version = (u32, u32);

/// Whether the file is this plugin, by its name or by what is in it.
pub(super) fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains("mqtt_acl") || fs::read(path).is_ok_and(|data| data.windows(MARK.len()).any(|part| part == MARK))
}

/// What keeps the library from being loaded by a broker, whose program is given where it was found.
///
/// # Errors
/// The file cannot be read.
pub(super) fn problems(path: &Path, broker: Option<&Path>) -> std::io::Result<Vec<String>> {
    let data = fs::read(path)?;
    let broker = broker.and_then(|path| fs::read(path).ok());
    let wanted = broker.as_deref().and_then(architecture).or_else(own_architecture);
    Ok(match FileKind::parse(&*data) {
        Ok(FileKind::Elf64) => ElfFile64::<Endianness>::parse(&*data).map(|file| look(&file, wanted)),
        Ok(FileKind::Elf32) => ElfFile32::<Endianness>::parse(&*data).map(|file| look(&file, wanted)),
        _ => return Ok(vec!["it is not a shared library (install the package's)".into()]),
    }
    .unwrap_or_else(|_| vec!["it is a damaged shared library (install it anew)".into()]))
}

fn look<Elf: FileHeader<Endian = Endianness>>(file: &ElfFile<'_, Elf>, wanted: Option<Architecture>) -> Vec<String> {
    let mut problems = Vec::new();
    if file.kind() != ObjectKind::Dynamic {
        problems.push("it is a program or an object file, not a shared library".into());
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted != file.architecture()) {
        problems.push(format!(
            "it is made for {:?}, and the broker runs on {wanted:?} (install the package of this architecture)",
            file.architecture()
        ));
    }
    let exported =
        |name: &str| file.dynamic_symbols().any(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
    for name in FUNCTIONS.into_iter().filter(|name| !exported(name)) {
        problems.push(format!("it does not export `{name}`, so it is no plugin of Mosquitto 2 or newer"));
    }
    let needed = needed(file).unwrap_or_default();
    if let Some(present) =
        C_LIBRARIES.iter().find_map(|path| glibc(Path::new(path))).filter(|present| *present < needed)
    {
        problems.push(format!(
            "it needs glibc {}.{}, and this system has {}.{} (build it on the oldest system that it is to run on)",
            needed.0, needed.1, present.0, present.1
        ));
    }
    problems
}

fn architecture(data: &[u8]) -> Option<Architecture> {
    object::File::parse(data).ok().map(|file| file.architecture())
}

fn own_architecture() -> Option<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Architecture::X86_64),
        "aarch64" => Some(Architecture::Aarch64),
        "arm" => Some(Architecture::Arm),
        "x86" => Some(Architecture::I386),
        "riscv64" => Some(Architecture::Riscv64),
        _ => None,
    }
}

/// The newest version of glibc that a symbol is wanted from.
fn needed<Elf: FileHeader<Endian = Endianness>>(file: &ElfFile<'_, Elf>) -> Option<Version> {
    let endian = file.endian();
    let (mut needs, strings) = file.elf_section_table().gnu_verneed(endian, file.data()).ok()??;
    let strings = file.elf_section_table().strings(endian, file.data(), strings).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut versions))) = needs.next() {
        while let Ok(Some(version)) = versions.next() {
            newest = newest.max(version.name(endian, strings).ok().and_then(glibc_version));
        }
    }
    newest
}

/// The version of a C library: the newest that it defines.
fn glibc(path: &Path) -> Option<Version> {
    let data = fs::read(path).ok()?;
    let file = ElfFile64::<Endianness>::parse(&*data).ok()?;
    let endian = file.endian();
    let (mut defined, strings) = file.elf_section_table().gnu_verdef(endian, &*data).ok()??;
    let strings = file.elf_section_table().strings(endian, &*data, strings).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut names))) = defined.next() {
        while let Ok(Some(name)) = names.next() {
            newest = newest.max(name.name(endian, strings).ok().and_then(glibc_version));
        }
    }
    newest
}

fn glibc_version(name: &[u8]) -> Option<Version> {
    let (major, minor) = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?.split_once('.')?;
    // 2.2.5 is 2.2 to us.
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_glibc() {
        assert_eq!(glibc_version(b"GLIBC_2.38"), Some((2, 38)));
        assert_eq!(glibc_version(b"GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc_version(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc_version(b"GCC_3.0"), None);
    }
}
