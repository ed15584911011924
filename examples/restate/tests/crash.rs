//! Kills the workflow while it waits, and checks the events in its log. `RESTATE_SERVER` is the
//! path of the server's binary. It must not be npm's wrapper script of the same name: the server
//! that the script starts would outlive the test.

#[path = "../../watching/mod.rs"]
mod watching;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use watching::{PATIENCE, Process, events, hold_exactly_once, start, waits_for_approval};

/// A Restate server of the test's own. It listens on sockets in its folder and on no port.
struct Restate {
    _process: Process,
    sockets: PathBuf,
}

impl Restate {
    fn start(folder: &Path) -> Self {
        let server = std::env::var_os("RESTATE_SERVER").expect("RESTATE_SERVER is not set");
        let spawned = Command::new(server)
            .args(["--no-logo", "--listen-mode", "unix", "--node-name", "node"])
            .arg("--base-dir")
            .arg(folder)
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .stdout(Stdio::null())
            .spawn();
        Self {
            _process: Process(spawned.expect("could not start the Restate server")),
            sockets: folder.join("node"),
        }
    }

    /// Posts JSON to a socket of the server. Tries again while the server is starting.
    async fn post(&self, door: &str, path: &str, body: serde_json::Value) {
        let client = reqwest::Client::builder()
            .unix_socket(self.sockets.join(door))
            .build()
            .unwrap();
        loop {
            let sent = client.post(format!("http://restate{path}")).json(&body);
            match sent.send().await {
                Ok(answer) if answer.status().is_success() => return,
                // The server is still starting, or does not know the new registration yet.
                Ok(answer) if answer.status().is_server_error() || answer.status() == 404 => {}
                Ok(answer) => panic!("{path}: {}: {:?}", answer.status(), answer.text().await),
                Err(_not_open) => {}
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Forwards connections from one address to the example, as a load balancer would. Restate identifies a service by its
/// address, which must survive a restart of the example.
async fn front(example: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let behind = example.lock().unwrap().clone();
            tokio::spawn(async move {
                // While the example is down, the connection ends, and Restate tries again.
                if let Ok(mut example) = TcpStream::connect(behind).await {
                    drop(copy_bidirectional(&mut client, &mut example).await);
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn each_span_starts_once_and_ends_once_though_its_process_is_killed() {
    let whole = tokio::time::timeout(PATIENCE, async {
        let folder = tempfile::tempdir().unwrap();
        let restate = Restate::start(folder.path());
        let mut example = Command::new(env!("CARGO_BIN_EXE_livespan-restate-example"));
        example
            .arg(folder.path().join("orders.db"))
            .arg("127.0.0.1:0");
        let (first, [dashboard, address]) = start(&mut example);
        let behind = Arc::new(Mutex::new(address));
        let uri = front(Arc::clone(&behind)).await;
        restate
            .post("admin.sock", "/deployments", json!({"uri": uri}))
            .await;
        restate
            .post("ingress.sock", "/Order/order-1/run/send", json!("pen"))
            .await;
        let seen = events(&dashboard, "", waits_for_approval).await;
        assert!(waits_for_approval(&seen));
        drop(first);
        let (_second, [dashboard, address]) = start(&mut example);
        *behind.lock().unwrap() = address;
        restate
            .post("ingress.sock", "/Order/order-1/approve", json!("Ada"))
            .await;
        events(&dashboard, "?until=end", |_| false).await
    })
    .await
    .expect("the workflow did not end in time");
    hold_exactly_once(&whole);
}
