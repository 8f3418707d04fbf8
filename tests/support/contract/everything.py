"""A payload with every typed field of the contract in it, each with a valid value.

Lists of variants hold each variant once; `ASSISTANT_VARIANTS` holds what a single field chooses.
"""

from typing import Any

from support.contract.secret_payloads import CREDENTIALS

Json = dict[str, Any]

SERVER: Json = {
    "timeout_seconds": 20,
    "url": "https://hooks.example.com/calls",
    "headers": {"X-Hook": "h", "snake_key": "kept", "camelKey": "kept"},
    "backoff_plan": {"type": "exponential", "max_retries": 3, "base_delay_seconds": 1},
}
SUMMARY: Json = {"messages": [{"anyKey": 1}], "enabled": True, "timeout_seconds": 5}
CUSTOM_MESSAGE: Json = {
    "contents": [{"type": "text", "text": "Hello", "language": "en"}],
    "type": "custom-message",
    "content": "Hello",
}
NUMBER: Json = {
    "message": CUSTOM_MESSAGE,
    "type": "number",
    "number_e164_check_enabled": True,
    "number": "+14155550199",
    "extension": "1",
    "caller_id": "{{customer.number}}",
    "transfer_plan": {
        "mode": "blind-transfer",
        "message": CUSTOM_MESSAGE,
        "timeout": 60,
        "sip_verb": "refer",
        "hold_audio_url": "https://a.example/hold.mp3",
        "transfer_complete_audio_url": "https://a.example/done.mp3",
        "twiml": "<Say>Hi</Say>",
        "summary_plan": SUMMARY,
        "sip_headers_in_refer_to_enabled": False,
        "fallback_plan": {"message": "", "end_call_enabled": True},
    },
    "description": "the front desk",
}
SIP: Json = {
    "message": "One moment",
    "type": "sip",
    "sip_uri": "sip:desk@pbx.example.com",
    "transfer_plan": {"mode": "warm-transfer-twiml"},
    "sip_headers": {"X-Queue": "q"},
    "description": "the desk",
}
TRANSFER: Json = {"type": "transfer", "destination": NUMBER}
FUNCTION: Json = {
    "messages": [{"type": "request-start"}],
    "type": "function",
    "async": True,
    "server": SERVER,
    "function": {"name": "f", "parameters": {"type": "object"}},
}
SAY: Json = {"type": "say", "exact": {"text": "Hi"}}
STRUCTURED: Json = {
    "messages": [{"role": "system"}],
    "enabled": True,
    "schema": {"type": "object", "properties": {"first_name": {"type": "string"}}},
    "timeout_seconds": 5,
}
ASSISTANT: Json = {
    "transcriber": {"provider": "openai", "model": "gpt-4o-transcribe", "fallback_plan": {}},
    "model": {
        "provider": "openai",
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": None}],
        "tools": [{"type": "dtmf"}],
        "tool_ids": ["t"],
        "knowledge_base": {"provider": "canonical"},
        "knowledge_base_id": "k",
        "temperature": 0.5,
        "max_tokens": 400,
        "emotion_recognition_enabled": True,
        "num_fast_turns": 1,
    },
    "voice": {"provider": "vapi", "voice_id": "Elliot", "fallback_plan": {}},
    "first_message": "Hello",
    "first_message_interruptions_enabled": True,
    "first_message_mode": "assistant-speaks-first",
    "voicemail_detection": {
        "provider": "google",
        "beep_max_await_seconds": 30,
        "backoff_plan": {"start_at_seconds": 5, "frequency_seconds": 5, "max_retries": 6},
    },
    "client_messages": ["transcript"],
    "server_messages": ["hang"],
    "silence_timeout_seconds": 30,
    "max_duration_seconds": 600,
    "background_sound": "off",
    "background_denoising_enabled": False,
    "model_output_in_messages_enabled": False,
    "transport_configurations": [
        {"provider": "twilio", "timeout": 60, "record": False, "recording_channels": "mono"}
    ],
    "observability_plan": {"provider": "langfuse", "tags": ["t"], "metadata": {"aKey": 1}},
    "credentials": CREDENTIALS,
    "hooks": [
        {
            "on": "call.ending",
            "do": [TRANSFER, FUNCTION],
            "filters": [{"type": "oneOf", "key": "k", "one_of": ["v"]}],
        },
        {"on": "assistant.speech.interrupted", "do": [TRANSFER, FUNCTION, SAY]},
        {"on": "customer.speech.interrupted", "do": [TRANSFER, FUNCTION, SAY]},
    ],
    "name": "Front desk",
    "voicemail_message": "Call back",
    "end_call_message": "Goodbye",
    "end_call_phrases": ["goodbye"],
    "compliance_plan": {"hipaa_enabled": False, "pci_enabled": False},
    "metadata": {"costCenter": "A-17", "snake_key": None},
    "background_speech_denoising_plan": {
        "smart_denoising_plan": {"enabled": True},
        "fourier_denoising_plan": {
            "enabled": True,
            "media_detection_enabled": True,
            "static_threshold": -35,
            "baseline_offset_db": -15,
            "window_size_ms": 3000,
            "baseline_percentile": 85,
        },
    },
    "analysis_plan": {
        "min_messages_threshold": 2,
        "summary_plan": SUMMARY,
        "structured_data_plan": STRUCTURED,
        "structured_data_multi_plan": [{"key": "k", "plan": STRUCTURED}],
        "success_evaluation_plan": {**SUMMARY, "rubric": "PassFail"},
    },
    "artifact_plan": {
        "recording_enabled": True,
        "recording_format": "mp3",
        "video_recording_enabled": False,
        "pcap_enabled": True,
        "pcap_s3_path_prefix": "/",
        "transcript_plan": {"enabled": True, "assistant_name": "AI", "user_name": "User"},
        "recording_path": "/",
    },
    "message_plan": {
        "idle_messages": ["Still there?"],
        "idle_message_max_spoken_count": 3,
        "idle_message_reset_count_on_user_speech_enabled": False,
        "idle_timeout_seconds": 10,
        "silence_timeout_message": "Goodbye",
    },
    "start_speaking_plan": {
        "wait_seconds": 0.4,
        "smart_endpointing_enabled": "livekit",
        "smart_endpointing_plan": {"provider": "livekit", "wait_function": "20"},
        "custom_endpointing_rules": [
            {
                "type": "assistant",
                "regex": "a",
                "regex_options": [{"type": "ignore-case", "enabled": True}],
                "timeout_seconds": 1,
            },
            {"type": "customer", "regex": "c", "timeout_seconds": 1},
            {
                "type": "both",
                "assistant_regex": "a",
                "assistant_regex_options": [{"type": "whole-word", "enabled": True}],
                "customer_regex": "c",
                "customer_regex_options": [{"type": "multi-line", "enabled": False}],
                "timeout_seconds": 1,
            },
        ],
        "transcription_endpointing_plan": {
            "on_punctuation_seconds": 0.1,
            "on_no_punctuation_seconds": 1.5,
            "on_number_seconds": 0.5,
        },
    },
    "stop_speaking_plan": {
        "num_words": 0,
        "voice_seconds": 0.2,
        "backoff_seconds": 1,
        "acknowledgement_phrases": ["ok"],
        "interruption_phrases": ["stop"],
    },
    "monitor_plan": {
        "listen_enabled": True,
        "listen_authentication_enabled": False,
        "control_enabled": True,
        "control_authentication_enabled": False,
    },
    "credential_ids": ["c"],
    "server": SERVER,
    "keypad_input_plan": {"enabled": True, "timeout_seconds": 2, "delimiters": "#"},
}
TWILIO_DETECTION: Json = {
    "provider": "twilio",
    "voicemail_detection_types": ["machine_start"],
    "enabled": True,
    "machine_detection_timeout": 30,
    "machine_detection_speech_threshold": 2400,
    "machine_detection_speech_end_threshold": 1200,
    "machine_detection_silence_timeout": 5000,
}
MESSAGES: list[Json] = [
    {"role": "system", "message": "m", "time": 1, "seconds_from_start": 0},
    {
        "role": "user",
        "message": "m",
        "time": 1,
        "end_time": 2,
        "seconds_from_start": 1.5,
        "duration": 0.5,
    },
    {
        "role": "assistant",
        "content": "c",
        "refusal": "r",
        "tool_calls": [{"id": "i", "type": "function", "function": {"arguments": "{}", "name": "f"}}],
        "name": "n",
    },
    {"role": "tool", "content": "c", "tool_call_id": "i", "name": "n"},
    {"role": "developer", "content": "c", "name": "n"},
]
EVERYTHING: Json = {
    "name": "n",
    "status": "active",
    "expiration_seconds": 3600,
    "assistant_id": "a",
    "assistant": ASSISTANT,
    "messages": MESSAGES,
    "customer": {
        "number_e164_check_enabled": True,
        "extension": "204",
        "assistant_overrides": {**ASSISTANT, "variable_values": {"orderNumber": 1, "a_b": 2}},
        "number": "+14155550123",
        "sip_uri": "sip:a@b.example",
        "name": "n",
    },
    "phone_number_id": "p",
    "phone_number": {
        "fallback_destination": SIP,
        "hooks": [
            {
                "on": "call.ringing",
                "do": [{"type": "say", "exact": "Hold"}, TRANSFER],
            }
        ],
        "sms_enabled": False,
        "twilio_phone_number": "+14155550100",
        "twilio_account_sid": "sid",
        "twilio_auth_token": "t",
        "twilio_api_key": "k",
        "twilio_api_secret": "s",
        "name": "n",
        "assistant_id": "a",
        "workflow_id": "w",
        "squad_id": "s",
        "server": SERVER,
    },
    "casefile_id": "cf_251013_abc123",
}
