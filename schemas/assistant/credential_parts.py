"""The objects inside credentials. Like the credentials themselves they are secret as a whole."""

from schemas.assistant.choices import OAuth2AuthenticationType, SupabaseRegion
from schemas.base import DateTime, JsonObject, StrictModel, Text1000


class GcpKey(StrictModel):
    """A service account's key file."""

    type: str
    project_id: str
    private_key_id: str
    private_key: str
    client_email: str
    client_id: str
    auth_uri: str
    token_uri: str
    auth_provider_x509_cert_url: str
    client_x509_cert_url: str
    universe_domain: str


class BucketPlan(StrictModel):
    """A bucket at Google."""

    name: str
    region: str | None = None
    path: str | None = None
    hmac_access_key: str | None = None
    hmac_secret: str | None = None


class SupabaseBucketPlan(StrictModel):
    """A bucket at Supabase."""

    region: SupabaseRegion
    url: str
    access_key_id: str
    secret_access_key: str
    name: str
    path: str | None = None


class CloudflareR2BucketPlan(StrictModel):
    """A bucket at Cloudflare."""

    name: str
    access_key_id: str | None = None
    secret_access_key: str | None = None
    url: str | None = None
    path: str | None = None


class AzureBlobStorageBucketPlan(StrictModel):
    """A container at Azure."""

    connection_string: str
    container_name: str
    path: str | None = None


class OAuth2AuthenticationPlan(StrictModel):
    """How a token is obtained."""

    type: OAuth2AuthenticationType
    url: str
    client_id: str
    client_secret: str
    scope: Text1000 | None = None


class Oauth2AuthenticationSession(StrictModel):
    """Tokens that were obtained."""

    access_token: str | None = None
    expires_at: DateTime | None = None
    refresh_token: str | None = None


class SipTrunkOutboundAuthenticationPlan(StrictModel):
    """How a trunk is signed in to."""

    auth_password: str | None = None
    auth_username: str | None = None
    # Its fields are not part of this contract.
    sip_register_plan: JsonObject | None = None
