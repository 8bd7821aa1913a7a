"""Recorded streams: a part of a long one without the rest, matches with their offsets, a recording others can play."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.intake import FRAME_BYTES
from dre_core.model.streams import TIMES_LIMIT, StreamIndex, Times, index_to_json, parse_index
from dre_core.pipeline.codec import ZSTD
from dre_core.store.excerpt import excerpt

from .test_collectors import item, run_of

LONG = "import sys; sys.stdout.writelines(f'line {n:012}\\n' for n in range(900_000))"
LINE_BYTES = len("line 000000000000\n")


def frames_of(project):
    return json.loads(item(project, "streams.index"))["streams"]["stdout"]["frames"]


def test_a_part_of_a_long_stream(project):
    project.dre("wrap", "--", sys.executable, "-c", LONG)
    frames = frames_of(project)
    assert len(frames) == 900_000 * LINE_BYTES // FRAME_BYTES + 1
    for number in (0, 5, 250_000, 899_999):
        words = (
            "evidence",
            "cat",
            "stdout",
            "--offset",
            str(number * LINE_BYTES),
            "--length",
            str(LINE_BYTES),
        )
        assert project.dre(*words).stdout == b"line %012d\n" % number
    everything = project.dre("evidence", "cat", "stdout").stdout
    assert len(everything) == 900_000 * LINE_BYTES
    assert project.verdict()["integrity"]["result"] == "valid"


def test_only_the_frames_asked_for_are_read(project):
    project.dre("wrap", "--", sys.executable, "-c", LONG)
    index = parse_index(json.loads(item(project, "streams.index")))["stdout"]
    (entry,) = [found for found in run_of(project)["items"] if found["name"] == "stdout"]
    from dre_core.model.fields import Fields
    from dre_core.model.run import Item

    digest = entry["digest"].removeprefix("sha256:")
    path = project.path / ".dre/evidence/sha256" / digest[:2] / digest[2:]
    read = 0

    class Blobs:
        def open(self, digest):
            stream = path.open("rb")
            inner = stream.read

            class Counting:
                def read(self, count):
                    nonlocal read
                    data = inner(count)
                    read += len(data)
                    return data

                def __getattr__(self, name):
                    return getattr(stream, name)

                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    stream.close()

            return Counting()

    start = 800_000 * LINE_BYTES
    found = b"".join(excerpt(Blobs(), Item.parse(Fields(entry)), index, start, start + LINE_BYTES))
    assert found == b"line %012d\n" % 800_000
    assert read < path.stat().st_size / 2


def test_other_tools_read_the_whole_stream(project):
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    project.dre("wrap", "--", sys.executable, "-c", LONG)
    (entry,) = [found for found in run_of(project)["items"] if found["name"] == "stdout"]
    digest = entry["digest"].removeprefix("sha256:")
    path = project.path / ".dre/evidence/sha256" / digest[:2] / digest[2:]
    done = subprocess.run(
        ["zstd", "-dc", str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stdout.count(b"\n") == 900_000


def test_by_time(project):
    script = "head -c 70000 /dev/zero | tr '\\0' a; echo; sleep 1; echo later; sleep 1; echo last"
    project.dre("wrap", "--", "sh", "-c", script)
    first = project.dre("evidence", "cat", "stdout", "--to", "0.8").stdout
    assert set(first) == {ord("a"), ord("\n")}
    assert project.dre("evidence", "cat", "stdout", "--from", "0.8", "--to", "1.7").stdout == b"later\n"
    assert project.dre("evidence", "cat", "stdout", "--from", "1.7").stdout == b"last\n"


def test_what_can_not_be_shown_is_said(project):
    project.dre("wrap", "--", "echo", "short")
    assert project.dre("evidence", "cat", "stdout").stdout == b"short\n"
    assert json.loads(project.dre("evidence", "cat", "stdout", "--json").stdout)["text"] == "short\n"
    refused = project.dre("evidence", "cat", "stdout", "--from", "1")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert project.dre("evidence", "cat", "nothing").returncode == 2
    assert project.dre("evidence", "cat", "stdout", "--offset", "-1").returncode == 2
    assert project.dre("evidence", "cat", "stdout", "--offset", "99").stdout == b""


def test_matches_are_kept_with_stream_and_offset(project):
    project.dre("wrap", "--", "sh", "-c", "echo fine; echo 'an Error here'; echo 'warning: x' >&2")
    matches = json.loads(item(project, "patterns"))["matches"]
    assert [(m["stream"], m["offset"], m["kind"], m["rule"]) for m in matches] == [
        ("stdout", "5", "error", "error"),
        ("stderr", "0", "warning", "warn"),
    ]
    project.dre("wrap", "--", "echo", "nothing to see")
    assert "patterns" not in {entry["name"] for entry in run_of(project)["items"]}


pairs = st.lists(st.integers(0, 10**15), max_size=30).map(sorted)


@st.composite
def indexes(draw):
    frames = sorted(draw(st.sets(st.integers(1, 10**15), max_size=20)))
    times = draw(pairs)
    return StreamIndex(
        size=draw(st.integers(0, 10**15)),
        frames=((0, 0), *zip(frames, frames, strict=True)),
        times=tuple(zip(times, times, strict=True)),
    )


@given(st.dictionaries(st.sampled_from(["stdout", "stderr", "output"]), indexes()))
def test_the_index_reads_as_it_was_written(streams):
    assert parse_index(index_to_json(streams)) == streams


@given(indexes(), st.integers(0, 10**16))
def test_a_place_is_in_the_last_frame_that_begins_before_it(index, offset):
    plain, stored = index.frame_of(offset)
    assert (plain, stored) in index.frames
    assert plain <= offset
    assert all(not plain < other <= offset for other, _ in index.frames)


@given(st.lists(st.integers(0, 50), max_size=300))
def test_times_stay_within_their_limit_and_in_order(steps):
    times, at = Times(), 0
    for step in steps * 40:
        at += step
        times.add(at, at)
    assert len(times.pairs) < TIMES_LIMIT
    assert times.pairs == sorted(times.pairs)


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=5))
def test_several_frames_decode_as_one_stream(parts):
    stored = b"".join(b"".join(ZSTD.encode([part])) for part in parts)
    assert b"".join(ZSTD.decode([stored])) == b"".join(parts)


@pytest.mark.parametrize("pty", [False, True])
@pytest.mark.faces
def test_asciinema_plays_the_recording(project, pty):
    asciinema = Path(sys.executable).with_name("asciinema")
    if not asciinema.exists():
        pytest.skip("asciinema is not installed")
    script = "printf '\\033[31mred\\033[0m\\n'; echo plain; printf '\\377\\n'"
    if pty:
        words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sh", "-c", f'"{script}"']
        project.run("script", "-qec", " ".join(words[:-1]) + f' "{script}"', "/dev/null")
    else:
        project.dre("wrap", "--", "sh", "-c", script)
    (recording,) = (project.path / ".dre" / "experiments").glob("*/terminal.cast")
    shown = project.run(str(asciinema), "cat", str(recording))
    assert shown.returncode == 0, shown.stderr
    assert b"\x1b[31mred\x1b[0m\r\nplain\r\n\xef\xbf\xbd\r\n" in shown.stdout
