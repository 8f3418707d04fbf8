"""The destinations that a call is handed over to, and the ways to do it."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag
from typing_extensions import TypeAliasType

from schemas.assistant.analysis import SummaryPlan
from schemas.base import JsonObject, Number, Range, StrictModel, Text40, Text1000
from schemas.e164 import SWITCHED, SwitchedNumber

# The formatter would give each value a line of its own.
# fmt: off

TransferMode = TypeAliasType("TransferMode", Literal[
    "blind-transfer", "blind-transfer-add-summary-to-sip-header", "warm-transfer-say-message",
    "warm-transfer-say-summary", "warm-transfer-twiml",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message",
    "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary",
    "warm-transfer-experimental"
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

# fmt: on

SipVerb = TypeAliasType("SipVerb", Literal["refer", "bye", "dial"])


class TextContent(StrictModel):
    """A text in one language."""

    type: Literal["text"]
    text: str
    language: Language


class CustomMessage(StrictModel):
    """A spoken message, with a variant a language."""

    contents: list[TextContent] | None = None
    type: Literal["custom-message"]
    content: Text1000 | None = None


def _spoken_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, dict | CustomMessage) else None


SpokenMessage = Annotated[
    Annotated[str, Tag("text")] | Annotated[CustomMessage, Tag("object")],
    Discriminator(
        _spoken_kind,
        custom_error_type="reason",
        custom_error_message="must be a string or an object of type 'custom-message'",
    ),
]


class TransferFallbackPlan(StrictModel):
    """What happens when a transfer does not come about."""

    message: SpokenMessage
    end_call_enabled: bool | None = True


class TransferPlan(StrictModel):
    """How the call is handed over."""

    mode: TransferMode
    message: SpokenMessage | None = None
    timeout: Annotated[Number, Range(1, 600)] | None = 60
    sip_verb: SipVerb | None = "refer"
    hold_audio_url: str | None = None
    transfer_complete_audio_url: str | None = None
    twiml: Annotated[str, Field(max_length=4096)] | None = None
    summary_plan: SummaryPlan | None = None
    sip_headers_in_refer_to_enabled: bool | None = None
    fallback_plan: TransferFallbackPlan | None = None


class TransferDestinationNumber(StrictModel):
    """Another telephone number."""

    model_config = SWITCHED

    message: SpokenMessage | None = None
    type: Literal["number"]
    number_e164_check_enabled: bool | None = True
    number: SwitchedNumber
    extension: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    caller_id: Text40 | None = None
    transfer_plan: TransferPlan | None = None
    description: str | None = None


class TransferDestinationSip(StrictModel):
    """A SIP address. The values of `sip_headers` are secret."""

    message: SpokenMessage | None = None
    type: Literal["sip"]
    sip_uri: str
    transfer_plan: TransferPlan | None = None
    sip_headers: JsonObject | None = None
    description: str | None = None


Destination = Annotated[TransferDestinationNumber | TransferDestinationSip, Field(discriminator="type")]
