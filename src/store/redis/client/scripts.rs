//! The scripts that run in the server. The common code of all scripts is prepended to each.

use std::sync::LazyLock;

/// A script: its text, and the SHA-1 by which it is called once the server has loaded it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) source: &'static str,
    pub(crate) sha: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let sha = redis::Script::new(source).get_hash().to_owned();
        Self { source, sha }
    }
}

// The flags in the first line decide when the server refuses to run a script. Without flags, the server refuses when
// memory is full, and on a replica. Scripts that free memory, or that report a living process, may run when memory is
// full.
macro_rules! script {
    ($name:ident, $first:literal, $($file:literal),+) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!($first, $("\n", include_str!($file)),+))
        });
    };
}

script!(
    APPEND,
    "#!lua",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/retention.lua",
    "../lua/append.lua"
);
script!(
    OPEN,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/retention.lua",
    "../lua/open.lua"
);
script!(
    HEARTBEAT,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/heartbeat.lua"
);
script!(
    TAKEOVER,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/retention.lua",
    "../lua/takeover.lua"
);
script!(
    RECLAIM,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/reclaim.lua"
);
script!(
    KEEP,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/writing.lua",
    "../lua/retention.lua",
    "../lua/keep.lua"
);
script!(
    LEAVE,
    "#!lua flags=allow-oom",
    "../lua/common.lua",
    "../lua/leave.lua"
);
script!(
    READ,
    "#!lua flags=no-writes",
    "../lua/common.lua",
    "../lua/read.lua"
);
