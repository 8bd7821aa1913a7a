"""The main job end to end: record, seal, verify, export; and what is caught on the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import junitparser
import pytest

from dre_core.capture.git import folder_tree

FAILING = "def test_good():\n    assert True\n\ndef test_bad():\n    assert 1 == 2\n\ndef test_worse():\n    assert 0\n"


def test_pytest_alone_is_supported_at_level_2(project):
    done = project.pytest("--dre")
    assert done.returncode == 0
    assert b"dre: SUPPORTED" in done.stdout
    verdict = project.verdict()
    assert verdict["verdict"] == "supported"
    assert verdict["level"] == 2
    assert verdict["claim"]["tests"]["passed"] == 2
    assert verdict["claim"]["commit"] == project.git("rev-parse", "HEAD")


def test_inside_the_wrapper_it_is_level_3(project):
    done = project.wrap_pytest()
    assert done.returncode == 0
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["level"]) == ("supported", 3)
    assert project.findings(verdict) == {}
    assert {name for name, method in verdict["methods"].items() if not method["abstained"]} == {
        "programmatic",
        "structural",
        "behavioral",
    }


def test_the_wrapper_changes_no_output_and_no_exit_code(project):
    plain = project.run("sh", "-c", "echo out; echo err >&2; exit 7")
    wrapped = project.dre("wrap", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (wrapped.stdout, wrapped.stderr, wrapped.returncode) == (
        plain.stdout,
        plain.stderr,
        plain.returncode,
    )


def test_a_failing_suite_is_a_trustworthy_record(project):
    project.write("test_bad.py", FAILING)
    assert project.pytest("--dre", "-q").returncode == 1
    done = project.dre("verify")
    assert done.returncode == 6
    assert b"a trustworthy record of a run that failed" in done.stdout
    causes = project.verdict()["causes"]
    assert any("test_bad.py::test_bad" in cause["summary"] for cause in causes)


def test_a_suite_that_can_not_be_collected_is_a_failed_run(project):
    project.write("test_bad.py", "import no_such_module\n")
    assert project.pytest("--dre", "-q").returncode == 2
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["claim"]["outcome"]) == ("failed", "errored")
    project.dre("report", "generate", "--format", "junit", "--output", "r.xml")
    suite = next(iter(junitparser.JUnitXml.fromfile(str(project.path / "r.xml"))))
    assert suite.errors == verdict["claim"]["tests"]["errors"] == 1


@pytest.mark.parametrize("plugin", ["--dre", "--no-dre"])
def test_a_swallowed_exit_code_is_contradicted_and_both_numbers_are_named(project, plugin):
    project.write("test_bad.py", FAILING)
    project.commit()
    command = f"{sys.executable} -m pytest -p no:cacheprovider {plugin} -q; true"
    assert project.dre("wrap", "--", "sh", "-c", command).returncode == 0
    done = project.dre("verify")
    if plugin == "--no-dre" and b"CONTRADICTED" not in done.stdout:
        pytest.skip("this kernel does not tell the exit status of grandchildren")
    assert done.returncode == 1
    # The terminal cuts long lines, and an interpreter can have a long name.
    findings = project.verdict()["methods"]["programmatic"]["findings"]
    (line,) = [finding["message"] for finding in findings if finding["severity"] == "veto"]
    assert "returned 0" in line
    assert ("exit 1" in line) if plugin == "--dre" else ("returned 1" in line)


def test_a_command_without_tests_is_inconclusive(project):
    assert project.dre("wrap", "--", "true").returncode == 0
    verdict = project.verdict()
    assert verdict["verdict"] == "inconclusive"
    assert verdict["score"] is None
    assert verdict["confidence"] == 0.0
    assert all(method["abstained"] for method in verdict["methods"].values())
    assert project.dre("verify").returncode == 4


def test_a_report_alone_is_enough_under_the_wrapper(project):
    done = project.dre(
        "wrap", "--junit", "out.xml", "--", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "--junitxml=out.xml",
    )  # fmt: skip
    assert done.returncode == 0
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["level"]) == ("supported", 3)


def test_a_stale_report_is_contradicted(project):
    project.pytest("-q", "--junitxml=out.xml")
    done = project.dre("wrap", "--junit", "out.xml", "--", sys.executable, "-m", "pytest", "--dre", "-q")
    assert done.returncode == 0
    verdict = project.verdict()
    assert verdict["verdict"] == "contradicted"
    assert project.findings(verdict)["report-fresh"] == "veto"


def test_an_edited_report_is_contradicted(project):
    project.write("test_bad.py", FAILING)
    project.write(
        "launder.py",
        "import re\ntext = open('out.xml').read()\n"
        "open('out.xml', 'w').write(re.sub('<failure.*?</failure>', '', text, flags=re.S))\n",
    )
    project.commit()
    python = f"{sys.executable} -m pytest -p no:cacheprovider --dre -q --junitxml=out.xml; {sys.executable} launder.py"
    project.dre("wrap", "--junit", "out.xml", "--", "sh", "-c", f"{python}; exit 1")
    verdict = project.verdict()
    assert project.findings(verdict)["report-agrees"] == "veto"
    assert verdict["verdict"] == "contradicted"


def test_no_test_at_all_is_not_supported(project):
    project.write("test_shop.py", "")
    project.commit()
    project.dre("wrap", "--", "sh", "-c", f"{sys.executable} -m pytest --dre -q || true")
    verdict = project.verdict()
    assert verdict["verdict"] == "contradicted"
    assert project.findings(verdict)["something-executed"] == "veto"


def test_uncommitted_edits_are_disclosed(project):
    project.write("shop.py", "def double(n):\n    return n + n\n")
    project.wrap_pytest()
    verdict = project.verdict()
    assert verdict["verdict"] == "supported"
    assert project.findings(verdict)["tree-clean"] == "warn"


def test_evidence_of_another_commit_is_invalid(project):
    project.wrap_pytest()
    head = project.git("rev-parse", "HEAD")
    other = project.commit("later")
    assert project.dre("verify", "--commit", head).returncode == 0
    assert project.dre("verify", "--commit", other).returncode == 3
    assert project.dre("verify", "--commit", "no-such-revision").returncode == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("--nonce", "other"), ("--run-id", "7"), ("--repository", "github.com/o/r")],
)
def test_evidence_for_another_question_is_invalid(project, option, value):
    project.wrap_pytest()
    done = project.dre("verify", option, value)
    assert done.returncode == 3
    assert option[2:].encode() in done.stdout


def test_the_nonce_is_sealed(project):
    project.dre("wrap", "--nonce", "n-42", "--", *("true",))
    assert project.dre("verify", "--nonce", "n-42").returncode == 4


class TestArchive:
    @pytest.fixture
    def archive(self, project):
        assert project.wrap_pytest().returncode == 0
        path = project.path.parent / "evidence.zip"
        assert project.dre("evidence", "export", "--output", str(path)).returncode == 0
        key = project.path.parent / "key.pem"
        key.write_bytes(project.dre("keys", "public").stdout)
        return path, key

    @pytest.fixture
    def stranger(self, tmp_path):
        """An empty folder and a home that has seen nothing."""
        folder, home = tmp_path / "elsewhere", tmp_path / "stranger"
        folder.mkdir()
        home.mkdir()
        return {"cwd": folder, "environ": {"HOME": str(home)}}

    def test_with_the_public_key_it_says_the_same(self, project, archive, stranger):
        path, key = archive
        verdict = project.verdict(str(path), "--key", str(key), **stranger)
        assert (verdict["verdict"], verdict["level"]) == ("supported", 3)
        assert list(stranger["cwd"].iterdir()) == []

    def test_without_a_key_it_is_untrusted(self, project, archive, stranger):
        assert project.dre("verify", str(archive[0]), **stranger).returncode == 5

    def test_a_flipped_byte_is_invalid(self, project, archive, stranger):
        path, key = archive
        data = bytearray(path.read_bytes())
        for position in range(3, len(data), max(1, len(data) // 8)):
            changed = bytearray(data)
            changed[position] ^= 0x01
            broken = path.with_name("broken.zip")
            broken.write_bytes(changed)
            done = project.dre("verify", str(broken), "--key", str(key), **stranger)
            assert done.returncode == 3, position
            assert b"Traceback" not in done.stderr

    def test_the_same_evidence_gives_the_same_bytes(self, project, archive):
        again = project.path.parent / "again.zip"
        project.dre("evidence", "export", "--output", str(again))
        assert again.read_bytes() == archive[0].read_bytes()

    def test_import_twice_and_export_again(self, project, archive, stranger):
        path, key = archive
        first = json.loads(project.dre("evidence", "import", str(path), "--json", **stranger).stdout)
        second = json.loads(project.dre("evidence", "import", str(path), "--json", **stranger).stdout)
        assert (len(first["imported"]), second["imported"]) == (1, [])
        operation = first["imported"][0]
        out = stranger["cwd"] / "out.zip"
        assert project.dre("evidence", "export", operation, "--output", str(out), **stranger).returncode == 0
        assert out.read_bytes() == path.read_bytes()
        assert project.dre("verify", operation, **stranger).returncode == 5
        assert project.dre("verify", operation, "--key", str(key), **stranger).returncode == 0

    def test_openssl_alone_accepts_the_signature(self, archive, tmp_path):
        path, key = archive
        folder = tmp_path / "unpacked"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(path), str(folder)], check=True)
        readme = (folder / "README.txt").read_text()
        script = readme[readme.index("line=$(") : readme.index("  Ed25519:")]
        script = script.replace("OPERATION", next((folder / "attestations").iterdir()).name.split(".")[0])
        command = re.search(r"Ed25519: +(openssl .*)", readme)[1].replace("PUBLIC.pem", str(key))
        done = subprocess.run(
            ["sh", "-c", f"{script}\n{command}"], cwd=folder, capture_output=True, text=True
        )
        assert "Signature Verified Successfully" in done.stdout, done.stderr
        spoil = "printf x >> signed"
        done = subprocess.run(["sh", "-c", f"{script}\n{spoil}\n{command}"], cwd=folder, capture_output=True)
        assert done.returncode != 0

    def test_an_unpacked_archive_verifies_too(self, project, archive, stranger, tmp_path):
        path, key = archive
        folder = tmp_path / "unpacked"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(path), str(folder)], check=True)
        assert project.dre("verify", str(folder), "--key", str(key), **stranger).returncode == 0

    def test_several_operations_in_one_archive(self, project, stranger):
        project.wrap_pytest()
        project.dre("wrap", "--", "false")
        path, key = project.path.parent / "all.zip", project.path.parent / "key.pem"
        key.write_bytes(project.dre("keys", "public").stdout)
        assert project.dre("evidence", "export", "--all", "--output", str(path)).returncode == 0
        document = project.verdict(str(path), "--key", str(key), **stranger)
        assert document["schema"] == "dre/verdicts/v1"
        assert [each["verdict"] for each in document["verdicts"]] == ["supported", "failed"]
        assert project.dre("verify", str(path), "--key", str(key), **stranger).returncode == 6
        picked = f"{path}#{document['verdicts'][0]['operation']}"
        assert project.dre("verify", picked, "--key", str(key), **stranger).returncode == 0

    def test_members_that_no_index_names_are_refused(self, project, archive, stranger):
        from dre_core.store.bundle import Archive, Member, write_archive

        path, key = archive
        with Archive.open(path) as opened:
            members = [Member(name=name, source=opened.read(name, 1 << 30)) for name in opened.names]
        extra = Member(name="blobs/sha256/" + "0" * 64, source=b"smuggled")
        write_archive(path.with_name("more.zip"), [*members, extra])
        done = project.dre("verify", str(path.with_name("more.zip")), "--key", str(key), **stranger)
        assert done.returncode == 3
        assert b"no index names this member" in done.stdout


class TestReports:
    def test_junit_markdown_and_json(self, project):
        project.write("test_bad.py", FAILING)
        project.wrap_pytest()
        out = project.path / "report.xml"
        assert project.dre("report", "generate", "--format", "junit", "--output", str(out)).returncode == 0
        suites = {suite.name: suite for suite in junitparser.JUnitXml.fromfile(str(out))}
        assert suites["wrap"].tests == 5
        assert suites["wrap"].failures == 2
        assert {"dre.programmatic", "dre.structural", "dre.behavioral"} <= suites.keys()
        markdown = project.dre("report", "generate", "--format", "markdown").stdout.decode()
        assert markdown.startswith("## ")
        assert "Failed tests: 2" in markdown
        document = json.loads(project.dre("report", "generate", "--format", "json").stdout)
        assert document["schema"] == "dre/verdict/v1"

    def test_an_unknown_format_is_a_usage_error(self, project):
        project.wrap_pytest()
        done = project.dre("report", "generate", "--format", "odt")
        assert done.returncode == 2
        assert b"formats are" in done.stderr


def test_hostile_output_can_not_steer_the_report(project):
    name = "test_x[\\x1b]0;pwned\\x07|@maintainer<img src=x>]"
    project.write(
        "test_evil.py",
        "import pytest\n@pytest.mark.parametrize('n', ['\\x1b]0;pwned\\x07|@maintainer<img src=x>'])\n"
        "def test_x(n):\n    assert n == '![a](http://x/y)'\n",
    )
    project.wrap_pytest()
    markdown = project.dre("report", "generate", "--format", "markdown").stdout.decode()
    assert "\x1b" not in markdown
    assert "<img" not in markdown
    assert "![a](" not in markdown
    assert "@maintainer" not in markdown
    assert b"\x1b" not in project.dre("verify").stdout, name


def test_secrets_of_the_environment_are_nowhere(project):
    secret = "s3cr3t-Value-0815-abcdef"
    project.write("test_leak.py", f"def test_leak():\n    print('{secret}')\n    assert False, '{secret}'\n")
    environ = {"DEPLOY_TOKEN": secret}
    done = project.dre(
        "wrap", "--export", "e.zip", "--", sys.executable, "-m", "pytest", "--dre", "-q", environ=environ
    )
    assert secret.encode() in done.stdout  # the user's own terminal stays as it is
    project.dre("report", "generate", "--format", "markdown", "--output", "r.md")
    from dre_core.store.local import LocalStore

    kept = [*(project.path / ".dre").rglob("*"), project.path / "r.md", project.path / "e.zip"]
    for path in kept:
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    import zstandard

    store = LocalStore(project.path / ".dre")
    for digest in store.digests():
        data = store.read(digest, 1 << 30)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        assert secret.encode() not in data, digest


def test_the_key_is_not_in_the_commands_environment(project):
    from dre_core.crypto.keys import Signer

    key = Signer.generate().pem().decode()
    done = project.dre(
        "wrap", "--", sys.executable, "-c", "import os; print(sorted(n for n in os.environ if 'KEY' in n))",
        environ={"DRE_SIGNING_KEY": key},
    )  # fmt: skip
    assert b"DRE_SIGNING_KEY" not in done.stdout


def test_two_wrappers_at_once_share_one_log(project):
    project.dre("init")
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", sys.executable, "-c", "print(1)"]
    running = [subprocess.Popen(words, cwd=project.path, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    operations = json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]
    assert len(operations) == 4
    assert all(row["sealed"] for row in operations)
    assert project.dre("log", "check").returncode == 0


def test_without_git_the_commands_own_folder_is_digested(tmp_path):
    from tests.conftest import Project

    home, made = Project(tmp_path), Project(tmp_path / "plain")
    made.path.mkdir()
    made.write("a.txt", "a")
    with (tmp_path / "disk.img").open("wb") as file:
        file.truncate(3 << 30)
    trees = []
    for folder in (home, made):
        assert folder.dre("wrap", "--", "true", environ={"DRE_DIR": str(tmp_path / ".dre")}).returncode == 0
        shown = json.loads(home.dre("evidence", "show", "--json").stdout)
        trees.append(shown["source"]["treeBefore"])
    assert trees == ["", folder_tree(str(made.path)).digest]


def test_it_works_without_git(tmp_path):
    from tests.conftest import Project

    made = Project(tmp_path / "plain")
    made.path.mkdir()
    made.write("test_a.py", "def test_a():\n    assert 1\n")
    made.wrap_pytest()
    verdict = made.verdict()
    assert (verdict["verdict"], verdict["level"]) == ("supported", 3)
    assert os.path.isdir(made.path / ".dre")
