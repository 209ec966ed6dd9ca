"""Runs every block of the quick start, in order, as a reader would: in a shell, and in one file of Python."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import Block, read_blocks

PAGE = ROOT / "docs" / "user" / "quick-start.md"
BLOCKS = read_blocks(PAGE)
#: Printed behind each block.
END = "--- the block's end ---"
#: Prints the lists that the page speaks about, after its last block of Python.
FACTS = Block("python", "print([before, after, filtered])")


@dataclass
class Reader:
    """A reader of the page with a clone in ``folder``: a terminal in which the service runs, and another one."""

    folder: Path
    environment: dict[str, str]
    service: subprocess.Popen[str] | None = None
    ready: str = ""
    #: Each block with its output.
    printed: list[tuple[Block, str]] = field(default_factory=list)

    def follow(self, blocks: list[Block]) -> None:
        """Run the blocks; those of Python that follow each other share a process."""
        for language, group in groupby(blocks, lambda block: block.language):
            {"sh": self._type, "python": self._run}[language](list(group))

    def stop(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.wait(timeout=15)

    def _type(self, blocks: list[Block]) -> None:
        """Run shell commands. Those of make, which would install, are left to another test; `up` keeps running."""
        for block in blocks:
            lines = [line for line in block.source.splitlines() if not line.startswith("make ")]
            for served in [line for line in lines if "foretaste up" in line]:
                self._start(served)
                lines.remove(served)
            told = self.folder / "environment"
            script = "\n".join(["set -euo pipefail", *lines, f"env -0 > {told}"])
            ran = subprocess.run(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert ran.returncode == 0, f"{block.source}\n{ran.stdout}{ran.stderr}"
            pairs = (pair.partition("=") for pair in told.read_text().split("\0") if pair)
            self.environment = {name: value for name, _, value in pairs}
            self.printed.append((block, ran.stdout))

    def _start(self, command: str) -> None:
        # On a free port: other tests run at the same time.
        self.service = subprocess.Popen(
            ["bash", "-c", f"exec {command} --port 0"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.service.stdout is not None
        self.ready = self.service.stdout.readline()
        assert "is ready at" in self.ready

    def _run(self, blocks: list[Block]) -> None:
        """Run blocks of Python as one file."""
        program = self.folder / "shop.py"
        program.write_text("\n".join(f"{block.source}\nprint({END!r})" for block in blocks))
        ran = subprocess.run(
            ["python", program.name], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
        self.printed += zip(blocks, ran.stdout.split(f"{END}\n"), strict=False)


def build_environment(home: Path) -> Mapping[str, str]:
    """Return this process's variables without those that tell an AWS client anything."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FORETASTE_"))}
    return {**own, "HOME": str(home), "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has followed the whole page."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / ".venv").symlink_to(sys.prefix)  # make setup has made it
    reading = Reader(folder, dict(build_environment(folder)))
    last = max(number for number, block in enumerate(BLOCKS) if block.language == "python")
    try:
        reading.follow([*BLOCKS[: last + 1], FACTS, *BLOCKS[last + 1 :]])
        yield reading
    finally:
        reading.stop()


def test_every_block_is_run(reader: Reader) -> None:
    assert [block for block, _ in reader.printed if block is not FACTS] == BLOCKS
    assert {block.language for block in BLOCKS} == {"sh", "python"}
    assert len(BLOCKS) > 12


def test_every_block_prints_the_output_of_the_page(reader: Reader) -> None:
    shown = [(block, printed) for block, printed in reader.printed if block.output is not None]
    assert len(shown) > 5
    for block, printed in shown:
        assert block.output is not None
        pattern = re.escape(block.output).replace("…", ".*")
        assert re.fullmatch(pattern, printed), f"{block.source}\nprinted {printed}"


def test_the_list_follows_the_event_and_the_filter(reader: Reader) -> None:
    [printed] = [printed for block, printed in reader.printed if block is FACTS]
    before, after, filtered = ast.literal_eval(printed)
    assert len(before) == len(after) == len(filtered) == 5
    assert before != after
    assert all(int(item.removeprefix("crime-")) < 7 for item in filtered)


def test_the_command_line_shows_the_resources_made_in_python(reader: Reader) -> None:
    block, printed = reader.printed[-1]
    assert "foretaste status" in block.source
    for shown in ("solution version", "event tracker", "cheap", "travel-3", "bookshop\n"):
        assert shown in printed


def test_the_service_prints_the_line_of_the_page(reader: Reader) -> None:
    assert f"source {reader.folder}/foretaste-data/client.env" in reader.ready


def test_the_commands_of_make_are_the_readmes() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [line for block in BLOCKS for line in block.source.splitlines() if line.startswith("make ")]
    assert commands == ["make demo", "make setup"]
    for command in commands:
        assert command in readme
        assert re.search(rf"^{command.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
