"""The names of language models that each provider has, for the providers that take no other."""

from typing import Literal

from typing_extensions import TypeAliasType

# The formatter would give each value a line of its own.
# fmt: off

AnthropicModelName = TypeAliasType("AnthropicModelName", Literal[
    "claude-3-opus-20240229", "claude-3-sonnet-20240229", "claude-3-haiku-20240307",
    "claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20241022", "claude-3-5-haiku-20241022",
    "claude-3-7-sonnet-20250219", "claude-opus-4-20250514", "claude-sonnet-4-20250514"
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

# fmt: on

CerebrasModelName = TypeAliasType("CerebrasModelName", Literal["llama3.1-8b", "llama-3.3-70b"])
DeepSeekModelName = TypeAliasType("DeepSeekModelName", Literal["deepseek-chat", "deepseek-reasoner"])
InflectionAIModelName = TypeAliasType("InflectionAIModelName", Literal["inflection_3_pi"])
XaiModelName = TypeAliasType("XaiModelName", Literal["grok-beta", "grok-2", "grok-3"])
