"""Plays by aiortsp, a client of RTSP in Python, until so many packets have come: `rtsp_reader URL PACKETS`.

A URL with `rtspt` asks for interleaved media, one with `rtsp` for UDP.
"""

from __future__ import annotations

import asyncio
import sys

from aiortsp.rtsp.reader import RTSPReader


async def main(url: str, packets: int) -> None:
    async with asyncio.timeout(15), RTSPReader(url) as reader:
        async for _ in reader.iter_packets():
            packets -= 1
            if not packets:
                return
    raise SystemExit("the stream ended")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
