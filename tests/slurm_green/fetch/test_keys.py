# SPDX-License-Identifier: Apache-2.0
"""Keys of providers: one word in a file of its own that not everybody reads, and never shown."""

import pytest

from slurm_green.errors import ConfigError
from slurm_green.fetch.keys import read_key

NAME = "provider.em.key_file"
SECRET = "s3cr3t-Key_0123456789=="


@pytest.fixture
def key_file(tmp_path):
    def write(content, mode=0o600):
        path = tmp_path / "key"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", f"  {SECRET}\r\n\n"])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_the_key_without_what_editors_add(key_file, text, mode):
    """A line end is not part of it, and a group of the site's may read it."""
    assert read_key(key_file(text, mode), name=NAME) == SECRET


def test_no_file_is_named():
    """The message says which setting is missing."""
    with pytest.raises(ConfigError, match=r"provider\.em\.key_file is not set"):
        read_key(None, name=NAME)


def test_a_missing_file_is_named(tmp_path):
    """With the setting, the path and the reason."""
    with pytest.raises(ConfigError) as caught:
        read_key(tmp_path / "none", name=NAME)

    assert str(caught.value) == (
        f"provider.em.key_file: {tmp_path}/none cannot be read: No such file or directory"
    )


def test_a_directory_is_no_key(tmp_path):
    """A slip in the path is a sentence, not a traceback."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_key(tmp_path, name=NAME)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666, 0o777])
def test_a_key_that_everybody_reads_is_refused(key_file, mode):
    """And the message says how to repair it."""
    path = key_file(SECRET, mode)

    with pytest.raises(ConfigError) as caught:
        read_key(path, name=NAME)

    assert str(caught.value).endswith(f"{path} is open to everybody; chmod o= {path}")


BAD = [
    "",
    "\n\n",
    f"{SECRET} {SECRET}",
    f"key: {SECRET}",
    f"{SECRET}\n# of 2026",
    f"{SECRET}\N{EURO SIGN}",
    SECRET.encode("utf-16"),
    b"\xff\xfe\x00" + SECRET.encode(),
]


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_single_word_is_refused(key_file, content):
    """Nothing, several words, a comment, another alphabet."""
    with pytest.raises(ConfigError, match=r"provider\.em\.key_file: .*holds no"):
        read_key(key_file(content), name=NAME)


@pytest.mark.parametrize("content", [*BAD, SECRET])
def test_the_key_is_in_no_message(key_file, content):
    """Messages end up in logs and tickets."""
    path = key_file(content, 0o644)

    with pytest.raises(ConfigError) as caught:
        read_key(path, name=NAME)

    error = caught.value
    while error is not None:
        assert SECRET not in str(error)
        assert "s3cr3t" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_file_that_is_no_key_at_all_is_refused(key_file):
    """A cut key would be sent, and refused by the provider as a wrong one."""
    with pytest.raises(ConfigError):
        read_key(key_file("x" * 5000), name=NAME)


@pytest.mark.parametrize("content", [f"{SECRET}\x00", f"\x01{SECRET}", f"{SECRET}\x7f"])
def test_what_no_header_can_carry_is_refused_here(key_file, content):
    """The HTTP library's own words about such a header show the key."""
    with pytest.raises(ConfigError):
        read_key(key_file(content), name=NAME)
