"""The base of every typed section of a product file, a profile and a feature spec."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every typed section: unknown keys are errors, and objects are immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, allow_inf_nan=False
    )
