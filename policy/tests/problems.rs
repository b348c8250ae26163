//! Problems: for every kind of mistake a policy, and the very lines that a person reads. All mistakes are found at once.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use mqtt_acl_policy::{Failure, parse};

/// The name of the row, the policy, and the problems or warnings.
const ROWS: &[(&str, &str, &[&str])] = &[
    (
        "version missing",
        r#"[roles.r]
"#,
        &["p.toml: the version of the language is missing (write `version = 1` at the top)"],
    ),
    (
        "version unknown",
        r#"version = 2
"#,
        &["p.toml:1:11: version `2` is not known (write `version = 1`)"],
    ),
    (
        "version of the wrong type",
        r#"version = "1"
"#,
        &["p.toml:1:11: `version` is of type string (write a number, `version = 1`)"],
    ),
    (
        "not TOML",
        r#"version = 1
[roles.r
publish = ["a"]
[users.x]
roles = ["gone"]
name = 
"#,
        &[
            "p.toml:2:9: not TOML: unclosed table, expected `]`",
            "p.toml:6:8: not TOML: string values must be quoted, expected literal string",
        ],
    ),
    (
        "not TOML twice",
        r#"version = 1
a = 
b = 'x
"#,
        &[
            "p.toml:2:5: not TOML: string values must be quoted, expected literal string",
            "p.toml:3:7: not TOML: invalid literal string, expected `'`",
        ],
    ),
    (
        "table twice",
        r#"version = 1
[roles.r]
[roles.r]
"#,
        &["p.toml:3:8: not TOML: duplicate key"],
    ),
    (
        "key twice",
        r#"version = 1
[roles.r]
api = true
api = false
"#,
        &["p.toml:4:1: not TOML: duplicate key"],
    ),
    (
        "logins and guard",
        r#"version = 1
[logins]
delayed = "no"
share = 91
workers = 3
[guard]
trusted = ["10.0.0.0/33", "localhost", "::1"]
user_failures = 0
address_failures = "many"
minutes = 0x5a1
failures = 3
"#,
        &[
            "p.toml:3:11: `delayed` is of type string (write `true` or `false`)",
            "p.toml:4:9: `share` is `91` (write a number from 1 to 90)",
            "p.toml:5:1: `workers` is not a key of `[logins]` (known are `delayed`, `share`)",
            "p.toml:7:12: `10.0.0.0/33` is not an address or a network (write `192.0.2.7` or `2001:db8::/32`)",
            "p.toml:7:27: `localhost` is not an address or a network (write `192.0.2.7` or `2001:db8::/32`)",
            "p.toml:8:17: `user_failures` is `0` (write a number from 1 to 1000000)",
            "p.toml:9:20: `address_failures` is of type string (write a number from 1 to 1000000)",
            "p.toml:10:11: `minutes` is `1441` (write a number from 1 to 1440)",
            "p.toml:11:1: `failures` is not a key of `[guard]` (known are `trusted`, `user_failures`, `address_failures`, `minutes`)",
        ],
    ),
    (
        "unknown key of the policy",
        r#"version = 1
role = 1
whatever = 2
"#,
        &[
            "p.toml:2:1: `role` is not a key of the policy (did you mean `roles`?)",
            "p.toml:3:1: `whatever` is not a key of the policy (known are `version`, `include`, `roles`, `users`, `anonymous`, `match`, `logins`, `guard`, `test`)",
        ],
    ),
    (
        "unknown key of a role",
        r#"version = 1
[roles.r]
publsh = []
password = "x"
"#,
        &[
            "p.toml:3:1: `publsh` is not a key of role `r` (did you mean `publish`?)",
            "p.toml:4:1: `password` is not a key of role `r` (known are `client_id`, `publish`, `subscribe`, `receive`, `deny`, `overlap`, `share`, `api`, `auto_id`)",
        ],
    ),
    (
        "unknown key of a user",
        r#"version = 1
[users.u]
role = ["r"]
pasword = "x"
enabled = true
"#,
        &[
            "p.toml:3:1: `role` is not a key of user `u` (did you mean `roles`?)",
            "p.toml:4:1: `pasword` is not a key of user `u` (did you mean `password`?)",
            "p.toml:5:1: `enabled` is not a key of user `u` (did you mean `disabled`?)",
        ],
    ),
    (
        "unknown key of [anonymous]",
        r#"version = 1
[anonymous]
roles = ["r"]
"#,
        &[
            "p.toml:3:1: `roles` is not a key of [anonymous] (known are `client_id`, `publish`, `subscribe`, `receive`, `deny`, `overlap`, `share`, `api`, `auto_id`)",
        ],
    ),
    (
        "unknown key of deny",
        r#"version = 1
[roles.r]
deny = { pubish = [], receive = [], write = [] }
"#,
        &[
            "p.toml:3:10: `pubish` is not a key of `deny` (did you mean `publish`?)",
            "p.toml:3:23: `deny.receive` is not a key (write `deny.subscribe`, which also denies deliveries)",
            "p.toml:3:37: `write` is not a key of `deny` (known are `publish`, `subscribe`, `client_id`)",
        ],
    ),
    (
        "unknown key of [[match]]",
        r#"version = 1
[roles.r]
[[match]]
user = "a"
username = "a"
roles = ["r"]
"#,
        &["p.toml:4:1: `user` is not a key of `[[match]]` (known are `username`, `roles`, `unlisted`)"],
    ),
    (
        "unknown key of [[test]]",
        r#"version = 1
[[test]]
user = "a"
usr = "b"
cant = 1
cannot = { connect = true, read = ["a"] }
"#,
        &[
            "p.toml:4:1: `usr` is not a key of `[[test]]` (did you mean `user`?)",
            "p.toml:5:1: `cant` is not a key of `[[test]]` (did you mean `can`?)",
            "p.toml:6:28: `read` is not a key of `cannot` (known are `connect`, `publish`, `subscribe`, `receive`)",
        ],
    ),
    (
        "wrong types",
        r#"version = 1
include = "a.toml"
roles = 1
users = []
anonymous = true
match = {}
test = 1
"#,
        &[
            r#"p.toml:2:11: `include` is of type string (write a list of texts, `include = ["a.toml"]`)"#,
            "p.toml:3:9: `roles` is of type integer (write a table)",
            "p.toml:4:9: `users` is of type array (write a table)",
            "p.toml:5:13: `anonymous` is of type boolean (write a table)",
            "p.toml:6:9: `match` is of type table (write blocks headed `[[match]]`)",
            "p.toml:7:8: `test` is of type integer (write blocks headed `[[test]]`)",
        ],
    ),
    (
        "wrong types in a role",
        r#"version = 1
[roles.r]
client_id = "%u"
publish = "a"
subscribe = [1, "b", ["c"]]
receive = {}
deny = ["x"]
overlap = 1
share = true
api = "yes"
auto_id = 0
"#,
        &[
            r#"p.toml:3:13: `client_id` is of type string (write a list of texts, `client_id = ["%u"]`)"#,
            r#"p.toml:4:11: `publish` is of type string (write a list of texts, `publish = ["a"]`)"#,
            "p.toml:5:14: `subscribe` is of type integer (write a text in quotes)",
            "p.toml:5:22: `subscribe` is of type array (write a text in quotes)",
            r#"p.toml:6:11: `receive` is of type table (write a list of texts, `["..."]`)"#,
            "p.toml:7:8: `deny` is of type array (write a table)",
            "p.toml:8:11: `overlap` is of type integer (write `true` or `false`)",
            r#"p.toml:9:9: `share` is of type boolean (write a list of texts, `["..."]`)"#,
            "p.toml:10:7: `api` is of type string (write `true` or `false`)",
            "p.toml:11:11: `auto_id` is of type integer (write `true` or `false`)",
        ],
    ),
    (
        "wrong types in a user",
        r#"version = 1
[users]
x = 1
[users.u]
roles = "r"
password = 1
disabled = "true"
"#,
        &[
            "p.toml:3:5: `users.x` is of type integer (write a table)",
            r#"p.toml:5:9: `roles` is of type string (write a list of texts, `roles = ["r"]`)"#,
            "p.toml:6:12: `password` is of type integer (write a text in quotes)",
            "p.toml:7:12: `disabled` is of type string (write `true` or `false`)",
        ],
    ),
    (
        "wrong types in [[match]] and [[test]]",
        r#"version = 1
[roles.r]
[[match]]
username = 1
roles = "r"
unlisted = 1
[[test]]
user = 1
anonymous = 1
client_id = 1
can = { connect = false, publish = "a" }
"#,
        &[
            "p.toml:4:12: `username` is of type integer (write a text in quotes)",
            r#"p.toml:5:9: `roles` is of type string (write a list of texts, `roles = ["r"]`)"#,
            "p.toml:6:12: `unlisted` is of type integer (write `true` or `false`)",
            "p.toml:8:8: `user` is of type integer (write a text in quotes)",
            "p.toml:9:13: `anonymous` is of type integer (write `true` or `false`)",
            "p.toml:10:13: `client_id` is of type integer (write a text in quotes)",
            "p.toml:11:19: `connect` is of type boolean (write `true`; what must not be goes under `cannot`)",
            r#"p.toml:11:36: `publish` is of type string (write a list of texts, `publish = ["a"]`)"#,
        ],
    ),
    (
        "bad filters",
        r##"version = 1
[roles.r]
publish = ["", "a/#/b", "a+", "b#", "a/x-%u", "%U", "%{a b}/a", "%name", "$share/g/a", "a\nb", "#/"]
"##,
        &[
            "p.toml:3:12: ``: a topic filter must not be empty (write `#` for every topic)",
            "p.toml:3:16: `a/#/b`: `#` must be the last level (write `+` for one level)",
            "p.toml:3:25: `a+`: a wildcard must be a whole level, not part of `a+` (write `+` between slashes, or `#` at the end)",
            "p.toml:3:31: `b#`: a wildcard must be a whole level, not part of `b#` (write `+` between slashes, or `#` at the end)",
            "p.toml:3:37: `a/x-%u`: `%u`, `%c` and `%{name}` must be whole levels, not part of `x-%u` (write them between slashes)",
            "p.toml:3:47: `%U`: `%U` is no template (write `%u` for the user name, `%c` for the client id, `%{name}` for an attribute)",
            "p.toml:3:53: `%{a b}/a`: `%{a b}` names no attribute (write `%{name}`, of letters, digits, `-` and `_`)",
            "p.toml:3:65: `%name`: `%name` is no template (write `%u` for the user name, `%c` for the client id, `%{name}` for an attribute)",
            r#"p.toml:3:74: `$share/g/a`: `$share/<group>/` is not part of a rule: every rule also covers shared subscriptions (write the filter without it; `share = ["group"]` limits the groups)"#,
            r#"p.toml:3:88: `a\u{a}b`: `\u{a}` is a control character, which a topic must not hold"#,
            "p.toml:3:96: `#/`: `#` must be the last level (write `+` for one level)",
        ],
    ),
    (
        "bad patterns of client ids",
        r#"version = 1
[roles.r]
client_id = ["", "a*b", "%c", "a\n", "auto-", "auto-*", "http-api"]
deny = { client_id = ["**"] }
"#,
        &[
            "p.toml:3:14: ``: a pattern must not be empty (write `*` for any)",
            "p.toml:3:18: `a*b`: `*` stands only at the end of a pattern",
            "p.toml:3:25: `%c`: `%c` has no meaning in a pattern of names (write `%u` for the user name)",
            r#"p.toml:3:31: `a\u{a}`: `\u{a}` is a control character, which no name may hold"#,
            "p.toml:3:47: `auto-*`: ids of this form are the broker's own, and everybody may have them (leave the pattern out; `auto_id = false` refuses them)",
            "p.toml:3:57: `http-api`: `http-api` is the id of the broker's HTTP listener (write `api = true` to admit its callers)",
            "p.toml:4:23: `**`: `*` stands only at the end of a pattern",
        ],
    ),
    (
        "empty client_id",
        r#"version = 1
[roles.r]
client_id = []
"#,
        &["p.toml:3:13: an empty `client_id` admits no client id (leave the key out for `%u` and `%u-*`)"],
    ),
    (
        "bad share groups",
        r#"version = 1
[roles.r]
share = ["", "a/b", "+", "g#"]
"#,
        &[
            "p.toml:3:10: `` is not the name of a share group (write it without `/`, `+` and `#`)",
            "p.toml:3:14: `a/b` is not the name of a share group (write it without `/`, `+` and `#`)",
            "p.toml:3:21: `+` is not the name of a share group (write it without `/`, `+` and `#`)",
            "p.toml:3:26: `g#` is not the name of a share group (write it without `/`, `+` and `#`)",
        ],
    ),
    (
        "bad names",
        r#"version = 1
[roles.""]
[roles."a\nb"]
[users.""]
[users."a\u0000"]
[users.http-api]
"#,
        &[
            "p.toml:2:8: the name of a role must not be empty (anonymous clients are `[anonymous]`)",
            r#"p.toml:3:8: `\u{a}` is a control character, which no name may hold"#,
            "p.toml:4:8: the name of a user must not be empty (anonymous clients are `[anonymous]`)",
            r#"p.toml:5:8: `\u{0}` is a control character, which no name may hold"#,
            "p.toml:6:8: `http-api` is the client id of the broker's HTTP listener and cannot be a user",
        ],
    ),
    (
        "names that %u cannot stand for",
        r#"version = 1
[users."a/b"]
[users."+"]
[users."$x"]
"#,
        &[
            "p.toml:2:8: warning: `a/b` begins with `$` or holds `+`, `#` or `/`, so `%u` never stands for it",
            "p.toml:3:8: warning: `+` begins with `$` or holds `+`, `#` or `/`, so `%u` never stands for it",
            "p.toml:4:8: warning: `$x` begins with `$` or holds `+`, `#` or `/`, so `%u` never stands for it",
        ],
    ),
    (
        "unknown roles",
        r#"version = 1
[roles.device]
[users.u]
roles = ["devise", "nothing"]
[[match]]
username = "u"
roles = ["divice"]
"#,
        &[
            "p.toml:4:10: role `devise` is not defined (did you mean `device`?)",
            "p.toml:4:20: role `nothing` is not defined (write `[roles.nothing]`)",
            "p.toml:7:10: role `divice` is not defined (did you mean `device`?)",
        ],
    ),
    (
        "[[match]] without its keys",
        r#"version = 1
[roles.r]
[[match]]
[[match]]
username = ["%u", "a*b"]
roles = ["r"]
"#,
        &[
            r#"p.toml:3:1: `[[match]]` needs a `username` (write `username = "dev*"`)"#,
            "p.toml:3:1: `[[match]]` needs `roles`, for it adds them to the users that fit",
            "p.toml:5:13: `%u`: `%u` has no meaning in a pattern of user names (write the name, with `*` at its end for any that begin so)",
            "p.toml:5:19: `a*b`: `*` stands only at the end of a pattern",
        ],
    ),
    (
        "S3 unlisted warns",
        r#"version = 1
[roles.r]
[[match]]
username = "cert-*"
roles = ["r"]
unlisted = true
"#,
        &[
            "p.toml:6:12: warning: `unlisted` admits names that no user table lists, on every listener where the broker itself takes the name from a certificate or PSK",
        ],
    ),
    (
        "S5 default ids overlap",
        r#"version = 1
[users.dev]
[users.dev-1]
"#,
        &[
            r#"p.toml:2:8: user `dev` may use the client ids `dev-*`, which would include those of user `dev-1` (write `client_id = ["%u"]` for `dev`)"#,
        ],
    ),
    (
        "S5 the remedy works",
        r#"version = 1
[users.dev]
client_id = ["%u"]
[users.dev-1]
"#,
        &[],
    ),
    (
        "S5 a pattern of a role",
        r#"version = 1
[roles.r]
client_id = ["%u*"]
[users.dev]
roles = ["r"]
[users.dev2]
roles = ["r"]
[users.dev3]
"#,
        &[
            "p.toml:3:14: the client ids of user `dev` would include those of user `dev2`, whose session they could take (write a pattern that keeps them apart)",
        ],
    ),
    (
        "S5 another's name",
        r#"version = 1
[users.a]
client_id = ["b"]
[users.b]
[users.c]
client_id = ["b-1", "b-*", "b*"]
"#,
        &[
            "p.toml:3:14: the client ids of user `a` would include those of user `b`, whose session they could take (write a pattern that keeps them apart)",
            "p.toml:6:14: the client ids of user `c` would include those of user `b`, whose session they could take (write a pattern that keeps them apart)",
            "p.toml:6:21: the client ids of user `c` would include those of user `b`, whose session they could take (write a pattern that keeps them apart)",
            "p.toml:6:28: the client ids of user `c` would include those of user `b`, whose session they could take (write a pattern that keeps them apart)",
        ],
    ),
    (
        "S5 a disabled user keeps its ids",
        r#"version = 1
[users.a]
client_id = ["b"]
[users.b]
disabled = true
"#,
        &[
            "p.toml:3:14: the client ids of user `a` would include those of user `b`, whose session they could take (write a pattern that keeps them apart)",
        ],
    ),
    (
        "S4 any id warns",
        r#"version = 1
[roles.r]
client_id = ["*"]
[users.a]
roles = ["r"]
[users.b]
"#,
        &[
            "p.toml:3:14: warning: `*` lets its holders take over the session of any client that is not a listed user's (write patterns that begin with `%u`)",
        ],
    ),
    (
        "S12 %c beside free ids",
        r#"version = 1
[roles.any]
client_id = ["*"]
[roles.r]
publish = ["a", "x/%c"]
[users.u]
roles = ["any", "r"]
[anonymous]
deny = { publish = ["%c"] }
"#,
        &[
            "p.toml:3:14: warning: `*` lets its holders take over the session of any client that is not a listed user's (write patterns that begin with `%u`)",
            "p.toml:5:17: `%c` in a rule whose holder may choose any client id grants everything that it could stand for (write `%u`, or bind the ids with `client_id`)",
            "p.toml:9:21: `%c` in a rule whose holder may choose any client id grants everything that it could stand for (write `%u`, or bind the ids with `client_id`)",
        ],
    ),
    (
        "S12 %c and free ids from two blocks that one name fits",
        r##"version = 1
[roles.any]
client_id = ["*"]
[roles.r]
publish = ["%c"]
[roles.s]
publish = ["%c"]
[[match]]
username = "a*"
roles = ["any"]
unlisted = true
[[match]]
username = ["ab", "b"]
roles = ["r"]
unlisted = true
[[match]]
username = ["a", "b*"]
roles = ["s"]
unlisted = true
"##,
        &[
            "p.toml:3:14: warning: `*` lets its holders take over the session of any client that is not a listed user's (write patterns that begin with `%u`)",
            "p.toml:5:12: `%c` in a rule whose holder may choose any client id grants everything that it could stand for (write `%u`, or bind the ids with `client_id`)",
            "p.toml:11:12: warning: `unlisted` admits names that no user table lists, on every listener where the broker itself takes the name from a certificate or PSK",
            "p.toml:15:12: warning: `unlisted` admits names that no user table lists, on every listener where the broker itself takes the name from a certificate or PSK",
            "p.toml:19:12: warning: `unlisted` admits names that no user table lists, on every listener where the broker itself takes the name from a certificate or PSK",
        ],
    ),
    (
        "S12 %u of anonymous clients",
        r#"version = 1
[anonymous]
publish = ["a/%u"]
client_id = ["c-*"]
"#,
        &["p.toml:3:12: `a/%u`: an anonymous client has no user name for `%u`"],
    ),
    (
        "S4 %u of anonymous clients",
        r#"version = 1
[anonymous]
client_id = ["%u-*", "c"]
"#,
        &["p.toml:3:14: an anonymous client has no user name for `%u`"],
    ),
    (
        "a suggestion is near",
        r#"version = 1
[roles.r]
[roles.ab]
[roles.abc]
[users.u]
roles = ["x", "ac", "abd"]
"#,
        &[
            "p.toml:6:10: role `x` is not defined (write `[roles.x]`)",
            "p.toml:6:15: role `ac` is not defined (did you mean `abc`?)",
            "p.toml:6:21: role `abd` is not defined (did you mean `abc`?)",
        ],
    ),
    (
        "passwords",
        r#"version = 1
[users.a]
password = ""
[users.b]
password = "hunter2"
[users.c]
password = "$6$c2FsdA==$aGFzaA=="
[users.d]
password = "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$x"
[users.e]
password = "$7$5000000$c2FsdHNhbHRzYWx0$x"
[users.f]
password = "$7$101$c2FsdHNhbHRzYWx0"
[users.g]
password = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ"
[users.h]
password = ["$1$x", 1]
[users.i]
password = ["", "", "", "", ""]
"#,
        &[
            "p.toml:3:12: an empty password admits nobody (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:5:12: this is not a password string; passwords are never written in the clear (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:7:12: not a readable `$6$` string: the hash is not base64 of 64 bytes (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:9:12: not a readable argon2id string: m=4194304,t=1,p=1 is too dear: every login would cost it; m times t may be 262144 at most, p 16 (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:11:12: not a readable `$7$` string: 5000000 iterations are too dear: every login would cost them; 1000000 at most (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:13:12: not a readable `$7$` string: a field is missing (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:15:12: not a readable argon2id string: the hash is not base64 of 16 to 64 bytes (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:17:13: this kind of password string is not known; known are argon2id, `$token$`, bcrypt, and Mosquitto's `$7$` and `$6$` (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:17:21: `password` is of type integer (write a text in quotes)",
            "p.toml:19:13: an empty password admits nobody (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:19:17: an empty password admits nobody (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:19:21: an empty password admits nobody (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:19:25: an empty password admits nobody (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:19:29: user `i` has more than 4 passwords, each of which a login may cost (remove old ones)",
        ],
    ),
    (
        "weak passwords warn once",
        r#"version = 1
[users.a]
password = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
[users.b]
password = "$7$101$c2FsdHNhbHRzYWx0$CLbxZW0ExkZIkKSqWhNnFJZtNwDp1vYNPPIYhd9UBrgHAhGF5MxEIbEDtlSnWPM+W3IZZ3Wlr83Mwe1ABdSXMA=="
"#,
        &[
            "p.toml:3:12: warning: argon2id with m=256,t=2 is quickly guessed (make a new string with `mqtt-acl hash`); and 1 more password string is weak",
        ],
    ),
    (
        "S5 ids that several users may have",
        r#"version = 1
[roles.r]
client_id = ["fixed", "%u"]
[users.a]
client_id = ["gw*", "shared"]
[users.b]
client_id = ["gw-x*", "shared", "gw/1", "share"]
[users.c]
roles = ["r"]
[users.d]
roles = ["r"]
[users.e]
client_id = ["e1", "e*"]
"#,
        &[
            "p.toml:3:14: warning: users `c` and `d` may use the same client ids, and so take over each other's session (begin the patterns with `%u`)",
            "p.toml:7:14: warning: users `a` and `b` may use the same client ids, and so take over each other's session (begin the patterns with `%u`)",
            "p.toml:7:23: warning: users `a` and `b` may use the same client ids, and so take over each other's session (begin the patterns with `%u`)",
        ],
    ),
    (
        "S16 a failing test",
        r#"version = 1
[roles.r]
publish = ["a"]
[users.u]
roles = ["r"]
[[test]]
user = "u"
can = { publish = ["a", "b"] }
cannot = { publish = ["a"], connect = true }
"#,
        &[
            "p.toml:8:25: a test of the policy fails: user `u` with client id `u` cannot publish `b`: no rule grants it",
            "p.toml:9:23: a test of the policy fails: user `u` with client id `u` can publish `a`: granted by role `r` publish `a` (p.toml:3)",
            "p.toml:9:39: a test of the policy fails: user `u` with client id `u` can connect: the user is admitted under this client id",
        ],
    ),
    (
        "S16 a user who is not admitted",
        r#"version = 1
[users.u]
[[test]]
user = "u"
client_id = "v"
cannot = { publish = ["a"] }
[[test]]
user = "nobody"
cannot = { publish = ["a"] }
"#,
        &[
            "p.toml:3:1: a test of the policy fails: user `u` with client id `v` would not be admitted: the client id is not one of the user's; accepted: `u`, `u-*`",
            "p.toml:7:1: a test of the policy fails: user `nobody` with client id `nobody` would not be admitted: the user is not listed in the policy",
        ],
    ),
    (
        "S16 tests that expect nothing",
        r#"version = 1
[users.u]
[[test]]
user = "u"
[[test]]
user = "u"
can = { publish = [] }
[[test]]
can = { connect = true }
[[test]]
user = "u"
anonymous = true
can = { connect = true }
"#,
        &[
            r#"p.toml:3:1: `[[test]]` expects nothing (write `can = { publish = ["..."] }` or `cannot = ...`)"#,
            r#"p.toml:5:1: `[[test]]` expects nothing (write `can = { publish = ["..."] }` or `cannot = ...`)"#,
            r#"p.toml:8:1: `[[test]]` needs either `user = "..."` or `anonymous = true`"#,
            r#"p.toml:10:1: `[[test]]` needs either `user = "..."` or `anonymous = true`"#,
        ],
    ),
    (
        "S16 tests of what nobody can try",
        r#"version = 1
[users.u]
[[test]]
user = "u"
cannot = { publish = ["a/#", ""], receive = ["+"], subscribe = ["a#", "$share/g"] }
"#,
        &[
            "p.toml:5:23: `a/#` is not a topic name (write one topic, without wildcards)",
            "p.toml:5:30: `` is not a topic name (write one topic, without wildcards)",
            "p.toml:5:46: `+` is not a topic name (write one topic, without wildcards)",
            "p.toml:5:65: `a#` is not a topic filter",
            "p.toml:5:71: `$share/g` is not a topic filter",
        ],
    ),
    (
        "include in a text",
        r#"version = 1
include = ["other.toml"]
"#,
        &["p.toml:2:12: a policy that is not a file cannot include others"],
    ),
    (
        "hostile text is escaped",
        r#"version = 1
"a\u001b[31m\n" = 1
[users."\u202ename"]
roles = ["\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
"#,
        &[
            r#"p.toml:2:1: `a\u{1b}[31m\u{a}` is not a key of the policy (known are `version`, `include`, `roles`, `users`, `anonymous`, `match`, `logins`, `guard`, `test`)"#,
            r#"p.toml:4:10: role `\u{a}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...` is not defined (write `[roles.\u{a}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...]`)"#,
        ],
    ),
    (
        "columns are characters",
        "version = 1\n[roles.\"caf\u{e9}\"]\npublish = [\"\u{e9}\", \"a+\"]\n",
        &[
            "p.toml:3:17: `a+`: a wildcard must be a whole level, not part of `a+` (write `+` between slashes, or `#` at the end)",
        ],
    ),
    (
        "CRLF",
        "version = 1\r\n[roles.r]\r\npublsh = []\r\n",
        &["p.toml:3:1: `publsh` is not a key of role `r` (did you mean `publish`?)"],
    ),
    ("a byte order mark", "\u{feff}version = 2\n", &["p.toml:1:11: version `2` is not known (write `version = 1`)"]),
    (
        "a mistake in every place",
        r##"version = 3
role = 1
[roles.r]
publish = ["a+", 1]
client_id = []
share = [""]
deny = { receive = [] }
[users.u]
roles = ["x"]
password = "p"
extra = 1
[users.""]
[anonymous]
publish = ["%u"]
[[match]]
roles = ["r"]
[[test]]
user = "u"
[[test]]
user = "u"
can = { publish = ["#"], connect = 1 }
"##,
        &[
            "p.toml:1:11: version `3` is not known (write `version = 1`)",
            "p.toml:2:1: `role` is not a key of the policy (did you mean `roles`?)",
            "p.toml:4:12: `a+`: a wildcard must be a whole level, not part of `a+` (write `+` between slashes, or `#` at the end)",
            "p.toml:4:18: `publish` is of type integer (write a text in quotes)",
            "p.toml:5:13: an empty `client_id` admits no client id (leave the key out for `%u` and `%u-*`)",
            "p.toml:6:10: `` is not the name of a share group (write it without `/`, `+` and `#`)",
            "p.toml:7:10: `deny.receive` is not a key (write `deny.subscribe`, which also denies deliveries)",
            "p.toml:9:10: role `x` is not defined (write `[roles.x]`)",
            "p.toml:10:12: this is not a password string; passwords are never written in the clear (write the output of `mqtt-acl hash` or `mqtt-acl token`)",
            "p.toml:11:1: `extra` is not a key of user `u` (known are `roles`, `password`, `disabled`, `attributes`, `client_id`, `publish`, `subscribe`, `receive`, `deny`, `overlap`, `share`, `api`, `auto_id`)",
            "p.toml:12:8: the name of a user must not be empty (anonymous clients are `[anonymous]`)",
            "p.toml:14:12: `%u`: an anonymous client has no user name for `%u`",
            r#"p.toml:15:1: `[[match]]` needs a `username` (write `username = "dev*"`)"#,
            r#"p.toml:17:1: `[[test]]` expects nothing (write `can = { publish = ["..."] }` or `cannot = ...`)"#,
            "p.toml:21:20: `#` is not a topic name (write one topic, without wildcards)",
            "p.toml:21:36: `connect` is of type integer (write `true`; what must not be goes under `cannot`)",
        ],
    ),
];

fn lines(text: &str) -> Vec<String> {
    let problems = match parse(text, "p.toml") {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Invalid(problems)) => problems,
        Err(other) => panic!("{text}\n{other}"),
    };
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_mistake_is_told_where_it_is_and_what_to_write() {
    for (name, text, expected) in ROWS {
        assert_eq!(lines(text), *expected, "{name}:\n{text}");
    }
}

#[test]
fn s11_a_rule_is_as_deep_as_a_broker_allows() {
    let policy = |separators| format!("version = 1\n[roles.r]\npublish = [\"{}\"]", "/".repeat(separators));
    assert_eq!(lines(&policy(200)), Vec::<String>::new());
    let deeper = lines(&policy(201));
    assert_eq!(deeper.len(), 1);
    assert!(deeper.concat().ends_with("...`: a topic filter has at most 200 `/`: brokers refuse more"), "{deeper:?}");
}

#[test]
fn a_user_has_a_name_that_clients_can_send() {
    let policy = |length| format!("version = 1\n[users.{}]\n", "n".repeat(length));
    assert_eq!(lines(&policy(65_535)), Vec::<String>::new());
    for length in [65_536, (1 << 24) + 1] {
        let start = "n".repeat(64);
        let problem = |line| {
            let text = "has a name of more than 65535 bytes, which no client can send";
            format!("p.toml:{line}:8: user `{start}...` {text}")
        };
        assert_eq!(lines(&policy(length)), [problem(2)], "{length}");
        let two = format!("{}[users.{}x]\nroles = []\n", policy(length), "n".repeat(length));
        assert_eq!(lines(&two), [problem(2), problem(3)], "{length}");
    }
}

#[test]
fn many_problems_are_cut_and_counted() {
    let text = (0..150).fold("version = 1\n".to_owned(), |text, n| format!("{text}key{n} = 1\n"));
    let lines = lines(&text);
    assert_eq!(lines.len(), 101);
    assert_eq!(lines.last().map(String::as_str), Some("p.toml: and 50 more problems"));
}

#[test]
fn s17_a_text_that_says_nothing_is_empty_and_not_a_policy() {
    for text in ["", "\n\n", " \t\r\n", "# a comment\n", "\u{feff}"] {
        assert!(matches!(parse(text, "p.toml"), Err(Failure::Empty(_))), "{text:?}");
    }
    for text in ["version = 1", "version = 1\n# nobody\n", "version=1\r\n"] {
        assert!(parse(text, "p.toml").is_ok_and(|loaded| loaded.warnings.is_empty()), "{text:?}");
    }
}
