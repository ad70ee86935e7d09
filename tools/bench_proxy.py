#!/usr/bin/env python3
"""Stands before a registry, delays each request, and writes down what was asked: one JSON line per request.

The delay is once per request, before anything of it goes on, as a distant registry has it; bytes pass undelayed.
"""

import argparse
import asyncio
import json
import time

from common import Failure, main

CHUNK = 1 << 18
HEAD_LIMIT = 1 << 16


class Proxy:
    def __init__(self, upstream, delay, log):
        host, _, port = upstream.rpartition(":")
        self.upstream = host, int(port)
        self.delay = delay
        self.log = log

    async def serve(self):
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, limit=HEAD_LIMIT)
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        async with server:
            await server.serve_forever()

    async def connection(self, reader, writer):
        """One connection of a client, and one to the registry for it."""
        upstream = None
        try:
            upstream = await asyncio.open_connection(*self.upstream, limit=HEAD_LIMIT)
            while await self.exchange((reader, writer), upstream):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # Either side may go at any time; the other one learns it from its connection.
            pass
        finally:
            for end in (writer, *(upstream[1:] if upstream else ())):
                end.close()

    async def exchange(self, client, registry):
        """A request and its answer; whether the connection goes on."""
        head = await _head(client[0])
        if not head:
            return False
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        started = time.time()
        await asyncio.sleep(self.delay)
        registry[1].write(head)
        body = asyncio.ensure_future(_body(_headers(head), client[0], registry[1]))
        try:
            while True:
                answer = await _head(registry[0])
                if not answer:
                    return False
                status = int(answer.split(b" ", 2)[1])
                if status >= 200:
                    break
                client[1].write(answer)
                await client[1].drain()
            # What is asked next may be asked as soon as this has been answered: it has to be written down before.
            self.log.write(json.dumps({"method": method, "path": path, "status": status, "started": started,
                                       "ended": time.time()}) + "\n")
            self.log.flush()
            client[1].write(answer)
            headers = _headers(answer)
            if method != "HEAD" and status not in (204, 304):
                await _body(headers, registry[0], client[1], until_end=True)
            await client[1].drain()
            complete = body.done()
            return complete and b"close" not in (headers.get(b"connection", b""), _headers(head).get(b"connection", b""))
        finally:
            # A registry may refuse a request before it has read it all.
            if not body.done():
                body.cancel()
            await asyncio.gather(body, return_exceptions=True)


async def _head(reader):
    """A request's or an answer's lines with the empty one, or nothing when the connection is at its end."""
    first = await reader.read(1)
    # Some clients try TLS first. As from any server that does not speak it, they get their answer at once.
    if not first.isalpha():
        return b""
    return first + await reader.readuntil(b"\r\n\r\n")


def _headers(head):
    lines = head.split(b"\r\n")[1:]
    return {name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}


async def _body(headers, reader, writer, until_end=False):
    """Passes a body on as it is."""
    if headers.get(b"transfer-encoding") == b"chunked":
        size = None
        while size != 0:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            writer.write(line)
            # A chunk ends with a line break; after the last one, which is empty, trailers may stand before it.
            await _copy(reader, writer, size + 2 if size else 0)
        line = None
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            writer.write(line)
    elif b"content-length" in headers:
        await _copy(reader, writer, int(headers[b"content-length"]))
    elif until_end:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    await writer.drain()


async def _copy(reader, writer, size):
    while size:
        chunk = await reader.read(min(size, CHUNK))
        if not chunk:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(chunk)
        writer.write(chunk)
        await writer.drain()


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("upstream", metavar="HOST:PORT", help="the registry, which speaks HTTP")
    parser.add_argument("log", help="the file for the requests")
    parser.add_argument("--delay", type=float, default=0, metavar="SECONDS", help="added to each request (default: 0)")
    arguments = parser.parse_args()
    if not arguments.upstream.rpartition(":")[2].isdigit():
        raise Failure("the registry has to be HOST:PORT")
    with open(arguments.log, "w") as log:
        asyncio.run(Proxy(arguments.upstream, arguments.delay, log).serve())


if __name__ == "__main__":
    main(run)
