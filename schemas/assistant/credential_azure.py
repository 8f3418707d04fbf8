"""Credentials for Azure. All of it is secret."""

from typing import Literal

from typing_extensions import TypeAliasType

from schemas.assistant.credential_parts import CredentialBase, FallbackIndex
from schemas.base import StrictModel, Text10000

# The formatter would give each value a line of its own.
# fmt: off

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

# fmt: on

AzureService = TypeAliasType("AzureService", Literal["speech", "blob_storage"])


class AzureBlobStorageBucketPlan(StrictModel):
    """A container at Azure."""

    connection_string: str
    container_name: str
    path: str | None = None


class CreateAzureCredentialDTO(CredentialBase):
    """Speech or storage at Azure."""

    provider: Literal["azure"]
    service: AzureService
    region: AzureRegion | None = None
    api_key: Text10000 | None = None
    fallback_index: FallbackIndex | None = None
    bucket_plan: AzureBlobStorageBucketPlan | None = None


class CreateAzureOpenAICredentialDTO(CredentialBase):
    """Models at Azure."""

    provider: Literal["azure-openai"]
    region: AzureRegion
    models: list[AzureOpenAIModelName]
    open_ai_key: Text10000
    ocp_apim_subscription_key: str | None = None
    open_ai_endpoint: Text10000
