"""Lists where a document refuses what the last release's document allowed, and why this breaks nobody.

The comparison of documents knows nothing of workers, and reports each of these. A document may say more
exactly what workers refuse, or what they were never meant to be sent; it must say here what that is. Once
the next release is kept, its documents are compared with themselves, and the list has to be empty again.
"""

import re
from enum import Enum
from typing import Any, NamedTuple

Document = dict[str, Any]
_ID = "3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001"
REQUEST, CANCEL = "create-session-request.schema.json", "cancel-session-request.schema.json"


class Worker(Enum):
    REFUSED_IT = "a worker of the release refused it too: the document did not say so"
    TAKES_IT = "workers take it as they did: the document names the one spelling"
    REFUSES_IT_NOW = "a worker of the release took it; the CHANGELOG says why none does any more"


class Tightened(NamedTuple):
    sentence: str
    """What the comparison says, as a regular expression."""
    document: str
    worker: Worker
    sent: tuple[Document, ...]
    """Bodies that the old document lets pass and the new one does not."""


def _request(**changes: Any) -> Document:
    least = {"request_id": _ID, "org_id": "o", "operation": "create_session", "payload": {}}
    return {**least, **changes}


def _cancel(request_id: str) -> Document:
    return {"request_id": request_id, "operation": "cancel_session"}


def _expiring(moment: str) -> Document:
    tokens = {"provider": "ghl.oauth2-authorization", "authentication_session": {"expires_at": moment}}
    return _request(payload={"assistant": {"credentials": [tokens]}})


def _customer(**fields: Any) -> Document:
    return _request(payload={"customer": fields})


def _assistant(**fields: Any) -> Document:
    return _request(payload={"assistant": fields})


_NO_IDS = ("order-17", "3f0f8a523b0e4a0e9d3c0a6f5a4be001", f"{{{_ID}}}", f"urn:uuid:{_ID}", "")
_BLANK_IDS = ("00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff")

TIGHTENED = (
    Tightened(
        "request_id: pattern is another", REQUEST, Worker.REFUSED_IT,
        tuple(_request(request_id=text) for text in _NO_IDS),
    ),
    Tightened(
        "request_id: pattern is another", CANCEL, Worker.REFUSED_IT, tuple(_cancel(text) for text in _NO_IDS)
    ),
    Tightened(
        "request_id: not is another", REQUEST, Worker.REFUSES_IT_NOW,
        tuple(_request(request_id=text) for text in _BLANK_IDS),
    ),
    Tightened(
        "request_id: not is another", CANCEL, Worker.REFUSES_IT_NOW,
        tuple(_cancel(text) for text in _BLANK_IDS),
    ),
    Tightened(
        "timestamp: pattern is another", REQUEST, Worker.REFUSED_IT,
        tuple(_request(timestamp=text) for text in ("", "yesterday", "1760365800", "2025-10", "13.10.2025")),
    ),
    Tightened(
        "timestamp: pattern is another", REQUEST, Worker.TAKES_IT,
        tuple(_request(timestamp=text) for text in ("2025-10-13_14:30", "2025-10-13T14:30:00+02:00:30")),
    ),
    Tightened(
        r"Oauth2AuthenticationSession\.expires_at: pattern is another", REQUEST, Worker.REFUSED_IT,
        (_expiring("20251013--T14:30:00Z"), _expiring("2025-10-13T14300000Z")),
    ),
    Tightened(
        # The same texts as before: it is spelled otherwise.
        r"(CreateAssistantDTO|AssistantOverrides)\.background_sound: pattern is another", REQUEST,
        Worker.REFUSED_IT, (),
    ),
    Tightened(
        r"(CreateCustomerDTO|TransferDestinationNumber): (if|then|else) is another", REQUEST,
        Worker.REFUSED_IT,
        (
            _customer(number="4912345"),
            _customer(number="+0123", number_e164_check_enabled=None),
            _customer(number="+49 12345", number_e164_check_enabled=False),
        ),
    ),
    Tightened(
        r"\w+(Model|Transcriber|Voice): propertyNames is another", REQUEST, Worker.TAKES_IT,
        (
            _assistant(model={"provider": "openai", "model": "gpt-4o", "maxTokens": 100}),
            _assistant(voice={"provider": "vapi", "voice_id": "Elliot", "fallbackPlan": {}}),
            _assistant(transcriber={"provider": "deepgram", "fallbackPlan": {}}),
        ),
    ),
    Tightened(
        r"\w+(Model|Transcriber|Voice): propertyNames is another", REQUEST, Worker.REFUSED_IT,
        (
            _assistant(model={"provider": "openai", "model": "gpt-4o", "maxTokens": 99_999_999}),
            _assistant(model={"provider": "openai", "model": "gpt-4o", "max_tokens": 50, "maxTokens": 50}),
            _assistant(voice={"provider": "vapi", "voice_id": "Elliot", "voiceId": "Elliot"}),
        ),
    ),
)  # fmt: skip


def explained(problem: str) -> bool:
    """Tells whether the list above explains this sentence of the comparison."""
    return any(re.fullmatch(f"{re.escape(each.document)}: {each.sentence}", problem) for each in TIGHTENED)
