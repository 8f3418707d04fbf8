"""The lists of allowed values. Each is named in the documents too: generated code has a type for it."""

from typing import Literal

from typing_extensions import TypeAliasType

# One value a line would make a page of each list.
# fmt: off

ClientMessage = TypeAliasType("ClientMessage", Literal[
    "conversation-update", "function-call", "function-call-result", "hang", "language-changed",
    "metadata", "model-output", "speech-update", "status-update", "transcript", "tool-calls",
    "tool-calls-result", "tool.completed", "transfer-update", "user-interrupted", "voice-input",
    "workflow.node.started"
])

ServerMessage = TypeAliasType("ServerMessage", Literal[
    "conversation-update", "end-of-call-report", "function-call", "hang", "language-changed",
    "language-change-detected", "model-output", "phone-call-control", "speech-update",
    "status-update", "transcript", 'transcript[transcriptType="final"]', "tool-calls",
    "transfer-destination-request", "transfer-update", "user-interrupted", "voice-input"
])

AnthropicModelName = TypeAliasType("AnthropicModelName", Literal[
    "claude-3-opus-20240229", "claude-3-sonnet-20240229", "claude-3-haiku-20240307",
    "claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20241022", "claude-3-5-haiku-20241022",
    "claude-3-7-sonnet-20250219", "claude-opus-4-20250514", "claude-sonnet-4-20250514"
])

CerebrasModelName = TypeAliasType("CerebrasModelName", Literal[
    "llama3.1-8b", "llama-3.3-70b"
])

DeepSeekModelName = TypeAliasType("DeepSeekModelName", Literal[
    "deepseek-chat", "deepseek-reasoner"
])

GoogleModelName = TypeAliasType("GoogleModelName", Literal[
    "gemini-2.5-pro-preview-05-06", "gemini-2.5-flash-preview-05-20",
    "gemini-2.5-flash-preview-04-17", "gemini-2.0-flash-thinking-exp", "gemini-2.0-pro-exp-02-05",
    "gemini-2.0-flash", "gemini-2.0-flash-lite", "gemini-2.0-flash-lite-preview-02-05",
    "gemini-2.0-flash-exp", "gemini-2.0-flash-realtime-exp", "gemini-1.5-flash",
    "gemini-1.5-flash-002", "gemini-1.5-pro", "gemini-1.5-pro-002", "gemini-1.0-pro"
])

GroqModelName = TypeAliasType("GroqModelName", Literal[
    "deepseek-r1-distill-llama-70b", "llama-3.3-70b-versatile", "llama-3.1-405b-reasoning",
    "llama-3.1-8b-instant", "llama3-8b-8192", "llama3-70b-8192", "gemma2-9b-it",
    "meta-llama/llama-4-maverick-17b-128e-instruct", "meta-llama/llama-4-scout-17b-16e-instruct",
    "mistral-saba-24b", "compound-beta", "compound-beta-mini"
])

InflectionAIModelName = TypeAliasType("InflectionAIModelName", Literal[
    "inflection_3_pi"
])

OpenAIModelName = TypeAliasType("OpenAIModelName", Literal[
    "gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14", "gpt-4.1",
    "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4.5-preview", "chatgpt-4o-latest", "o3", "o3-mini",
    "o4-mini", "o1-preview", "o1-preview-2024-09-12", "o1-mini", "o1-mini-2024-09-12",
    "gpt-4o-realtime-preview-2024-10-01", "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview-2024-12-17", "gpt-4o-mini-2024-07-18", "gpt-4o-mini", "gpt-4o",
    "gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4-turbo",
    "gpt-4-turbo-2024-04-09", "gpt-4-turbo-preview", "gpt-4-0125-preview", "gpt-4-1106-preview",
    "gpt-4", "gpt-4-0613", "gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo-16k", "gpt-3.5-turbo-0613", "gpt-4.1-2025-04-14:westus",
    "gpt-4.1-2025-04-14:eastus2", "gpt-4.1-2025-04-14:eastus", "gpt-4.1-2025-04-14:westus3",
    "gpt-4.1-2025-04-14:northcentralus", "gpt-4.1-2025-04-14:southcentralus",
    "gpt-4.1-mini-2025-04-14:westus", "gpt-4.1-mini-2025-04-14:eastus2",
    "gpt-4.1-mini-2025-04-14:eastus", "gpt-4.1-mini-2025-04-14:westus3",
    "gpt-4.1-mini-2025-04-14:northcentralus", "gpt-4.1-mini-2025-04-14:southcentralus",
    "gpt-4.1-nano-2025-04-14:westus", "gpt-4.1-nano-2025-04-14:eastus2",
    "gpt-4.1-nano-2025-04-14:westus3", "gpt-4.1-nano-2025-04-14:northcentralus",
    "gpt-4.1-nano-2025-04-14:southcentralus", "gpt-4o-2024-11-20:swedencentral",
    "gpt-4o-2024-11-20:westus", "gpt-4o-2024-11-20:eastus2", "gpt-4o-2024-11-20:eastus",
    "gpt-4o-2024-11-20:westus3", "gpt-4o-2024-11-20:southcentralus", "gpt-4o-2024-08-06:westus",
    "gpt-4o-2024-08-06:westus3", "gpt-4o-2024-08-06:eastus", "gpt-4o-2024-08-06:eastus2",
    "gpt-4o-2024-08-06:northcentralus", "gpt-4o-2024-08-06:southcentralus",
    "gpt-4o-mini-2024-07-18:westus", "gpt-4o-mini-2024-07-18:westus3",
    "gpt-4o-mini-2024-07-18:eastus", "gpt-4o-mini-2024-07-18:eastus2",
    "gpt-4o-mini-2024-07-18:northcentralus", "gpt-4o-mini-2024-07-18:southcentralus",
    "gpt-4o-2024-05-13:eastus2", "gpt-4o-2024-05-13:eastus", "gpt-4o-2024-05-13:northcentralus",
    "gpt-4o-2024-05-13:southcentralus", "gpt-4o-2024-05-13:westus3", "gpt-4o-2024-05-13:westus",
    "gpt-4-turbo-2024-04-09:eastus2", "gpt-4-0125-preview:eastus",
    "gpt-4-0125-preview:northcentralus", "gpt-4-0125-preview:southcentralus",
    "gpt-4-1106-preview:australia", "gpt-4-1106-preview:canadaeast", "gpt-4-1106-preview:france",
    "gpt-4-1106-preview:india", "gpt-4-1106-preview:norway", "gpt-4-1106-preview:swedencentral",
    "gpt-4-1106-preview:uk", "gpt-4-1106-preview:westus", "gpt-4-1106-preview:westus3",
    "gpt-4-0613:canadaeast", "gpt-3.5-turbo-0125:canadaeast", "gpt-3.5-turbo-0125:northcentralus",
    "gpt-3.5-turbo-0125:southcentralus", "gpt-3.5-turbo-1106:canadaeast",
    "gpt-3.5-turbo-1106:westus"
])

XaiModelName = TypeAliasType("XaiModelName", Literal[
    "grok-beta", "grok-2", "grok-3"
])

DeepgramVoiceId = TypeAliasType("DeepgramVoiceId", Literal[
    "asteria", "luna", "stella", "athena", "hera", "orion", "arcas", "perseus", "angus", "orpheus",
    "helios", "zeus", "thalia", "andromeda", "helena", "apollo", "aries", "amalthea", "atlas",
    "aurora", "callista", "cora", "cordelia", "delia", "draco", "electra", "harmonia", "hermes",
    "hyperion", "iris", "janus", "juno", "jupiter", "mars", "minerva", "neptune", "odysseus",
    "ophelia", "pandora", "phoebe", "pluto", "saturn", "selene", "theia", "vesta"
])

VapiVoiceId = TypeAliasType("VapiVoiceId", Literal[
    "Elliot", "Kylie", "Rohan", "Lily", "Savannah", "Hana", "Neha", "Cole", "Harry", "Paige",
    "Spencer"
])

AzureRegion = TypeAliasType("AzureRegion", Literal[
    "australia", "canadaeast", "canadacentral", "eastus2", "eastus", "france", "india",
    "japaneast", "japanwest", "uaenorth", "northcentralus", "norway", "southcentralus",
    "swedencentral", "switzerland", "uk", "westus", "westus3"
])

AzureOpenAIModelName = TypeAliasType("AzureOpenAIModelName", Literal[
    "gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14",
    "gpt-4o-2024-11-20", "gpt-4o-2024-08-06", "gpt-4o-2024-05-13", "gpt-4o-mini-2024-07-18",
    "gpt-4-turbo-2024-04-09", "gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-0613",
    "gpt-35-turbo-0125", "gpt-35-turbo-1106"
])

SupabaseRegion = TypeAliasType("SupabaseRegion", Literal[
    "us-west-1", "us-east-1", "us-east-2", "ca-central-1", "eu-west-1", "eu-west-2", "eu-west-3",
    "eu-central-1", "eu-central-2", "eu-north-1", "ap-south-1", "ap-southeast-1", "ap-northeast-1",
    "ap-northeast-2", "ap-southeast-2", "sa-east-1"
])

Language = TypeAliasType("Language", Literal[
    "aa", "ab", "ae", "af", "ak", "am", "an", "ar", "as", "av", "ay", "az", "ba", "be", "bg", "bh",
    "bi", "bm", "bn", "bo", "br", "bs", "ca", "ce", "ch", "co", "cr", "cs", "cu", "cv", "cy", "da",
    "de", "dv", "dz", "ee", "el", "en", "eo", "es", "et", "eu", "fa", "ff", "fi", "fj", "fo", "fr",
    "fy", "ga", "gd", "gl", "gn", "gu", "gv", "ha", "he", "hi", "ho", "hr", "ht", "hu", "hy", "hz",
    "ia", "id", "ie", "ig", "ii", "ik", "io", "is", "it", "iu", "ja", "jv", "ka", "kg", "ki", "kj",
    "kk", "kl", "km", "kn", "ko", "kr", "ks", "ku", "kv", "kw", "ky", "la", "lb", "lg", "li", "ln",
    "lo", "lt", "lu", "lv", "mg", "mh", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "na", "nb",
    "nd", "ne", "ng", "nl", "nn", "no", "nr", "nv", "ny", "oc", "oj", "om", "or", "os", "pa", "pi",
    "pl", "ps", "pt", "qu", "rm", "rn", "ro", "ru", "rw", "sa", "sc", "sd", "se", "sg", "si", "sk",
    "sl", "sm", "sn", "so", "sq", "sr", "ss", "st", "su", "sv", "sw", "ta", "te", "tg", "th", "ti",
    "tk", "tl", "tn", "to", "tr", "ts", "tt", "tw", "ty", "ug", "uk", "ur", "uz", "ve", "vi", "vo",
    "wa", "wo", "xh", "yi", "yue", "yo", "za", "zh", "zu"
])

SessionState = TypeAliasType("SessionState", Literal[
    "active", "completed"
])

FirstMessageMode = TypeAliasType("FirstMessageMode", Literal[
    "assistant-speaks-first", "assistant-speaks-first-with-model-generated-message",
    "assistant-waits-for-user"
])

AzureService = TypeAliasType("AzureService", Literal[
    "speech", "blob_storage"
])

OAuth2AuthenticationType = TypeAliasType("OAuth2AuthenticationType", Literal[
    "oauth2", "aws-sts"
])

TransferMode = TypeAliasType("TransferMode", Literal[
    "blind-transfer", "blind-transfer-add-summary-to-sip-header", "warm-transfer-say-message",
    "warm-transfer-say-summary", "warm-transfer-twiml",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary",
    "warm-transfer-experimental"
])

SipVerb = TypeAliasType("SipVerb", Literal[
    "refer", "bye", "dial"
])

ModelMessageRole = TypeAliasType("ModelMessageRole", Literal[
    "assistant", "function", "user", "system", "tool"
])

Rubric = TypeAliasType("Rubric", Literal[
    "NumericScale", "DescriptiveScale", "Checklist", "Matrix", "PercentageScale", "LikertScale",
    "AutomaticRubric", "PassFail"
])

RecordingFormat = TypeAliasType("RecordingFormat", Literal[
    "wav;l16", "mp3"
])

KeypadDelimiter = TypeAliasType("KeypadDelimiter", Literal[
    "#", "*", ""
])

RecordingChannels = TypeAliasType("RecordingChannels", Literal[
    "mono", "dual"
])

BackoffType = TypeAliasType("BackoffType", Literal[
    "fixed", "exponential"
])

RegexOptionType = TypeAliasType("RegexOptionType", Literal[
    "ignore-case", "whole-word", "multi-line"
])

SmartEndpointingProvider = TypeAliasType("SmartEndpointingProvider", Literal[
    "vapi", "livekit"
])

OpenAITranscriberModelName = TypeAliasType("OpenAITranscriberModelName", Literal[
    "gpt-4o-transcribe", "gpt-4o-mini-transcribe"
])

VoicemailDetectionType = TypeAliasType("VoicemailDetectionType", Literal[
    "machine_start", "human", "fax", "unknown", "machine_end_beep", "machine_end_silence",
    "machine_end_other"
])

AnyNameModelProvider = TypeAliasType("AnyNameModelProvider", Literal[
    "anyscale", "deepinfra", "openrouter", "perplexity-ai", "together-ai"
])

AnyIdVoiceProvider = TypeAliasType("AnyIdVoiceProvider", Literal[
    "azure", "cartesia", "11labs", "hume", "lmnt", "openai", "playht", "rime-ai", "smallest-ai",
    "tavus"
])

PlainTranscriberProvider = TypeAliasType("PlainTranscriberProvider", Literal[
    "assembly-ai", "azure", "deepgram", "11labs", "gladia", "google", "speechmatics",
    "talkscriber", "cartesia"
])

ModelVoicemailDetectionProvider = TypeAliasType("ModelVoicemailDetectionProvider", Literal[
    "google", "openai", "vapi"
])

SpeechInterruption = TypeAliasType("SpeechInterruption", Literal[
    "assistant.speech.interrupted", "customer.speech.interrupted"
])

OneSidedEndpointingRuleType = TypeAliasType("OneSidedEndpointingRuleType", Literal[
    "assistant", "customer"
])

ApiKeyCredentialProvider = TypeAliasType("ApiKeyCredentialProvider", Literal[
    "assembly-ai", "cartesia", "deepinfra", "deep-seek", "gladia", "gohighlevel", "groq", "lmnt",
    "neuphonic", "openai", "openrouter", "perplexity-ai", "rime-ai", "runpod", "smallest-ai",
    "speechmatics", "tavus", "together-ai", "trieve"
])

LimitedApiKeyCredentialProvider = TypeAliasType("LimitedApiKeyCredentialProvider", Literal[
    "anthropic", "anyscale", "cerebras", "11labs", "google", "hume", "inflection-ai", "xai"
])

AuthorizationCredentialProvider = TypeAliasType("AuthorizationCredentialProvider", Literal[
    "google.calendar.oauth2-authorization", "google.sheets.oauth2-authorization",
    "slack.oauth2-authorization"
])

# fmt: on
