use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::exit::{Error, Exit, Outcome};

/// Print the JSON Schema of policies, for editors
///
/// An editor that knows it completes the keys of a policy, explains them, and marks what has the wrong form; Taplo and the
/// extensions that are made of it read it from a first line `#:schema PATH`. What the values mean together is what `check`
/// tells.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl schema > policy.schema.json
  taplo lint --schema file://$PWD/policy.schema.json policy.toml

At the top of a policy, with the schema of the package:
  #:schema /usr/share/mqtt-acl/policy.schema.json

Exit status:
  0  printed
  2  wrong usage")]
pub(crate) struct Schema {}

impl Schema {
    #[expect(clippy::unused_self, reason = "as all commands")]
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let text = serde_json::to_string_pretty(&schema()).map_err(|error| Error::Failed(error.to_string()))?;
        writeln!(out, "{text}")?;
        Ok(Exit::Fine)
    }
}

/// The form of one file of a policy: what the engine's reader takes, no more and no less, which a test compares.
fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A policy of mqtt-acl",
        "description": "Who may log in to a Mosquitto broker, publish, subscribe and receive",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "version": described("Of the policy's language; needed in the first file", json!({ "type": "integer", "const": 1 })),
            "include": described("Further files, relative to this one; `*` in the last part only", texts()),
            "roles": described("What kinds of clients may do", json!({ "type": "object", "additionalProperties": reference("rules") })),
            "users": described(
                "Who may log in; a second table in another file may hold `password` and `disabled` alone",
                json!({ "type": "object", "additionalProperties": reference("user") }),
            ),
            "anonymous": described("Clients without a user name, who are refused without this", reference("rules")),
            "match": described("Adds roles to the listed users whose name fits", json!({ "type": "array", "items": reference("match") })),
            "logins": described("Passwords that take time to check", reference("logins")),
            "guard": described("Against guessing", reference("guard")),
            "test": described(
                "Checked before the policy takes effect",
                json!({ "type": "array", "items": reference("test") }),
            ),
        },
        "definitions": {
            "rules": table(rules()),
            "user": table(with(rules(), &[
                ("roles", described("Names of `[roles.NAME]`", texts())),
                (
                    "password",
                    described("A string made by `mqtt-acl hash` or `mqtt-acl token`, or a list, the current one first", one_or_more()),
                ),
                (
                        "attributes",
                        described("What `%{NAME}` stands for", json!({ "type": "object", "additionalProperties": text() })),
                    ),
                    ("disabled", described("Admitted nowhere, whatever another file says", flag())),
            ])),
            "deny": table(json!({
                "publish": described("Topics that it may not publish to, whoever grants them", texts()),
                "subscribe": described("What it is not handed, and may not subscribe to, whoever grants it", texts()),
                "client_id": described("Client ids that it may not have", texts()),
            })),
            "match": table(json!({
                "username": described("Names of users, or what they begin with and `*`", one_or_more()),
                "roles": described("Names of `[roles.NAME]`", texts()),
                "unlisted": described(
                    "Also names that the broker took from a certificate or PSK, and nobody listed",
                    flag(),
                ),
            })),
            "logins": table(json!({
                "delayed": described("Mosquitto 2.1: MQTT 3 clients wait while a thread checks; false: the broker waits", flag()),
                "share": described("Where the broker waits: how much of its time checking may take, in percent", number(1, 90)),
            })),
            "guard": table(json!({
                "trusted": described("Addresses and networks that the guard leaves alone", texts()),
                "user_failures": described(
                    "Wrong passwords for one user from one address, and then no more are checked",
                    number(1, 1_000_000),
                ),
                "address_failures": described("The same for an address, whatever the user", number(1, 1_000_000)),
                "minutes": described("So long it takes until they are forgotten", number(1, 1440)),
            })),
            "test": table(json!({
                "user": described("Who tries", text()),
                "anonymous": described("Who tries: a client without a user name", flag()),
                "client_id": described("Another client id than the usual one", text()),
                "can": described("What must be allowed", reference("deeds")),
                "cannot": described("What must be refused", reference("deeds")),
            })),
            "deeds": table(json!({
                "connect": described("Being admitted", json!({ "const": true })),
                "publish": described("Publishing to each of these topics", texts()),
                "subscribe": described("Subscribing to each of these filters", texts()),
                "receive": described("Being handed a message of each of these topics", texts()),
            })),
        },
    })
}

/// The keys that roles, users and `[anonymous]` have in common.
fn rules() -> Value {
    json!({
        "client_id": described("The ids it may connect under; left out: `%u` and `%u-*`", texts()),
        "publish": described("Topics it may publish to, also as a will; `%u` is the user name, as one whole level", texts()),
        "subscribe": described("Filters it may subscribe to, and what it is handed", texts()),
        "receive": described("What it is handed, but may not subscribe to", texts()),
        "deny": described("What is refused whoever grants it", reference("deny")),
        "overlap": described("A subscription is granted as soon as a part of it may be read", flag()),
        "share": described("The groups of shared subscriptions that this grants; left out: any", texts()),
        "api": described("May use the HTTP listener of Mosquitto 2.1", flag()),
        "auto_id": described("false: may not leave the client id to the broker", flag()),
    })
}

fn table(properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn with(mut properties: Value, more: &[(&str, Value)]) -> Value {
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    properties
}

/// Some editors overlook what stands beside `$ref`, so it is wrapped.
fn reference(name: &str) -> Value {
    json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }] })
}

fn described(description: &str, form: Value) -> Value {
    with(
        json!({ "description": description }),
        &form
            .as_object()
            .map_or_else(Vec::new, |form| form.iter().map(|(key, value)| (key.as_str(), value.clone())).collect()),
    )
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

fn one_or_more() -> Value {
    json!({ "anyOf": [text(), texts()] })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn number(least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}
