"""The analysis of a finished call: its summary, its data and its success."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import JsonObject, Number, Range, StrictModel

# The formatter would give each value a line of its own.
# fmt: off

Rubric = TypeAliasType("Rubric", Literal[
    "NumericScale", "DescriptiveScale", "Checklist", "Matrix", "PercentageScale", "LikertScale",
    "AutomaticRubric", "PassFail"
])

# fmt: on

_Timeout = Annotated[Number, Range(1, 60)]


class SummaryPlan(StrictModel):
    """How a call is summarised."""

    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    timeout_seconds: _Timeout | None = None


class StructuredDataPlan(StrictModel):
    """What is extracted from a call."""

    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    # Python's models have a `schema` of their own.
    schema_: JsonObject | None = Field(
        default=None,
        validation_alias="schema",
        serialization_alias="schema",
    )
    timeout_seconds: _Timeout | None = None


class StructuredDataMultiPlan(StrictModel):
    """One extraction among several."""

    key: str
    plan: StructuredDataPlan


class SuccessEvaluationPlan(StrictModel):
    """How a call's success is judged."""

    rubric: Rubric | None = None
    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    timeout_seconds: _Timeout | None = None


class AnalysisPlan(StrictModel):
    """What is done with a finished call."""

    min_messages_threshold: Annotated[Number, Range(0)] | None = None
    summary_plan: SummaryPlan | None = None
    structured_data_plan: StructuredDataPlan | None = None
    structured_data_multi_plan: list[StructuredDataMultiPlan] | None = None
    success_evaluation_plan: SuccessEvaluationPlan | None = None
