"""Programs of ranks that take training steps on generated rows; `test_numbers` compares what they return."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.config.sections.train import Train
from millrace.features.spec import Category, Feature, FeatureSpec, Label, Numeric, Task
from millrace.tables.versions import DataFile
from train.data.cache import RankRows
from train.data.plan import EpochPlan, SplitPlan
from train.data.rows import Reader
from train.data.target import Target
from train.data.tensors import is_known
from train.loop.agreement import average_state, check_agreement
from train.loop.batches import Batches
from train.loop.fit import broadcast_weights, class_weights, fit
from train.loop.steps import Steps
from train.preprocessing.layers import CATEGORY, NUMERIC, build_preprocessing
from train.preprocessing.statistics import LabelStatistics, NumericStatistics, Statistics
from train.rank import Rank
from train.world import World

WORDS = ("a", "b", "c", "d")
RATE = 0.05


@dataclass(frozen=True)
class Case:
    """Rows and a model.

    Attributes:
        name: Of the case.
        files: Rows of each data file.
        task: Decides label and loss.
        trunk: Name of a function in this module that builds the trunk.
        batch_size: Rows of a step.
        steps: How many steps to take.
        balanced: Weight the classes.
        missing: Share of the labels that is missing or of an unknown class.
        budget: Bytes of memory for the rows.
    """

    name: str
    files: tuple[int, ...] = (601, 7, 395)
    task: Task = "binary"
    trunk: str = "perceptron"
    batch_size: int = 96
    steps: int = 50
    balanced: bool = False
    missing: float = 0.0
    budget: int = 2**30

    @property
    def epochs(self) -> int:
        return -(-self.steps // EpochPlan.of(SplitPlan(self.data_files(Path())), self.batch_size).steps)

    def data_files(self, folder: Path) -> tuple[DataFile, ...]:
        return tuple(DataFile(str(folder / self.name / f"{n}.parquet"), rows, {}) for n, rows in enumerate(self.files))


CASES = (
    Case("binary, from the disk", trunk="unused", budget=0),
    Case("multiclass, some without a label", task="multiclass", balanced=True, missing=0.3),
    Case("regression, one step an epoch", files=(52,), batch_size=64, task="regression", trunk="penalised"),
    Case("fewer rows in a step than ranks", files=(5,), batch_size=2, steps=30),
    Case("normalised", trunk="normalised", steps=12),
)
MIXED = Case("random numbers, and weights of several types", trunk="mixed", steps=4)


@dataclass
class Taken:
    """What a rank saw.

    Attributes:
        losses: Of each step.
        rows: Of each step.
        weights: After the last step.
        rate: Learning rate of the next step.
        unused: The weight on which the loss does not depend, if there is one.
        state: Values of the state that is not trained, before and after the ranks averaged it.
        seeds: States of the random generators before the first step.
        keras_losses: Of plain Keras on the same batches, if there is one rank.
        keras_weights: Its weights after the last step.
    """

    losses: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    rate: float = 0.0
    unused: float | None = None
    state: list[list[Any]] = field(default_factory=list)
    seeds: list[list[int]] = field(default_factory=list)
    keras_losses: list[float] = field(default_factory=list)
    keras_weights: list[Any] = field(default_factory=list)


def write_rows(case: Case, folder: Path) -> None:
    """Write the data files of a case."""
    random = np.random.default_rng(3)
    (folder / case.name).mkdir(parents=True)
    for file in case.data_files(folder):
        number = random.normal(5, 3, file.rows)
        word = random.choice([*WORDS, "unknown"], file.rows)
        signal = number + (word == "a") * 4 + random.normal(size=file.rows)
        labels: list[Any] = (signal * 1e3 + 7e6).tolist()
        if case.task != "regression":
            labels = np.digitize(signal, [5, 8] if case.task == "multiclass" else [6]).tolist()
        gone = random.random(file.rows) < case.missing
        labels = [
            (None if number % 2 else 9) if g else v for number, (v, g) in enumerate(zip(labels, gone, strict=True))
        ]
        columns = {"number": np.where(random.random(file.rows) < 0.1, np.nan, number), "word": word, "label": labels}
        pq.write_table(pa.table(columns), file.path)


def describe(case: Case) -> tuple[FeatureSpec, Statistics]:
    """Spec and statistics of a case's rows."""
    classes = {"binary": (0, 1), "multiclass": (0, 1, 2), "regression": ()}[case.task]
    spec = FeatureSpec(
        inputs=(
            Feature(name="number", dtype="float64", nullable=True, transform=Numeric.model_validate({"as": "numeric"})),
            Feature(name="word", dtype="string", nullable=True, transform=Category.model_validate({"as": "category"})),
        ),
        crosses=(),
        label=Label.model_validate({"name": "label", "task": case.task, "classes": classes}),
        key=("number",),
    )
    label = LabelStatistics(
        rows={"train": 1_000}, counts=tuple((c, 300 + 200 * c) for c in classes), mean=7.005e6, std=3.5e3
    )
    numbers = NumericStatistics(mean=5.0, std=3.0, min=-5.0, max=15.0)
    return spec, Statistics(numeric={"number": numbers}, vocabularies={"word": WORDS}, label=label)


def _inputs() -> tuple[dict[str, Any], Any]:
    import keras

    inputs = {NUMERIC: keras.Input((2,), name=NUMERIC), CATEGORY: keras.Input((1,), dtype="int32", name=CATEGORY)}
    embedded = keras.layers.Embedding(len(WORDS) + 2, 3)(inputs[CATEGORY][:, 0])
    return inputs, keras.layers.Concatenate()([inputs[NUMERIC], embedded])


def perceptron(units: int) -> Any:
    """A plain trunk."""
    import keras

    inputs, joined = _inputs()
    hidden = keras.layers.Dense(8, activation="tanh")(joined)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def penalised(units: int) -> Any:
    """A trunk whose loss has a penalty on the weights."""
    import keras

    inputs, joined = _inputs()
    hidden = keras.layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))(joined)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def unused(units: int) -> Any:
    """A trunk with a weight on which the loss does not depend."""
    import keras

    class Unused(keras.layers.Layer):  # type: ignore[misc] # keras has no types
        """Has a weight, but returns its input."""

        def build(self, shape: Any) -> None:
            self.weight = self.add_weight(name="unused", shape=(1,), initializer="ones")

        def call(self, inputs: Any) -> Any:
            return inputs

    trunk = perceptron(units)
    return keras.Model(trunk.inputs, Unused()(trunk.output))


def normalised(units: int) -> Any:
    """A trunk with statistics of its batches, and a frozen layer."""
    import keras

    inputs, joined = _inputs()
    frozen = keras.layers.Dense(8, trainable=False, bias_initializer="ones")(joined)
    hidden = keras.layers.BatchNormalization(momentum=0.5)(frozen)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def mixed(units: int) -> Any:
    """A trunk with random numbers, and weights of three types."""
    import keras

    inputs, joined = _inputs()
    hidden = keras.layers.Dense(8, dtype="float64")(keras.layers.Dropout(0.5)(joined))
    hidden = keras.layers.Dense(8, dtype="float16")(hidden)
    return keras.Model(inputs, keras.layers.Dense(units, dtype="float32")(hidden))


def take_steps(folder: str, cases: tuple[Case, ...]) -> dict[str, Taken]:
    """The program of a rank: take the steps of some cases."""
    import horovod.tensorflow as hvd

    hvd.init()
    world = World(hvd.rank(), hvd.size())
    return {case.name: _take(case, Path(folder), world) for case in cases}


def _take(case: Case, folder: Path, world: World) -> Taken:
    spec, statistics = describe(case)
    split = SplitPlan(case.data_files(folder))
    reader = Reader(split, spec, build_preprocessing(spec, statistics), lambda: None)
    with RankRows(reader, world, case.budget) as rows:
        return _take_from(case, rows, spec, statistics)


def _take_from(case: Case, rows: RankRows, spec: FeatureSpec, statistics: Statistics) -> Taken:
    import keras

    plan = EpochPlan.of(rows.split, case.batch_size)
    target = Target(spec.label, statistics.label)
    units = 3 if case.task == "multiclass" else 1
    build = globals()[case.trunk]
    weights = class_weights(statistics.label) if case.balanced else None
    batches = Batches(rows, plan, target, 5, case.epochs, weights)

    def schedule() -> Any:
        return keras.optimizers.schedules.CosineDecay(RATE, case.epochs * plan.steps)

    keras.utils.set_random_seed(1)
    trunk = build(units)
    broadcast_weights(trunk)
    steps = Steps(trunk, target, keras.optimizers.Adam(schedule()))
    taken, iterator = Taken(), iter(batches.dataset())
    taken.seeds = [v.numpy().tolist() for v in trunk.non_trainable_variables if "seed_generator" in v.path]
    for start in range(0, case.steps, 7):
        losses, counted = steps.take(iterator, min(7, case.steps - start))
        taken.losses += losses.tolist()
        taken.rows += counted.tolist()
    taken.rate = float(steps.optimizer.learning_rate)
    state = [variable for variable in trunk.non_trainable_variables if "float" in str(variable.dtype)]
    taken.state.append([variable.numpy() for variable in state])
    average_state(trunk)
    taken.state.append([variable.numpy() for variable in state])
    check_agreement(trunk, steps.optimizer, 1)
    taken.weights = trunk.get_weights()
    taken.unused = next((float(v.value[0]) for v in trunk.trainable_variables if v.name == "unused"), None)
    if rows.world.size == 1:
        keras.utils.set_random_seed(1)
        reference = build(units)
        # Not compiled: each number of rows would be traced again.
        reference.compile(_dense_adam(schedule()), _plain_loss(case.task), run_eagerly=True)
        for _, (inputs, label, weight) in zip(range(case.steps), iter(batches), strict=False):
            known = weight > 0
            chosen = {name: values[known] for name, values in inputs.items()}
            taken.keras_losses.append(float(reference.train_on_batch(chosen, label[known], weight[known])))
        taken.keras_weights = reference.get_weights()
    return taken


@dataclass
class Fitted:
    """What a rank saw of a whole `fit`.

    Attributes:
        epochs: The events of all epochs; only rank 0 sends them.
        best_epoch: The epoch of the final weights.
        train_loss: Keras' loss of the final weights on all rows of the train split.
        validation_loss: The same on the validation split.
        weights: The final weights.
    """

    epochs: list[dict[str, Any]]
    best_epoch: int
    train_loss: float
    validation_loss: float
    weights: list[Any]


class Sender:
    """Keeps the events of a rank."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})


def fit_cases(folder: str, case: Case, sections: list[dict[str, Any]]) -> list[Fitted]:
    """The program of a rank: fit once for each section ``train``; the files of the case but the last are trained on."""
    import horovod.tensorflow as hvd

    hvd.init()
    world = World(hvd.rank(), hvd.size())
    return [_fit_case(case, Path(folder), world, Train.model_validate(section)) for section in sections]


def _fit_case(case: Case, folder: Path, world: World, train: Train) -> Fitted:
    import keras

    spec, statistics = describe(case)
    *train_files, last = case.data_files(folder)
    preprocessing = build_preprocessing(spec, statistics)
    splits = {"train": SplitPlan(tuple(train_files)), "validation": SplitPlan((last,))}
    readers = {name: Reader(split, spec, preprocessing, lambda: None) for name, split in splits.items()}
    keras.utils.set_random_seed(1)
    trunk = perceptron(3 if case.task == "multiclass" else 1)
    sender: Any = Sender()
    stopping = fit(trunk, readers, Rank(world, lambda: None, sender), train, spec, statistics)
    losses = {}
    for name, reader in readers.items():
        with RankRows(reader, World(0, 1), case.budget) as rows:
            everything = rows.take(np.arange(len(rows)))
        target, known = Target(spec.label, statistics.label), is_known(everything.label)
        scores = trunk({NUMERIC: everything.numeric[known], CATEGORY: everything.category[known]})
        label = target.convert(everything.label[known])[:, None]
        weights = class_weights(statistics.label)[everything.label[known]] if train.class_weights else None
        losses[name] = float(_plain_loss(case.task)(label, scores, sample_weight=weights))
    epochs = [event for event in sender.events if event["event"] == "epoch"]
    return Fitted(epochs, stopping.best_epoch, losses["train"], losses["validation"], trunk.get_weights())


def _dense_adam(rate: Any) -> Any:
    """Adam on dense gradients: of the sparse one of an embedding, Keras squares the parts of a row, not their sum."""
    import keras
    import tensorflow as tf

    class DenseAdam(keras.optimizers.Adam):  # type: ignore[misc] # keras has no types
        """Makes gradients dense."""

        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            super().apply([g if g is None else tf.convert_to_tensor(g) for g in grads], trainable_variables)

    return DenseAdam(rate)


def _plain_loss(task: Task) -> Any:
    import keras

    if task == "binary":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if task == "multiclass":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()
