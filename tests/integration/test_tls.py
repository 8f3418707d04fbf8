"""A worker speaks TLS to both servers, by URL and by files, and connects to no wrong certificate."""

import asyncio
import json
import os
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiormq.exceptions import AMQPError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from support.harness import eventually, good_request, http_get, open_desk, run_in_process
from support.servers import ONE_SCHEDULER, server_sandbox

from worker.monitoring import log
from worker.postgres.database import describe
from worker.postgres.installation import connected
from worker.rabbitmq.connection import Broker
from worker.settings import Settings
from worker.stack import RabbitNode, Stack
from worker.stack.install import ensure_rabbitmq
from worker.stack.ports import LOOPBACK
from worker.tls import context_from
from worker.tls_words import tls_in_words

HOUR = timedelta(hours=1)
CLIENT = "client"  # the name in the client's certificate
# No worker waits for those of the direct replies, of the dead letters and of the queues' depths.
CONNECTIONS = (2, 3, 4, 5)
SSL_REQUEST = struct.pack("!II", 8, 80877103)  # with it, a client of Postgres asks for TLS


class Authority:
    """Makes certificates, as PEM files in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        authority = x509.BasicConstraints(ca=True, path_length=None)
        signed = self._begin(self._name, self._key).add_extension(authority, critical=True)
        self.file = self._write(f"{name}.pem", signed.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(self, name: str, host: str = "localhost", begins_in: timedelta = -HOUR) -> tuple[Path, Path]:
        """Makes a certificate of a day, for this name and this machine or another host, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ip_address(LOOPBACK)))
        there = x509.SubjectAlternativeName(names)
        signed = (
            self._begin(subject, key, begins_in)
            .add_extension(there, critical=False)
            .sign(self._key, SHA256())
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(f"{name}.pem", signed.public_bytes(Encoding.PEM)), self._write(
            f"{name}.key", secret
        )

    def _begin(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins_in: timedelta = -HOUR
    ) -> x509.CertificateBuilder:
        begins = datetime.now(UTC) + begins_in
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        path.chmod(0o600 if name.endswith(".key") else 0o644)
        return path


class Front:
    """Speaks TLS as Postgres does, and passes on what it hears: the wheel's Postgres is built without TLS.
    Who asks for none is let in, too: a worker that is told to use it must not try.
    """

    def __init__(self, context: ssl.SSLContext, database_url: str, *, only_tls: bool = False) -> None:
        self._context = context
        self._only_tls = only_tls
        self._url = urlsplit(database_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.encrypted: list[str | None] = []  # the name in the certificate of each client, if it showed one
        self.refused = 0
        self.in_the_clear = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Yields the URL of the database by way of this front."""
        server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        account = self._url.netloc.rpartition("@")[0]
        try:
            yield urlunsplit(self._url._replace(netloc=f"{account}@{LOOPBACK}:{port}"))
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (first := await self._first_bytes(reader, writer)) is None:
                return
            far_reader, far_writer = await asyncio.open_connection(self._url.hostname, self._url.port)
            far_writer.write(first)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                far_writer.close()
        except OSError:  # a connection is cut as it ends, too: it was not refused
            pass
        finally:
            writer.close()

    async def _first_bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Reads what the client says first; None if no connection comes of it."""
        try:
            first = await reader.readexactly(8)
            if first == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                first = await reader.read(8)
                self.encrypted.append(_subject(writer))
                return first
        except (OSError, asyncio.IncompleteReadError):  # an SSLError is an OSError
            self.refused += 1
            return None
        self.in_the_clear += 1
        if not self._only_tls:
            return first
        told = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry, no encryption\0\0"  # as Postgres says it
        writer.write(b"E" + struct.pack("!I", len(told) + 4) + told)
        await writer.drain()
        return None


def _subject(writer: asyncio.StreamWriter) -> str | None:
    shown = writer.get_extra_info("peercert")
    return str(shown["subject"][0][0][1]) if shown else None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@dataclass(frozen=True)
class Secure:
    """Servers that speak TLS, and what a client needs for it."""

    node: RabbitNode
    amqps_url: str
    context: ssl.SSLContext  # of a server
    authority: Path
    stranger: Path  # an authority that has signed nothing here
    client: tuple[Path, Path]

    async def worker_s_connections(self) -> list[list[str]]:
        """Lists the connections to the broker: encrypted or not, and the client certificate's name."""
        table = await self.node.ctl("list_connections", "ssl", "peer_cert_subject", "client_properties")
        return [line.split("\t")[:2] for line in table.splitlines() if "session-worker" in line]


@pytest_asyncio.fixture(scope="module")
async def secure() -> AsyncIterator[Secure]:
    await ensure_rabbitmq(print, os.environ)
    async with server_sandbox() as sandbox:
        folder = sandbox.path / "tls"
        folder.mkdir(mode=0o700)
        authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        certificate, key = authority.issue("server")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(certificate, key)
        port = sandbox.reserve()
        settings = {
            "listeners.ssl.1": f"{LOOPBACK}:{port}",
            "ssl_options.cacertfile": str(authority.file),
            "ssl_options.certfile": str(certificate),
            "ssl_options.keyfile": str(key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
        }
        node = RabbitNode.alone(sandbox, os.environ, settings, ONE_SCHEDULER)
        await node.start()
        parts = urlsplit(node.url)
        account = parts.netloc.rpartition("@")[0]
        url = urlunsplit(parts._replace(scheme="amqps", netloc=f"{account}@{LOOPBACK}:{port}"))
        yield Secure(node, url, context, authority.file, stranger.file, authority.issue(CLIENT))


@pytest_asyncio.fixture
async def front(secure: Secure, database_url: str) -> AsyncIterator[tuple[Front, str]]:
    front = Front(secure.context, database_url)
    async with front.open() as url:
        yield front, url


def settings_for(amqp_url: str, database_url: str, **files: Path) -> Settings:
    more: dict[str, Any] = {f"tls_{name}_file": str(path) for name, path in files.items()}
    made = Settings(
        amqp_url=amqp_url,
        database_url=database_url,
        prefix=f"t{uuid4().hex[:12]}",
        http_host=LOOPBACK,
        http_port=0,
        log_level="warning",
        mode="test",
        **more,
    )
    log.configure(made)
    return made


async def test_by_url_with_an_authority_of_one_s_own(secure: Secure, front: tuple[Front, str]) -> None:
    postgres, database_url = front
    settings = settings_for(
        f"{secure.amqps_url}?cafile={secure.authority}",
        f"{database_url}?sslmode=verify-full&sslrootcert={secure.authority}",
    )
    connections = await round_trip(secure, postgres, settings)
    assert len(connections) in CONNECTIONS
    assert {encrypted for encrypted, _ in connections} == {"true"}
    assert set(postgres.encrypted) == {None}


async def test_by_url_with_a_client_certificate(secure: Secure, front: tuple[Front, str]) -> None:
    postgres, database_url = front
    certificate, key = secure.client
    settings = settings_for(
        f"{secure.amqps_url}?cafile={secure.authority}&certfile={certificate}&keyfile={key}",
        f"{database_url}?sslmode=verify-full&sslrootcert={secure.authority}"
        f"&sslcert={certificate}&sslkey={key}",
    )
    connections = await round_trip(secure, postgres, settings)
    assert connections in [[["true", f"CN={CLIENT}"]] * number for number in CONNECTIONS]
    assert set(postgres.encrypted) == {CLIENT}


async def test_by_files_with_a_client_certificate(secure: Secure, front: tuple[Front, str]) -> None:
    postgres, database_url = front
    certificate, key = secure.client
    settings = settings_for(secure.amqps_url, database_url, ca=secure.authority, cert=certificate, key=key)
    connections = await round_trip(secure, postgres, settings)
    assert connections in [[["true", f"CN={CLIENT}"]] * number for number in CONNECTIONS]
    assert set(postgres.encrypted) == {CLIENT}


async def round_trip(secure: Secure, postgres: Front, settings: Settings) -> list[list[str]]:
    """Has a request answered; returns what the broker says of the worker's connections. Postgres has refused
    none so far: a stop may break one off that is being opened.
    """
    async with run_in_process(settings) as start, open_desk(secure.node.url, settings.prefix) as desk:
        await start()
        assert (await desk.ask(good_request())).status == "completed"
        assert (postgres.in_the_clear, postgres.refused) == (0, 0)
        return await secure.worker_s_connections()


@pytest.mark.parametrize("by", ["url", "files"])
async def test_a_worker_that_does_not_trust_postgres_waits_and_says_so(
    by: str, secure: Secure, front: tuple[Front, str]
) -> None:
    postgres, database_url = front
    settings = (
        settings_for(
            f"{secure.amqps_url}?cafile={secure.authority}",
            f"{database_url}?sslmode=verify-full&sslrootcert={secure.stranger}",
        )
        if by == "url"
        else settings_for(secure.amqps_url, database_url, ca=secure.stranger)
    )
    await waits_for("postgres", "postgres.waiting", "CERTIFICATE_VERIFY_FAILED", settings)
    assert postgres.refused >= 2
    assert (postgres.in_the_clear, postgres.encrypted) == (0, [])


async def test_a_worker_that_does_not_trust_rabbitmq_waits_and_says_so(
    secure: Secure, database_url: str
) -> None:
    settings = settings_for(f"{secure.amqps_url}?cafile={secure.stranger}", database_url)
    await waits_for("requests", "broker.lost", "CERTIFICATE_VERIFY_FAILED", settings)
    assert await secure.worker_s_connections() == []


async def test_a_worker_that_knows_no_authority_trusts_nobody(secure: Secure, database_url: str) -> None:
    await waits_for(
        "requests", "broker.lost", "CERTIFICATE_VERIFY_FAILED", settings_for(secure.amqps_url, database_url)
    )
    assert await secure.worker_s_connections() == []


@pytest.mark.parametrize("by", ["url", "files"])
async def test_a_worker_that_is_to_use_tls_does_not_turn_to_a_postgres_without(
    by: str, secure: Secure, stack: Stack, database_url: str
) -> None:
    settings = (
        settings_for(stack.amqp_url, f"{database_url}?sslmode=verify-full&sslrootcert={secure.authority}")
        if by == "url"
        else settings_for(stack.amqp_url, database_url, ca=secure.authority)
    )
    await waits_for("postgres", "postgres.waiting", "rejected SSL upgrade", settings)


async def test_a_worker_that_is_to_use_tls_does_not_turn_to_a_rabbitmq_without(
    secure: Secure, database_url: str
) -> None:
    plain = secure.node.url.replace("amqp://", "amqps://")
    await waits_for(
        "requests",
        "broker.lost",
        "the server does not speak TLS at this port",
        settings_for(f"{plain}?cafile={secure.authority}", database_url),
    )
    assert await secure.worker_s_connections() == []


async def waits_for(part: str, event: str, reason: str, settings: Settings, times: int = 2) -> None:
    """Asserts that a worker tries again and again, and tells in its log and on its page why."""
    with capture_logs() as logs:
        async with run_in_process(settings) as start:
            worker = await start(until_ready=False)

            async def told_often() -> bool:
                return (
                    len([told for told in logs if (told["event"], told.get("part", part)) == (event, part)])
                    >= times
                )

            await eventually(told_often)
            assert reason in worker.readiness.reasons[part]
            status, page = await http_get(worker, "/readyz")
            assert status == 503
            assert reason in json.loads(page)["reasons"][part]
            assert not worker.task.done()
    assert all(reason in told["reason"] for told in logs if told["event"] == event)


async def test_a_worker_that_takes_a_port_of_tls_for_a_plain_one_is_told(
    secure: Secure, database_url: str
) -> None:
    plain = secure.amqps_url.replace("amqps://", "amqp://")
    settings = settings_for(plain, database_url)
    await waits_for("requests", "broker.lost", "speaks TLS at this port", settings, times=1)
    front = Front(secure.context, database_url, only_tls=True)
    async with front.open() as url:
        settings = settings_for(secure.node.url, f"{url}?sslmode=disable")
        await waits_for("postgres", "postgres.waiting", "no encryption", settings)
    assert front.in_the_clear >= 2


@dataclass(frozen=True)
class Bad:
    """What is wrong with a server, and what a client says of it."""

    told: str
    host: str = "localhost"
    begins_in: timedelta = -HOUR
    strange: bool = False  # another authority has signed it
    old: bool = False  # it speaks TLS 1.1
    wants: bool = False  # it wants a certificate of the client's


BAD = {
    "expired": Bad("not trusted: certificate has expired", begins_in=-48 * HOUR),
    "of tomorrow": Bad("not trusted: certificate is not yet valid", begins_in=48 * HOUR),
    "another host": Bad("it is for another host than the URL names", host="elsewhere.example"),
    "another authority": Bad("give the certificate of its CA in WORKER_TLS_CA_FILE", strange=True),
    "an old TLS": Bad("the server speaks no TLS of version 1.2 or later", old=True),
    "wants a certificate": Bad("the server wants a client certificate that it trusts", wants=True),
}


class Strict:
    """Only shakes hands, and says in an alert why it does not, as asyncio's servers never do."""

    def __init__(self, context: ssl.SSLContext, asked: bytes) -> None:
        self._context = context
        self._asked = asked  # what a client says before
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[bytes] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield
        finally:
            self._socket.shutdown(socket.SHUT_RDWR)
            thread.join()
            self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # it is closed
                return
            with client, suppress(OSError):
                client.settimeout(5)
                if self._asked:
                    client.recv(len(self._asked))
                    client.sendall(b"S")
                self._shake(client)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65_536):  # else what was said is lost with the connection
                    pass

    def _shake(self, client: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        talk = self._context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                talk.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                if not (data := client.recv(65_536)):
                    return
                incoming.write(data)
            except ssl.SSLError:
                client.sendall(outgoing.read())
                return
        self.heard.append(b"a handshake")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_server_that_is_not_to_be_trusted_is_refused_in_clear_words(bad: Bad, tmp_path: Path) -> None:
    """By files and by URL, at both servers: nothing of the password goes there."""
    trusted, stranger = Authority(tmp_path, "trusted"), Authority(tmp_path, "unknown")
    certificate, key = (stranger if bad.strange else trusted).issue("server", bad.host, bad.begins_in)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted.file)
    context.load_cert_chain(certificate, key)
    if bad.wants:
        context.verify_mode = ssl.CERT_REQUIRED
    if bad.old:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    broker, postgres = Strict(context, b""), Strict(context, SSL_REQUEST)
    amqps = f"amqps://me:secret@{LOOPBACK}:{broker.port}/%2F"
    url = f"postgresql://me:secret@{LOOPBACK}:{postgres.port}/x"
    files = context_from(settings_for(amqps, url, ca=trusted.file))
    said = []
    with broker.open(), postgres.open():
        for amqp_url, tls in ((amqps, files), (f"{amqps}?cafile={trusted.file}", None)):
            with pytest.raises((OSError, AMQPError)) as refused:
                await Broker(amqp_url, tls, "worker").connect()
            said.append(tls_in_words(refused.value))
        verified = f"{url}?sslmode=verify-full&sslrootcert={trusted.file}"
        for postgres_url, tls in ((url, files), (verified, None)):
            with pytest.raises((OSError, asyncpg.PostgresError)) as failed:
                async with connected(postgres_url, tls):
                    pass
            said.append(describe(failed.value))
    assert [bad.told in str(each) for each in said] == [True] * 4, said
    assert (broker.heard, postgres.heard) == ([], [])
