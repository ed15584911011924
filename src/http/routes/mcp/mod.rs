//! `POST /mcp`: the Model Context Protocol, for coding agents. [`route`] knows HTTP, [`rpc`] JSON-RPC and the revisions of
//! the protocol, [`tools`] what is offered, [`arguments`] how it is asked for, [`call`] how it is answered. No session is
//! held: each request stands alone. They run on the connection's task.

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod route;
pub(crate) mod rpc;
pub(crate) mod tools;
