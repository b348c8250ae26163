//! Memory for secrets, which no core dump shows and which is wiped when it is given back (S31).

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

/// Bytes on pages of their own, zeros at first.
pub(crate) struct Hidden(MmapMut);

impl Hidden {
    /// `None` where the system has no such memory.
    pub(crate) fn new(length: usize) -> Option<Self> {
        let pages = MmapMut::map_anon(length.max(1)).ok()?;
        pages.advise(Advice::DontDump).ok()?;
        Some(Self(pages))
    }
}

impl Deref for Hidden {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Hidden {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel tells it: `dd` is "do not include in a core dump".
    #[test]
    fn no_core_dump_shows_it() {
        let hidden = Hidden::new(32).unwrap();
        let address = hidden.as_ptr().addr();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        // Where neighbours are alike, the kernel makes them one.
        let holds = |line: &str| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            range
                .and_then(|(start, end)| Some(number(start)?..number(end)?))
                .is_some_and(|range| range.contains(&address))
        };
        let mapping = smaps.lines().skip_while(|line| !holds(line));
        let flags = mapping.skip(1).find(|line| line.starts_with("VmFlags:"));
        assert!(flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "dd")), "{flags:?}");
    }
}
