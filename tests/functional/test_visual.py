"""Pictures that a run made, judged: of this run, not blank, and as their baselines."""

from __future__ import annotations

import io
import json
import sys

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (the extra visual)")
from PIL import Image, ImageDraw

from tests.conftest import PYTEST


def picture(colour="white", text="ok", size=(120, 80)):
    image = Image.new("RGB", size, colour)
    if text:
        ImageDraw.Draw(image).text((10, 10), text, fill="black")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def shown(project):
    """A project whose command writes ``out/page.png`` from ``source.png``, and whose baselines lie in ``looks``."""
    project.write("make.py", "import pathlib\npathlib.Path('out').mkdir(exist_ok=True)\n"
                  "pathlib.Path('out/page.png').write_bytes(pathlib.Path('source.png').read_bytes())\n")  # fmt: skip
    (project.path / "looks").mkdir()
    (project.path / "looks" / "page.png").write_bytes(picture())
    (project.path / "source.png").write_bytes(picture())
    project.write(".gitignore", "out/\n.dre/\n")
    project.dre("init")
    project.dre("config", "set", "visual.baselines", "looks")
    project.base = project.commit("with pictures")
    return project


def judged(project, *more):
    """Findings of the visual verifier, after the pictures were made beside a test run."""
    script = f"{sys.executable} make.py && {' '.join(PYTEST)} --dre -q"
    project.dre("wrap", "--screenshot", "out/*.png", *more, "--", "sh", "-c", script)
    verdict = project.verdict()
    visual = verdict["methods"]["visual"]
    return verdict, {finding["check"]: finding for finding in visual["findings"]}


def test_a_good_picture_is_one_more_method(shown):
    verdict, findings = judged(shown)
    assert (verdict["verdict"], findings) == ("supported", {})
    assert verdict["methods"]["visual"]["score"] == 1.0
    assert {check["check"]: check["state"] for check in verdict["methods"]["visual"]["checks"]} == {
        "picture-from-this-run": "ran",
        "picture-not-seen": "ran",
        "terminal-equals-stdout": "ran",
        "not-blank": "ran",
        "matches-baseline": "ran",
        "baseline-rerecorded": "ran",
        "mask-grew": "ran",
    }


def test_without_pictures_the_method_is_left_out(project):
    project.wrap_pytest()
    assert "visual" not in project.verdict()["methods"]


def test_an_old_picture(shown):
    (shown.path / "out").mkdir()
    (shown.path / "out" / "old.png").write_bytes(picture())
    verdict, findings = judged(shown)
    assert (verdict["verdict"], findings["picture-from-this-run"]["severity"]) == ("inconclusive", "fail")
    assert "out/old.png was there before the run" in findings["picture-from-this-run"]["message"]


def test_a_blank_picture(shown):
    (shown.path / "source.png").write_bytes(picture(text=""))
    shown.commit("blank")
    _, findings = judged(shown)
    assert findings["not-blank"]["severity"] == "fail"
    assert "out/page.png shows one colour only (120 x 80)" in findings["not-blank"]["message"]


def test_a_picture_that_looks_different(shown):
    (shown.path / "source.png").write_bytes(picture(colour="red"))
    shown.commit("red")
    _, findings = judged(shown)
    assert findings["matches-baseline"]["where"] == "looks/page.png"
    assert "of its pixels from looks/page.png" in findings["matches-baseline"]["message"]
    shown.dre("claim", "--kind", "feature")
    _, findings = judged(shown)
    assert findings["matches-baseline"]["severity"] == "info"


def test_another_size_differs_and_noise_does_not(shown):
    (shown.path / "source.png").write_bytes(picture(size=(121, 80)))
    shown.commit("wider")
    assert "has another size than" in judged(shown)[1]["matches-baseline"]["message"]
    (shown.path / "source.png").write_bytes(picture(colour=(250, 250, 250)))
    shown.commit("a little darker")
    assert judged(shown)[1] == {}


def test_a_masked_part_may_differ(shown):
    (shown.path / "source.png").write_bytes(picture(text="12:34:56"))
    shown.commit("a clock")
    assert "matches-baseline" in judged(shown)[1]
    shown.dre("config", "set", "visual.masks", "page.png:120x40+0+0")
    assert judged(shown)[1] == {}


def test_a_baseline_recorded_anew_by_the_change(shown):
    for name in ("looks/page.png", "source.png"):
        (shown.path / name).write_bytes(picture(colour="red"))
    shown.commit("red, and recorded so")
    _, findings = judged(shown, "--base", shown.base)
    assert set(findings) == {"matches-baseline", "baseline-rerecorded"}
    assert findings["baseline-rerecorded"]["severity"] == "fail"
    shown.dre("claim", "--kind", "feature")
    _, findings = judged(shown, "--base", shown.base)
    assert {finding["severity"] for finding in findings.values()} == {"info"}


def test_a_mask_that_is_none_is_a_gap(shown):
    shown.dre("config", "set", "visual.masks", "page.png:1,2,3")
    judged(shown)
    run = json.loads(shown.dre("evidence", "show", "--json").stdout)
    assert any("is not NAME:WIDTHxHEIGHT+X+Y" in gap["reason"] for gap in run["gaps"])


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\nrubbish", picture()[:60]])
def test_what_is_no_picture_is_a_gap(shown, data):
    (shown.path / "source.png").write_bytes(data)
    shown.commit("broken")
    verdict, _ = judged(shown)
    states = {check["check"]: check["state"] for check in verdict["methods"]["visual"]["checks"]}
    assert states["not-blank"] == "could-not-run"
    run = json.loads(shown.dre("evidence", "show", "--json").stdout)
    assert any(gap["collector"] == "visual" and "out/page.png" in gap["reason"] for gap in run["gaps"])


def note_of(project):
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    (item,) = [each for each in run["items"] if each["kind"] == "screenshot"]
    return item["note"]


def test_noise_is_learned_from_the_seals_of_the_base(shown):
    """Three runs of the base show a clock; a run of the head with another time is as its baseline all the same."""
    clock = "import pathlib, sys\npathlib.Path('source.png').write_bytes(pathlib.Path(sys.argv[1]).read_bytes())\n"
    shown.write("clock.py", clock)
    base = shown.commit("clock")
    make = f"{sys.executable} clock.py next.png && {sys.executable} make.py"
    words = ("wrap", "--screenshot", "out/*.png", "--base", base, "--", "sh", "-c", make)
    for time in ("ok 12:00", "ok 08:34", "ok 23:51"):
        (shown.path / "next.png").write_bytes(picture(text=time))
        assert shown.dre(*words).returncode == 0
    shown.commit("head")
    (shown.path / "next.png").write_bytes(picture(text="ok 23:59"))
    shown.dre(*words)
    note = note_of(shown)
    assert (note["baselineDifference"], note["noiseRuns"]) == ("0.000000", "3")
    (shown.path / "next.png").write_bytes(picture(text="ok 08:34"))
    shown.dre(*words)
    assert (note_of(shown)["seenAt"], note_of(shown)["varies"]) == (base, "true")
    verdict = shown.verdict()
    (finding,) = verdict["methods"]["visual"]["findings"]
    assert (finding["check"], finding["severity"]) == ("picture-not-seen", "fail")
    assert "and no two others of this name are alike" in finding["message"]


def test_words_of_failure_that_no_terminal_shows(project):
    script = f"printf '\\033[8mFAILED test_a\\033[0m\\n'; {' '.join(PYTEST)} --dre -q"
    project.dre("wrap", "--", "sh", "-c", script)
    verdict = project.verdict()
    (finding,) = [
        each
        for method in verdict["methods"].values()
        for each in method["findings"]
        if each["check"] == "hidden-text"
    ]
    assert finding["severity"] == "warn"
    assert "'FAILED', and a terminal does not show it" in finding["message"]


def test_a_mask_that_the_change_makes_larger(shown):
    masks = "visual: {{baselines: looks, masks: ['page.png:{}']}}\n"
    shown.write("dre.yaml", masks.format("12x80+0+0"))
    base = shown.commit("a clock")
    shown.write("dre.yaml", masks.format("60x80+60+0"))
    shown.commit("a larger one")
    verdict, findings = judged(shown, "--base", base)
    assert (verdict["verdict"], set(findings)) == ("supported", {"mask-grew"})
    assert "out/page.png, where the base masked 10%" in findings["mask-grew"]["message"]
    shown.write("dre.yaml", masks.format("12x40+0+40"))
    shown.commit("a smaller one")
    assert "mask-grew" not in judged(shown, "--base", base)[1]
