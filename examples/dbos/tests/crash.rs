//! Kills the workflow while it waits, and checks the events in its log. It needs a PostgreSQL server, whose variables
//! `pg_virtualenv cargo test` sets.

#[path = "../../watching/mod.rs"]
mod watching;

use std::{env, io::Write as _, process::Command};

use watching::{PATIENCE, events, hold_exactly_once, start, waits_for_approval};

/// Returns the address of a database for this test. DBOS creates the database.
fn postgres() -> String {
    let [host, port, user, password] = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"].map(|name| {
        env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: run `pg_virtualenv cargo test`"))
    });
    let test = std::process::id();
    format!("postgres://{user}:{password}@{host}:{port}/orders_{test}")
}

#[tokio::test]
async fn each_span_starts_once_and_ends_once_though_its_process_is_killed() {
    let whole = tokio::time::timeout(PATIENCE, async {
        let folder = tempfile::tempdir().unwrap();
        let mut example = Command::new(env!("CARGO_BIN_EXE_livespan-dbos-example"));
        example
            .arg(folder.path().join("orders.db"))
            .env("DBOS_DATABASE_URL", postgres());
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
