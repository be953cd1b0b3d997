"""Steps and their losses: one rank is plain Keras, and several ranks are one rank."""

import numpy as np
import pytest

from tests.train.loop.programs import CASES, MIXED, RATE, Case, Fitted, Taken, fit_cases, take_steps, write_rows

pytestmark = [pytest.mark.tf, pytest.mark.timeout(300)]

Results = dict[int, list[dict[str, Taken]]]
BINARY, CLASSES, VALUES, TINY, NORMALISED = CASES
BY_SIZE = {1: CASES, 2: (*CASES, MIXED), 4: (CLASSES, TINY)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each rank saw, by number of ranks."""
    import horovod

    folder = tmp_path_factory.mktemp("rows")
    for case in (*CASES, MIXED):
        write_rows(case, folder)
    return {
        size: horovod.run(take_steps, (str(folder), cases), num_proc=size, use_gloo=True)
        for size, cases in BY_SIZE.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_rank_is_plain_keras(results: Results, case: Case) -> None:
    taken = results[1][0][case.name]
    assert len(taken.losses) == case.steps
    assert taken.losses == pytest.approx(taken.keras_losses, rel=1e-6, abs=1e-6)
    for own, reference in zip(taken.weights, taken.keras_weights, strict=True):
        assert own == pytest.approx(reference, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("case", "size"),
    # With statistics of a rank's own rows, several ranks cannot be one.
    [(case, size) for size in (2, 4) for case in BY_SIZE[size] if case not in (NORMALISED, MIXED)],
    ids=lambda value: value.name if isinstance(value, Case) else f"{value} ranks",
)
def test_several_ranks_are_one(results: Results, case: Case, size: int) -> None:
    one = results[1][0][case.name]
    for rank in results[size]:
        taken = rank[case.name]
        assert taken.rows == one.rows
        assert taken.losses == pytest.approx(one.losses, rel=1e-5)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> list[list[Fitted]]:
    """What each of two ranks saw of a fit that changes nearly nothing, and of one that stops early."""
    import horovod

    folder = tmp_path_factory.mktemp("fitted")
    write_rows(CLASSES, folder)
    plain = {"task": "multiclass", "batch_size": 64}
    sections = [{**plain, "epochs": 1, "learning_rate": 1e-9}]
    sections += [{**plain, "epochs": 40, "learning_rate": 0.3, "patience": 2, "class_weights": "balanced"}]
    result: list[list[Fitted]] = horovod.run(fit_cases, (str(folder), CLASSES, sections), num_proc=2, use_gloo=True)
    return result


@pytest.mark.case("F2")
def test_the_loss_that_is_shown_is_that_of_the_rows(fitted: list[list[Fitted]]) -> None:
    """The ranks have different numbers of labelled rows."""
    unchanged = fitted[0][0]
    assert unchanged.epochs[0]["loss"] == pytest.approx(unchanged.train_loss, rel=1e-5)
    assert unchanged.epochs[0]["val_loss"] == pytest.approx(unchanged.validation_loss, rel=1e-5)


def test_the_weights_are_those_of_the_best_epoch(fitted: list[list[Fitted]]) -> None:
    first, second = (rank[1] for rank in fitted)
    losses = [epoch["val_loss"] for epoch in first.epochs]
    assert first.best_epoch == second.best_epoch == int(np.argmin(losses)) + 1
    assert len(losses) == first.best_epoch + 2 < 40, "patience"
    assert first.validation_loss == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > min(losses)
    assert all((own == other).all() for own, other in zip(first.weights, second.weights, strict=True))


@pytest.mark.case("F3")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_learning_rate_falls_to_0_at_the_end_of_the_last_epoch(results: Results, case: Case) -> None:
    per_epoch = -(-sum(case.files) // case.batch_size)
    done = case.steps / (case.epochs * per_epoch)
    assert results[1][0][case.name].rate == pytest.approx(RATE * (1 + np.cos(np.pi * done)) / 2, rel=1e-4, abs=1e-9)


@pytest.mark.case("B10")
def test_a_weight_without_a_gradient_stays_as_it_was(results: Results) -> None:
    for rank in (*results[1], *results[2]):
        taken = rank[BINARY.name]
        assert taken.unused == pytest.approx(1)
        assert len(taken.losses) == BINARY.steps


@pytest.mark.case("B9")
def test_state_that_differs_between_ranks_is_averaged(results: Results) -> None:
    (before, after), (other_before, other_after) = (rank[NORMALISED.name].state for rank in results[2])
    assert any((own != other).any() for own, other in zip(before, other_before, strict=True)), "nothing to average"
    for first, second, *both in zip(before, other_before, after, other_after, strict=True):
        for averaged in both:
            assert averaged == pytest.approx((first + second) / 2, rel=1e-6)
    for own, other in zip(*(rank[NORMALISED.name].weights for rank in results[2]), strict=True):
        assert (own == other).all()
        assert np.isfinite(own).all()


def test_ranks_have_their_own_random_numbers_and_weights_of_any_type(results: Results) -> None:
    first, second = (rank[MIXED.name] for rank in results[2])
    assert len(first.seeds) == 1
    assert first.seeds != second.seeds
    assert first.losses == second.losses
    assert np.isfinite(first.losses).all()
    for own, other in zip(first.weights, second.weights, strict=True):
        assert (own == other).all()
