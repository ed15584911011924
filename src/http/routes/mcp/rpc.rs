//! JSON-RPC 2.0 and the revisions of the Model Context Protocol. Since revision 2026-07-28, each
//! request describes itself in `_meta` and in headers; older clients begin with `initialize`. Both
//! are answered without a session. Pure.

use http::{HeaderMap, StatusCode};
use serde_json::{Map as JsonMap, Value as Json, json};

use crate::http::routes::mcp::tools::{INSTRUCTIONS, TOOLS, Tool};

/// The revision without sessions.
const STATELESS: &str = "2026-07-28";
/// Revisions that begin with `initialize`, newest first.
const WITH_HANDSHAKE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The time for which a client may cache the list of tools, in milliseconds.
const TTL_MS: u64 = 3_600_000;

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

/// The rules that a request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum McpEra {
    Stateless,
    WithHandshake,
}

/// A message from a client.
#[derive(Debug)]
pub(crate) enum RpcMessage {
    Request(RpcRequest),
    /// A message that needs no response.
    Notification,
}

/// A request that needs a response.
#[derive(Debug)]
pub(crate) struct RpcRequest {
    pub(crate) id: Json,
    method: String,
    pub(crate) params: JsonMap<String, Json>,
    era: McpEra,
}

/// An error with its HTTP status.
#[derive(Debug)]
pub(crate) struct RpcError {
    pub(crate) status: StatusCode,
    code: i64,
    message: String,
    data: Option<Json>,
}

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Returns the response with this error. The id is missing if the request could not be parsed.
    pub(crate) fn json(&self, id: Option<&Json>) -> Json {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            put(&mut error, "data", data.clone());
        }
        let mut response = json!({"jsonrpc": "2.0", "error": error});
        if let Some(id) = id {
            put(&mut response, "id", id.clone());
        }
        response
    }
}

impl RpcMessage {
    pub(crate) fn read(body: &[u8]) -> Result<Self, RpcError> {
        let message: Json = serde_json::from_slice(body).map_err(|error| {
            RpcError::new(PARSE_ERROR, format!("the body is not JSON: {error}"))
        })?;
        let invalid = |message: &str| RpcError::new(INVALID_REQUEST, message);
        let Json::Object(mut message) = message else {
            return Err(invalid(
                "the body is not one JSON-RPC message; batches are not supported",
            ));
        };
        if message.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(invalid("the message is not JSON-RPC 2.0"));
        }
        let Some(Json::String(method)) = message.remove("method") else {
            return Err(invalid(
                "the message has no method; responses are not taken",
            ));
        };
        let Some(id) = message.remove("id") else {
            return Ok(Self::Notification);
        };
        if !(id.is_string() || id.is_i64() || id.is_u64()) {
            return Err(invalid("the id is neither a text nor a whole number"));
        }
        let params = match message.remove("params") {
            None => JsonMap::new(),
            Some(Json::Object(params)) => params,
            Some(_) => return Err(invalid("the params are no object")),
        };
        let meta = params.get("_meta");
        let era = match meta.and_then(|meta| meta.get(VERSION_KEY)) {
            Some(_) => McpEra::Stateless,
            None => McpEra::WithHandshake,
        };
        Ok(Self::Request(RpcRequest {
            id,
            method,
            params,
            era,
        }))
    }
}

impl RpcRequest {
    /// Checks the protocol's revision, and that the request's headers agree with its body.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), RpcError> {
        let header = |name: &str| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap_or_default())
        };
        match (self.era, header("mcp-protocol-version")) {
            (McpEra::Stateless, _) => self.check_stateless(header),
            (McpEra::WithHandshake, Some(STATELESS)) => {
                let message =
                    format!("a request of revision {STATELESS} needs _meta[{VERSION_KEY:?}]");
                Err(RpcError::new(INVALID_PARAMS, message))
            }
            (McpEra::WithHandshake, Some(version)) if !WITH_HANDSHAKE.contains(&version) => {
                Err(unsupported(version))
            }
            (McpEra::WithHandshake, _) => Ok(()),
        }
    }

    fn check_stateless<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<(), RpcError> {
        let meta = self.params.get("_meta");
        let version = meta.and_then(|meta| meta.get(VERSION_KEY)?.as_str());
        let version = version.unwrap_or_default();
        let header_version = header("mcp-protocol-version");
        compare("MCP-Protocol-Version", header_version, version)?;
        if version != STATELESS {
            return Err(unsupported(version));
        }
        let capabilities = meta.and_then(|meta| meta.get(CAPABILITIES_KEY));
        if !capabilities.is_some_and(Json::is_object) {
            let message = format!("_meta[{CAPABILITIES_KEY:?}] is missing");
            return Err(RpcError::new(INVALID_PARAMS, message));
        }
        compare("Mcp-Method", header("mcp-method"), &self.method)?;
        if self.method == "tools/call" {
            let name = self.params.get("name").and_then(Json::as_str);
            compare("Mcp-Name", header("mcp-name"), name.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Returns the response of a method that does not use the log, or `None` for `tools/call`.
    pub(crate) fn answer_at_once(&self) -> Option<Result<Json, RpcError>> {
        let is_stateless = self.era == McpEra::Stateless;
        Some(Ok(match self.method.as_str() {
            "tools/call" => return None,
            "tools/list" => self.list(),
            "server/discover" => self.discover(),
            "initialize" if !is_stateless => self.initialize(),
            "ping" if !is_stateless => json!({}),
            _ => {
                let message = "Method not found: there are tools/list, tools/call, \
                               server/discover and, for older clients, initialize and ping";
                let mut error = RpcError::new(METHOD_NOT_FOUND, message);
                error.status = if is_stateless {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::OK
                };
                return Some(Err(error));
            }
        }))
    }

    fn list(&self) -> Json {
        let tools: Vec<Json> = TOOLS.into_iter().map(Tool::json).collect();
        self.cacheable(json!({"tools": tools}))
    }

    fn discover(&self) -> Json {
        self.cacheable(json!({
            "supportedVersions": versions(),
            "capabilities": {"tools": {}},
            "instructions": INSTRUCTIONS,
        }))
    }

    fn cacheable(&self, mut result: Json) -> Json {
        if self.era == McpEra::Stateless {
            put(&mut result, "ttlMs", TTL_MS);
            put(&mut result, "cacheScope", "public");
        }
        result
    }

    fn initialize(&self) -> Json {
        let wanted = self.params.get("protocolVersion").and_then(Json::as_str);
        let mut known = WITH_HANDSHAKE.into_iter();
        let known = known.find(|version| Some(*version) == wanted);
        let [newest, ..] = WITH_HANDSHAKE;
        json!({
            "protocolVersion": known.unwrap_or(newest),
            "capabilities": {"tools": {}},
            "serverInfo": server_info(),
            "instructions": INSTRUCTIONS,
        })
    }

    /// Returns the response with this result.
    pub(crate) fn response(&self, mut result: Json) -> Json {
        if self.era == McpEra::Stateless {
            put(&mut result, "resultType", "complete");
            put(&mut result, "_meta", json!({SERVER_KEY: server_info()}));
        }
        json!({"jsonrpc": "2.0", "id": self.id, "result": result})
    }
}

/// Sets a member of an object.
pub(crate) fn put(object: &mut Json, key: &str, value: impl Into<Json>) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value.into());
    }
}

/// Compares a header with the body. A header value that is not plain text is encoded as base64.
fn compare(name: &str, header: Option<&str>, body: &str) -> Result<(), RpcError> {
    let encoded = header
        .and_then(|value| value.strip_prefix("=?base64?"))
        .and_then(|value| value.strip_suffix("?="));
    let is_equal = match (encoded, header) {
        (Some(encoded), _) => base64(encoded).is_some_and(|bytes| bytes == body.as_bytes()),
        (None, header) => header == Some(body),
    };
    if is_equal {
        return Ok(());
    }
    let message = match header {
        None => format!("Header mismatch: the header {name} is missing"),
        Some(_) => format!("Header mismatch: the header {name} does not match the body"),
    };
    Err(RpcError::new(HEADER_MISMATCH, message))
}

fn versions() -> Vec<&'static str> {
    [STATELESS].into_iter().chain(WITH_HANDSHAKE).collect()
}

fn server_info() -> Json {
    json!({"name": "livespan", "title": "livespan", "version": env!("CARGO_PKG_VERSION")})
}

fn unsupported(version: &str) -> RpcError {
    let requested: String = version.chars().take(40).collect();
    RpcError {
        data: Some(json!({"supported": versions(), "requested": requested})),
        ..RpcError::new(UNSUPPORTED_VERSION, "Unsupported protocol version")
    }
}

/// Decodes base64 (RFC 4648, section 4). Returns `None` for any other text.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let mut bits = 0_u32;
    let mut count = 0;
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|one| *one == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_headers_is_read() {
        let hello = "Hello, 世界".as_bytes().to_vec();
        for (text, bytes) in [
            ("SGVsbG8sIOS4lueVjA==", Some(hello)),
            ("IHBhZGRlZCA=", Some(b" padded ".to_vec())),
            ("", Some(Vec::new())),
            ("!!", None),
        ] {
            assert_eq!(base64(text), bytes, "{text}");
        }
    }
}
