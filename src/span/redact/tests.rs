//! Tests of the patterns, the defaults, URLs and encoded events.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::span::{
    json,
    redact::{RedactAction, Redaction, patterns::KeyWords},
};

fn words(key: &str) -> Vec<&str> {
    KeyWords(key).collect()
}

#[test]
fn a_key_is_split_into_words() {
    for (key, expected) in [
        (
            "http.request.header.x-api-key",
            vec!["http", "request", "header", "x", "api", "key"],
        ),
        ("userAccessToken", vec!["user", "Access", "Token"]),
        ("APIKey", vec!["API", "Key"]),
        ("oauth2Token", vec!["oauth2", "Token"]),
        ("a..b__", vec!["a", "b"]),
        ("größe.Token", vec!["größe", "Token"]),
        ("", vec![]),
        ("--", vec![]),
    ] {
        assert_eq!(words(key), expected, "{key}");
    }
}

#[test]
fn by_default_secrets_are_masked_and_similar_keys_are_not() {
    let redaction = Redaction::default();
    for key in [
        "authorization",
        "http.request.header.authorization",
        "http.request.header.proxy-authorization",
        "http.request.header.cookie",
        "http.response.header.set-cookie",
        "db.password",
        "PASSWORD",
        "userPassword",
        "user.access_token",
        "X-Auth-Token",
        "refreshToken",
        "client_secret",
        "aws.secret_access_key",
        "X-Api-Key",
        "apiKey",
        "apikey",
        "ssh.private_key",
        "credentials",
        "JSESSIONID",
        "password.",
        "dbpassword",
        "PGPASSWORD",
        "password.0",
        "user.passwords[12].",
        "token2",
        "user[password]",
        "user[password_confirmation]",
        "session_id",
        "user.session-id",
        "sessionId",
        "X-CSRFToken",
        "csrf_token_1",
        "ssh.private.key",
        "CLIENTSECRET",
    ] {
        assert!(redaction.masks_key(key), "{key}");
    }
    for key in [
        "gen_ai.usage.input_tokens",
        "llm.token_count",
        "tokenizer",
        "token_type",
        "secretary",
        "authorization.granted",
        "author",
        "cookie_consent",
        "http.route",
        "session.id",
        "password.length",
        "passwordless",
        "http.status_code.2",
        "port.1",
        "12",
        "x2",
        "--",
        "key",
        "messaging.kafka.message.key",
        "passenger",
        "operation",
        "",
    ] {
        assert!(!redaction.masks_key(key), "{key}");
    }
}

#[test]
fn patterns_hold_as_their_table_says() {
    let holds = |pattern: &str, key: &str| Redaction::none().deny([pattern]).masks_key(key);
    for (pattern, yes, no) in [
        (
            "api_key",
            vec!["api_key", "http.request.header.x-api-key", "apiKey"],
            vec!["apikey", "api_key_id"],
        ),
        (
            "internal.*",
            vec!["internal.note", "shop.internal.a.b", "internal"],
            vec!["internals"],
        ),
        (
            "user.*.name",
            vec!["user.name", "user.a.b.name"],
            vec!["name", "user.names"],
        ),
        ("ip", vec!["client.ip", "IP"], vec!["zip"]),
        ("*", vec!["anything", "a.b"], vec![]),
        (
            "token",
            vec!["token", "user.access_token", "authToken", "token.0"],
            vec!["token_count", "usage.input_tokens", "csrftoken"],
        ),
        (
            "*token",
            vec!["token", "user.access_token", "authToken", "csrftoken"],
            vec!["token_count", "usage.input_tokens", "tokenizer", "to.ken"],
        ),
        (
            "*sessionid",
            vec!["session_id", "PHPSESSIONID", "a.session-id"],
            vec!["session.id", "sessionids"],
        ),
        ("*id", vec!["user_id", "grid", "ID"], vec!["id.a", "d"]),
        ("address1", vec!["home.address1"], vec!["home.address2"]),
        ("*größe", vec!["die_größe", "schuhgröße"], vec!["größer"]),
        ("", vec![], vec!["anything", ""]),
    ] {
        for key in yes {
            assert!(holds(pattern, key), "{pattern} {key}");
        }
        for key in no {
            assert!(!holds(pattern, key), "{pattern} {key}");
        }
    }
}

#[test]
fn an_allowed_key_is_kept_and_only_lists_mask_the_rest() {
    let allowed = Redaction::default().allow(["continuation_token"]);
    assert!(!allowed.masks_key("page.continuation_token"));
    assert!(allowed.masks_key("page.token"));
    let only = Redaction::default().only(["http.*", "order.id"]);
    for (key, is_hidden) in [
        ("http.route", false),
        ("order.id", false),
        ("user.email", true),
        ("http.request.header.cookie", true),
    ] {
        assert_eq!(only.masks_key(key), is_hidden, "{key}");
    }
}

fn masked(redaction: &Redaction, key: &str, text: &str) -> String {
    redaction.text("a span", key, text).into_owned()
}

#[test]
fn addresses_lose_users_and_secret_parameters() {
    let redaction = Redaction::default();
    for (key, text, expected) in [
        (
            "url.full",
            "https://eve:pw@shop.example/a?b=c",
            "https://REDACTED:REDACTED@shop.example/a?b=c",
        ),
        (
            "db.url",
            "postgres://eve@db/orders",
            "postgres://REDACTED@db/orders",
        ),
        (
            "url.full",
            "https://s3.example/f?X-Amz-Signature=ab&sig=cd&size=3#top",
            "https://s3.example/f?X-Amz-Signature=REDACTED&sig=REDACTED&size=3#top",
        ),
        (
            "http.target",
            "/cb?code=7&access_token=abc",
            "/cb?code=7&access_token=REDACTED",
        ),
        ("url.query", "password=x&page=2", "password=REDACTED&page=2"),
        (
            "url.full",
            "https://eve:pw@shop.example/?token=x",
            "https://REDACTED:REDACTED@shop.example/?token=REDACTED",
        ),
    ] {
        assert_eq!(masked(&redaction, key, text), expected);
        assert_eq!(masked(&Redaction::none(), key, text), text);
    }
    for text in [
        "eve@example.com",
        "https://shop.example/@eve",
        "SELECT * FROM t WHERE a = ? AND token = 'x'",
        "is it true? token=",
        "https://shop.example/?token=",
        "?",
        "@",
        "://@",
    ] {
        let expected = if text == "://@" { "://REDACTED@" } else { text };
        assert_eq!(masked(&redaction, "note", text), expected);
    }
}

/// Keys, their texts, and the same texts after masking. The secret always begins with `s3`.
const TEXTS: &[(&str, &str, &str)] = &[
    // Several URLs, and passwords that were not encoded.
    (
        "u",
        "amqp://u:s31@a:5672,amqp://u:s32@b:5672",
        "amqp://REDACTED:REDACTED@a:5672,amqp://REDACTED:REDACTED@b:5672",
    ),
    (
        "u",
        "from http://s3@a/x to https://u:s3@b/?q=1",
        "from http://REDACTED@a/x to https://REDACTED:REDACTED@b/?q=1",
    ),
    (
        "u",
        "mongodb://u:s3,1@h1:27017,h2:27017/db",
        "mongodb://REDACTED:REDACTED@h1:27017,h2:27017/db",
    ),
    (
        "u",
        "postgres://u:s3a/s3b@h/db",
        "postgres://REDACTED:REDACTED@h/db",
    ),
    (
        "u",
        "postgres://u:s3@a/s3b@h/db?x=1",
        "postgres://REDACTED:REDACTED@h/db?x=1",
    ),
    (
        "u",
        "redis://:s3a?s3b@h:6379/0",
        "redis://REDACTED:REDACTED@h:6379/0",
    ),
    (
        "u",
        "https://u:s3a/s3b@h/x",
        "https://REDACTED:REDACTED@h/x",
    ),
    (
        "u",
        "jdbc:postgresql://h/db?user=u&password=s3",
        "jdbc:postgresql://h/db?user=u&password=REDACTED",
    ),
    (
        "u",
        "[\"redis://u:s3@h\",\"redis://i\"]",
        "[\"redis://REDACTED:REDACTED@h\",\"redis://i\"]",
    ),
    // Parameters of queries, fragments and forms.
    (
        "u",
        "https://h/#access_token=s3&expires=9",
        "https://h/#access_token=REDACTED&expires=9",
    ),
    (
        "u",
        "https://h/a?x=1#id_token=s3",
        "https://h/a?x=1#id_token=REDACTED",
    ),
    (
        "u",
        "https://h/?user%5Bpassword%5D=s3&a=1",
        "https://h/?user%5Bpassword%5D=REDACTED&a=1",
    ),
    (
        "u",
        "https://h/?p%2561ssword=s3",
        "https://h/?p%2561ssword=REDACTED",
    ),
    (
        "u",
        "https://h/?p%61ssword=s3,s3;s3'(s3)",
        "https://h/?p%61ssword=REDACTED",
    ),
    (
        "u",
        "/cb?next=%2Fa%3Faccess_token%3Ds3&b=1",
        "/cb?next=REDACTED&b=1",
    ),
    (
        "u",
        "/cb?next=https%253A%252F%252Fu%253As3%2540h%252F",
        "/cb?next=REDACTED",
    ),
    ("u", "/cb?next=%2Fa%3Fpage%3D2", "/cb?next=%2Fa%3Fpage%3D2"),
    ("http.query", "token=s3,s3", "token=REDACTED"),
    (
        "form",
        "name=me&password=s3;s3",
        "name=me&password=REDACTED",
    ),
    (
        "name",
        "GET /cb?token=s3 HTTP/1.1",
        "GET /cb?token=REDACTED HTTP/1.1",
    ),
    // JSON, also within JSON.
    (
        "request",
        r#"{"authorization": "Bearer s3cret", "n": 1}"#,
        r#"{"authorization": "[redacted]", "n": 1}"#,
    ),
    (
        "request",
        r#"{"password":"s3\"s3","a":2}"#,
        r#"{"password":"[redacted]","a":2}"#,
    ),
    (
        "request",
        r#"{"pin":1,"password":35,"a":[1]}"#,
        r#"{"pin":1,"password":"[redacted]","a":[1]}"#,
    ),
    (
        "request",
        r#"{"credentials":{"u":"s3}","p":["s3"]},"a":1}"#,
        r#"{"credentials":"[redacted]","a":1}"#,
    ),
    (
        "request",
        r#"{"set-cookie" : ["s3","s3"]}"#,
        r#"{"set-cookie" : "[redacted]"}"#,
    ),
    (
        "request",
        r#"{\"authorization\":\"Bearer s3\",\"a\":1}"#,
        r#"{\"authorization\":\"[redacted]\",\"a\":1}"#,
    ),
    (
        "request",
        r#"{\"token\":35,\"a\":1}"#,
        r#"{\"token\":\"[redacted]\",\"a\":1}"#,
    ),
    (
        "request",
        r#"{"url":"https://h/?token=s3","a":1}"#,
        r#"{"url":"https://h/?token=REDACTED","a":1}"#,
    ),
    (
        "request",
        r#"{"password":"s3"#,
        r#"{"password":"[redacted]"#,
    ),
    // Output of `Debug` and similar formats.
    (
        "request",
        r#"Headers { cookie: "s3; s3", host: "h" }"#,
        r#"Headers { cookie: "[redacted]", host: "h" }"#,
    ),
    (
        "request",
        r#"Login { user: "u", password: Some("s3"), n: 1 }"#,
        r#"Login { user: "u", password: [redacted], n: 1 }"#,
    ),
    (
        "request",
        "Login { token: Secret { inner: 35 }, n: 1 }",
        "Login { token: [redacted], n: 1 }",
    ),
    (
        "request",
        "Pin { password: 35, n: 1 }",
        "Pin { password: [redacted], n: 1 }",
    ),
    (
        "request",
        "Pin {\n    n: 1,\n    password: 35,\n}",
        "Pin {\n    n: 1,\n    password: [redacted],\n}",
    ),
    (
        "request",
        "Headers {\n    cookie: Some(\n        \"s3\",\n    ),\n    host: 1,\n}",
        "Headers {\n    cookie: [redacted],\n    host: 1,\n}",
    ),
    (
        "request",
        r#"A { key: b"x", token: b"s3" }"#,
        r#"A { key: b"x", token: b"[redacted]" }"#,
    ),
    (
        "request",
        r#"[("cookie", "s3"), ("host", "h")]"#,
        r#"[("cookie", "[redacted]"), ("host", "h")]"#,
    ),
    (
        "request",
        r#"[["authorization","Bearer s3"],["host","h"]]"#,
        r#"[["authorization","[redacted]"],["host","h"]]"#,
    ),
    (
        "request",
        "{'authorization': 'Bearer s3', 'host': 'h'}",
        "{'authorization': '[redacted]', 'host': 'h'}",
    ),
    (
        "request",
        "{'tokens': {}, 'secrets': ['s3]', 's3']}",
        "{'tokens': {}, 'secrets': [redacted]}",
    ),
    (
        "request",
        "{authorization=Bearer s3, host=h}",
        "{authorization=[redacted], host=h}",
    ),
    (
        "request",
        "Login[user=u, password=s3 s3, n=1]",
        "Login[user=u, password=[redacted], n=1]",
    ),
    (
        "request",
        "Login(user='u', password='s3', n=1)",
        "Login(user='u', password='[redacted]', n=1)",
    ),
    (
        "request",
        r#"{"token"=>"s3", :a=>1}"#,
        r#"{"token"=>"[redacted]", :a=>1}"#,
    ),
    // Headers, settings, commands.
    (
        "dump",
        "GET / HTTP/1.1\r\nAuthorization: Basic s3\r\nHost: h",
        "GET / HTTP/1.1\r\nAuthorization: [redacted]\r\nHost: h",
    ),
    ("header", "Cookie: a=s3; b=s3", "Cookie: [redacted]"),
    (
        "yaml",
        "user: u\npassword: s3 s3\nn: 1",
        "user: u\npassword: [redacted]\nn: 1",
    ),
    (
        "ini",
        "[db]\npassword = s3 s3\nn = 1",
        "[db]\npassword = [redacted]\nn = 1",
    ),
    (
        "curl",
        "curl -H \"Authorization: Bearer s3\" http://h/",
        "curl -H \"Authorization: [redacted]\" http://h/",
    ),
    (
        "dsn",
        "Server=h;Password=s3 s3,s3;Database=d",
        "Server=h;Password=[redacted];Database=d",
    ),
    (
        "dsn",
        "host=h password='s3 s3''s3' user=u",
        "host=h password='[redacted]' user=u",
    ),
    ("dsn", "password=s3 host=h", "password=[redacted] host=h"),
    ("command", "PGPASSWORD=s3 psql", "PGPASSWORD=[redacted]"),
    (
        "log",
        "retry user=u token=s3 n=2",
        "retry user=u token=[redacted] n=2",
    ),
    (
        "process.command_line",
        "app --port 80 --token s3 --db-password=s3 x",
        "app --port 80 --token [redacted] --db-password=[redacted] x",
    ),
];

#[test]
fn secrets_are_masked_in_texts_of_every_promised_form() {
    let redaction = Redaction::default();
    for (key, text, expected) in TEXTS {
        assert_eq!(masked(&redaction, key, text), *expected, "{text}");
        assert_eq!(
            masked(&redaction, key, expected),
            *expected,
            "a masked text stays as it is"
        );
        assert_eq!(masked(&Redaction::none(), key, text), *text);
        assert_eq!(redaction.keeps(text.as_bytes()), text == expected, "{text}");
    }
}

#[test]
fn texts_without_secrets_stay_as_they_are() {
    let redaction = Redaction::default();
    for text in [
        "shop::token::parse",
        "token: expected a name",
        "the token was: wrong",
        "max_tokens=5 token_count=3",
        "a == b && token == c",
        "key <= token",
        "https://shop.example/@eve:x",
        "https://shop.example:8080/@eve",
        "http://[::1]:8080/a@b",
        "s3://bucket/a@b",
        "registry/app:1.2@sha256:ab",
        "{\"usage\":{\"input_tokens\":5}}",
        "{\"password\":\"\"}",
        "[\"password\", \"login\"]",
        "password=",
        "/checkout/{id}",
        "12:30:00",
        "=:=:\"\",\",",
        "größe: \"x\", ✓=ü",
    ] {
        assert_eq!(masked(&redaction, "note", text), text);
        assert!(redaction.keeps(text.as_bytes()), "{text}");
    }
}

#[test]
fn patterns_of_the_app_hold_for_names_in_texts_too() {
    let redaction = Redaction::default()
        .deny(["card number"])
        .allow(["continuation_token"])
        .only(["note"]);
    let text = "https://h/?card_number=4242&continuation_token=7&token=8";
    let expected = "https://h/?card_number=REDACTED&continuation_token=7&token=REDACTED";
    assert_eq!(masked(&redaction, "note", text), expected);
}

#[test]
fn a_url_that_was_cut_before_its_at_sign_keeps_no_password() {
    let url = "postgres://eve:s3cret";
    let text = format!("{}{url}", " ".repeat(json::VALUE_BYTES_MAX - url.len()));
    let expected = text.replace("eve:s3cret", "REDACTED:REDACTED");
    assert_eq!(masked(&Redaction::default(), "note", &text), expected);
    assert_eq!(masked(&Redaction::default(), "note", url), url);
}

#[test]
fn arrays_with_a_secret_are_masked_as_a_whole() {
    for (values, expected) in [
        (vec!["app", "--token", "s3"], true),
        (vec!["app", "--token"], false),
        (vec!["app", "--port", "80"], false),
        (vec!["a=1", "token=s3"], true),
        (vec!["redis://u:s3@h"], true),
        (vec!["token", "s3"], false),
        (vec![], false),
    ] {
        let value = json::Value::Array(
            values.iter().map(|text| json::Value::Text(text)).collect(),
            false,
        );
        let masked = Redaction::default().mask("a span", "list", &value);
        assert_eq!(masked.is_some(), expected, "{values:?}");
    }
}

/// Texts made of bytes that have a meaning in these formats.
fn hostile_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("token"),
        Just("password"),
        Just("="),
        Just(":"),
        Just("://"),
        Just("@"),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("("),
        Just(")"),
        Just(","),
        Just(";"),
        Just("&"),
        Just("?"),
        Just("#"),
        Just("%3D"),
        Just("%"),
        Just(" "),
        Just("\n"),
        Just("é"),
        Just("x"),
        Just("/"),
        Just("-"),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn keeps_is_true_exactly_for_texts_that_masking_does_not_change(text in hostile_text()) {
        let redaction = Redaction::default();
        let is_same = masked(&redaction, "note", &text) == text;
        prop_assert_eq!(redaction.keeps(text.as_bytes()), is_same);
    }

    #[test]
    fn json_stays_json(user in ".*", secret in "s3[a-z\"\\\\,}{é]{0,12}", extra in any::<i32>()) {
        proptest::prop_assume!(!user.contains("s3"));
        let inner = serde_json::json!({"user": user, "token": secret, "n": extra, "api_key": extra}).to_string();
        let outer = serde_json::json!({"body": inner, "password": [secret], "secret": {"a": secret}}).to_string();
        let shown = masked(&Redaction::default(), "note", &outer);
        prop_assert!(!shown.contains("s3"), "{}", shown);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let inner: serde_json::Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
        prop_assert_eq!(inner, serde_json::json!({"user": user, "token": "[redacted]", "n": extra, "api_key": "[redacted]"}));
    }

    #[test]
    fn no_part_of_a_masked_parameters_value_remains(
        value in "s3[a-zA-Z0-9!'()*,;:@/?$=+._~|{}\\[\\]%-]{0,20}",
        before in "[a-z=&]{0,8}",
    ) {
        let text = format!("https://h/p?{before}&client_secret={value}&z=1");
        let shown = masked(&Redaction::default(), "url.full", &text);
        prop_assert!(shown.ends_with("client_secret=REDACTED&z=1"), "{}", shown);
    }
}

#[test]
fn long_texts_cost_time_in_proportion() {
    for unit in [
        "token=", "a=", "://", "\":", "\",", "[", "token:{", "x://u:", "?a=%3", "token=a ", ",\n-",
        "=     ",
    ] {
        let text = unit.repeat(262_144 / unit.len());
        let begun = std::time::Instant::now();
        masked(&Redaction::default(), "note", &text);
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(5),
            "{unit}"
        );
    }
}

#[test]
fn the_apps_function_is_called_for_values_that_its_keys_left() {
    let redaction = Redaction::default().with(|span, key, value| {
        assert_eq!(span, "a span");
        match (key, value.as_str()) {
            ("panics", _) => panic!("the app's own mistake"),
            ("card", Some(text)) => RedactAction::With(format!("…{}", &text[text.len() - 4..])),
            ("note", _) => RedactAction::Mask,
            ("password", _) => unreachable!("the key was masked before the function is called"),
            _ => RedactAction::Keep,
        }
    });
    assert_eq!(masked(&redaction, "card", "4242424242424242"), "…4242");
    assert_eq!(masked(&redaction, "note", "x"), Redaction::PLACEHOLDER);
    assert_eq!(masked(&redaction, "panics", "x"), Redaction::PLACEHOLDER);
    assert_eq!(masked(&redaction, "password", "x"), Redaction::PLACEHOLDER);
    assert_eq!(masked(&redaction, "other", "x"), "x");
}

#[test]
fn an_encoded_event_keeps_everything_except_masked_values() {
    let event = concat!(
        r#"{"type":"ended","name":"pay","status":{"code":"ERROR","message":"no \"money\""},"attributes":{"n":1.50,"#,
        r#""pass\u0077ord":9007199254740993,"tags":["a"],"url":"http://u:p@h/"},"attributeTypes":{"n":"x","pass\u0077ord":"int"},"#,
        r#""events":[{"name":"e","attributes":{"token":[1,2],"k":null}}],"links":[{"attributes":{"secret":true}}],"z":" "}"#
    );
    let shown = |redaction: &Redaction| {
        let shown = redaction.encoded(event.as_bytes());
        shown.map(|shown| String::from_utf8(shown).unwrap())
    };
    assert_eq!(shown(&Redaction::none()), None);
    assert_eq!(shown(&Redaction::none().deny(["nothing"])), None);
    let expected = event
        .replace("9007199254740993", "\"[redacted]\"")
        .replace("\"int\"", "\"string\"")
        .replace("[1,2]", "\"[redacted]\"")
        .replace("http://u:p@h/", "http://REDACTED:REDACTED@h/")
        .replace("\"secret\":true", "\"secret\":\"[redacted]\"");
    assert_eq!(shown(&Redaction::default()).unwrap(), expected);
    let messages = Redaction::none().deny(["status.message"]);
    let expected = event.replace(r#""no \"money\"""#, "\"[redacted]\"");
    assert_eq!(shown(&messages).unwrap(), expected);
    assert_eq!(Redaction::default().encoded(b"nonsense"), None);
}
