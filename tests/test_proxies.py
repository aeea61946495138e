"""The environment's proxy is used, for S3 and Google Cloud Storage too; what is percent-encoded goes on."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fault_proxy import Faults, faulty_server, relay

from vidray.storage import Folder, open_uri

BODY = bytes(range(256)) * 8


class Served(BaseHTTPRequestHandler):
    """Answers every request with the same bytes, by ranges; a proxy is asked for whole URLs."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        first, last = 0, len(BODY) - 1
        if (ranged := self.headers.get("Range")) is not None:
            begin, _, end = ranged.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(last, int(end or last))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(BODY)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if with_body:
            self.wfile.write(BODY[first : last + 1])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with served_by(Served) as server:
        yield server


@contextmanager
def served_by(handler: type[Served]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def test_the_proxy_of_the_environment_is_used(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    with open_uri("http://media.invalid/clips/a.mp4") as file:
        assert file.read() == BODY
    assert set(server.asked) == {"http://media.invalid/clips/a.mp4"}  # type: ignore[attr-defined]


def test_a_signed_url_is_sent_on_as_it_stands(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    path = "/b%20c/a::b.mp4?X-Credential=me%2F2026%2Fs3&Signature=a%2Bb%3D"
    with open_uri(f"http://127.0.0.1:{server.server_port}{path}") as file:
        file.seek(100)
        assert file.read(8) == BODY[100:108]
    assert set(server.asked) == {path}  # type: ignore[attr-defined]


NOWHERE = "192.0.2.1:8000"
"""An address that is kept for documents: only a proxy that passes it on to somebody else gets an answer."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and who answers what it passes on."""

    url: str
    log: Path

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@contextmanager
def proxy_to(log: Path, *, plain: int = 0, tunneled: int = 0) -> Iterator[Proxy]:
    script = Path(__file__).with_name("forward_proxy.py")
    command = [sys.executable, str(script), str(plain), str(tunneled), str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Proxy(f"http://127.0.0.1:{int(process.stdout.readline())}", log)
        finally:
            process.kill()


@contextmanager
def tls_before(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """A TLS server that passes on what it decrypts; its port, and the certificate to trust."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    write_certificate(key, certificate, "192.0.2.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    faults = Faults()
    with faulty_server(relay(f"http://127.0.0.1:{port}"), faults, context=context) as url:
        yield int(url.rpartition(":")[2]), certificate


def write_certificate(key_path: Path, path: Path, address: str) -> None:
    """A certificate of an address that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))


@pytest.fixture
def only_by_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def written_and_read(url: str) -> bytes:
    """What a store on S3 does: write, list, read by ranges."""
    folder = Folder(url)
    folder.write_bytes("videos/a.bin", BODY)
    assert folder.sizes() == {"videos/a.bin": len(BODY)}
    with open_uri(f"{url}/videos/a.bin") as file:
        file.seek(300)
        assert file.read(8) == BODY[300:308]
    return folder.read_bytes("videos/a.bin")


@pytest.mark.usefixtures("only_by_proxy")
def test_s3_goes_through_a_proxy_that_passes_requests_on(s3, s3_bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{NOWHERE}")
    with proxy_to(tmp_path / "log", plain=int(s3.endpoint_url.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert written_and_read(f"{s3_bucket}/store") == BODY
    assert proxy.asked()
    assert all(line.split()[1].startswith(f"http://{NOWHERE}/bucket-") for line in proxy.asked())


@pytest.mark.usefixtures("only_by_proxy")
def test_s3_goes_through_a_proxy_that_tunnels(s3, s3_bucket, tmp_path, monkeypatch):
    with (
        tls_before(int(s3.endpoint_url.rpartition(":")[2]), tmp_path) as (port, certificate),
        proxy_to(tmp_path / "log", tunneled=port) as proxy,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{NOWHERE}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        monkeypatch.setenv("https_proxy", proxy.url)
        assert written_and_read(f"{s3_bucket}/store") == BODY
    assert set(proxy.asked()) == {f"CONNECT {NOWHERE}"}


@pytest.mark.usefixtures("only_by_proxy")
def test_hosts_that_no_proxy_names_are_asked_themselves(s3, s3_bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with proxy_to(tmp_path / "log") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert written_and_read(f"{s3_bucket}/store") == BODY
    assert proxy.asked() == []


class Bucket(Served):
    """One object of a bucket, as Google Cloud Storage speaks of it."""

    def answer(self, *, with_body: bool) -> None:
        if self.path.endswith("/o/videos%2Fa.mp4"):
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            found = {"kind": "storage#object", "name": "videos/a.mp4", "bucket": "media", "size": str(len(BODY))}
            found |= {"etag": "e", "generation": "1", "mediaLink": f"http://{NOWHERE}/media"}
            data = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            super().answer(with_body=with_body)


READ_FROM_GCS = """
from vidray.storage import open_uri
with open_uri("gs://media/videos/a.mp4") as file:
    file.seek(100)
    print(file.read(8).hex())
"""


@pytest.mark.usefixtures("only_by_proxy")
def test_google_cloud_storage_goes_through_the_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{NOWHERE}")
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    # what kind a bucket is would be asked by gRPC, which nobody speaks here
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    with served_by(Bucket) as server, proxy_to(tmp_path / "log", plain=server.server_port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        done = subprocess.run([sys.executable, "-c", READ_FROM_GCS], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == BODY[100:108].hex(), done.stderr[-2000:]
    assert proxy.asked()
    assert all(line.split()[1].startswith(f"http://{NOWHERE}/") for line in proxy.asked())
