"""Credentials, by `provider`: variants with the same fields share a model. All of it is secret."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.assistant.credential_azure import CreateAzureCredentialDTO, CreateAzureOpenAICredentialDTO
from schemas.assistant.credential_parts import (
    CredentialBase,
    OAuth2AuthenticationPlan,
    Oauth2AuthenticationSession,
)
from schemas.assistant.credential_storage import (
    CreateCloudflareCredentialDTO,
    CreateGcpCredentialDTO,
    CreateS3CredentialDTO,
    CreateSupabaseCredentialDTO,
)
from schemas.base import JsonObject, StrictModel, Text10000

# The formatter would give each value a line of its own.
# fmt: off

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


class SipTrunkOutboundAuthenticationPlan(StrictModel):
    """How a trunk is signed in to."""

    auth_password: str | None = None
    auth_username: str | None = None
    # Its fields are not part of this contract.
    sip_register_plan: JsonObject | None = None


class ApiKeyCredential(CredentialBase):
    """A key of any length."""

    provider: ApiKeyCredentialProvider
    api_key: str


class LimitedApiKeyCredential(CredentialBase):
    """A key of limited length."""

    provider: LimitedApiKeyCredentialProvider
    api_key: Text10000


class AuthorizationCredential(CredentialBase):
    """A reference to an authorisation given elsewhere."""

    provider: AuthorizationCredentialProvider
    authorization_id: str


class CreateByoSipTrunkCredentialDTO(CredentialBase):
    """A SIP trunk of one's own. Gateways and border controller are free-form in this contract."""

    provider: Literal["byo-sip-trunk"]
    gateways: list[JsonObject]
    outbound_authentication_plan: SipTrunkOutboundAuthenticationPlan | None = None
    outbound_leading_plus_enabled: bool | None = None
    tech_prefix: Text10000 | None = None
    sip_diversion_header: Text10000 | None = None
    sbc_configuration: JsonObject | None = None


class CreateCustomLLMCredentialDTO(CredentialBase):
    """A model of one's own."""

    provider: Literal["custom-llm"]
    api_key: Text10000
    authentication_plan: OAuth2AuthenticationPlan | None = None


class CreateDeepgramCredentialDTO(CredentialBase):
    """A key, for a host of one's own if need be."""

    provider: Literal["deepgram"]
    api_key: str
    api_url: str | None = None


class CreateLangfuseCredentialDTO(CredentialBase):
    """Where traces go."""

    provider: Literal["langfuse"]
    public_key: str
    api_key: str
    api_url: str


class CreateMakeCredentialDTO(CredentialBase):
    """A team at Make."""

    provider: Literal["make"]
    team_id: str
    region: str
    api_key: str


class CreateMistralCredentialDTO(CredentialBase):
    """A short key."""

    provider: Literal["mistral"]
    api_key: Annotated[str, Field(max_length=100)]


class CreatePlayHTCredentialDTO(CredentialBase):
    """A key and its user."""

    provider: Literal["playht"]
    api_key: str
    user_id: str


class CreateTwilioCredentialDTO(CredentialBase):
    """A token, or a key with its secret."""

    provider: Literal["twilio"]
    auth_token: str | None = None
    api_key: str | None = None
    api_secret: str | None = None
    account_sid: str


class CreateVonageCredentialDTO(CredentialBase):
    """A key with its secret."""

    provider: Literal["vonage"]
    api_secret: str
    api_key: str


class CreateWebhookCredentialDTO(CredentialBase):
    """How a webhook's token is obtained."""

    provider: Literal["webhook"]
    authentication_plan: OAuth2AuthenticationPlan


class CreateGoogleCalendarOAuth2ClientCredentialDTO(CredentialBase):
    """Nothing but the provider."""

    provider: Literal["google.calendar.oauth2-client"]


class CreateGoHighLevelMCPCredentialDTO(CredentialBase):
    """Tokens that were obtained."""

    provider: Literal["ghl.oauth2-authorization"]
    authentication_session: Oauth2AuthenticationSession


Credential = Annotated[
    ApiKeyCredential
    | LimitedApiKeyCredential
    | AuthorizationCredential
    | CreateAzureCredentialDTO
    | CreateAzureOpenAICredentialDTO
    | CreateByoSipTrunkCredentialDTO
    | CreateCloudflareCredentialDTO
    | CreateCustomLLMCredentialDTO
    | CreateDeepgramCredentialDTO
    | CreateGcpCredentialDTO
    | CreateLangfuseCredentialDTO
    | CreateMakeCredentialDTO
    | CreateMistralCredentialDTO
    | CreatePlayHTCredentialDTO
    | CreateS3CredentialDTO
    | CreateSupabaseCredentialDTO
    | CreateTwilioCredentialDTO
    | CreateVonageCredentialDTO
    | CreateWebhookCredentialDTO
    | CreateGoogleCalendarOAuth2ClientCredentialDTO
    | CreateGoHighLevelMCPCredentialDTO,
    Field(discriminator="provider"),
]
