"""The objects that several credentials share. Like the credentials themselves they are secret as a whole."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import DateTime, Number, Range, StrictModel, Text1000

OAuth2AuthenticationType = TypeAliasType("OAuth2AuthenticationType", Literal["oauth2", "aws-sts"])

FallbackIndex = Annotated[Number, Range(1)]


class CredentialBase(StrictModel):
    """The fields that every variant may carry."""

    name: Annotated[str, Field(min_length=1, max_length=40)] | None = None


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
