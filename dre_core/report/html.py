"""The report as one HTML file: no network, no other file, readable without scripts, safe with hostile evidence.

Three walls stand between evidence and the reader's browser. Every expression of the template passes ``finalize``, which
makes text plain: escape sequences go, marks that reorder or hide are shown by their code point. Autoescaping follows.
And the page's own Content-Security-Policy lets run only the script and the style whose digests it names, and load
nothing. Data for the page's script stands in blocks that are no script, as JSON that can't end its element; the script
puts it on the page as text.

Source: https://www.w3.org/TR/CSP3/, https://html.spec.whatwg.org/#restrictions-for-contents-of-script-elements
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dre_core.hooks import hookimpl
from dre_core.model.run import Item, Run
from dre_core.model.text import neutral, one_line
from dre_core.model.verdict import Conclusion
from dre_core.report import words
from dre_core.report.build import Report
from dre_core.report.page import page_of
from dre_core.report.playback import Playback

if TYPE_CHECKING:
    from jinja2 import Environment

# No single text of a report is longer; a page of what hostile evidence holds must still open.
_TEXT_CHARACTERS = 20_000
STATIC_TESTS = 25
PRINTED_TESTS = 500
_SEVERITIES = {"veto": "contradicts", "fail": "blocks", "warn": "warning", "info": "note"}
_STATES = {"ran": "passed", "could-not-run": "could not run", "not-applicable": "does not apply"}
# Colours for renderers that don't apply the page's style inside of SVG; the style has the last word elsewhere.
_GOOD, _BAD, _WARN, _CALM = "#17683f", "#a8231b", "#855300", "#4c5663"
_INKS = {
    Conclusion.SUPPORTED: _GOOD, Conclusion.CONTRADICTED: _BAD, Conclusion.FAILED: _BAD, Conclusion.INVALID: _BAD,
    Conclusion.UNTRUSTED: _WARN, Conclusion.INCONCLUSIVE: _WARN,
}  # fmt: skip
_FILLS = {
    "passed": _GOOD, "failed": _BAD, "error": _BAD, "xpassed": _WARN, "xfailed": _WARN, "skipped": _CALM,
}  # fmt: skip
_PLOTS = (("#2f6fb3", "#dfeaf5"), ("#7a57a8", "#ebe4f4"), ("#2b7f7a", "#dcefec"))
_SECTIONS = (
    ("why", "Why"), ("causes", "Look here first"), ("run", "What was run"), ("seen", "How it was seen"),
    ("baseline", "Compared"), ("tests", "Tests"), ("timeline", "Timeline"), ("output", "Output"),
    ("change", "Files changed"), ("flow", "From command to evidence"), ("environment", "Environment"),
    ("seal", "The seal"), ("limits", "What it does not prove"),
)  # fmt: skip


def render_html(report: Report, *, printed: bool = False) -> str:
    """The page.

    Args:
        report: The report tree.
        printed: For paper: everything unfolded, no script, and fewer of the tests that passed.
    """
    page = page_of(report)
    style, script = asset("report.css"), asset("report.js")
    if printed:
        style += asset("print.css")
    page |= {
        "printed": printed,
        "policy": content_security_policy(style, script),
        "style": _trusted(style),
        "script": _trusted(script),
        "static_tests": PRINTED_TESTS if printed else STATIC_TESTS,
        "difference": report.difference,
        "items_by_digest": _items_by_digest(report.run),
        "severity_words": _SEVERITIES,
        "state_words": _STATES,
        "shell_lines": shell_lines(report),
        "ink": _INKS[report.verdict.conclusion],
        "fills": _FILLS,
        "plots": _PLOTS,
        "signing_keys": _signing_keys(report),
        "cast": _cast(page["playback"]),
        **_ledes(report),
    }
    template = environment().get_template("report.html.j2")
    body = template.render(page | {"sections": ()})
    # A section stands in the list exactly where it was laid out.
    present = tuple(entry for entry in _SECTIONS if f'<section id="{entry[0]}"' in body)
    return template.render(page | {"sections": present})


def content_security_policy(style: str, script: str) -> str:
    """The policy under which only this style and this script count, and nothing is loaded."""
    return (
        f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_block(value: object) -> str:
    """JSON that can stand in a ``script`` element that is none: nothing in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode("utf-8", "replace").decode()


@cache
def environment() -> Environment:
    """The templates' environment."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader("dre_core.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=False,
        lstrip_blocks=False,
    )
    made.filters.update(
        size=words.size,
        duration=words.duration,
        moment=words.moment,
        commit=words.commit,
        number=words.number,
        line=one_line,
        prose=_prose,
        look=_look,
        base64=lambda data: base64.b64encode(data).decode(),
        block=lambda value: Markup(data_block(value)),  # noqa: S704 - JSON that can't end its element
    )
    return made


def _plain(value: Any) -> Any:
    """Text as a page may show it; what the renderer itself made stays as it is."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return neutral(value if len(value) <= _TEXT_CHARACTERS else f"{value[:_TEXT_CHARACTERS]}…")


def _prose(text: str) -> Any:
    """A sentence in which what stands between back quotes is code."""
    from markupsafe import Markup, escape

    plain = neutral(text[:_TEXT_CHARACTERS])
    parts = plain.split("`")
    if len(parts) % 2 == 0:
        return escape(plain)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if place % 2 else part for place, part in enumerate(parts))


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - a file of this package


@cache
def asset(name: str) -> str:
    return files("dre_core.report").joinpath("templates", name).read_text(encoding="utf-8")


def _look(text: str) -> str:
    return " ".join(f"t{sign}" for sign in text)


def _cast(playback: Playback | None) -> Mapping[str, object]:
    if playback is None:
        return {}
    return {
        "end": playback.end_ms,
        "frames": [[frame.at_ms, [[number, row] for number, row in frame.rows]] for frame in playback.frames],
    }


def _items_by_digest(run: Run | None) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in run.items if run else ():
        found.setdefault(item.digest, []).append(item)
    return found


def _signing_keys(report: Report) -> list[str]:
    seal = report.exhibits.seal if report.exhibits else None
    return list(seal.keyids) if seal else []


def _ledes(report: Report) -> dict[str, str]:
    """What stands under the titles: from where the facts below were seen."""
    run, evidence = report.run, report.evidence
    observation = evidence.observation if evidence else None
    timeline = ""
    if observation is not None:
        how = "without a gap" if observation.complete else f"by looking every {observation.interval_ms} ms"
        timeline = f"Watched from outside, {how}; {words.duration(observation.cpu_ms / 1000)} of processor time in all."
    covered = evidence.covered if evidence else None
    change = "Computed from git" + (", and what coverage data say of the change." if covered else ".")
    tests = words.tests_sentence(report.counts) if report.counts else ""
    source = "Recorded inside the run" if evidence and evidence.top_sessions else "The run's own word"
    faces = {
        "wrap": "Seen from outside, by the process that started the command.",
        "pytest": "Recorded inside the run, by the pytest plugin.",
    }
    return {
        "run_lede": faces.get(run.face, "") if run else "",
        "tests_lede": f"{source}: {tests}." if tests else "",
        "timeline_lede": timeline,
        "change_lede": change,
    }


def shell_lines(report: Report) -> str:
    """How to check the first signature with a shell, openssl and nothing else."""
    operation = report.verdict.operation
    seal = report.exhibits.seal if report.exhibits else None
    schemes = {seal.schemes.get(keyid, "") for keyid in _signing_keys(report)} if seal else set()
    check = (
        "openssl dgst -sha256 -verify PUBLIC.pem -signature signature signed"
        if schemes and not any("ed25519" in scheme for scheme in schemes)
        else "openssl pkeyutl -verify -pubin -inkey PUBLIC.pem -rawin -in signed -sigfile signature"
    )
    return "\n".join(_shell(operation, check))


def _shell(operation: str, check: str) -> Iterable[str]:
    yield f"unzip -p evidence.zip attestations/{operation}.intoto.jsonl | head -n 1 > line"
    yield 'part() { sed "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/" line; }'
    yield "part payload | base64 -d > payload"
    yield "part sig | base64 -d > signature"
    yield "type=$(part payloadType)"
    yield 'printf \'DSSEv1 %d %s %d \' "${#type}" "$type" "$(wc -c < payload)" | cat - payload > signed'
    yield check


class HTMLRenderer:
    """The report as one HTML file."""

    name = "html"
    suffix = ".html"

    def render(self, report: Report) -> bytes:
        return render_html(report).encode()


@hookimpl
def dre_renderers() -> list[HTMLRenderer]:
    return [HTMLRenderer()]
