"""What a transfer consists of, and workers of which the first error ends all."""

import os
import threading
from pathlib import Path

import pytest

from millrace.errors import ConfigError, InputMissing, Unavailable
from pipelines.transfer.errors import Interrupted
from pipelines.transfer.plan import TRIES, local_tree, transfer_pool


def test_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "void").mkdir()
    (tmp_path / "a" / "b" / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b" / "x")
    assert local_tree(tmp_path) == (["a/b/x", "link"], ["void"])
    assert local_tree(tmp_path / "link") == ([""], [])
    with pytest.raises(InputMissing):
        local_tree(tmp_path / "nowhere")


def test_what_would_be_left_out_is_told(tmp_path: Path) -> None:
    for make in (lambda at: at.symlink_to(tmp_path), lambda at: at.symlink_to("nowhere"), os.mkfifo):
        odd = tmp_path / "tree" / "odd"
        odd.parent.mkdir(exist_ok=True)
        make(odd)
        with pytest.raises(ConfigError, match="odd' is neither a file nor a folder"):
            local_tree(odd.parent)
        odd.unlink()
    (tmp_path / "tree" / os.fsdecode(b"\xff")).touch()
    with pytest.raises(ConfigError, match="not UTF-8"):
        local_tree(tmp_path / "tree")


def test_a_broken_connection_is_tried_again() -> None:
    tries: list[int] = []

    def work(fails: int) -> str:
        tries.append(fails)
        if len(tries) <= fails:
            raise Interrupted("broken")
        return "done"

    with transfer_pool("test", 1, 2) as pool:
        assert pool.submit(work, 1).result() == "done"
    assert len(tries) == 2


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.transfer.plan.TRIES", 1)
    assert TRIES > 1

    def work() -> None:
        raise Interrupted("broken")

    with pytest.raises(Interrupted, match="broken"), transfer_pool("test", 1, 1) as pool:
        pool.submit(work).result()


def test_the_first_error_ends_the_others() -> None:
    started = threading.Event()
    ended: list[str] = []

    def wait() -> None:
        started.set()
        while True:
            try:
                pool.check()
            except Unavailable as error:
                ended.append(str(error))
                raise

    def fail() -> None:
        started.wait()
        raise InputMissing("gone")

    with pytest.raises(InputMissing, match="gone"), transfer_pool("test", 1, 2) as pool:
        pool.submit(wait)
        late = [pool.submit(wait) for _ in range(3)]
        pool.submit(fail)
        late[-1].cancel()
        fail()
    assert ended
    assert "same command again to resume" in ended[0]
