"""The model version before: whether it is whole, and whether the new model can be compared with it.

Nothing that is wrong with it stops the training of the next one.
"""

import logging
from collections.abc import Collection

from millrace.features.spec import FeatureSpec, table_dtype
from millrace.models.files import checked_copy
from millrace.models.manifest import ModelDamaged, ModelVersion
from millrace.models.store import ModelStore
from millrace.tables.versions import TableVersion

logger = logging.getLogger(__name__)


def newest_version(models: ModelStore, name: str) -> ModelVersion | None:
    """Open the newest version; None if there is none, or if its manifest is damaged, which is logged."""
    if not models.versions(name):
        return None
    try:
        return models.open(name)
    except ModelDamaged as error:
        logger.warning("no comparison with the newest version: %s", error)
        return None


def is_whole(version: ModelVersion) -> bool:
    """Whether all files of a version are as published; otherwise it is logged."""
    try:
        checked_copy(version)
    except ModelDamaged as error:
        logger.warning("training again: %s", error)
        return False
    return True


def find_comparable(
    newest: ModelVersion | None, spec: FeatureSpec, table: TableVersion, required: Collection[str]
) -> ModelVersion | None:
    """Return the newest version if it can be evaluated on the test rows of a table; otherwise log why not.

    Args:
        newest: The newest version, if any.
        spec: Inputs and label of the model to train.
        table: The table.
        required: Columns of the table that have no missing value, by the contract.
    """
    if newest is None:
        return None
    reason = why_not(newest.manifest.features, spec, table, required)
    if not reason:
        try:
            checked_copy(newest)
        except ModelDamaged as error:
            reason = str(error)
    if reason:
        logger.warning("no comparison with version %d: %s", newest.manifest.version, reason)
        return None
    return newest


def why_not(old: FeatureSpec, new: FeatureSpec, table: TableVersion, required: Collection[str]) -> str:
    """Why a model with these features cannot be compared with a new one on the rows of a table; empty if it can."""
    if (old.label.name, old.label.task) != (new.label.name, new.label.task):
        return f"it predicts {old.label.name} ({old.label.task})"
    if old.label.classes != new.label.classes:
        return f"it has other classes of {old.label.name}"
    for feature in old.inputs:
        if feature.name not in table.columns:
            return f"its input '{feature.name}' is no column of the table any more"
        if table_dtype(feature.name, table.columns[feature.name]) != feature.dtype:
            return f"its input '{feature.name}' has another type now"
        if not feature.nullable and feature.name not in required:
            return f"its input '{feature.name}' may be missing now, and it has no answer for such rows"
    return ""
