"""`provider` chooses the variant, and rules beyond a length, a range or a list hold."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from support.contract.secret_payloads import CREDENTIALS

from schemas import CreateSessionPayload, field_errors
from schemas.assistant.model_names import OpenAIModelName

URL = "https://hooks.example.com"
RESTRICTED_MODELS = {
    "anthropic": ("claude-3-opus-20240229", 9),
    "cerebras": ("llama-3.3-70b", 2),
    "deep-seek": ("deepseek-reasoner", 2),
    "google": ("gemini-1.0-pro", 15),
    "groq": ("compound-beta-mini", 12),
    "inflection-ai": ("inflection_3_pi", 1),
    "openai": ("gpt-3.5-turbo-1106:westus", 96),
    "xai": ("grok-3", 3),
}
MODELS = {
    **{provider: {"model": name} for provider, (name, _) in RESTRICTED_MODELS.items()},
    **{
        provider: {"model": "any name"}
        for provider in ("anyscale", "deepinfra", "openrouter", "perplexity-ai", "together-ai")
    },
    "custom-llm": {"model": "any name", "url": URL},
}
VOICES = {
    **{
        provider: {"voice_id": "any id"}
        for provider in (
            *("azure", "cartesia", "11labs", "hume", "lmnt", "openai", "playht", "rime-ai"),
            *("smallest-ai", "tavus"),
        )
    },
    "custom-voice": {"server": {"url": URL}},
    "deepgram": {"voice_id": "vesta"},
    "neuphonic": {"voice_id": "any id", "language": {"code": "en"}},
    "vapi": {"voice_id": "Spencer"},
    "sesame": {"voice_id": "any id", "model": "csm-1b"},
}
TRANSCRIBERS: dict[str, dict[str, Any]] = {
    **{
        provider: {}
        for provider in (
            *("assembly-ai", "azure", "deepgram", "11labs", "gladia", "google", "speechmatics"),
            *("talkscriber", "cartesia"),
        )
    },
    "custom-transcriber": {"server": {"url": URL}},
    "openai": {"model": "gpt-4o-mini-transcribe"},
}
BLOCKS = [
    (block, provider, fields)
    for block, variants in (("model", MODELS), ("voice", VOICES), ("transcriber", TRANSCRIBERS))
    for provider, fields in variants.items()
]


def reasons(payload: dict[str, Any]) -> dict[str, str]:
    try:
        CreateSessionPayload.model_validate(payload)
    except ValidationError as error:
        return {item["field"]: item["reason"] for item in field_errors(error)}
    return {}


def test_the_number_of_variants() -> None:
    assert (len(MODELS), len(VOICES), len(TRANSCRIBERS)) == (14, 15, 11)
    assert len({item["provider"] for item in CREDENTIALS}) == 48


@pytest.mark.parametrize(("block", "provider", "fields"), BLOCKS)
def test_provider_blocks(block: str, provider: str, fields: dict[str, Any]) -> None:
    own = {"ownField": {"aKey": [1, None]}, "own_field": 2}
    sent = {"assistant": {block: {"provider": provider, **fields, **own}}}
    accepted = CreateSessionPayload.model_validate(sent)
    assert accepted.model_dump(exclude_unset=True) == sent
    for name in fields:
        fewer = {key: value for key, value in fields.items() if key != name}
        assert reasons({"assistant": {block: {"provider": provider, **fewer}}}) == {
            f"assistant.{block}.{name}": "is required"
        }
        wrong = reasons({"assistant": {block: {"provider": provider, **fields, name: 5}}})
        assert list(wrong) == [f"assistant.{block}.{name}"]


@pytest.mark.parametrize("provider", RESTRICTED_MODELS)
def test_models_of_a_list(provider: str) -> None:
    name, count = RESTRICTED_MODELS[provider]
    found = reasons({"assistant": {"model": {"provider": provider, "model": f"{name}-secret"}}})
    reason = found["assistant.model.model"]
    assert "secret" not in reason
    assert (reason.count("', '") + 1 if count <= 20 else 20) == min(count, 20)
    assert count <= 20 or reason.endswith(f" and {count - 20} more")


def test_every_openai_model_is_taken() -> None:
    for name in OpenAIModelName.__value__.__args__:
        assert reasons({"assistant": {"model": {"provider": "openai", "model": name}}}) == {}


@pytest.mark.parametrize(
    ("provider", "good", "bad"), [("deepgram", "asteria", "Asteria"), ("vapi", "Elliot", "elliot")]
)
def test_voices_of_a_list(provider: str, good: str, bad: str) -> None:
    voice = {"provider": provider, "voice_id": good}
    assert reasons({"assistant": {"voice": voice}}) == {}
    assert list(reasons({"assistant": {"voice": {**voice, "voice_id": bad}}})) == ["assistant.voice.voice_id"]


@pytest.mark.parametrize(
    ("detection", "field"),
    [
        ({"machine_detection_timeout": 2}, "machine_detection_timeout"),
        ({"machine_detection_timeout": 60}, "machine_detection_timeout"),
        ({"machine_detection_speech_threshold": 999}, "machine_detection_speech_threshold"),
        ({"machine_detection_speech_threshold": 6001}, "machine_detection_speech_threshold"),
        (
            {"machine_detection_speech_end_threshold": 499},
            "machine_detection_speech_end_threshold",
        ),
        (
            {"machine_detection_speech_end_threshold": 5001},
            "machine_detection_speech_end_threshold",
        ),
        ({"machine_detection_silence_timeout": 1999}, "machine_detection_silence_timeout"),
        ({"machine_detection_silence_timeout": 10001}, "machine_detection_silence_timeout"),
        ({"voicemail_detection_types": ["machine"]}, "voicemail_detection_types.0"),
        ({"enabled": "yes"}, "enabled"),
        ({"beep_max_await_seconds": 3}, "beep_max_await_seconds"),
    ],
)
def test_twilio_voicemail_detection(detection: dict[str, Any], field: str) -> None:
    good = {
        "provider": "twilio",
        "machine_detection_timeout": 3,
        "machine_detection_speech_threshold": 1000,
        "machine_detection_speech_end_threshold": 5000,
        "machine_detection_silence_timeout": 10000,
        "voicemail_detection_types": [
            *("machine_start", "human", "fax", "unknown", "machine_end_beep"),
            *("machine_end_silence", "machine_end_other"),
        ],
        "enabled": True,
    }
    assert reasons({"assistant": {"voicemail_detection": good}}) == {}
    found = reasons({"assistant": {"voicemail_detection": {**good, **detection}}})
    assert list(found) == [f"assistant.voicemail_detection.{field}"]


def test_a_hook_of_a_call_that_ends_says_nothing_any_more() -> None:
    hook = {"on": "call.ending", "do": [{"type": "say", "exact": {}}]}
    assert reasons({"assistant": {"hooks": [hook]}}) == {
        "assistant.hooks.0.do.0.type": "must be one of 'transfer', 'function'"
    }
    hook = {"on": "customer.speech.interrupted", "do": [], "filters": []}
    assert reasons({"assistant": {"hooks": [hook]}}) == {"assistant.hooks.0.filters": "is not a known field"}


E164 = ["+14155550123", "+12", "+123456789012345"]
LOOSE = ["14155550123", "sip123", "+abc", "012345"]
NEITHER = ["+1 415 555", "415-555", "++12", "+12\n", "+", "\uff11\uff12\uff13"]


def customer(number: str, **switch: object) -> tuple[dict[str, Any], str]:
    return {"customer": {"number": number, **switch}}, "customer.number"


def destination(number: str, **switch: object) -> tuple[dict[str, Any], str]:
    action = {"type": "transfer", "destination": {"type": "number", "number": number, **switch}}
    hook = {"on": "call.ending", "do": [action]}
    return {"assistant": {"hooks": [hook]}}, "assistant.hooks.0.do.0.destination.number"


@pytest.mark.parametrize("place", [customer, destination])
def test_numbers_are_e164_unless_switched_off(
    place: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    for number in E164:
        for switch in ({}, {"number_e164_check_enabled": True}, {"numberE164CheckEnabled": None}):
            assert reasons(place(number, **switch)[0]) == {}
    for number in (*LOOSE, *NEITHER, "+0123", "+1234567890123456"):
        for switch in ({}, {"number_e164_check_enabled": True}, {"numberE164CheckEnabled": None}):
            payload, field = place(number, **switch)
            found = reasons(payload)
            assert list(found) == [field]
            assert number not in found[field] or number == "+"
    for number in (*E164, *LOOSE):
        for name in ("number_e164_check_enabled", "numberE164CheckEnabled"):
            assert reasons(place(number, **{name: False})[0]) == {}
    for number in NEITHER:
        payload, field = place(number, number_e164_check_enabled=False)
        assert list(reasons(payload)) == [field]
    for number in ("+1", "x" * 41):
        payload, field = place(number, number_e164_check_enabled=False)
        assert "characters" in reasons(payload)[field]


@pytest.mark.parametrize(
    "sound",
    [
        *("off", "office", "https://a.example/b.mp3?x=%20#y", "s3:bucket/key", "urn:a:b", "off:", "a:?b"),
        *("http://u:p@[::1]:80/a:b@c?d/e?f#g/h?i", "http://a.example", "file:///a", "a:/", "a:/b//c"),
    ],
)
def test_background_sounds(sound: str) -> None:
    assert reasons({"assistant": {"background_sound": sound}}) == {}


@pytest.mark.parametrize(
    "sound",
    [
        *("", "loud", "Office", "off ", "/b.mp3", "//a.example", "1a:b", "a:b c", "a:%zz", 5),
        *("http://[", "http://a#b#c", "http://a:99999x/", "http://[::1", "a:b[c]", "http://a@b@c/"),
    ],
)
def test_other_background_sounds(sound: object) -> None:
    assert reasons({"assistant": {"background_sound": sound}}) == {
        "assistant.background_sound": "must be 'off', 'office' or a URI"
    }


def test_smart_endpointing_is_a_boolean_or_livekit() -> None:
    for good in (True, False, "livekit", None):
        plan = {"smart_endpointing_enabled": good}
        assert reasons({"assistant": {"start_speaking_plan": plan}}) == {}
    for bad in (1, 0, "vapi", "true", 1.0):
        assert reasons({"assistant": {"start_speaking_plan": {"smart_endpointing_enabled": bad}}}) == {
            "assistant.start_speaking_plan.smart_endpointing_enabled": ("must be true, false or 'livekit'")
        }


@pytest.mark.parametrize("message", ["", "One moment", {"type": "custom-message"}])
def test_a_spoken_message_is_a_text_or_an_object(message: object) -> None:
    sip = {"type": "sip", "sip_uri": "sip:a@b.example", "message": message}
    phone = {"twilio_phone_number": "1", "twilio_account_sid": "s", "fallback_destination": sip}
    accepted = CreateSessionPayload.model_validate({"phone_number": phone})
    assert accepted.model_dump(exclude_unset=True) == {"phone_number": phone}


def test_another_spoken_message() -> None:
    sip = {"type": "sip", "sip_uri": "sip:a@b.example", "message": 5}
    phone = {"twilio_phone_number": "1", "twilio_account_sid": "s", "fallbackDestination": sip}
    assert reasons({"phone_number": phone}) == {
        "phone_number.fallbackDestination.message": ("must be a string or an object of type 'custom-message'")
    }


@pytest.mark.parametrize("casefile", ["cf_251013_abc123", "cf_000000_Z", None])
@pytest.mark.parametrize("name", ["casefile_id", "casefileId"])
def test_casefiles(casefile: str | None, name: str) -> None:
    assert reasons({name: casefile}) == {}


@pytest.mark.parametrize(
    "casefile",
    [
        "cf_25101_a",
        "cf_251013_",
        "CF_251013_a",
        "cf_251013_a-b",
        "cf_251013_a\n",
        "cf_\uff12\uff15\uff11\uff10\uff11\uff13_a",
        5,
    ],
)
def test_other_casefiles(casefile: object) -> None:
    assert list(reasons({"casefile_id": casefile})) == ["casefile_id"]
