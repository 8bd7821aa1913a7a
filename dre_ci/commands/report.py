"""``dre report``: renders an operation, documents it by a template, compares two, prints the schemas of its JSON."""

from __future__ import annotations

import argparse
import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.commands.verify import read_key
from dre_ci.console import Console
from dre_ci.isolation import isolated
from dre_core import registry
from dre_core.engine import Engine
from dre_core.errors import FormatError, UsageError
from dre_core.report.build import Report
from dre_core.report.difference import Difference, compare
from dre_core.report.renderer import Renderer
from dre_core.reporting import NO_BASELINE, report_of
from dre_core.store.folder import write_out
from dre_core.verification import LATEST, Request, is_foreign

_DIFFERENCES = ("text", "markdown", "json")


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="generate|document|diff|schema")
    generate = actions.add_parser("generate", help="render one operation's report")
    generate.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    generate.add_argument(
        "--format", required=True, metavar="F", help="html, markdown, junit, json, sarif, cyclonedx or pdf"
    )
    _output(generate)
    generate.add_argument(
        "--baseline",
        default="",
        metavar="TARGET",
        help="what to compare with (default: the last run of the same command that passed; none: nothing)",
    )
    _trust(generate)
    document = actions.add_parser("document", help="write a document about an operation, by a template")
    document.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    document.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="F",
        help="markdown (default), html or pdf; may be given several times",
    )
    document.add_argument(
        "--template", default="", metavar="NAME", help="test, build, lint, deploy, generic or one of your own"
    )
    document.add_argument(
        "--output", default="", metavar="DIR", help="the folder to write to (default: the operation's own)"
    )
    document.add_argument(
        "--branch",
        default="",
        metavar="B",
        help="commit the Markdown to this branch as well, such as dre-docs",
    )
    document.add_argument("--baseline", default="", metavar="TARGET", help="as of generate")
    _trust(document)
    diff = actions.add_parser("diff", help="what is different between two operations")
    diff.add_argument("before", help="the earlier one: operation id, archive or folder")
    diff.add_argument("after", nargs="?", default=LATEST, help="the later one (default: latest)")
    diff.add_argument(
        "--format", default="text", choices=_DIFFERENCES, help="text (default), markdown or json"
    )
    _output(diff)
    _trust(diff)
    schema = actions.add_parser("schema", help="print a JSON Schema of what DRE writes as JSON")
    schema.add_argument("name", nargs="?", default="", help="which one (default: their names)")
    _output(schema)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", default="", metavar="PATH", help="the file to write (default: standard output)"
    )


def _trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", action="append", default=[], metavar="PUB.pem", help="a public key to trust")
    parser.add_argument("--policy", default="", metavar="FILE", help="policy to judge by")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    if arguments.action == "schema":
        return _schema(arguments, console)
    engine = Engine.open(explicit=arguments.dir)
    actions = {"diff": _diff, "document": _document, "generate": _generate}
    try:
        return actions[arguments.action](engine, arguments, console)
    except FormatError as error:
        hint = error.hint or "get the evidence again from where it was made"
        raise FormatError(error.message, hint=hint, path=error.path, code=error.slug) from None


def _generate(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    renderer = _renderer(engine, arguments.format)
    request = _request(engine, arguments, arguments.target)
    work = partial(_rendered, engine, renderer, request, arguments.baseline)
    named = [request.target, *([arguments.baseline] if arguments.baseline not in ("", NO_BASELINE) else [])]
    foreign = any(is_foreign(engine, target) for target in named)
    data = base64.b64decode(isolated(lambda: base64.b64encode(work()).decode())) if foreign else work()
    finish = getattr(renderer, "finish", None)
    data = finish(data) if finish is not None else data
    return _deliver(arguments, console, renderer.name, data)


def _rendered(engine: Engine, renderer: Renderer, request: Request, baseline: str) -> bytes:
    report = report_of(engine, request, baseline=baseline)
    # What a stranger's bytes are turned into, a child does; what needs files and fonts comes after.
    draft = getattr(renderer, "draft", None)
    return bytes(draft(report)) if draft is not None else renderer.render(report)


def _deliver(arguments: argparse.Namespace, console: Console, name: str, data: bytes) -> Exit:
    if arguments.output:
        write_out(Path(arguments.output), data, durable=False)
        document = {"report": arguments.output, "format": name, "size": len(data)}
        console.result([f"wrote {arguments.output}"], document)
    elif arguments.json:
        console.result((), {"format": name, **_content(data)})
    else:
        console.data(data)
    return Exit()


def _content(data: bytes) -> dict[str, str]:
    try:
        return {"content": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"content_base64": base64.b64encode(data).decode()}


def _document(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.documenting import announce, keep
    from dre_core.report.document import Document, with_pdf

    request = _request(engine, arguments, arguments.target)
    foreign = is_foreign(engine, request.target)
    if foreign and not arguments.output:
        raise UsageError("say where the document goes", hint="--output DIR", path=request.target)
    formats = tuple(dict.fromkeys(arguments.format or ["markdown"]))
    work = partial(_merged, engine, request, arguments, formats)
    made = isolated(work) if foreign else work()
    files = {name: base64.b64decode(data) for name, data in made["files"].items()}
    document = with_pdf(Document(type=made["type"], files=files), formats)
    operation = made["operation"]
    folder = (
        Path(arguments.output) if arguments.output else engine.folder.experiment(operation).path / "documents"
    )
    kept = keep(engine, operation, document, folder, arguments.branch)
    if not foreign:
        _, problems = announce(engine, operation, document, kept)
        for problem in problems:
            console.warn(f"a subscriber failed: {problem}")
    lines = [f"wrote {path}" for path in kept.paths]
    lines += [f"committed {kept.commit[:12]} to {kept.branch}"] if kept.commit else []
    paths = [str(path) for path in kept.paths]
    console.result(
        lines, {"type": document.type, "files": paths, "branch": kept.branch, "commit": kept.commit or None}
    )
    return Exit()


def _merged(
    engine: Engine, request: Request, arguments: argparse.Namespace, formats: tuple[str, ...]
) -> dict[str, Any]:
    """The document but for its PDF, as one JSON value, so that a child can do the work."""
    from dre_core.documenting import templates_of
    from dre_core.report.document import drafts_of, make_document

    report = report_of(engine, request, baseline=arguments.baseline)
    document = make_document(
        report, drafts_of(formats), templates=templates_of(engine), named=arguments.template
    )
    files = {name: base64.b64encode(data).decode() for name, data in document.files.items()}
    return {"operation": report.verdict.operation, "type": document.type, "files": files}


def _diff(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    requests = [_request(engine, arguments, target) for target in (arguments.before, arguments.after)]
    work = partial(_difference, engine, requests[0], requests[1])
    texts = isolated(work) if any(is_foreign(engine, request.target) for request in requests) else work()
    name = "json" if arguments.json and not arguments.output else arguments.format
    if name == "json" and not arguments.output:
        console.data(texts["json"].encode())
        return Exit()
    return _deliver(arguments, console, name, texts[name].encode())


def _difference(engine: Engine, before: Request, after: Request) -> dict[str, str]:
    """The comparison in every format, as one JSON value, so that a child can do the work."""
    from dre_core.report.markdown import difference_markdown
    from dre_core.report.summary import difference_lines

    found: Difference = compare(_one(engine, before), _one(engine, after))
    return {
        "text": "".join(f"{line}\n" for line in difference_lines(found)),
        "markdown": difference_markdown(found).decode(),
        "json": json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n",
    }


def _one(engine: Engine, request: Request) -> Report:
    return report_of(engine, request, baseline=NO_BASELINE)


def _schema(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.report.schema import SCHEMAS, schema_text

    if not arguments.name:
        console.result(SCHEMAS, {"schemas": list(SCHEMAS)})
        return Exit()
    if arguments.name not in SCHEMAS:
        raise UsageError(f"there is no schema {arguments.name!r}", hint=f"schemas are {', '.join(SCHEMAS)}")
    text = schema_text(arguments.name)
    if arguments.output:
        return _deliver(arguments, console, arguments.name, text.encode())
    console.data(text.encode())
    return Exit()


def _request(engine: Engine, arguments: argparse.Namespace, target: str) -> Request:
    keys = tuple(read_key(path) for path in arguments.key)
    return Request(target=target, keys=keys, policy=engine.policy(arguments.policy))


def _renderer(engine: Engine, name: str) -> Any:
    manager = registry.load(registry.RENDERERS, engine.settings.plugins)
    known = registry.by_name(registry.flatten(manager.hook.dre_renderers()))
    if name not in known:
        raise UsageError(f"unknown report format {name!r}", hint=f"formats are {', '.join(sorted(known))}")
    return known[name]
