//! `POST /mcp`: the Model Context Protocol, for coding agents. [`route`] handles HTTP, [`rpc`]
//! JSON-RPC and the revisions of the protocol. [`tools`] defines the tools, [`arguments`] parses a
//! call's arguments, and [`call`] answers it. There are no sessions: each request is independent.
//! All of them run on the connection's task.

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod route;
pub(crate) mod rpc;
pub(crate) mod tools;
