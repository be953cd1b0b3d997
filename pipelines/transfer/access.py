"""Makes HdfsCLI's clients: for a user name, a delegation token or a Kerberos ticket."""

import functools
import getpass
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import hdfs
import requests
from hdfs.client import _Request  # HdfsCLI has no public way to add an operation
from requests.adapters import HTTPAdapter

from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError
from pipelines.transfer.webhdfs import WebHdfs

TOKEN_ENVIRONMENT: Final = "MILLRACE_HDFS_TOKEN"  # noqa: S105 - the name of the variable, not the token
CONNECT_TIMEOUT_S: Final = 5.0


class _LiteralPaths(hdfs.Client):  # type: ignore[misc] # HdfsCLI has no annotations
    """Takes every path literally, and adds the operations that HdfsCLI lacks."""

    _concat = _Request("POST")
    _get_file_block_locations = _Request("GET")

    def resolve(self, hdfs_path: str) -> str:
        """Return the path unchanged; HdfsCLI would expand ``#LATEST`` and normalise the rest."""
        return hdfs_path


class _UserClient(_LiteralPaths, hdfs.InsecureClient):  # type: ignore[misc]
    """Sends a user name."""


class _TokenClient(_LiteralPaths, hdfs.TokenClient):  # type: ignore[misc]
    """Sends a delegation token."""


def connect(transfer: Transfer) -> WebHdfs:
    """Create a client of the WebHDFS in a profile; no request is sent yet.

    Raises:
        ConfigError: A setting is missing or wrong.
    """
    address = check_url(transfer.url)
    session = requests.Session()
    if transfer.ca_bundle:
        if not Path(transfer.ca_bundle).exists():
            raise ConfigError(f"transfer.ca_bundle: there is no file {transfer.ca_bundle}")
        # Passed with each request, because REQUESTS_CA_BUNDLE overrides a setting of the session.
        session.request = functools.partial(session.request, verify=transfer.ca_bundle)  # type: ignore[method-assign]
    # One connection per worker and daemon; further ones would be closed after each request.
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=transfer.workers + 1))
    common = {"session": session, "timeout": (CONNECT_TIMEOUT_S, transfer.timeout_s)}
    user, client = _client(transfer, address, common)
    return WebHdfs(client, address, user)


def check_url(url: str | None) -> str:
    """Return the NameNode's address without a slash at the end.

    Raises:
        ConfigError: The address is missing or not valid.
    """
    if not url:
        raise ConfigError(
            "transfer.url is not set",
            hint="set the NameNode's WebHDFS, such as http://namenode:9870, with --url or in the profile",
        )
    for each in url.split(";"):
        parts = urlsplit(each)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError(
                f"transfer.url: {without_secrets(each)} is not an address of WebHDFS",
                hint="write it as http://namenode:9870",
            )
    return url.rstrip("/")


def without_secrets(url: str) -> str:
    """Return an address without user, password and query, which may be secret."""
    parts = urlsplit(url)
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.netloc
        else repr(url.rpartition("@")[2])
    )


def _client(transfer: Transfer, address: str, common: dict[str, Any]) -> tuple[str, Any]:
    if transfer.auth == "simple":
        user = transfer.user or os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
        return f"user '{user}'", _UserClient(address, user=user, **common)
    if transfer.user:
        raise ConfigError(
            f"transfer.user is for transfer.auth: simple; with {transfer.auth} the credentials name the user"
        )
    if transfer.auth == "token":
        return "the bearer of the token", _TokenClient(address, read_token(transfer.token_file), **common)
    try:
        from hdfs.ext.kerberos import KerberosClient
    except ImportError as error:
        raise ConfigError(
            f"transfer.auth: kerberos needs a package that is not installed: {error.name}",
            hint="install millrace[kerberos]; building it needs the system's Kerberos (libkrb5-dev)",
        ) from error

    class TicketClient(_LiteralPaths, KerberosClient):  # type: ignore[misc]
        """Authenticates with a Kerberos ticket."""

    return "the ticket's principal", TicketClient(address, max_concurrency=transfer.workers, **common)


def read_token(file: str | None) -> str:
    """Read a delegation token from a file or the environment; a command-line option would be visible to other users.

    Raises:
        ConfigError: There is no token.
    """
    if file:
        try:
            token = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"transfer.token_file: {file} cannot be read as text") from error
    else:
        token = os.environ.get(TOKEN_ENVIRONMENT, "").strip()
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(
            f"transfer.auth: token: there is no token in {file or TOKEN_ENVIRONMENT}",
            hint="use the value of urlString in the response of WebHDFS to GETDELEGATIONTOKEN",
        )
    return token
