"""Who asks, and over what: a user, a token that is never shown, a certificate that is checked."""

import datetime
import importlib.util
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests

from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError, MillraceError
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import connect
from pipelines.transfer.access import TOKEN_ENVIRONMENT, check_url, read_token
from tests.pipelines.transfer.conftest import Stranger

STATUS = b"""{"FileStatus": {"type": "FILE", "length": 3, "fileId": 1, "modificationTime": 5, "owner": "ann"}}"""


def transfer_to(stranger: Stranger, **settings: Any) -> Transfer:
    stranger.body = STATUS
    return Transfer(url=f"http://127.0.0.1:{stranger.port}", **settings)


def test_a_user(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(transfer_to(stranger, user="ann b")).status("/x")
    monkeypatch.setenv("HADOOP_USER_NAME", "eve")
    connect(transfer_to(stranger)).status("/x")
    assert ["user.name=ann+b" in stranger.asked[0], "user.name=eve" in stranger.asked[1]] == [True, True]


def test_a_token_goes_to_the_server_and_nowhere_else(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text("SECRET1\n")
    monkeypatch.setenv(TOKEN_ENVIRONMENT, "SECRET2")
    caplog.set_level("INFO")
    for settings, token in (({"token_file": str(tmp_path / "token")}, "SECRET1"), ({}, "SECRET2")):
        web = connect(transfer_to(stranger, auth="token", **settings))
        web.status("/x")
        assert f"delegation={token}" in stranger.asked[-1]
        assert "user.name" not in stranger.asked[-1]
        stranger.status, stranger.body = 403, b'{"RemoteException": {"exception": "InvalidToken", "message": "old"}}'
        with pytest.raises(ConfigError, match="authentication failed: old") as caught:
            web.status("/x")
        stranger.status = 200
        assert "SECRET" not in f"{caught.value}{caught.value.hint}{web.__dict__}"
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\tb"])
def test_what_is_no_token(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigError, match=f"no token in {tmp_path}/token"):
        read_token(str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(str(tmp_path / "nowhere"))
    monkeypatch.delenv(TOKEN_ENVIRONMENT, raising=False)
    with pytest.raises(ConfigError, match=f"no token in {TOKEN_ENVIRONMENT}"):
        read_token(None)


@pytest.mark.parametrize(
    "url", [None, "", "namenode:9870", "hdfs://nn:8020", "http://", "http://me:SECRET@nn:1", "http://nn:1?token=SECRET"]
)
def test_what_is_no_address(url: str | None) -> None:
    with pytest.raises(ConfigError, match=r"transfer\.url") as caught:
        check_url(url)
    assert "SECRET" not in str(caught.value)


def test_several_addresses() -> None:
    assert check_url("http://a:9870;http://b:9870/") == "http://a:9870;http://b:9870"


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"transfer\.user is for transfer\.auth: simple"):
        connect(Transfer(url="http://nn:1", auth="token", user="bob"))
    with pytest.raises(ConfigError, match="ca_bundle: there is no file"):
        connect(Transfer(url="https://nn:1", ca_bundle="nowhere.pem"))


@pytest.mark.skipif(importlib.util.find_spec("requests_kerberos") is not None, reason="millrace[kerberos] is there")
def test_kerberos_without_its_package() -> None:
    with pytest.raises(ConfigError, match="requests_kerberos") as caught:
        connect(Transfer(url="http://nn:1", auth="kerberos"))
    assert "millrace[kerberos]" in caught.value.hint


def test_kerberos_asks_with_a_ticket(stranger: Stranger) -> None:
    pytest.importorskip("requests_kerberos")
    stranger.status, stranger.body = 401, b""
    with pytest.raises(ConfigError, match="the ticket's principal"):
        connect(Transfer(url=f"http://127.0.0.1:{stranger.port}", auth="kerberos")).status("/")


@pytest.mark.hdfs
def test_the_real_server_knows_the_user(hdfs: Cluster) -> None:
    web = connect(Transfer(url=hdfs.webhdfs, user="bob"))
    with pytest.raises(ConfigError, match=r"as user 'bob': Permission denied: user=bob, access=WRITE") as caught:
        web.make_folder("/of-bob")
    assert "transfer.user" in caught.value.hint


def certificate(folder: Path) -> Path:
    """A key and a certificate that signs itself, for this machine."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "namenode")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "ca.pem"


def test_https_with_a_certificate_of_ones_own(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, tmp_path / "key.pem")
    stranger.server.socket = context.wrap_socket(stranger.server.socket, server_side=True)
    stranger.body = STATUS
    url = f"https://127.0.0.1:{stranger.port}"
    found = connect(Transfer(url=url, ca_bundle=str(bundle))).status("/x")
    assert found is not None
    assert found.owner == "ann"
    with pytest.raises(MillraceError, match=r"no secure connection: .*certificate") as caught:
        connect(Transfer(url=url)).status("/x")
    assert isinstance(caught.value, ConfigError)
