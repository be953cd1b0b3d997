"""Whether a version of the clean table went through ingest's checks; nobody downstream takes another."""

from millrace.errors import Refused
from millrace.tables.versions import TableVersion


class NotValidated(Refused):
    """A version of the clean table that no contract was held against, or another one."""

    def __init__(self, table: TableVersion, *, reason: str) -> None:
        super().__init__(
            f"table {table.name} version {table.version} is not validated: {reason}",
            hint="run: millrace ingest, with this product file",
        )
        self.version = table.version


def check_validated(table: TableVersion, contract_sha256: str | None = None) -> None:
    """Refuse a version that did not go through ingest's checks.

    The verdict is part of the commit that made the version visible: whoever commits otherwise makes another version,
    which has none.

    Args:
        table: A version of the clean table.
        contract_sha256: Digest of the contract that it must have passed; by default any.

    Raises:
        NotValidated: Somebody else wrote it, or the contract has changed since.
    """
    found = table.commit.get("contract_sha256")
    if not found:
        raise NotValidated(table, reason="its commit names no contract, so it was not made by ingest")
    if contract_sha256 is not None and found != contract_sha256:
        raise NotValidated(table, reason="it passed another contract than the product file's")
