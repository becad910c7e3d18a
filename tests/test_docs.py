# SPDX-License-Identifier: Apache-2.0
"""What the documents name exists: pages, headings, commands with their options, files."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from slurm_green.cli.root import root

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
# Where changes are told, what is gone is named, too.
OF_NOW = [page for page in PAGES if page.name != "CHANGELOG.md" and "decisions" not in page.parts]

_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_TOP = ("slurm_green", "serving", "profiling", "tests", "benchmarks", "docs", "etc", "examples")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Those that are set, and those that the common forges make of headings."""
    text = _FENCE.sub("", page.read_text())
    seen: Counter[str] = Counter()
    found = set(re.findall(r'<a id="([^"]+)"></a>', text))
    for line in text.splitlines():
        if not re.match(r"#{1,6} ", line):
            continue
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
        anchor = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(page: Path) -> list[str]:
    """Of a page, to others of ours."""
    text = _SPAN.sub("", _FENCE.sub("", page.read_text()))
    return [link for link in _LINK.findall(text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_a_change_is_told_once() -> None:
    """Two branches that both tell of it leave it there twice when they are joined."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    begun = Counter(line[:80] for line in lines if line.startswith("- "))
    assert [begin for begin, often in begun.items() if often > 1] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        below = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        below += [one for page in below if page.is_dir() for one in page.glob("*.md")]
        todo += [one for one in below if one.suffix == ".md" and one not in reached]
    assert {name_of(page) for page in PAGES if page not in reached} <= {"CHANGELOG.md"}


def shown(page: Path) -> Iterator[str]:
    """Commands of a page: lines of code blocks, and what stands in backticks."""
    text = page.read_text()
    for block in _FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()[1:-1]
        yield from (line.lstrip().removeprefix("$ ") for line in lines)
    yield from _SPAN.findall(_FENCE.sub("", text))


def words_of(line: str) -> list[str]:
    """The words of the first `sgreen` command of a line, without what follows a pipe or `--`."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    if words[:1] != ["sgreen"]:
        return []
    ends = [at for at, word in enumerate(words) if word in {"|", "||", "&&", "&", ";", ">", "--"}]
    return words[1 : min(ends, default=len(words))]


def missing_of(words: list[str]) -> str | None:
    """What of a command there is not."""
    command: click.Command = root
    while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]+", words[0]):
        below = command.get_command(click.Context(command), words[0])
        if below is None:
            return words[0]
        command, words = below, words[1:]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in words:
        option = re.match(r"-[A-Za-z]\b|--[a-z][a-z0-9-]*", word.lstrip("["))
        if option and option[0] not in known | {"--help"}:
            return option[0]
    return None


@pytest.mark.parametrize("page", OF_NOW, ids=name_of)
def test_commands_are_there(page: Path) -> None:
    wrong = [(line, missing_of(words_of(line))) for line in shown(page)]
    assert [(line, what) for line, what in wrong if what] == []


def test_what_is_not_there_is_found() -> None:
    assert missing_of(words_of("sgreen plan --jobs J --no-such")) == "--no-such"
    assert missing_of(words_of("sgreen no-such")) == "no-such"
    assert missing_of(words_of("sgreen replay --example -- --no-such")) is None
    assert sum(bool(words_of(line)) for page in OF_NOW for line in shown(page)) > 150


@pytest.mark.parametrize("page", OF_NOW, ids=name_of)
def test_files_are_there(page: Path) -> None:
    spans = _SPAN.findall(_FENCE.sub("", page.read_text()))
    paths = [word for span in spans for word in span.split() if word.startswith(_TOP)]
    paths = [path for path in paths if re.fullmatch(r"[\w/.-]+/[\w/.-]+\.(py|c|md|toml|yml)", path)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
