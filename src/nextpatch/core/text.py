"""Text from outside, made safe to show: names of files and classes may hold anything."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable
from pathlib import PurePath

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_SURROGATE = range(0xDC80, 0xDD00)  # how Python keeps a byte of a file name that is not UTF-8


def shown(text: object) -> str:
    r"""The text on one line, with control characters, direction marks and bytes that are not UTF-8 as escapes.

    A terminal escape in a file name would else be obeyed by the terminal, and a newline would start a line of its own.
    """
    return _UNSAFE.sub(lambda found: _escaped(ord(found[0])), str(text))


def shown_lines(text: object) -> str:
    """The same of a text that may have several lines, which it keeps."""
    return "\n".join(map(shown, str(text).split("\n")))


class ShownRecord(logging.LogRecord):
    """A line of the log, whatever names are in it: for `logging.setLogRecordFactory`."""

    def getMessage(self) -> str:
        """The message; words given for its places stay on its line."""
        if isinstance(self.args, tuple):
            self.args = tuple(shown(word) if isinstance(word, (str, PurePath)) else word for word in self.args)
        return shown_lines(super().getMessage())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question in brackets, to stand behind a word that is none of the known; "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{shown(near[0])}'?)" if near else ""


def escape_for_utf8(text: str) -> str:
    """The text as UTF-8 can hold it: of a file name that is not UTF-8, the odd bytes as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain(number: float, digits: int = 2) -> str:
    """The number with so many digits that count, in plain writing however large: 120, not 1.2e+02."""
    return f"{number:,.0f}" if number >= 10**digits - 0.5 else f"{number:.{digits}g}"


def format_bytes(size: float) -> str:
    """A number of bytes in the largest unit that leaves at least 1, to three digits: "999 B", "12.3 kB", "2.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{plain(size, 3)} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def format_flops(number: float) -> str:
    """Floating-point operations: "10.149 TFLOP", "52.1 GFLOP", "9.63 MFLOP"."""
    if number >= 1e12:
        return f"{number / 1e12:,.3f} TFLOP"
    return f"{number / 1e9:.3g} GFLOP" if number >= 1e9 else f"{number / 1e6:.3g} MFLOP"


def format_duration(seconds: float) -> str:
    """Seconds as "45 s", "7 min 48 s" or "3 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _escaped(code: int) -> str:
    if code in _SURROGATE:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def whole_number(text: str) -> int | None:
    """The whole number that a text is, in plain digits, as `7`, `-1`, `007` and `1.0`; else None.

    Python also takes `1_1` for 11 and `1e1` for 10: as labels these are names, and would become another class.
    """
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else None
