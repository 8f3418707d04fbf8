"""Hammers a port with HTTP requests on many connections: `hammer.py PORT CONNECTIONS PATH`. It does not end.

A process of its own, so that it takes no time of the loop that it asks. It writes a line for each hundred
answers.
"""

import asyncio
import sys

_AGAIN_SECONDS = 0.05


async def main(port: int, connections: int, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    answers = 0

    async def hammer() -> None:
        nonlocal answers
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while True:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    answers += 1
                    if answers % 100 == 0:
                        print(answers, flush=True)
            except (OSError, EOFError):  # one connection too many, and it was this one
                await asyncio.sleep(_AGAIN_SECONDS)

    await asyncio.gather(*(hammer() for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
