"""The removal of noise from what the customer says."""

from typing import Annotated

from schemas.base import Number, Range, StrictModel


class SmartDenoisingPlan(StrictModel):
    """Noise removal by a model."""

    enabled: bool | None = False


class FourierDenoisingPlan(StrictModel):
    """Noise removal by spectrum."""

    enabled: bool | None = False
    media_detection_enabled: bool | None = True
    static_threshold: Annotated[Number, Range(-80, 0)] | None = -35
    baseline_offset_db: Annotated[Number, Range(-30, -5)] | None = -15
    window_size_ms: Annotated[Number, Range(1000, 30000)] | None = 3000
    baseline_percentile: Annotated[Number, Range(1, 99)] | None = 85


class BackgroundSpeechDenoisingPlan(StrictModel):
    """The two ways of removing noise, in the order they run."""

    smart_denoising_plan: SmartDenoisingPlan | None = None
    fourier_denoising_plan: FourierDenoisingPlan | None = None
