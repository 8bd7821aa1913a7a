"""Install DRE beside nox."""

import nox

from dre_ci.hooks.nox import wrap


@nox.session
def tests(session: nox.Session) -> None:
    session.install("pytest")
    wrap(session, "pytest", "--junitxml=junit.xml", verify=True)
