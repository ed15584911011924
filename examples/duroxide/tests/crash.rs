//! Kills the workflow while it waits, and checks the events in its log. It needs `redis-server`.

#[path = "../../watching/mod.rs"]
mod watching;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use watching::{PATIENCE, Process, events, hold_exactly_once, start, waits_for_approval};

fn redis(folder: &Path) -> (Process, String) {
    let socket = folder.join("redis.sock");
    let spawned = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let process = Process(spawned.expect("could not start redis-server"));
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "redis-server did not open its socket");
        std::thread::yield_now();
    }
    (process, format!("unix://{}", socket.display()))
}

#[tokio::test]
async fn each_span_starts_once_and_ends_once_though_its_process_is_killed() {
    let whole = tokio::time::timeout(PATIENCE, async {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, url) = redis(folder.path());
        let mut example = Command::new(env!("CARGO_BIN_EXE_livespan-duroxide-example"));
        example.arg(folder.path().join("orders.db")).arg(&url);
        let (first, [dashboard]) = start(&mut example);
        let seen = events(&dashboard, "", waits_for_approval).await;
        assert!(waits_for_approval(&seen));
        drop(first);
        let (mut second, [dashboard]) = start(&mut example);
        second.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        events(&dashboard, "?until=end", |_| false).await
    })
    .await
    .expect("the workflow did not end in time");
    hold_exactly_once(&whole);
}
