"""Shows the body of a dead letter to people, with what looks like a credential masked."""

import json
import re
from typing import Any

from schemas.secret import is_secret_name, map_secrets
from worker.messages.json_body import parse_loosely

MASK = "(masked)"
_DUMPED_BYTES = 512
_PER_LINE = 16
# A name, then a colon or an equals sign, then a value in quotes or one word (of `Bearer x` two). Each name is
# read once, from its beginning: a mebibyte of letters takes no longer than one of words.
_PAIR = re.compile(
    r"""(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z0-9_.-]{2,}+)(?P<between>["']?\s*[:=]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"?|'[^']*'?|(?:(?:bearer|basic|token)\s+)?[^\s"',;&<>{}\[\]]+)""",
    re.ASCII | re.IGNORECASE,
)
_ELEMENT = re.compile(r"<(?P<name>[A-Za-z0-9_.:-]{2,64})(?P<rest>[^<>]*)>(?P<value>[^<]+)", re.ASCII)
_SCHEME = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.ASCII | re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^\s/@:\"']*:[^\s/@\"']+(?=@)", re.ASCII)


def shown(body: bytes) -> str:
    """Make of a body what may be shown: JSON in order, other text as it is, or the first bytes of what is no
    text.
    """
    document = parse_loosely(body)
    if isinstance(document, dict | list):
        whole: Any = map_secrets({"": document}, lambda _path, _value: MASK)[""]
        return masked_text(json.dumps(whole, indent=2, ensure_ascii=False))
    try:
        return masked_text(body.decode())
    except UnicodeDecodeError:
        return dumped(body, ": --raw writes all of them")


def masked_text(text: str) -> str:
    """Mask the values that stand behind the name of a credential, and those of an address or a header."""
    text = _PAIR.sub(_mask_pair, text)
    text = _ELEMENT.sub(_mask_element, text)
    text = _SCHEME.sub(lambda found: f"{found[1]} {MASK}", text)
    return _IN_URL.sub(MASK, text)


def _mask_pair(found: re.Match[str]) -> str:
    value = found["value"]
    if not is_secret_name(found["name"]) or value in ("null", "true", "false", '""', f'"{MASK}"'):
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found['name']}{found['between']}{quote}{MASK}{quote}"


def _mask_element(found: re.Match[str]) -> str:
    if not is_secret_name(found["name"].rpartition(":")[2]):
        return found[0]
    return f"<{found['name']}{found['rest']}>{MASK}"


def dumped(body: bytes, more: str = "") -> str:
    """Show the first bytes of a body, as numbers and as letters; what looks like a credential is masked.
    `more`: where those are that are left out.
    """
    body = masked_text(body.decode("latin-1")).encode("latin-1")
    lines = []
    for start in range(0, min(len(body), _DUMPED_BYTES), _PER_LINE):
        part = body[start : start + _PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 — printable ASCII
        lines.append(f"{start:06x}  {part.hex(' '):<{3 * _PER_LINE}} {text}")
    if len(body) > _DUMPED_BYTES:
        lines.append(f"… {len(body) - _DUMPED_BYTES:,} bytes more{more}")
    return "\n".join(lines)
