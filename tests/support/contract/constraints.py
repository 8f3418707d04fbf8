"""Lists every constraint of the field facts, one row each, apart from the code that enforces them.

A path may begin with a word in capitals that stands for every place where such an object occurs.
"""

from support.contract.secret_payloads import CREDENTIALS

PLACES = {
    "ASSISTANT": ("assistant", "customer.assistant_overrides"),
    "SERVER": (
        "phone_number.server",
        "assistant.server",
        "customer.assistant_overrides.server",
        "assistant.hooks.0.do.1.server",
        "assistant.hooks.2.do.1.server",
    ),
    "NUMBER": (
        "phone_number.hooks.0.do.1.destination",
        "assistant.hooks.0.do.0.destination",
        "assistant.hooks.1.do.0.destination",
    ),
    "SIP": ("phone_number.fallback_destination",),
    "MESSAGE": (
        "assistant.hooks.0.do.0.destination.message",
        "assistant.hooks.0.do.0.destination.transfer_plan.message",
    ),
    "SUMMARY": (
        "assistant.analysis_plan.summary_plan",
        "assistant.hooks.0.do.0.destination.transfer_plan.summary_plan",
    ),
    "STRUCTURED": (
        "assistant.analysis_plan.structured_data_plan",
        "assistant.analysis_plan.structured_data_multi_plan.0.plan",
    ),
    "RULES": ("assistant.start_speaking_plan.custom_endpointing_rules",),
}


def credential(provider: str) -> str:
    """Returns the path of a credential in the payload that holds one of each."""
    index = max(i for i, item in enumerate(CREDENTIALS) if item["provider"] == provider)
    return f"assistant.credentials.{index}"


INFINITE = float("inf")

# path, lowest, highest
RANGES: list[tuple[str, float, float]] = [
    ("expiration_seconds", 60, 2592000),
    ("messages.0.time", -INFINITE, INFINITE),
    ("messages.0.seconds_from_start", -INFINITE, INFINITE),
    ("messages.1.time", -INFINITE, INFINITE),
    ("messages.1.end_time", -INFINITE, INFINITE),
    ("messages.1.seconds_from_start", -INFINITE, INFINITE),
    ("messages.1.duration", -INFINITE, INFINITE),
    ("SERVER.timeout_seconds", 1, 300),
    ("SERVER.backoff_plan.max_retries", 0, 10),
    ("SERVER.backoff_plan.base_delay_seconds", 0, 10),
    ("NUMBER.transfer_plan.timeout", 1, 600),
    ("ASSISTANT.silence_timeout_seconds", 10, 3600),
    ("ASSISTANT.max_duration_seconds", 10, 43200),
    ("ASSISTANT.model.temperature", 0, 2),
    ("ASSISTANT.model.max_tokens", 50, 10000),
    ("ASSISTANT.model.num_fast_turns", 0, INFINITE),
    ("ASSISTANT.voicemail_detection.beep_max_await_seconds", 0, 30),
    ("ASSISTANT.voicemail_detection.backoff_plan.start_at_seconds", 0, INFINITE),
    ("ASSISTANT.voicemail_detection.backoff_plan.frequency_seconds", 2.5, INFINITE),
    ("ASSISTANT.voicemail_detection.backoff_plan.max_retries", 1, 10),
    ("ASSISTANT.transport_configurations.0.timeout", 1, 600),
    (
        "ASSISTANT.background_speech_denoising_plan.fourier_denoising_plan.static_threshold",
        *(-80, 0),
    ),
    (
        "ASSISTANT.background_speech_denoising_plan.fourier_denoising_plan.baseline_offset_db",
        *(-30, -5),
    ),
    (
        "ASSISTANT.background_speech_denoising_plan.fourier_denoising_plan.window_size_ms",
        *(1000, 30000),
    ),
    (
        "ASSISTANT.background_speech_denoising_plan.fourier_denoising_plan.baseline_percentile",
        *(1, 99),
    ),
    ("ASSISTANT.analysis_plan.min_messages_threshold", 0, INFINITE),
    ("SUMMARY.timeout_seconds", 1, 60),
    ("STRUCTURED.timeout_seconds", 1, 60),
    ("ASSISTANT.analysis_plan.success_evaluation_plan.timeout_seconds", 1, 60),
    ("ASSISTANT.message_plan.idle_message_max_spoken_count", 1, 10),
    ("ASSISTANT.message_plan.idle_timeout_seconds", 5, 60),
    ("ASSISTANT.start_speaking_plan.wait_seconds", 0, 5),
    ("RULES.0.timeout_seconds", 0, 15),
    ("RULES.1.timeout_seconds", 0, 15),
    ("RULES.2.timeout_seconds", 0, 15),
    *(
        (f"ASSISTANT.start_speaking_plan.transcription_endpointing_plan.{name}", 0, 3)
        for name in (*("on_punctuation_seconds", "on_no_punctuation_seconds", "on_number_seconds"),)
    ),
    ("ASSISTANT.stop_speaking_plan.num_words", 0, 10),
    ("ASSISTANT.stop_speaking_plan.voice_seconds", 0, 0.5),
    ("ASSISTANT.stop_speaking_plan.backoff_seconds", 0, 10),
    ("ASSISTANT.keypad_input_plan.timeout_seconds", 0, 10),
    *(
        (f"{credential(provider)}.fallback_index", 1, INFINITE)
        for provider in ("azure", "cloudflare", "gcp", "s3", "supabase")
    ),
]

# path, shortest, longest
LENGTHS: list[tuple[str, int, int]] = [
    ("name", 0, 40),
    ("messages.2.content", 0, 10000),
    ("messages.2.refusal", 0, 10000),
    ("messages.2.name", 0, 40),
    ("messages.2.tool_calls.0.function.name", 0, 40),
    ("messages.3.content", 0, 10000),
    ("messages.3.name", 0, 40),
    ("messages.4.content", 0, 10000),
    ("messages.4.name", 0, 40),
    ("customer.extension", 0, 10),
    ("customer.name", 0, 40),
    ("phone_number.name", 0, 40),
    ("phone_number.hooks.0.do.0.exact", 0, 4000),
    ("NUMBER.extension", 1, 10),
    ("NUMBER.caller_id", 0, 40),
    ("NUMBER.transfer_plan.twiml", 0, 4096),
    ("MESSAGE.content", 0, 1000),
    ("ASSISTANT.name", 0, 40),
    ("ASSISTANT.voicemail_message", 0, 1000),
    ("ASSISTANT.end_call_message", 0, 1000),
    ("ASSISTANT.end_call_phrases.0", 2, 140),
    ("ASSISTANT.hooks.0.filters.0.key", 0, 1000),
    ("ASSISTANT.hooks.0.filters.0.one_of.0", 0, 1000),
    ("ASSISTANT.message_plan.idle_messages.0", 0, 1000),
    ("ASSISTANT.message_plan.silence_timeout_message", 0, 1000),
    ("ASSISTANT.stop_speaking_plan.acknowledgement_phrases.0", 0, 240),
    ("ASSISTANT.stop_speaking_plan.interruption_phrases.0", 0, 240),
    *((f"assistant.credentials.{index}.name", 1, 40) for index in range(len(CREDENTIALS))),
    *(
        (f"{credential(provider)}.api_key", 0, 10000)
        for provider in (
            *("anthropic", "anyscale", "azure", "cerebras", "custom-llm", "11labs", "google"),
            *("hume", "inflection-ai", "xai"),
        )
    ),
    (f"{credential('mistral')}.api_key", 0, 100),
    (f"{credential('azure-openai')}.open_ai_key", 0, 10000),
    (f"{credential('azure-openai')}.open_ai_endpoint", 0, 10000),
    (f"{credential('byo-sip-trunk')}.tech_prefix", 0, 10000),
    (f"{credential('byo-sip-trunk')}.sip_diversion_header", 0, 10000),
    (f"{credential('gcp')}.region", 0, 40),
    (f"{credential('custom-llm')}.authentication_plan.scope", 0, 1000),
    (f"{credential('webhook')}.authentication_plan.scope", 0, 1000),
]


def _words(text: str) -> list[str]:
    return text.split()


_MODES = (
    "blind-transfer",
    "blind-transfer-add-summary-to-sip-header",
    "warm-transfer-say-message",
    "warm-transfer-say-summary",
    "warm-transfer-twiml",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary",
    "warm-transfer-experimental",
)
_AZURE = _words(
    "australia canadaeast canadacentral eastus2 eastus france india japaneast japanwest uaenorth"
    " northcentralus norway southcentralus swedencentral switzerland uk westus westus3"
)
_LANGUAGES = _words(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy"
    " da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu"
    " hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb"
    " lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om"
    " or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw"
    " ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yue yo za zh zu"
)

# path, allowed values
ENUMS: list[tuple[str, list[str]]] = [
    ("status", ["active", "completed"]),
    ("SERVER.backoff_plan.type", ["fixed", "exponential"]),
    ("NUMBER.transfer_plan.mode", [*_MODES]),
    ("NUMBER.transfer_plan.sip_verb", ["refer", "bye", "dial"]),
    ("MESSAGE.type", ["custom-message"]),
    ("MESSAGE.contents.0.type", ["text"]),
    ("MESSAGE.contents.0.language", _LANGUAGES),
    ("phone_number.hooks.0.on", ["call.ringing"]),
    (
        "ASSISTANT.first_message_mode",
        [
            "assistant-speaks-first",
            "assistant-speaks-first-with-model-generated-message",
            "assistant-waits-for-user",
        ],
    ),
    (
        "ASSISTANT.client_messages.0",
        _words(
            "conversation-update function-call function-call-result hang language-changed metadata"
            " model-output speech-update status-update transcript tool-calls tool-calls-result"
            " tool.completed transfer-update user-interrupted voice-input workflow.node.started"
        ),
    ),
    (
        "ASSISTANT.server_messages.0",
        _words(
            "conversation-update end-of-call-report function-call hang language-changed"
            " language-change-detected model-output phone-call-control speech-update status-update"
            ' transcript transcript[transcriptType="final"] tool-calls'
            " transfer-destination-request transfer-update user-interrupted voice-input"
        ),
    ),
    (
        "ASSISTANT.model.messages.0.role",
        ["assistant", "function", "user", "system", "tool"],
    ),
    ("ASSISTANT.hooks.0.filters.0.type", ["oneOf"]),
    ("ASSISTANT.transport_configurations.0.provider", ["twilio"]),
    ("ASSISTANT.transport_configurations.0.recording_channels", ["mono", "dual"]),
    ("ASSISTANT.observability_plan.provider", ["langfuse"]),
    ("ASSISTANT.artifact_plan.recording_format", ["wav;l16", "mp3"]),
    (
        "ASSISTANT.analysis_plan.success_evaluation_plan.rubric",
        _words(
            "NumericScale DescriptiveScale Checklist Matrix PercentageScale LikertScale"
            " AutomaticRubric PassFail"
        ),
    ),
    ("ASSISTANT.start_speaking_plan.smart_endpointing_plan.provider", ["vapi", "livekit"]),
    ("RULES.0.regex_options.0.type", ["ignore-case", "whole-word", "multi-line"]),
    ("RULES.2.assistant_regex_options.0.type", ["ignore-case", "whole-word", "multi-line"]),
    ("RULES.2.customer_regex_options.0.type", ["ignore-case", "whole-word", "multi-line"]),
    ("ASSISTANT.keypad_input_plan.delimiters", ["#", "*", ""]),
    (f"{credential('azure')}.service", ["speech", "blob_storage"]),
    (f"{credential('azure')}.region", _AZURE),
    (f"{credential('azure-openai')}.region", _AZURE),
    (
        f"{credential('azure-openai')}.models.0",
        _words(
            "gpt-4.1-2025-04-14 gpt-4.1-mini-2025-04-14 gpt-4.1-nano-2025-04-14 gpt-4o-2024-11-20"
            " gpt-4o-2024-08-06 gpt-4o-2024-05-13 gpt-4o-mini-2024-07-18 gpt-4-turbo-2024-04-09"
            " gpt-4-0125-preview gpt-4-1106-preview gpt-4-0613 gpt-35-turbo-0125 gpt-35-turbo-1106"
        ),
    ),
    (
        f"{credential('supabase')}.bucket_plan.region",
        _words(
            "us-west-1 us-east-1 us-east-2 ca-central-1 eu-west-1 eu-west-2 eu-west-3 eu-central-1"
            " eu-central-2 eu-north-1 ap-south-1 ap-southeast-1 ap-northeast-1 ap-northeast-2"
            " ap-southeast-2 sa-east-1"
        ),
    ),
    (f"{credential('custom-llm')}.authentication_plan.type", ["oauth2", "aws-sts"]),
    (f"{credential('webhook')}.authentication_plan.type", ["oauth2", "aws-sts"]),
]

# What chooses a variant: path of the chooser, some allowed values that the error names
CHOICES: list[tuple[str, list[str]]] = [
    *((f"messages.{index}.role", ["system", "user", "assistant", "tool", "developer"]) for index in range(5)),
    ("NUMBER.type", ["number", "sip"]),
    ("SIP.type", ["number", "sip"]),
    ("phone_number.hooks.0.do.0.type", ["transfer", "say"]),
    ("ASSISTANT.hooks.0.on", ["call.ending", "customer.speech.interrupted"]),
    ("ASSISTANT.hooks.0.do.0.type", ["transfer", "function"]),
    ("ASSISTANT.hooks.1.do.2.type", ["transfer", "function", "say"]),
    ("ASSISTANT.transcriber.provider", ["assembly-ai", "custom-transcriber", "openai"]),
    ("ASSISTANT.model.provider", ["anthropic", "custom-llm", "xai", "google"]),
    ("ASSISTANT.voice.provider", ["11labs", "custom-voice", "vapi", "sesame"]),
    ("ASSISTANT.voicemail_detection.provider", ["google", "openai", "twilio", "vapi"]),
    ("RULES.0.type", ["assistant", "customer", "both"]),
    *((f"assistant.credentials.{index}.provider", []) for index in range(len(CREDENTIALS))),
]

# object, its required fields besides what chooses it
REQUIRED: list[tuple[str, str]] = [
    ("messages.0", "message time seconds_from_start"),
    ("messages.1", "message time end_time seconds_from_start"),
    ("messages.2.tool_calls.0", "id type function"),
    ("messages.2.tool_calls.0.function", "arguments name"),
    ("messages.3", "content tool_call_id"),
    ("messages.4", "content"),
    ("phone_number", "twilio_phone_number twilio_account_sid"),
    ("phone_number.hooks.0", "on do"),
    ("phone_number.hooks.0.do.0", "exact"),
    ("SERVER.backoff_plan", "type max_retries base_delay_seconds"),
    ("NUMBER", "number"),
    ("NUMBER.transfer_plan", "mode"),
    ("NUMBER.transfer_plan.fallback_plan", "message"),
    ("SIP", "sip_uri"),
    ("MESSAGE", "type"),
    ("MESSAGE.contents.0", "type text language"),
    ("ASSISTANT.transcriber", "model"),
    ("ASSISTANT.model", "model"),
    ("ASSISTANT.model.messages.0", "role content"),
    ("ASSISTANT.voice", "voice_id"),
    ("ASSISTANT.hooks.0", "do"),
    ("ASSISTANT.hooks.1", "do"),
    ("ASSISTANT.hooks.1.do.2", "exact"),
    ("ASSISTANT.hooks.0.filters.0", "type key one_of"),
    ("ASSISTANT.transport_configurations.0", "provider"),
    ("ASSISTANT.observability_plan", "provider tags"),
    ("ASSISTANT.analysis_plan.structured_data_multi_plan.0", "key plan"),
    ("ASSISTANT.start_speaking_plan.smart_endpointing_plan", "provider"),
    ("RULES.0", "regex timeout_seconds"),
    ("RULES.0.regex_options.0", "type enabled"),
    ("RULES.1", "regex timeout_seconds"),
    (
        "RULES.2",
        "assistant_regex customer_regex timeout_seconds",
    ),
    *(
        (f"assistant.credentials.{index}", "api_key")
        for index, item in enumerate(CREDENTIALS)
        if "api_key" in item and item["provider"] not in {"azure", "cloudflare", "twilio"}
    ),
    (credential("azure"), "service"),
    (f"{credential('azure')}.bucket_plan", "connection_string container_name"),
    (credential("azure-openai"), "region models open_ai_key open_ai_endpoint"),
    (credential("byo-sip-trunk"), "gateways"),
    (f"{credential('cloudflare')}.bucket_plan", "name"),
    (credential("gcp"), "gcp_key"),
    (
        f"{credential('gcp')}.gcp_key",
        (
            "type project_id private_key_id private_key client_email client_id auth_uri token_uri"
            " auth_provider_x509_cert_url client_x509_cert_url universe_domain"
        ),
    ),
    (f"{credential('gcp')}.bucket_plan", "name"),
    (credential("langfuse"), "public_key api_key api_url"),
    (credential("make"), "team_id region api_key"),
    (credential("playht"), "api_key user_id"),
    (
        credential("s3"),
        "aws_access_key_id aws_secret_access_key region s3_bucket_name s3_path_prefix",
    ),
    (
        f"{credential('supabase')}.bucket_plan",
        "region url access_key_id secret_access_key name",
    ),
    (credential("twilio"), "account_sid"),
    (credential("vonage"), "api_secret api_key"),
    (credential("webhook"), "authentication_plan"),
    (f"{credential('webhook')}.authentication_plan", "type url client_id client_secret"),
    (credential("google.calendar.oauth2-authorization"), "authorization_id"),
    (credential("google.sheets.oauth2-authorization"), "authorization_id"),
    (credential("slack.oauth2-authorization"), "authorization_id"),
    (credential("ghl.oauth2-authorization"), "authentication_session"),
]
