//! Checks the instructions of `cli/Dockerfile`, and that the program starts as in the image. The
//! image itself is not built, because that needs docker.

use std::{collections::BTreeMap, process::Command};

use rustix::process::Signal;

use crate::support::{Folder, Running, output, request};

const DOCKERFILE: &str = include_str!("../Dockerfile");
/// The list of files that are not sent to the build. `docker build` reads it beside the Dockerfile.
const IGNORED: &str = include_str!("../Dockerfile.dockerignore");

/// Returns the name and the arguments of each instruction.
fn instructions() -> Vec<(&'static str, String)> {
    let lines = DOCKERFILE.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let joined: &'static str = joined.leak();
    let split = |line: &'static str| {
        let (name, rest) = line.split_once(' ')?;
        Some((name, rest.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    joined.lines().filter_map(split).collect()
}

/// Returns the arguments of the only instruction of this name.
fn only(name: &str) -> String {
    let found = instructions().into_iter().filter(|(one, _)| *one == name);
    let [(_, rest)] = found.collect::<Vec<_>>().try_into().unwrap();
    rest
}

/// Returns the variables that the image sets.
fn variables() -> BTreeMap<String, String> {
    let environment = only("ENV");
    let pairs = environment
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Returns the program with only the environment of the image, but with this folder in place of `/data`, and free
/// ports.
fn program(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livespan"));
    command.env_clear().current_dir("/");
    for (name, value) in variables() {
        let value = value.replace("/data", folder.path().to_str().unwrap());
        let ports = ["4317", "4318", "4380"];
        let value = ports
            .iter()
            .fold(value, |value, port| value.replace(port, "0"));
        command.env(name, value);
    }
    command
}

#[test]
fn the_image_has_the_program_and_a_folder_for_its_user() {
    let named = instructions();
    let named: Vec<(&str, &str)> = named
        .iter()
        .map(|(name, rest)| (*name, rest.as_str()))
        .collect();
    let run = |part: &str| {
        let mut runs = named.iter().filter(|(name, _)| *name == "RUN");
        assert!(runs.any(|(_, rest)| rest.contains(part)), "{part}");
    };
    let package = env!("CARGO_PKG_NAME");
    run(&format!(
        "cargo build --release --locked -p {package} --target \"$target\""
    ));
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_livespan"));
    let binary = binary.file_name().unwrap().to_str().unwrap();
    run(&format!("mv \"target/$target/release/{binary}\" /{binary}"));
    run("mkdir /data");
    let last = named.iter().rposition(|(name, _)| *name == "FROM").unwrap();
    let (user, copied) = ("65532:65532", format!("--from=build /{binary} /{binary}"));
    let data = format!("--from=build --chown={user} /data /data");
    assert_eq!(
        named[last..last + 4],
        [
            ("FROM", "scratch"),
            ("COPY", &copied),
            ("COPY", &data),
            ("USER", user)
        ]
    );
    assert_eq!(only("ENTRYPOINT"), format!("[\"/{binary}\"]"));
    let ignored: Vec<&str> = IGNORED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(ignored, ["**/target", "**/node_modules", ".git"]);
}

#[test]
fn the_ports_that_the_image_exposes_are_those_on_which_it_listens() {
    let variables = variables();
    let addresses = [
        &variables["LIVESPAN_ADDR"],
        &variables["LIVESPAN_OTLP_ADDR"],
    ];
    let addresses = addresses.iter().flat_map(|all| all.split(','));
    let mut ports: Vec<&str> = addresses
        .map(|one| one.strip_prefix("0.0.0.0:").unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports.join(" "), only("EXPOSE"));
}

#[test]
fn the_program_starts_with_the_environment_of_the_image_and_a_token() {
    let folder = Folder::new();
    let (code, stdout, stderr) = output(&mut program(&folder));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("set a token with LIVESPAN_TOKEN"),
        "{stderr}"
    );
    let (server, url) =
        Running::serve(program(&folder).env("LIVESPAN_TOKEN", "a long random text"));
    let (page, _) = url.split_once("?login=").unwrap();
    let (_, port) = page.trim_end_matches('/').rsplit_once(':').unwrap();
    let page = format!("http://127.0.0.1:{port}/");
    let token = "authorization: Bearer a long random text\r\n";
    let (status, body) = request(&page, "GET", "/status", (token, ""));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["store"]["kind"]), (200, &"sqlite".into()));
    assert!(folder.path().join("livespan.db").is_file());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
