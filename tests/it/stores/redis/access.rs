//! Access to Redis: permitted connections, and the errors of refused ones. No message contains a
//! password.

use std::{net::TcpListener, process::Command, thread, time::Duration};

use livespan::{EventStore as _, RedisEventStore, store::OpenEventRecovery as _};

use super::{
    handle::{Handle, note, shown, texts},
    server::Server,
};
use crate::support::causes;

fn refusal(url: &str) -> String {
    let store = RedisEventStore::builder(url)
        .connect_timeout(Duration::from_secs(5))
        .build();
    let error = store.unwrap().open().unwrap_err();
    assert!(error.is_store());
    let causes = causes(&error);
    assert_eq!(
        (causes[0].as_str(), causes.len()),
        ("open the log in Redis", 2)
    );
    causes[1].clone()
}

#[test]
fn password_user_and_database_open_the_log() {
    let server = Server::start_with(&["--save", "", "--requirepass", "hunter2"]);
    let rule = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">s3cret",
        "~{shop}:*",
        "+@connection",
        "+@scripting",
        "+@stream",
        "+@hash",
        "+@sortedset",
        "+@set",
        "+@read",
        "+del",
        "+exists",
        "+pexpire",
        "+time",
        "+info",
        "+select",
    ];
    server.command::<()>(&rule);
    let default = Handle::open(&format!("{}/3", server.url()));
    default.append(&[note("a", "in database 3")]);
    let url = format!("redis://app:s3cret@127.0.0.1:{}/3", server.port());
    let app = Handle::open_with(&url, |builder| builder.prefix("shop"));
    app.append(&[note("a", "of the user")]);
    assert_eq!(shown(&app.read(0)), texts(&[(1, "of the user")]));
    app.0.recover_open_events().unwrap();

    let port = server.port();
    let wrong = format!("Redis refuses the user or the password (127.0.0.1:{port})");
    assert_eq!(refusal(&format!("redis://:wr0ng@127.0.0.1:{port}")), wrong);
    assert_eq!(
        refusal(&format!("redis://app:wr0ng@127.0.0.1:{port}")),
        wrong
    );
    assert_eq!(
        refusal(&format!("redis://127.0.0.1:{port}")),
        format!("Redis asks for a password, and the URL has none (127.0.0.1:{port})")
    );
    let foreign = RedisEventStore::builder(&url)
        .prefix("other")
        .build()
        .unwrap();
    let error = causes(&foreign.open().unwrap_err());
    assert_eq!(error[0], "open the log in Redis");
    assert!(
        error[1].starts_with("the Redis user lacks a permission"),
        "{error:?}"
    );
    assert!(!error.concat().contains("s3cret"), "{error:?}");
}

#[test]
fn debug_output_and_url_errors_hide_the_password() {
    let builder = RedisEventStore::builder("redis://app:s3cret@127.0.0.1:1/0");
    assert!(!format!("{builder:?}").contains("s3cret"));
    let store = builder.build().unwrap();
    assert!(!format!("{store:?}").contains("s3cret"));
    for url in [
        "redis://app:s3cret@127.0.0.1:port",
        "redis://app:s3cret@127.0.0.1/database",
        "http://app:s3cret@127.0.0.1",
        "redis://app:s3cret@",
        "rediss://app:s3cret@127.0.0.1/#fragment",
    ] {
        let error = RedisEventStore::new(url).unwrap_err();
        assert!(error.is_invalid(), "{url}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(
            error
                .to_string()
                .contains(" redis://user:password@host:port/database"),
            "{error}"
        );
    }
    for prefix in ["", "a{b", "a}b", &"x".repeat(129)] {
        let built = RedisEventStore::builder("redis://127.0.0.1")
            .prefix(prefix)
            .build();
        assert!(built.unwrap_err().is_invalid(), "{prefix}");
    }
}

#[test]
fn a_server_that_is_no_redis_or_is_absent_is_named_in_the_error() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let error = refusal(&format!("redis://127.0.0.1:{port}"));
    assert!(error.starts_with("no connection to Redis: "), "{error}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let greeting = thread::spawn(move || {
        use std::io::Write as _;
        let (mut client, _) = other.accept().unwrap();
        client
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Keeps the connection open until the store has read the reply.
        drop(std::io::copy(&mut client, &mut std::io::sink()));
    });
    assert_eq!(
        refusal(&format!("redis://127.0.0.1:{port}")),
        format!("the server does not speak the Redis protocol (127.0.0.1:{port})")
    );
    greeting.join().unwrap();
}

#[test]
fn a_unix_socket_and_several_prefixes_serve_separate_logs() {
    let server = Server::start();
    let url = format!("unix://{}", server.socket().display());
    let one = Handle::open_with(&url, |builder| builder.prefix("one"));
    let two = Handle::open_with(&url, |builder| builder.prefix("two"));
    one.append(&[note("a", "first of one"), note("", "second of one")]);
    two.append(&[note("a", "first of two")]);
    assert_eq!(
        shown(&one.read(0)),
        texts(&[(1, "first of one"), (2, "second of one")])
    );
    assert_eq!(shown(&two.read(0)), texts(&[(1, "first of two")]));
    assert_eq!(
        shown(&two.read_stream("a", 0)),
        texts(&[(1, "first of two")])
    );
    let keys: Vec<String> = server.command(&["KEYS", "*"]);
    for key in keys {
        assert!(
            key.starts_with("{one}:") || key.starts_with("{two}:"),
            "{key}"
        );
    }
}

#[test]
fn tls_is_spoken_to_a_server_whose_authority_is_trusted() {
    let server = Server::start();
    let folder = server.folder();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .expect("this test needs openssl, which is not installed");
    assert!(made.status.success());
    let path = |name: &str| folder.join(name).display().to_string();
    let tls = Server::start_with(&[
        "--save",
        "",
        "--tls-port",
        "0",
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("cert.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    tls.command::<()>(&["CONFIG", "SET", "tls-port", &port.to_string()]);
    let url = format!("rediss://127.0.0.1:{port}");
    let authority = std::fs::read(folder.join("cert.pem")).unwrap();
    let handle = Handle::open_with(&url, |builder| builder.root_certificate(authority));
    handle.append(&[note("a", "in private")]);
    assert_eq!(shown(&handle.read(0)), texts(&[(1, "in private")]));
    let error = refusal(&url);
    assert!(error.starts_with("no connection to Redis: "), "{error}");
}

#[test]
fn the_error_of_a_port_that_does_not_answer_over_tls_asks_whether_it_uses_tls() {
    let server = Server::start();
    let message = refusal(&format!("rediss://127.0.0.1:{}", server.port()));
    let asked =
        "Redis did not answer in time; the URL asks for TLS (rediss://): does the port use it?";
    assert!(message.contains(asked), "{message}");
}
