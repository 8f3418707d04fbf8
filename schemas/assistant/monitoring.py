"""The listeners to a call, and the place where its traces go."""

from typing import Literal

from schemas.base import JsonObject, StrictModel


class MonitorPlan(StrictModel):
    """Who may listen in or take control."""

    listen_enabled: bool | None = None
    listen_authentication_enabled: bool | None = None
    control_enabled: bool | None = None
    control_authentication_enabled: bool | None = None


class LangfuseObservabilityPlan(StrictModel):
    """Where traces go."""

    provider: Literal["langfuse"]
    tags: list[str]
    metadata: JsonObject | None = None
