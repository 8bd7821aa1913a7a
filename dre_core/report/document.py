"""Documents about an operation: context gathered, template chosen by the command, several formats from one merge.

A template is Markdown with Jinja2 in a sandbox: it gets data and no objects, so it can reach nothing else. Every value
that it prints is escaped for Markdown unless a filter made it; ``{{ text|code }}`` gives a code span,
``{{ text|fenced }}`` a block. A user's own templates come first: ``test.md.j2`` in the folder of templates replaces the
built-in one, and may extend it as ``dre/test.md.j2``. HTML and PDF are made from the merged Markdown, in which HTML is
text.

The same operation gives the same document. ``generated`` is empty: a paragraph by a model would stand there, marked.

Source: https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dre_core import __version__
from dre_core.errors import ConfigError, LimitError, MissingExtraError, UsageError
from dre_core.model.observation import runner_of
from dre_core.model.record import dataclass
from dre_core.model.run import Run
from dre_core.model.session import Outcome, TestRecord
from dre_core.model.text import neutral
from dre_core.report import html, words
from dre_core.report.analysis import located_causes
from dre_core.report.build import Report
from dre_core.report.markdown import escape
from dre_core.report.pdf import pdf_of

if TYPE_CHECKING:
    from jinja2 import Environment

TYPES = ("test", "build", "lint", "deploy", "generic")
FORMATS = ("markdown", "html", "pdf")
LIMIT_BYTES = 4 << 20
_SUFFIXES = {"markdown": ".md", "html": ".html"}
_TESTS = 200
_TAIL_LINES = 30
# A command, or a command and the beginning of its second word, by what it does.
_COMMANDS = {
    "deploy": (
        "kubectl", "helm", "terraform", "tofu", "ansible-playbook", "twine", "npm publish", "docker push",
        "cargo publish", "fly", "serverless", "cdk", "pulumi", "rsync", "scp", "deploy", "gh release", "mvn deploy",
    ),
    "lint": (
        "ruff", "flake8", "pylint", "eslint", "mypy", "pyright", "black", "isort", "codespell", "shellcheck",
        "yamllint", "golangci-lint", "go vet", "cargo clippy", "cargo fmt", "prettier",
        "stylelint", "pre-commit", "npm run lint",
    ),
    "build": (
        "make", "cmake", "ninja", "meson", "bazel", "tsc", "webpack", "vite", "docker build", "go build", "cargo build",
        "mvn package", "mvn compile", "gradle build", "npm run build", "build", "hatch build", "python setup.py", "gcc",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document in the formats that were asked for.

    Attributes:
        type: What the operation was taken for, which named the template.
        files: File name to bytes.
    """

    type: str
    files: Mapping[str, bytes]


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def operation_type(run: Run) -> str:
    """What a command is, by its own words: ``test``, ``build``, ``lint``, ``deploy`` or ``generic``."""
    if run.claim.tests is not None:
        return "test"
    lines = [tuple(run.command.argv), *_shell_commands(run.command.argv)]
    if any(runner_of(line) for line in lines):
        return "test"
    for kind, names in _COMMANDS.items():
        if any(_is_command(line, name) for line in lines for name in names):
            return kind
    return "generic"


def _shell_commands(argv: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """The simple commands of a line for a shell."""
    text = (
        argv[-1]
        if argv and (len(argv) == 1 or argv[0].rpartition("/")[2] in ("sh", "bash", "dash", "zsh"))
        else ""
    )
    for part in re.split(r"[;&|\n]+", text):
        try:
            yield tuple(shlex.split(part))
        except ValueError:  # a quote that is not closed
            continue


def _is_command(line: Sequence[str], name: str) -> bool:
    rest = [word.rpartition("/")[2] for word in line]
    if rest[:1] and re.fullmatch(r"python[0-9.]*", rest[0]) and "-m" in rest:
        rest = rest[rest.index("-m") + 1 :]
    return rest[: len(name.split())] == name.split()


def context_of(report: Report) -> dict[str, Any]:
    """What a template gets: operation, evidence, verification, history, environment, and what is said of them.

    Data only: texts, numbers, lists and mappings.
    """
    run = report.run
    verification = report.verdict.to_json()
    bad = [test for test in report.tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
    operation: dict[str, Any] = {
        "id": report.verdict.operation,
        "type": operation_type(run) if run else "generic",
    }
    if run is not None:
        predicate = run.to_json()
        operation |= {
            name: predicate[name]
            for name in ("name", "face", "command", "source", "started", "ended", "ci", "user")
        }
        operation |= {"duration_seconds": run.duration_ns / 1e9, "claim": predicate["claim"]}
    return {
        "operation": operation,
        "evidence": {
            "items": run.to_json()["items"] if run else [],
            "gaps": run.to_json()["gaps"] if run else [],
            "tests": [_test(test) for test in report.tests[:_TESTS]],
            "failures": [_test(test) for test in bad[:_TESTS]],
            "counts": report.counts.to_json() if report.counts else None,
            "slowest": [_test(test) for test in sorted(report.tests, key=lambda test: -test.duration_seconds)[:5]],
            "output": _tails(report),
            "marked": _marked(report),
        },
        "verification": verification | {"sentence": words.sentence(report), "checks": words.checks_sentence(report)},
        "causes": [
            {"rank": c.rank, "summary": c.cause.summary, "where": c.cause.where, "log": c.log, "change": c.change}
            for c in located_causes(report)
        ],
        "history": list(run.to_json()["history"]) if run else [],  # type: ignore[arg-type]
        "environment": dict(run.environment) if run else {},
        "difference": report.difference.to_json() if report.difference else None,
        "generated": "",
        "metadata": {
            "version": __version__,
            "confidence": round(report.verdict.consensus.confidence, 6),
            "recorded": run.ended if run else "",
        },
    }  # fmt: skip


def _test(test: TestRecord) -> dict[str, Any]:
    return {
        "id": test.id,
        "outcome": test.outcome.value,
        "seconds": test.duration_seconds,
        "message": test.message or test.reason,
        "text": test.text,
        "file": test.file,
        "line": test.line,
    }


def _tails(report: Report) -> dict[str, str]:
    """The last lines of each stream."""
    outputs = report.exhibits.outputs if report.exhibits else ()
    return {
        output.stream: "\n".join(
            neutral(line.rpartition("\r")[2])
            for line in (output.tail or output.head).decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        )
        for output in outputs
    }


def _marked(report: Report) -> list[dict[str, Any]]:
    matches = report.exhibits.matches if report.exhibits else ()
    return [
        {"kind": m.kind, "stream": m.stream, "offset": m.offset, "text": m.text} for m in matches[:_TESTS]
    ]


def make_document(
    report: Report, formats: Iterable[str], *, templates: Path | None = None, named: str = ""
) -> Document:
    """Merges a report into a template and gives it in several formats.

    Args:
        report: The report tree.
        formats: Of :data:`FORMATS`.
        templates: The user's folder of templates; need not exist.
        named: The template's name; default: the operation's type.

    Raises:
        UsageError: There is no such template or format.
        ConfigError: A template can't be used.
        MissingExtraError: A format needs an extra.
    """
    chosen = tuple(formats)
    drafts = drafts_of(chosen)
    context = context_of(report)
    kind = named or context["operation"]["type"]
    text = merged(kind, context, templates)
    made = {
        "markdown": lambda: text.encode("utf-8", "replace"),
        "html": lambda: document_html(text, kind).encode(),
    }
    files = {f"{kind}{_SUFFIXES[name]}": made[name]() for name in drafts}
    return with_pdf(Document(type=kind, files=files), chosen)


def drafts_of(formats: Sequence[str]) -> tuple[str, ...]:
    """What to make in the place of a PDF, which needs files and fonts: the page that it is set from.

    Raises:
        UsageError: There is no such format.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"unknown document format {name!r}", hint=f"formats are {', '.join(FORMATS)}")
    return tuple(dict.fromkeys("html" if name == "pdf" else name for name in formats))


def with_pdf(document: Document, formats: Sequence[str]) -> Document:
    """The document in just the formats that were asked for, a PDF set from its page.

    Raises:
        MissingExtraError: WeasyPrint is not installed.
    """
    files = dict(document.files)
    page = f"{document.type}.html"
    if "pdf" in formats:
        files[f"{document.type}.pdf"] = pdf_of(files[page])
    if "html" not in formats:
        files.pop(page, None)
    return Document(type=document.type, files=files)


def merged(kind: str, context: Mapping[str, Any], templates: Path | None = None) -> str:
    """The Markdown of a template and a context.

    Raises:
        UsageError: There is no such template.
        ConfigError: The template can't be used; the path names it and the line.
        LimitError: It gives more than 4 MiB.
    """
    from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

    try:
        pieces: list[str] = []
        size = 0
        for piece in sandbox(templates).get_template(f"{kind}.md.j2").generate(context):
            size += len(piece)
            if size > LIMIT_BYTES:
                raise LimitError(f"the document is larger than {LIMIT_BYTES} bytes", path=f"{kind}.md.j2")
            pieces.append(piece)
    except TemplateNotFound as error:
        hint = f"built in are {', '.join(TYPES)}"
        raise UsageError(f"there is no template {error.name or kind!r}", hint=hint) from None
    except TemplateSyntaxError as error:
        raise ConfigError(f"line {error.lineno}: {error.message}", path=error.name or kind) from None
    except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{type(error).__name__}: {error}", path=f"{kind}.md.j2") from None
    return re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip() + "\n"


def sandbox(templates: Path | None) -> Environment:
    """The templates' environment: the user's folder first, built-ins behind it and as ``dre/…``."""
    from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    built_in = PackageLoader("dre_core.report", "templates/documents")
    own = [FileSystemLoader(str(templates), followlinks=False)] if templates is not None else []
    made = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([*own, PrefixLoader({"dre": built_in}), built_in]),
        undefined=StrictUndefined,
        finalize=_escaped,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        code=code_span,
        fenced=fenced,
        cell=lambda text: Markdown(escape(str(text), 200)),
        size=words.size,
        duration=words.duration,
        moment=words.moment,
        commit=words.commit,
        number=words.number,
    )
    return made


def _escaped(value: Any) -> Any:
    return escape(value, 2_000) if isinstance(value, str) and not isinstance(value, Markdown) else value


def code_span(text: str) -> Markdown:
    """Text as a code span, whatever back quotes it holds."""
    line = " ".join(neutral(str(text)).split()).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}" if line else "")


def fenced(text: str, limit: int = 8_000) -> Markdown:
    """Text as a fenced block that it can't close."""
    body = neutral(str(text))
    body = body if len(body) <= limit else f"{body[: limit // 2]}\n…\n{body[-limit // 2 :]}"
    fence = "`" * max(3, max(map(len, re.findall("`+", body)), default=0) + 1)
    return Markdown(f"{fence}text\n{body}\n{fence}")


def document_html(text: str, title: str) -> str:
    """A page of the merged Markdown, in which HTML is text and nothing is loaded.

    Raises:
        MissingExtraError: The Markdown parser is not installed.
    """
    from markupsafe import Markup

    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise MissingExtraError(
            "HTML and PDF documents need markdown-it-py",
            hint="pip install 'development-reality-engine[docs]'",
        ) from None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "autolink"])
    # Links could lead anywhere; a document's own text has none.
    parser.disable("link")
    style = html.asset("report.css") + html.asset("document.css")
    page = html.environment().get_template("document.html.j2")
    return page.render(
        title=title,
        style=Markup(style),  # noqa: S704 - files of this package
        policy=html.content_security_policy(style, ""),
        body=Markup(parser.render(text)),  # noqa: S704 - the parser's own output, without HTML of the text
    )
