"""Credentials, by `provider`: variants with the same fields share a model. All of it is secret."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.assistant.choices import (
    ApiKeyCredentialProvider,
    AuthorizationCredentialProvider,
    AzureOpenAIModelName,
    AzureRegion,
    AzureService,
    LimitedApiKeyCredentialProvider,
)
from schemas.assistant.credential_parts import (
    AzureBlobStorageBucketPlan,
    BucketPlan,
    CloudflareR2BucketPlan,
    GcpKey,
    OAuth2AuthenticationPlan,
    Oauth2AuthenticationSession,
    SipTrunkOutboundAuthenticationPlan,
    SupabaseBucketPlan,
)
from schemas.base import JsonObject, Number, Range, StrictModel, Text40, Text10000

_FallbackIndex = Annotated[Number, Range(1)]


class CredentialBase(StrictModel):
    """What every variant may carry."""

    name: Annotated[str, Field(min_length=1, max_length=40)] | None = None


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


class CreateAzureCredentialDTO(CredentialBase):
    """Speech or storage at Azure."""

    provider: Literal["azure"]
    service: AzureService
    region: AzureRegion | None = None
    api_key: Text10000 | None = None
    fallback_index: _FallbackIndex | None = None
    bucket_plan: AzureBlobStorageBucketPlan | None = None


class CreateAzureOpenAICredentialDTO(CredentialBase):
    """Models at Azure."""

    provider: Literal["azure-openai"]
    region: AzureRegion
    models: list[AzureOpenAIModelName]
    open_ai_key: Text10000
    ocp_apim_subscription_key: str | None = None
    open_ai_endpoint: Text10000


class CreateByoSipTrunkCredentialDTO(CredentialBase):
    """A SIP trunk of one's own. Gateways and border controller are free-form in this contract."""

    provider: Literal["byo-sip-trunk"]
    gateways: list[JsonObject]
    outbound_authentication_plan: SipTrunkOutboundAuthenticationPlan | None = None
    outbound_leading_plus_enabled: bool | None = None
    tech_prefix: Text10000 | None = None
    sip_diversion_header: Text10000 | None = None
    sbc_configuration: JsonObject | None = None


class CreateCloudflareCredentialDTO(CredentialBase):
    """Storage at Cloudflare."""

    provider: Literal["cloudflare"]
    account_id: str | None = None
    api_key: str | None = None
    account_email: str | None = None
    fallback_index: _FallbackIndex | None = None
    bucket_plan: CloudflareR2BucketPlan | None = None


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


class CreateGcpCredentialDTO(CredentialBase):
    """Storage at Google."""

    provider: Literal["gcp"]
    fallback_index: _FallbackIndex | None = None
    gcp_key: GcpKey
    region: Text40 | None = None
    bucket_plan: BucketPlan | None = None


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


class CreateS3CredentialDTO(CredentialBase):
    """Storage at Amazon."""

    provider: Literal["s3"]
    aws_access_key_id: str
    aws_secret_access_key: str
    region: str
    s3_bucket_name: str
    s3_path_prefix: str
    fallback_index: _FallbackIndex | None = None


class CreateSupabaseCredentialDTO(CredentialBase):
    """Storage at Supabase."""

    provider: Literal["supabase"]
    fallback_index: _FallbackIndex | None = None
    bucket_plan: SupabaseBucketPlan | None = None


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
