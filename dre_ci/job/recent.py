"""What the newest operations of a step come to, for tools that run several commands."""

from __future__ import annotations

from pathlib import Path

from dre_core.errors import DREError


def lines_of(directory: Path, name: str, count: int) -> list[str]:
    """One line for each of a step's newest operations, oldest first.

    Args:
        directory: A folder of the project.
        name: The step's name, as given to ``dre wrap --name``.
        count: How many.
    """
    from dre_ci.job.judging import judge
    from dre_core.engine import Engine
    from dre_core.store.sealed import from_folder
    from dre_core.verification import Request
    from dre_core.verify.integrity import Expectations, Trust, inspect

    lines: list[str] = []
    try:
        engine = Engine.open(directory)
        for operation in reversed(engine.folder.experiments()):
            if len(lines) == count:
                break
            if not engine.folder.experiment(operation).sealed:
                continue
            run = inspect(from_folder(engine.folder, operation), Trust(keys={}), Expectations()).run
            if run is not None and run.name == name:
                (told,) = judge(engine, Request(target=operation, policy=engine.policy()))
                lines.append(f"dre: {told.line} ({operation})")
    except DREError as error:
        lines.append(f"dre: {error}")
    return lines[::-1]
