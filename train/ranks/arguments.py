"""What the driver sends to every rank."""

from dataclasses import dataclass

from millrace.config.sections.train import Train
from millrace.features.spec import FeatureSpec
from millrace.models.manifest import ModelVersion
from millrace.tables.versions import DataFile
from train.evaluation.slices import Slices
from train.events import EventAddress
from train.preprocessing.statistics import Statistics


@dataclass(frozen=True)
class RankArguments:
    """Arguments of `train.ranks.worker.train_rank`; kept small, because every rank gets a copy.

    Attributes:
        train: The section ``train`` of the product file.
        spec: Inputs, label, key.
        statistics: Of the train split.
        files: Data files by split.
        slices: Values by column that get metrics of their own.
        folder: URI of the folder in the store to which rank 0 uploads the SavedModel and the sample.
        previous: The model version to compare with, if any.
        events: Where the driver receives events; `train.ranks.launch.run_ranks` sets it.
        wait_s: How long each storage operation retries while the storage is temporarily unavailable, in seconds.
    """

    train: Train
    spec: FeatureSpec
    statistics: Statistics
    files: dict[str, tuple[DataFile, ...]]
    slices: Slices
    folder: str
    previous: ModelVersion | None
    events: EventAddress | None = None
    wait_s: float = 0.0
