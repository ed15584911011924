//! The conformance suite, run against a store in Redis.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use livespan::RedisEventStore;
use livespan_conformance::{Fault, StoreLocation, Suite};

use super::{proxy::Proxy, server::Server};
use crate::support::PATIENCE;

fn open(url: &str, location: &StoreLocation) -> RedisEventStore {
    let prefix = location.name().to_owned();
    RedisEventStore::builder(url)
        .prefix(prefix)
        .retention(location.retention())
        .heartbeat(Duration::from_millis(500))
        .dead_after(Duration::from_secs(600))
        .connect_timeout(PATIENCE)
        .response_timeout(PATIENCE)
        .build()
        .unwrap()
}

#[test]
fn the_redis_store_keeps_its_promises() {
    let server = Server::start();
    let proxies: Mutex<HashMap<String, Proxy>> = Mutex::default();
    // The suite keeps these functions, but the server must end with this test.
    let shared = std::sync::Arc::new((server, proxies));
    let (opening, failing) = (
        std::sync::Arc::clone(&shared),
        std::sync::Arc::clone(&shared),
    );
    Suite::new(move |location| {
        let mut proxies = opening.1.lock().unwrap();
        let proxy = proxies
            .entry(location.name().to_owned())
            .or_insert_with(|| Proxy::start(opening.0.port()));
        open(&proxy.url(), location)
    })
    .faults(move |location, fault| {
        let proxies = failing.1.lock().unwrap();
        let Some(proxy) = proxies.get(location.name()) else {
            return false;
        };
        let full = |bytes| {
            let words = ["CONFIG", "SET", "maxmemory", bytes];
            failing.0.command::<()>(&words);
        };
        match fault {
            Fault::RefuseAppends => full("1"),
            // Two answers, because the store itself retries once on a new connection.
            Fault::LoseAnswer => proxy.lose_answers(2),
            Fault::None => {
                full("0");
                proxy.lose_answers(0);
            }
            // A script is atomic, so it cannot keep half a batch.
            _ => return false,
        }
        true
    })
    .run();
}
