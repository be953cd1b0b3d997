"""What is a store's goes only if that is said; the whole file system never."""

import pytest

from millrace.errors import InputMissing, Refused
from pipelines.transfer import WebHdfs
from pipelines.transfer.remove import check_removable
from tests.pipelines.transfer.conftest import BLOCK

pytestmark = pytest.mark.hdfs


def test_what_may_go(web: WebHdfs, folder: str) -> None:
    web.create(f"{folder}/in/x", iter([b"123"]), BLOCK)
    web.create(f"{folder}/in/deep/y", iter([b"4567"]), BLOCK)
    assert check_removable(web, f"{folder}/in", f"{folder}/store", in_store=False) == 7
    assert check_removable(web, f"{folder}/in/x", f"{folder}/store", in_store=False) == 3
    with pytest.raises(InputMissing):
        check_removable(web, f"{folder}/nowhere", f"{folder}/store", in_store=False)


def test_what_may_not(web: WebHdfs, folder: str) -> None:
    web.create(f"{folder}/store/models/m/1/model.json", iter([b"1"]), BLOCK)
    web.create(f"{folder}/other/t/_delta_log/0.json", iter([b"22"]), BLOCK)
    web.create(f"{folder}/other/t/part-0.parquet", iter([b"333"]), BLOCK)
    for path, reason in {
        f"{folder}/store": "holds a store",
        folder: "holds a store",
        f"{folder}/store/models/m": "belongs to a store",
        f"{folder}/store/models/m/1/model.json": "belongs to a store",
        f"{folder}/other": "holds a Delta table",
        f"{folder}/other/t": "belongs to a Delta table",
        f"{folder}/other/t/part-0.parquet": "belongs to a Delta table",
    }.items():
        with pytest.raises(Refused, match=reason) as caught:
            check_removable(web, path, f"{folder}/store", in_store=False)
        assert "--in-store" in caught.value.hint
        assert check_removable(web, path, f"{folder}/store", in_store=True) > 0
    with pytest.raises(Refused, match="whole file system"):
        check_removable(web, "/", f"{folder}/store", in_store=True)
