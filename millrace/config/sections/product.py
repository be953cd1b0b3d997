"""The typed sections of a product file; those of a profile stand in `millrace.config.sections.profile`.

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
    """Score only this split; by default all rows."""
    max_unseen: float = Field(0.5, ge=0, le=1)
    """Share of the rows whose value of some category is out of the model's vocabulary, before the run is refused."""


class Config(Section):
    """One data product, and where it runs."""

    product: Name
    """Name of the product, its tables and its model."""
    description: str = ""
    """What it answers, for people."""
    sources: dict[Name, Source] = Field(min_length=1)
    """Declared inputs."""
    ingest: Ingest
    contract: Contract
    features: Features
    train: Train
    evaluate: Evaluate = Evaluate()
    score: Score = Score()
    schedule: Schedule = Field(default_factory=dict)
    """When stages run by themselves: a name of your own, then when and what."""
    spark: Spark = Spark()
    store: StoreSection = StoreSection()
    ranks: Ranks = Ranks()
    serve: Serve = Serve()
    transfer: Transfer = Transfer()
