//! Runs the programs in `javascript` and `python` with the SDKs that `scripts/install-sdks` has
//! installed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};

use crate::receiver::{Receiver, in_time};

/// A language, with the protocol of its exporters.
#[derive(Clone, Copy)]
pub(crate) enum Sdk {
    JavaScript(&'static str),
    Python(&'static str),
}

impl Sdk {
    /// Returns the command that runs one of the programs.
    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::JavaScript(_) => node(&format!("{program}.mjs")),
            Self::Python(_) => python(&sources().join(format!("python/{program}.py"))),
        };
        let (Self::JavaScript(protocol) | Self::Python(protocol)) = self;
        command.arg(protocol).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        command
    }

    /// Starts one of the programs, and makes it send to this receiver.
    pub(crate) fn start(self, program: &str, receiver: &Receiver) -> Program {
        let mut command = self.command(program);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
        let mut child = command
            .spawn()
            .expect("could not start the language's interpreter");
        let input = child.stdin.take().unwrap();
        Program { child, input }
    }
}

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder of the repository.
pub(crate) fn project() -> &'static Path {
    sources().ancestors().nth(2).unwrap()
}

/// Returns the path of a file or folder of the installed SDKs. Panics if they are not installed.
pub(crate) fn installed(path: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sdks");
    let is_installed = folder.join("installed").is_file();
    assert!(is_installed, "first run scripts/install-sdks");
    folder.join(path)
}

/// Returns the command that runs a Node program. The programs are links beside the packages, so
/// that Node finds the packages.
pub(crate) fn node(program: &str) -> Command {
    let mut node = Command::new("node");
    node.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
    node.arg(installed("javascript").join(program));
    node
}

/// Returns the command that runs a Python program.
pub(crate) fn python(program: &Path) -> Command {
    let mut python = Command::new(installed("python/bin/python"));
    python.arg(program);
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.env("PYTHONPATH", project().join("clients"));
    python
}

/// A running program.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
}

impl Program {
    pub(crate) async fn send_line(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    /// Waits for the end of the program. Returns the JSON that it printed.
    pub(crate) async fn output(self) -> Value {
        drop(self.input);
        let output = in_time("the program's end", self.child.wait_with_output())
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }
}
