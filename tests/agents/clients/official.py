"""Lists and calls every tool with the official Python client. Usage: python official.py URL"""

import asyncio
import json
import pathlib
import re
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

PLAN = json.loads((pathlib.Path(__file__).parent / "calls.json").read_text())


async def main() -> None:
    async with streamable_http_client(sys.argv[1] + "mcp") as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            listed = [tool.name for tool in (await session.list_tools()).tools]
            assert listed == PLAN["tools"], listed
            running = await call(session, "running", {"format": "json"})
            trace = json.loads(running)["traces"][0]
            for tool, given in PLAN["calls"]:
                filled = json.dumps(given).replace("TRACE", trace["traceId"])
                filled = filled.replace("SPAN", trace["spans"][0]["spanId"])
                answer = await call(session, tool, json.loads(filled))
                assert re.search(r"\ncursor: [0-9a-z]{8}-\d+\n", answer), answer
            print(f"python: {len(PLAN['calls'])} tools")


async def call(session: ClientSession, tool: str, arguments: dict) -> str:
    result = await session.call_tool(tool, arguments)
    failed = getattr(result, "isError", None) or getattr(result, "is_error", False)
    assert not failed, result
    return result.content[0].text


asyncio.run(main())
