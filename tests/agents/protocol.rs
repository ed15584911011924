//! The Model Context Protocol: revision 2026-07-28 without a session, and older clients.

use serde_json::{Value as Json, json};

use super::client::{App, call, post, request};

const TOOLS: [&str; 7] = [
    "running",
    "wait",
    "find_traces",
    "trace",
    "span",
    "problems",
    "compare",
];

fn message(method: &str, params: &Json) -> Json {
    json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params})
}

fn meta(version: &str) -> Json {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn stateless(url: &str, headers: &str, method: &str, params: &Json) -> (u16, Json) {
    let head = format!("POST /mcp\nContent-Type: application/json\n{headers}");
    let answer = request(url, &head, &message(method, params).to_string());
    (answer.status, answer.json())
}

fn server() -> Json {
    json!({"name": "livespan", "title": "livespan", "version": env!("CARGO_PKG_VERSION_MAJOR")})
}

#[test]
fn a_stateless_client_discovers_and_lists_tools() {
    let app = App::start();
    let headers = "MCP-Protocol-Version: 2026-07-28\nMcp-Method: server/discover";
    let params = json!({"_meta": meta("2026-07-28")});
    let (status, mut answer) = stateless(&app.url(), headers, "server/discover", &params);
    let name = &answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"];
    assert_eq!((status, name), (200, &server()["name"]));
    let result = answer["result"].as_object_mut().unwrap();
    result.remove("_meta");
    assert!(
        result
            .remove("instructions")
            .unwrap()
            .as_str()
            .unwrap()
            .contains("running")
    );
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": "a", "result": {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"],
            "capabilities": {"tools": {}}, "ttlMs": 3_600_000, "cacheScope": "public",
        }})
    );
    let headers = "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/list";
    let (status, answer) = stateless(&app.url(), headers, "tools/list", &params);
    let tools = answer["result"]["tools"].as_array().unwrap().clone();
    let names: Vec<&str> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!((status, names), (200, TOOLS.to_vec()));
    for tool in &tools {
        assert_eq!(tool["inputSchema"]["additionalProperties"], json!(false));
        assert_eq!(tool["annotations"]["readOnlyHint"], json!(true));
        assert!(
            tool["description"].as_str().unwrap().len() < 300,
            "a description has 300 bytes or more"
        );
    }
    let headers = "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: running";
    let params = json!({"_meta": meta("2026-07-28"), "name": "running"});
    let (status, answer) = stateless(&app.url(), headers, "tools/call", &params);
    assert_eq!((status, &answer["result"]["isError"]), (200, &json!(false)));
}

#[test]
fn headers_must_match_the_body() {
    let app = App::start();
    let url = app.url();
    let ask = |headers: &str, method: &str, params: Json| {
        let (status, answer) = stateless(&url, headers, method, &params);
        (status, answer["error"]["code"].as_i64().unwrap())
    };
    let params = || json!({"_meta": meta("2026-07-28"), "name": "running"});
    let version = "MCP-Protocol-Version: 2026-07-28";
    assert_eq!(
        ask("Mcp-Method: tools/list", "tools/list", params()),
        (400, -32020)
    );
    assert_eq!(ask(version, "tools/list", params()), (400, -32020));
    let other = format!("{version}\nMcp-Method: tools/list");
    assert_eq!(ask(&other, "tools/call", params()), (400, -32020));
    let unnamed = format!("{version}\nMcp-Method: tools/call");
    assert_eq!(ask(&unnamed, "tools/call", params()), (400, -32020));
    let encoded = format!("{unnamed}\nMcp-Name: =?base64?d2FpdA==?=");
    assert_eq!(ask(&encoded, "tools/call", params()), (400, -32020));
    let without = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    assert_eq!(ask(&other, "tools/list", without), (400, -32602));
    assert_eq!(ask(&other, "tools/list", json!({})), (400, -32602));
    let future = "MCP-Protocol-Version: 2027-01-01\nMcp-Method: tools/list";
    let (status, answer) = stateless(
        &url,
        future,
        "tools/list",
        &json!({"_meta": meta("2027-01-01")}),
    );
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32022)));
    assert_eq!(answer["error"]["data"]["requested"], json!("2027-01-01"));
    let unknown = format!("{version}\nMcp-Method: resources/list");
    assert_eq!(ask(&unknown, "resources/list", params()), (404, -32601));
}

#[test]
fn an_older_client_begins_with_initialize() {
    let app = App::start();
    let url = app.url();
    for (wanted, given) in [("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25")] {
        let params = json!({"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
        let answer = post(&url, &message("initialize", &params)).json();
        assert_eq!(answer["result"]["protocolVersion"], json!(given));
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
    }
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = post(&url, &initialized);
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let answer = post(&url, &message("ping", &json!({})));
    assert_eq!(
        answer.json(),
        json!({"jsonrpc": "2.0", "id": "a", "result": {}})
    );
    let tools = post(&url, &message("tools/list", &json!({}))).json();
    assert_eq!(
        tools["result"]["tools"].as_array().unwrap().len(),
        TOOLS.len()
    );
    let answer = post(&url, &message("prompts/list", &json!({})));
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (200, &json!(-32601))
    );
}

#[test]
fn invalid_messages_are_refused() {
    let app = App::start();
    let url = app.url();
    for method in ["GET", "DELETE", "PUT"] {
        let answer = request(&url, &format!("{method} /mcp"), "");
        assert_eq!(answer.status, 405, "{method}");
        assert!(
            answer.head.contains("\r\nallow: post\r\n"),
            "{}",
            answer.head
        );
    }
    let send = |headers: &str, body: &str| request(&url, &format!("POST /mcp\n{headers}"), body);
    let json_type = "Content-Type: application/json";
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            -32600,
        ),
    ] {
        let answer = send(json_type, body);
        let code_of = &answer.json()["error"]["code"];
        assert_eq!((answer.status, code_of), (400, &json!(code)), "{body}");
    }
    assert_eq!(send("Content-Type: text/plain", "{}").status, 415);
    assert_eq!(send(json_type, &" ".repeat(64 * 1024 + 1)).status, 413);
    let foreign = format!("{json_type}\nOrigin: https://evil.example");
    assert_eq!(send(&foreign, "{}").status, 403);
    // A page that reached this address by DNS rebinding sends its own name.
    let rebound = send(&format!("{json_type}\nHost: evil.example"), "{}");
    assert_eq!(rebound.status, 403);
}

#[test]
fn wrong_calls_say_what_is_allowed() {
    let app = App::start();
    let url = app.url();
    let params = json!({"name": "drop_tables"});
    let answer = post(&url, &message("tools/call", &params)).json();
    assert_eq!(
        answer["error"],
        json!({"code": -32602, "message": format!("Unknown tool: \"drop_tables\". The tools are {}", TOOLS.join(", "))})
    );
    for (tool, arguments, error) in [
        (
            "running",
            json!({"query": "a"}),
            "running has no argument \"query\". Its arguments are: q, trace, format",
        ),
        ("running", json!([]), "the arguments are no object"),
        (
            "running",
            json!({"format": "xml"}),
            "the argument format is \"xml\", not one of text, json",
        ),
        ("running", json!({"q": 7}), "the argument q is not text"),
        (
            "running",
            json!({"q": "a".repeat(3000)}),
            "the argument q is longer than 2048 bytes",
        ),
        (
            "wait",
            json!({"timeout_s": 900}),
            "the argument timeout_s is not a number from 0 to 120",
        ),
        (
            "wait",
            json!({"until": "end"}),
            "the argument trace is missing",
        ),
        ("trace", json!({}), "the argument trace is missing"),
        (
            "trace",
            json!({"trace": "xyz"}),
            "trace \"xyz\" is not an id: 4 to 32 hexadecimal digits",
        ),
        (
            "trace",
            json!({"trace": "abcd1234"}),
            "no trace abcd1234 is there for this reader: `find_traces` and `running` print ids",
        ),
        (
            "span",
            json!({"trace": "abcd1234", "spans": []}),
            "no trace abcd1234 is there for this reader: `find_traces` and `running` print ids",
        ),
        (
            "find_traces",
            json!({"limit": "many"}),
            "the argument limit is not a number from 1 to 100",
        ),
        (
            "problems",
            json!({"since": "yesterday"}),
            "since \"yesterday\" is not a cursor: an answer ends with one, such as k3x9q2a7-41",
        ),
    ] {
        assert_eq!(
            call(&url, tool, &arguments),
            (error.to_owned(), true),
            "{tool}"
        );
    }
}
