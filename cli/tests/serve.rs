//! Tests of `livespan` and `livespan serve`.

use std::fs;

use rustix::process::Signal;

use crate::support::{FREE, Folder, Running, get, livespan, output, request};

fn store_kind(url: &str) -> String {
    let (status, body) = get(url, "/status");
    assert_eq!(status, 200, "{body}");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    status["store"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn it_prints_its_address_in_one_line_and_ends_on_signals() {
    for (signal, code) in [(Signal::TERM, 0), (Signal::HUP, 0), (Signal::INT, 130)] {
        let home = Folder::new();
        let (mut server, url) = Running::serve(livespan(&home).args(FREE).arg("--memory"));
        assert_eq!(store_kind(&url), "memory");
        server.signal(signal);
        assert_eq!(server.stdout.rest(), Vec::<String>::new());
        assert_eq!(server.stderr.rest(), Vec::<String>::new());
        assert_eq!(server.wait().code(), Some(code));
    }
}

#[test]
fn the_log_is_in_the_state_directory_and_a_second_server_is_refused() {
    let home = Folder::new();
    let (server, url) = Running::serve(livespan(&home).args(["serve"]).args(FREE));
    assert_eq!(store_kind(&url), "sqlite");
    let file = home.path().join(".local/state/livespan/livespan.db");
    assert!(file.is_file());
    let (code, stdout, stderr) = output(livespan(&home).args(FREE));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let hint = "hint: another process may use this file; --store FILE names another one, --memory needs none";
    assert_eq!(stderr.lines().last(), Some(hint), "{stderr}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_environment_overrides_the_configuration_and_flags_override_both() {
    let home = Folder::new();
    let folder = home.path().join(".config/livespan");
    fs::create_dir_all(&folder).unwrap();
    let store = home.path().join("from-file.db");
    let text =
        format!("addr = \"127.0.0.1:1\"\notlp-addr = [\"127.0.0.1:0\"]\nstore = {store:?}\n");
    fs::write(folder.join("config.toml"), text).unwrap();
    let (server, url) = Running::serve(livespan(&home).env("LIVESPAN_ADDR", "127.0.0.1:0"));
    assert_eq!(store_kind(&url), "sqlite");
    assert!(store.is_file());
    drop(server);
    let mut command = livespan(&home);
    command.env("LIVESPAN_ADDR", "127.0.0.1:1");
    let (_server, url) = Running::serve(command.args(["--addr", "127.0.0.1:0", "--memory"]));
    assert_eq!(store_kind(&url), "memory");
}

#[test]
fn with_a_token_the_printed_address_signs_one_browser_in_and_readers_need_the_token() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command
        .env("LIVESPAN_TOKEN", "a long random text")
        .arg("--memory");
    let (_server, url) = Running::serve(command.args(FREE));
    let (page, code) = url.split_once("?login=").unwrap();
    assert!(!code.is_empty());
    assert_eq!(get(page, "/status").0, 401);
    let token = "authorization: Bearer a long random text\r\n";
    assert_eq!(request(page, "GET", "/status", (token, "")).0, 200);
}

#[test]
fn wrong_arguments_are_refused_with_a_hint_what_to_change() {
    let home = Folder::new();
    let config = home.path().join("config.toml");
    fs::write(&config, "adr = 1\n").unwrap();
    let shown = config.display();
    for (arguments, code, expected) in [
        (
            vec!["--memory", "--addr", "0.0.0.0:0"],
            2,
            "livespan: 0.0.0.0:0 is not a loopback address: others could read everything there; set a token with \
             LIVESPAN_TOKEN"
                .to_owned(),
        ),
        (vec!["--memory", "--auth-token", ""], 2, "livespan: the token is empty".to_owned()),
        (
            vec!["--config", "config.toml"],
            2,
            "livespan: failed to read config.toml: TOML parse error at line 1, column 1".to_owned(),
        ),
        (
            vec!["--config", "missing.toml"],
            2,
            "livespan: failed to read missing.toml: No such file or directory (os error 2)".to_owned(),
        ),
        (
            vec!["--memory", "--retention-age", "30"],
            2,
            "error: invalid value '30' for '--retention-age <TIME>': \"30\" is not a duration such as 500ms, 30s, 5m, 1h or 7d"
                .to_owned(),
        ),
    ] {
        let (exit, stdout, stderr) = output(livespan(&home).args(&arguments));
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{arguments:?} {stderr}");
        assert_eq!(stderr.lines().next(), Some(&*expected), "{arguments:?} {shown}");
    }
}

#[test]
fn a_named_otlp_address_that_is_taken_is_refused() {
    let home = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["--memory", "--addr", "127.0.0.1:0", "--otlp-addr", &address];
    let (code, stdout, stderr) = output(livespan(&home).args(arguments));
    let expected = format!(
        "livespan: failed to serve on {address}: bind {address}: Address already in use (os error 98)\n"
    );
    assert_eq!((code, stdout.as_str(), stderr), (Some(1), "", expected));
}
