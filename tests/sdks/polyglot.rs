//! The services of `examples/polyglot`. The program that starts them holds their input open, and
//! they end when that program ends.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    receiver::{Receiver, in_time},
    sdk::{installed, node, project, python},
};

/// If the program is killed, the kernel closes the input of its services.
async fn service_ends_with_its_input(mut service: Command) {
    let receiver = Receiver::start();
    service
        .env("LIVESPAN", receiver.endpoint())
        .env("WAREHOUSE", "http://127.0.0.1:1");
    service.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = service.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = in_time("the port", lines.next_line()).await.unwrap();
    let port: u16 = line.unwrap().parse().unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let answer = in_time("an answer", reqwest::get(url)).await.unwrap();
    assert!(
        answer.status() == 200 || answer.status() == 501,
        "{answer:?}"
    );
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdin.take());
    let status = in_time("the end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn shop_ends_with_the_program_that_started_it() {
    let mut shop = node("shop.mjs");
    let stub = installed("javascript/no_bundler.mjs");
    shop.env(
        "NODE_OPTIONS",
        format!("--no-warnings --import file://{}", stub.display()),
    );
    service_ends_with_its_input(shop).await;
}

#[tokio::test]
async fn printer_ends_with_the_program_that_started_it() {
    let printer = project().join("examples/polyglot/printer.py");
    service_ends_with_its_input(python(&printer)).await;
}
