# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by way of S3: a server of moto's speaks its protocol, s3fs is the client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_green.migration.execute import scripts
from tests.slurm_green.migration.execute.test_scripts import checkpoint, sh
from tests.slurm_green.migration.execute.test_store_agent import carry

pytestmark = pytest.mark.slow
s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install s3fs 'moto[server]'")
server = pytest.importorskip("moto.server", reason="no S3 server: pip install 'moto[server]'")

BIG = 12_000_000  # more than one part of a multipart upload


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty one."""
    one = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    one.start()
    host, port = one.get_host_and_port()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("moves")
    yield "s3://moves"
    s3fs.S3FileSystem.clear_instance_cache()
    one.stop()


def test_there_and_back_again(bucket: str, tmp_path: Path) -> None:
    """Twice, then with damage of the right size; nothing is left in the bucket."""
    here, there = checkpoint(tmp_path / "site a" / "run"), tmp_path / "b" / "staging"
    (here / "big.pt").write_bytes(bytes(range(250)) * (BIG // 250))
    there.mkdir(parents=True)
    url = f"{bucket}/m1"
    for _ in range(2):
        carry("put", here, url)
        carry("get", there, url)
        assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    (there / "weights.pt").write_bytes(b"\0" * 70_000)
    (here / "deep er" / ".meta data").unlink()
    carry("put", here, url, compare=True)
    carry("get", there, url, compare=True)
    assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    for _ in range(2):
        carry("remove", Path("/"), url)
    fresh = s3fs.S3FileSystem(skip_instance_cache=True)
    assert fresh.find("moves") == []
