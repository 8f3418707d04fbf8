"""The records that a call leaves, and those that it must not leave."""

from typing import Literal

from typing_extensions import TypeAliasType

from schemas.base import StrictModel

RecordingFormat = TypeAliasType("RecordingFormat", Literal["wav;l16", "mp3"])


class TranscriptPlan(StrictModel):
    """How a transcript names its speakers."""

    enabled: bool | None = None
    assistant_name: str | None = None
    user_name: str | None = None


class ArtifactPlan(StrictModel):
    """What is recorded, and where it is put."""

    recording_enabled: bool | None = None
    recording_format: RecordingFormat | None = None
    video_recording_enabled: bool | None = None
    pcap_enabled: bool | None = None
    pcap_s3_path_prefix: str | None = None
    transcript_plan: TranscriptPlan | None = None
    recording_path: str | None = None


class CompliancePlan(StrictModel):
    """What must not be kept."""

    hipaa_enabled: bool | None = None
    pci_enabled: bool | None = None
