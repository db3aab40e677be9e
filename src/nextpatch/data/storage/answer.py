"""Answers of web servers, of which no more is read than was asked for."""

from __future__ import annotations

import re

import aiohttp

UNASKED = 2**30  # bytes at most where no range was asked for


class BoundedResponse(aiohttp.ClientResponse):
    """An answer whose body may be longer than was asked for, even endless: one byte more is read, which shows it."""

    async def read(self) -> bytes:
        """The body, cut one byte behind what was asked for."""
        if self._body is None:
            most = _asked(self.request_info.headers.get("Range", ""))
            body = bytearray()
            async for part in self.content.iter_any():
                body += part
                if len(body) > most:
                    self.close()
                    break
            self._body = bytes(body[: most + 1])
        return self._body


def _asked(range_header: str) -> int:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", range_header)
    return int(found[2]) - int(found[1]) + 1 if found else UNASKED
