//! Mistakes that an importer could make.

use fastrand::Rng;
use mqtt_acl_import::draft::{Draft, Lists};

/// How many kinds of mistakes there are.
pub(crate) const KINDS: usize = 7;

/// Makes one mistake in the policy, if it can be made there; what it is.
pub(crate) fn mutate(draft: &mut Draft, random: &mut Rng) -> Option<&'static str> {
    let kind = random.usize(..KINDS);
    if kind == 6 {
        let at = random.usize(..draft.users.len().max(1));
        draft.users.get_mut(at)?.lists = Lists::default();
        return Some("a user's own rules are lost");
    }
    let roles = draft.roles.iter_mut().map(|role| &mut role.lists);
    let mut sets: Vec<&mut Lists> = roles.chain(draft.users.iter_mut().map(|user| &mut user.lists)).collect();
    let at = random.usize(..sets.len().max(1));
    let lists = sets.get_mut(at)?;
    let all = [&mut lists.publish, &mut lists.subscribe, &mut lists.deny_publish, &mut lists.deny_subscribe];
    let mut lists: Vec<&mut Vec<String>> = all.into_iter().collect();
    let full = (0..lists.len()).filter(|at| !lists[*at].is_empty()).collect::<Vec<_>>();
    let from = *full.get(random.usize(..full.len().max(1)))?;
    let number = random.usize(..lists[from].len());
    match kind {
        0 => {
            lists[from].remove(number);
            Some("a rule is lost")
        }
        1 => {
            let filter = lists[from].remove(number);
            lists[from ^ 1].push(filter);
            Some("read is taken for write")
        }
        2 => {
            let filter = lists[from].remove(number);
            lists[from ^ 2].push(filter);
            Some("a deny is taken for a grant")
        }
        3 => {
            let filter = &mut lists[from][number];
            if filter.ends_with('#') || filter.starts_with('$') {
                return None;
            }
            filter.push_str("/#");
            Some("a filter is wider")
        }
        4 => {
            let filter = &mut lists[from][number];
            *filter = filter.strip_suffix("/#")?.to_owned();
            if filter.is_empty() {
                return None;
            }
            Some("a filter is narrower")
        }
        _ => {
            let filter = &mut lists[from][number];
            if !filter.split('/').any(|level| level == "%u") {
                return None;
            }
            *filter =
                filter.split('/').map(|level| if level == "%u" { "+" } else { level }).collect::<Vec<_>>().join("/");
            Some("a name is taken for any")
        }
    }
}
