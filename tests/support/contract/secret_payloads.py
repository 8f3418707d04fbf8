"""A payload for every place where a secret may stand, with a canary in it.

A plain module without imports from tests, so that any suite can load it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
Build = Callable[[str], Json]


class SecretCase(NamedTuple):
    """`path` is where the sealed value stands in the payload once it was validated and dumped."""

    path: str
    payload: Json
    canary: str


def secret_payloads() -> list[SecretCase]:
    """Returns every case in snake_case and again in camelCase, each with a canary of its own."""
    cases = []
    for index, (path, build) in enumerate(_paths()):
        for spelling in ("snake", "camel"):
            canary = f"canary-{spelling}-{index:03}-d41d8cd98f"
            payload = build(canary)
            if spelling == "camel":
                payload = _camel(payload)
                if ".tools." in path:  # kept as it came
                    path = path.replace("sip_headers", "sipHeaders")  # noqa: PLW2901
            cases.append(SecretCase(path, payload, canary))
    return cases


PHONE = {"twilio_phone_number": "+14155550100", "twilio_account_sid": "sid"}
_BUCKETS = {
    "supabase": {"region": "us-east-1", "url": "u", "name": "n"},
}
_GCP_KEY = dict.fromkeys(
    (
        *("type", "project_id", "private_key_id", "private_key", "client_email", "client_id"),
        *("auth_uri", "token_uri", "auth_provider_x509_cert_url", "client_x509_cert_url"),
        "universe_domain",
    ),
    "x",
)
_OAUTH = {"type": "oauth2", "url": "https://a.example", "client_id": "i", "client_secret": "s"}

# A valid credential for each provider; `?` marks each place of a secret.
CREDENTIALS: list[Json] = [
    *(
        {"provider": provider, "api_key": "?"}
        for provider in (
            *("anthropic", "anyscale", "assembly-ai", "cartesia", "cerebras", "custom-llm"),
            *("deepgram", "deepinfra", "deep-seek", "11labs", "gladia", "gohighlevel", "google"),
            *("groq", "hume", "inflection-ai", "lmnt", "mistral", "neuphonic", "openai"),
            *("openrouter", "perplexity-ai", "rime-ai", "runpod", "smallest-ai", "speechmatics"),
            *("tavus", "together-ai", "trieve", "xai"),
        )
    ),
    {
        "provider": "azure",
        "service": "blob_storage",
        "api_key": "?",
        "bucket_plan": {"connection_string": "?", "container_name": "c"},
    },
    {
        "provider": "azure-openai",
        "region": "eastus",
        "models": ["gpt-4-0613"],
        "open_ai_key": "?",
        "ocp_apim_subscription_key": "?",
        "open_ai_endpoint": "https://a.example",
    },
    {
        "provider": "byo-sip-trunk",
        "gateways": [{"ip": "192.0.2.1"}],
        "outbound_authentication_plan": {"auth_password": "?", "auth_username": "?"},
    },
    {
        "provider": "cloudflare",
        "api_key": "?",
        "bucket_plan": {"name": "b", "access_key_id": "?", "secret_access_key": "?"},
    },
    {
        "provider": "custom-llm",
        "api_key": "k",
        "authentication_plan": {**_OAUTH, "client_secret": "?"},
    },
    {
        "provider": "gcp",
        "gcp_key": {**_GCP_KEY, "private_key_id": "?", "private_key": "?"},
        "bucket_plan": {"name": "b", "hmac_access_key": "?", "hmac_secret": "?"},
    },
    {"provider": "langfuse", "public_key": "p", "api_key": "?", "api_url": "https://a.example"},
    {"provider": "make", "team_id": "t", "region": "eu", "api_key": "?"},
    {"provider": "playht", "api_key": "?", "user_id": "u"},
    {
        "provider": "s3",
        "aws_access_key_id": "?",
        "aws_secret_access_key": "?",
        "region": "eu",
        "s3_bucket_name": "b",
        "s3_path_prefix": "/",
    },
    {
        "provider": "supabase",
        "bucket_plan": {
            **_BUCKETS["supabase"],
            "access_key_id": "?",
            "secret_access_key": "?",
        },
    },
    {
        "provider": "twilio",
        "account_sid": "s",
        "auth_token": "?",
        "api_key": "?",
        "api_secret": "?",
    },
    {"provider": "vonage", "api_secret": "?", "api_key": "?"},
    {"provider": "webhook", "authentication_plan": {**_OAUTH, "client_secret": "?"}},
    # Of these four only the last has fields marked on their own, but all are secret as a whole.
    {"provider": "google.calendar.oauth2-client", "name": "?"},
    {"provider": "google.calendar.oauth2-authorization", "authorization_id": "?"},
    {"provider": "google.sheets.oauth2-authorization", "authorization_id": "?"},
    {"provider": "slack.oauth2-authorization", "authorization_id": "?"},
    {
        "provider": "ghl.oauth2-authorization",
        "authentication_session": {"access_token": "?", "refresh_token": "?"},
    },
]


def _server(canary: str) -> Json:
    return {"url": "https://hooks.example.com", "headers": {"X-Hook": canary}}


def _sip(canary: str) -> Json:
    return {"type": "sip", "sip_uri": "sip:a@b.example", "sip_headers": {"X-Queue": canary}}


def _model(**fields: object) -> Json:
    return {"model": {"provider": "openai", "model": "gpt-4o", **fields}}


def _assistant_paths() -> Iterator[tuple[str, Build]]:
    yield "server.headers.X-Hook", lambda c: {"server": _server(c)}
    for credential in CREDENTIALS:
        for place in range(str(credential).count("'?'")):
            yield "credentials.0", _with_credential(credential, place)
    for event in ("call.ending", "assistant.speech.interrupted", "customer.speech.interrupted"):
        yield (
            "hooks.0.do.0.server.headers.X-Hook",
            _on(event, lambda c: {"type": "function", "server": _server(c)}),
        )
        yield (
            "hooks.0.do.0.destination.sip_headers.X-Queue",
            _on(event, lambda c: {"type": "transfer", "destination": _sip(c)}),
        )
    for block, others in (("transcriber", "transcribers"), ("voice", "voices")):
        yield f"{block}.server.headers.X-Hook", _under(block, _custom(block))
        yield (
            f"{block}.fallback_plan.{others}.0.server.headers.X-Hook",
            _under(block, _with_fallback(others, _custom(block))),
        )
    for kind in ("function", "bash", "computer", "textEditor", "mcp"):
        yield "model.tools.0.server.headers.X-Hook", _with_tool(kind)
    for keyword in ("value", "default", "const", "enum", "description"):
        yield "model.tools.0.headers.properties", _with_header(keyword)
    yield (
        "model.tools.0.destinations.0.sip_headers.X-Queue",
        lambda c: _model(tools=[{"type": "transferCall", "destinations": [_sip(c)]}]),
    )
    yield (
        "model.knowledge_base.server.headers.X-Hook",
        lambda c: _model(knowledge_base={"provider": "custom", "server": _server(c)}),
    )


def _with_credential(credential: Json, place: int) -> Build:
    return lambda c: {"credentials": [_planted(credential, place, c)]}


def _on(event: str, action: Build) -> Build:
    return lambda c: {"hooks": [{"on": event, "do": [action(c)]}]}


def _custom(block: str) -> Build:
    return lambda c: {"provider": f"custom-{block}", "server": _server(c)}


def _with_fallback(others: str, build: Build) -> Build:
    return lambda c: {"provider": "azure", "voice_id": "andrew", "fallback_plan": {others: [build(c)]}}


def _with_tool(kind: str) -> Build:
    return lambda c: _model(tools=[{"type": kind, "server": _server(c)}])


def _with_header(keyword: str) -> Build:
    def build(c: str) -> Json:
        header = {"type": "string", keyword: [c] if keyword == "enum" else c}
        return _model(
            tools=[{"type": "apiRequest", "headers": {"type": "object", "properties": {"X-Hook": header}}}]
        )

    return build


def _under(name: str, build: Build) -> Build:
    return lambda c: {name: build(c)}


def _with_number(**fields: Callable[[str], object]) -> Build:
    return lambda c: {"phone_number": {**PHONE, **{name: make(c) for name, make in fields.items()}}}


def _paths() -> Iterator[tuple[str, Build]]:
    for name in ("twilio_auth_token", "twilio_api_key", "twilio_api_secret"):
        yield f"phone_number.{name}", _with_number(**{name: str})
    yield "phone_number.server.headers.X-Hook", _with_number(server=_server)
    yield "phone_number.fallback_destination.sip_headers.X-Queue", _with_number(fallback_destination=_sip)
    yield (
        "phone_number.hooks.0.do.0.destination.sip_headers.X-Queue",
        _with_number(
            hooks=lambda c: [{"on": "call.ringing", "do": [{"type": "transfer", "destination": _sip(c)}]}]
        ),
    )
    for path, build in _assistant_paths():
        yield f"assistant.{path}", _under("assistant", build)
        yield (
            f"customer.assistant_overrides.{path}",
            _under("customer", _under("assistant_overrides", build)),
        )


def _planted(credential: Json, place: int, canary: str) -> Json:
    """Puts the canary in one of the credential's marked places, and a harmless text in the others."""
    marks = iter(range(1000))

    def fill(value: object) -> object:
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value if value != "?" else canary if next(marks) == place else "other"

    return {key: fill(item) for key, item in credential.items()}


def _camel(value: Json) -> Json:
    return {
        _alias(key): item if key.endswith("headers") else _camel_inside(item) for key, item in value.items()
    }


def _camel_inside(value: object) -> object:
    if isinstance(value, list):
        return [_camel_inside(item) for item in value]
    return _camel(value) if isinstance(value, dict) else value


def _alias(name: str) -> str:
    if name.startswith("open_ai_"):
        return name.replace("open_ai_", "openAI").replace("key", "Key").replace("end", "End")
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
