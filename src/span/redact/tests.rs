//! Tests of the patterns, the defaults, URLs and encoded events.

use crate::span::redact::{RedactAction, Redaction, patterns::KeyWords};

fn words(key: &str) -> Vec<&str> {
    KeyWords(key).collect()
}

#[test]
fn a_key_is_words() {
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
fn by_default_secrets_are_masked_and_nothing_that_only_sounds_like_them() {
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

#[test]
fn the_apps_function_is_asked_about_what_its_keys_left() {
    let redaction = Redaction::default().with(|span, key, value| {
        assert_eq!(span, "a span");
        match (key, value.as_str()) {
            ("panics", _) => panic!("the app's own mistake"),
            ("card", Some(text)) => RedactAction::With(format!("…{}", &text[text.len() - 4..])),
            ("note", _) => RedactAction::Mask,
            ("password", _) => unreachable!("it is masked before"),
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
fn an_event_that_came_encoded_keeps_all_but_what_is_masked() {
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
