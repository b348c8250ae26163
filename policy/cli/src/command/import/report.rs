//! What an import tells: on standard error, for standard output is the policy.

use mqtt_acl_import::acl::Access;
use mqtt_acl_import::check::{Cause, Class, Difference, Report};
use mqtt_acl_policy::{Escaped, Extent, Problem};

use crate::text::{complain, count};

/// The warnings of the new policy, which is not a file yet in which they could have a place.
pub(super) fn warnings(warnings: &[Problem]) {
    for warning in warnings {
        complain(format_args!("warning: {}", warning.text));
    }
}

pub(super) fn print(report: &Report, users: usize) {
    for difference in &report.unexplained {
        complain(format_args!("mqtt-acl: unexplained: {}", sentence(difference)));
    }
    let more = report.unexplained_count.saturating_sub(report.unexplained.len() as u64);
    if more > 0 {
        complain(format_args!("mqtt-acl: unexplained: and {more} more"));
    }
    for ((cause, allowed), class) in &report.classes {
        let Class { users, cases, example } = class;
        let who = if example.user.is_none() && *users == 1 {
            "clients without a user name".into()
        } else {
            count(*users, "user")
        };
        let cases = count(usize::try_from(*cases).unwrap_or(usize::MAX), "case");
        complain(format_args!(
            "difference: {}: {who}, {cases}, such as: {}",
            words(*cause, *allowed),
            sentence(example)
        ));
    }
    if report.extent == Extent::Part {
        complain("warning: some users have so many rules that only a part of the cases was looked at");
    }
    let verdict = if report.unexplained_count > 0 { "NOT the same" } else { "the same but for the differences above" };
    let verdict = if report.unexplained_count == 0 && report.classes.is_empty() { "the same" } else { verdict };
    complain(format_args!(
        "compared: {} topics and {} subscriptions of {} that stand for {}: {verdict}",
        report.cases,
        report.subscriptions,
        count(report.clients, "client"),
        count(users, "user"),
    ));
}

fn words(cause: Cause, allowed: bool) -> &'static str {
    match (cause, allowed) {
        (Cause::LeftOut, false) => "rules that were left out grant this no more",
        (Cause::LeftOut, true) => "denies that were left out deny this no more",
        (Cause::DenyWins, _) => "a deny wins wherever it stands",
        (Cause::WildcardIds, _) => "what everybody may do, clients with `+` or `#` in their id now may too",
        (Cause::HiddenTopics, false) => "wildcards no longer match topics that begin with `$`",
        (Cause::HiddenTopics, true) => "wildcards no longer deny topics that begin with `$`",
        (Cause::Default, false) => "what no rule speaks of is refused",
        (Cause::Default, true) => "what no rule speaks of is granted",
        (Cause::Brokers, false) => "the brokers differ about this, so it is refused",
        (Cause::Brokers, true) => "the brokers differ about this, and it is granted",
        (Cause::ClientIds, _) => "client ids that are refused",
        (Cause::Subscriptions, _) => "subscriptions that are refused, for nobody grants what they would be handed",
        (Cause::MoreSubscriptions, _) => {
            "subscriptions that are granted, as something they may have would be handed to them"
        }
        (Cause::Together, _) => "several of these causes together",
    }
}

fn sentence(difference: &Difference) -> String {
    let Difference { user, client_id, access, topic, allowed, reason, broker } = difference;
    let who = match user {
        Some(user) => format!("user `{}`", Escaped(user)),
        None => "a client without a user name".to_owned(),
    };
    let what = match access {
        None => format!("connect as `{}`", Escaped(topic)),
        Some(Access::Read) => format!("receive `{}`", Escaped(topic)),
        Some(Access::Write) => format!("publish to `{}`", Escaped(topic)),
        Some(Access::Subscribe) => format!("subscribe to `{}`", Escaped(topic)),
    };
    let id = match (access, user) {
        (None, _) => String::new(),
        (_, Some(user)) if user == client_id => String::new(),
        _ => format!(" with client id `{}`", Escaped(client_id)),
    };
    let (here, there) = if *allowed { ("may", "refuses") } else { ("may not", "allows") };
    format!("{who}{id} {here} {what} ({reason}), which {broker} {there}")
}
