// Lists and calls every tool with the official TypeScript clients: version 1, and version 2 in each of its modes.
// Usage: node official.mjs URL
import { readFileSync } from "node:fs";
import { strict as assert } from "node:assert";

import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from "@modelcontextprotocol/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Transport1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const url = new URL("mcp", process.argv[2]);
const { tools, calls } = JSON.parse(readFileSync(new URL("calls.json", import.meta.url), "utf8"));
const info = { name: "livespan-test", version: "1" };

/** @param {string} name @param {any} client @param {any} transport */
async function check(name, client, transport) {
  await client.connect(transport);
  const listed = (await client.listTools()).tools.map((/** @type {any} */ tool) => tool.name);
  assert.deepEqual(listed, tools, name);
  const text = (/** @type {any} */ result) => {
    assert.ok(!result.isError, `${name}: ${JSON.stringify(result)}`);
    return result.content[0].text;
  };
  const found = JSON.parse(text(await client.callTool({ name: "running", arguments: { format: "json" } })));
  const [{ traceId, spans }] = found.traces;
  for (const [tool, given] of calls) {
    const filled = JSON.stringify(given).replaceAll("TRACE", traceId).replaceAll("SPAN", spans[0].spanId);
    const answer = text(await client.callTool({ name: tool, arguments: JSON.parse(filled) }));
    assert.match(answer, /\ncursor: [0-9a-z]{8}-\d+\n/, `${name}: ${tool}`);
  }
  await client.close();
  console.log(`${name}: ${calls.length} tools`);
}

await check("sdk 1", new Client1(info), new Transport1(url));
for (const mode of [undefined, "auto", { pin: "2026-07-28" }]) {
  const options = mode === undefined ? {} : { versionNegotiation: { mode } };
  await check(`client 2, ${JSON.stringify(mode ?? "default")}`, new Client2(info, options), new Transport2(url));
}
