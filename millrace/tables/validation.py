"""Checks that ingest validated a version of the clean table; training and scoring accept no other."""

from millrace.errors import Refused
from millrace.tables.versions import TableVersion


class NotValidated(Refused):
    """A version of the clean table was not checked by a contract, or by a different one."""

    def __init__(self, table: TableVersion, *, reason: str) -> None:
        super().__init__(
            f"table {table.name} version {table.version} is not validated: {reason}",
            hint="run: millrace ingest FILE, with this product file",
        )
        self.version = table.version


def check_validated(table: TableVersion, contract_sha256: str | None = None) -> None:
    """Refuse a version that ingest did not validate.

    Ingest records the contract in the commit of the version. A commit of another writer makes a version without it.

    Args:
        table: A version of the clean table.
        contract_sha256: Digest of the contract that it must have passed; by default any contract.

    Raises:
        NotValidated: Another writer committed it, or the contract has changed since.
    """
    found = table.commit.get("contract_sha256")
    if not found:
        raise NotValidated(table, reason="its commit names no contract, so ingest did not write it")
    if contract_sha256 is not None and found != contract_sha256:
        raise NotValidated(table, reason="it passed another contract than the product file's")
