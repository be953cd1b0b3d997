"""What the routes share."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.config.sections.serve import Serve
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.errors import InferenceLate, InvalidRequest, ModelNotFound, ModelNotReady, Overloaded, UnknownLabel
from serve.inference.inputs import Decoded
from serve.inference.service import Service, version_of
from serve.servables.manager import ServableManager
from serve.servables.statistics import Statistics
from tests.serve.models import INPUTS, publish, served


@pytest.mark.case("S6")
@pytest.mark.parametrize(
    ("text", "version"), [(None, None), ("0", None), ("7", 7), ("007", 7), (str(2**63 - 1), 2**63 - 1)]
)
def test_versions(text: str | None, version: int | None) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", str(2**63), "9" * 5000, "²", "\u0661"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Failed to convert version"):
        version_of(text)


@pytest.mark.tf
def test_finds_loads_and_asks(manager: ServableManager, model_store: ModelStore) -> None:
    service = Service(manager, Serve())
    for servable in [s for name in manager.names for s in manager.all_loaded(name)]:
        servable.statistics = Statistics()

    async def use() -> None:
        assert (await service.servable("tiny")).version == 2
        assert (await service.servable("tiny", 1)).version == 1
        with pytest.raises(ModelNotFound):
            await service.servable("none")
        with pytest.raises(UnknownLabel):
            await service.servable("tiny", label="canary")

        def where(_: object) -> str:
            return threading.current_thread().name.split("_")[0]

        assert await service.convert(where, 10, None) == "MainThread"
        assert await service.convert(where, 10**6, None) == "infer"
        assert await service.loads.load("size", 1, where, None) == "load"
        assert await service.loads.read(where, None) == "store"
        size = await service.servable("size")
        answered = await service.infer(
            size, size.signatures["serving_default"], Decoded({"amount": np.ones(3, np.float32)}), 10
        )
        assert answered["prediction"].shape == (3,)

    asyncio.run(use())
    service.close()
    found = {servable.name: servable.statistics for servable, _ in service.statistics()}
    assert found["size"].sizes() == [4]
    assert (found["size"].batch_rows.total, found["size"].succeeded.count, found["tiny"].succeeded.count) == (3, 1, 0)
    with pytest.raises(ModelNotFound):
        ServableManager(model_store, served("size")).loaded("tiny")


@pytest.mark.tf
@pytest.mark.case("B25")
def test_nobody_waits_for_a_default_version_that_is_not_there(tmp_path: Path) -> None:
    """Also not while another client has a version loaded."""
    manager = ServableManager(ModelStore(Store(str(tmp_path))), served("tiny"))
    manager.load()
    service, goes_on = Service(manager, Serve()), threading.Event()

    async def use() -> None:
        other = asyncio.ensure_future(service.loads.load("tiny", 1, goes_on.wait, 20))
        await asyncio.sleep(0)
        try:
            with pytest.raises(ModelNotReady):
                await asyncio.wait_for(service.servable("tiny"), 1)
        finally:
            goes_on.set()
        assert await other

    asyncio.run(use())
    service.close()


@pytest.mark.tf
def test_too_many_at_once_and_too_late(manager: ServableManager, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(manager, Serve(max_requests=2, infer_deadline_s=0.1))
    size = manager.get("size")
    size.statistics = Statistics()
    answer, go = size.answer, threading.Event()

    def slow(*arguments: Any) -> Any:
        go.wait(20)
        return answer(*arguments)

    async def use() -> None:
        with service.admitted(size), service.admitted(size):
            with pytest.raises(Overloaded, match="2 requests are being answered"), service.admitted(size):
                pytest.fail("a third was let in")
            with pytest.raises(InferenceLate, match=r"did not answer within 0\.1 s"):
                question = Decoded({"amount": np.ones(1, np.float32)})
                await service.infer(size, size.signatures["serving_default"], question, 10)
            go.set()
        with service.admitted(size):
            pass

    monkeypatch.setattr(size, "answer", slow)
    asyncio.run(use())
    service.close()
    assert size.statistics.failed.count == 1


@pytest.mark.tf
def test_who_is_dropped_while_it_answers_is_let_go(tmp_path: Path) -> None:
    store = ModelStore(Store(str(tmp_path)))
    publish(store, "size", "regression", INPUTS[:1])
    manager = ServableManager(store, served("size"), kept_versions=0)
    manager.load()
    service = Service(manager, Serve())
    old = manager.get("size")

    async def use() -> None:
        with service.admitted(old):
            publish(store, "size", "regression", INPUTS[:1], bias=1.0)
            assert manager.refresh("size") == "loaded"
            with service.admitted(manager.get("size")):
                assert await service.encode(old, len, {}, b"abc") == 3

    asyncio.run(use())
    service.close()
    assert old not in service._states
    assert manager.get("size") in service._states
