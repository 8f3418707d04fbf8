"""Credentials for storage, with the buckets that they open. All of it is secret."""

from typing import Literal

from typing_extensions import TypeAliasType

from schemas.assistant.credential_parts import CredentialBase, FallbackIndex
from schemas.base import StrictModel, Text40

# The formatter would give each value a line of its own.
# fmt: off

SupabaseRegion = TypeAliasType("SupabaseRegion", Literal[
    "us-west-1", "us-east-1", "us-east-2", "ca-central-1", "eu-west-1", "eu-west-2", "eu-west-3",
    "eu-central-1", "eu-central-2", "eu-north-1", "ap-south-1", "ap-southeast-1", "ap-northeast-1",
    "ap-northeast-2", "ap-southeast-2", "sa-east-1"
])

# fmt: on


class CloudflareR2BucketPlan(StrictModel):
    """A bucket at Cloudflare."""

    name: str
    access_key_id: str | None = None
    secret_access_key: str | None = None
    url: str | None = None
    path: str | None = None


class CreateCloudflareCredentialDTO(CredentialBase):
    """Storage at Cloudflare."""

    provider: Literal["cloudflare"]
    account_id: str | None = None
    api_key: str | None = None
    account_email: str | None = None
    fallback_index: FallbackIndex | None = None
    bucket_plan: CloudflareR2BucketPlan | None = None


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


class CreateGcpCredentialDTO(CredentialBase):
    """Storage at Google."""

    provider: Literal["gcp"]
    fallback_index: FallbackIndex | None = None
    gcp_key: GcpKey
    region: Text40 | None = None
    bucket_plan: BucketPlan | None = None


class CreateS3CredentialDTO(CredentialBase):
    """Storage at Amazon."""

    provider: Literal["s3"]
    aws_access_key_id: str
    aws_secret_access_key: str
    region: str
    s3_bucket_name: str
    s3_path_prefix: str
    fallback_index: FallbackIndex | None = None


class SupabaseBucketPlan(StrictModel):
    """A bucket at Supabase."""

    region: SupabaseRegion
    url: str
    access_key_id: str
    secret_access_key: str
    name: str
    path: str | None = None


class CreateSupabaseCredentialDTO(CredentialBase):
    """Storage at Supabase."""

    provider: Literal["supabase"]
    fallback_index: FallbackIndex | None = None
    bucket_plan: SupabaseBucketPlan | None = None
