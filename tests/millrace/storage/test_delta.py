"""What delta-rs raises when the storage below it is away."""

import errno
import socket

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from millrace.storage import delta_errors, delta_options


def test_a_namenode_that_is_not_there_has_its_number() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"hdfs://127.0.0.1:{nobody.getsockname()[1]}/store/tables/p/clean"
        with pytest.raises(OSError, match=r"/tables/p/clean/_delta_log: .*refused") as caught, delta_errors(uri):
            DeltaTable(uri, storage_options=delta_options(uri))
    assert caught.value.errno == errno.ECONNREFUSED
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("RPC listener disconnected", errno.ECONNRESET),
        ("data transfer error: All DataNodes failed: []", errno.EAGAIN),
        ("org.apache.hadoop.hdfs.server.namenode.SafeModeException: off", errno.EAGAIN),
    ],
)
def test_the_client_below_is_the_store_s_own(said: str, number: int) -> None:
    with pytest.raises(OSError, match="/x/_delta_log") as caught, delta_errors("/x"):
        raise DeltaError(f"Generic HdfsObjectStore error: {said}")
    assert caught.value.errno == number


def test_a_missing_table_stays_one(tmp_path: object) -> None:
    with pytest.raises(TableNotFoundError), delta_errors(str(tmp_path)):
        DeltaTable(str(tmp_path))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(DeltaError, match="no such column"), delta_errors("/x"):
        raise DeltaError("no such column")


def test_a_local_table_needs_no_options() -> None:
    assert delta_options("/x") == {}
