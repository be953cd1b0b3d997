"""The whole configuration: a product file merged with a profile.

The docstring under a field becomes its description in `millrace config schema`.
"""

from typing import Literal

from pydantic import Field

from millrace.config.sections.ingest import Contract, Ingest
from millrace.config.sections.names import Name
from millrace.config.sections.profile import Ranks, Spark, StoreSection, Transfer
from millrace.config.sections.schedule import Schedule
from millrace.config.sections.serve import Serve
from millrace.config.sections.sources import Source
from millrace.config.sections.train import Evaluate, Features, Train
from millrace.section import Section


class Score(Section):
    """Batch scoring."""

    split: Literal["train", "validation", "test"] | None = None
    """Score only the rows of this split; by default all rows."""
    max_unseen: float = Field(0.5, ge=0, le=1)
    """Largest share of rows with a value that is not in the vocabulary of a category. Above it the run ends with exit
    code 3 and adds nothing."""


class Config(Section):
    """One data product, and where it runs (see the profile)."""

    product: Name
    """Name of the product, its tables and its model."""
    description: str = ""
    """What the model predicts, for people."""
    sources: dict[Name, Source] = Field(min_length=1)
    """The sources, by name."""
    ingest: Ingest
    contract: Contract
    features: Features
    train: Train
    evaluate: Evaluate = Evaluate()
    score: Score = Score()
    schedule: Schedule = Field(default_factory=dict)
    """When stages run automatically: entries by a name of your choice."""
    spark: Spark = Spark()
    store: StoreSection = StoreSection()
    ranks: Ranks = Ranks()
    serve: Serve = Serve()
    transfer: Transfer = Transfer()
