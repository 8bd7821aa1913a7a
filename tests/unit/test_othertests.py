"""What two versions of a test file in another language say: skips and what is gone, and honest edits."""

from __future__ import annotations

import pytest

from dre_core.capture.othertests import compare_other_tests, is_other_test, read_tests

JS = "describe('shop', () => {\n  test('two', () => {});\n  it(\"four\", async () => {});\n});\n"
GO = (
    "func TestTwo(t *testing.T) {\n\tif 1 != 1 {\n\t\tt.Fatal()\n\t}\n}\n\nfunc TestFour(t *testing.T) {\n}\n"
)
RUST = "#[test]\nfn two() {\n}\n\n#[tokio::test]\nasync fn four() {\n}\n\nfn help() {}\n"
JAVA = (
    "class ShopTest {\n    @Test\n    void two() {\n    }\n\n    @Test\n    public void four() {\n    }\n}\n"
)


def compared(path, before, after):
    found = compare_other_tests([(path, before, after)])
    return [(c.kind.value.removeprefix("test-"), c.name, c.excused) for c in found]


@pytest.mark.parametrize(
    ("path", "before", "old", "new", "excused"),
    [
        ("shop.test.js", JS, "it(", "it.skip(", False),
        ("shop.spec.ts", JS, "it(", "xit(", False),
        ("test/shop.mjs", JS, "it(", "it.todo(", False),
        ("__tests__/shop.tsx", JS, "it(", "it.skipIf(true)(", False),
        ("shop.test.js", JS, "it(", "it.only(", False),
        ("shop.test.js", JS, "it(", "fit(", False),
        ("m_test.go", GO, "TestFour(t *testing.T) {\n", "TestFour(t *testing.T) {\n\tt.Skip(\"later\")\n", False),
        ("m_test.go", GO, "TestFour(t *testing.T) {\n",
         "TestFour(t *testing.T) {\n\tif testing.Short() {\n\t\tt.Skip()\n\t}\n", True),
        ("src/lib.rs", RUST, "async fn four", "#[ignore]\nasync fn four", False),
        ("src/lib.rs", RUST, "async fn four", '#[ignore = "needs docker"]\nasync fn four', True),
        ("ShopTest.java", JAVA, "    public void four", '    @Disabled("later")\n    public void four', False),
        ("src/test/kotlin/Shop.kt", JAVA, "    public void four", '    @Ignore("see #12")\n    public void four', True),
    ],
)  # fmt: skip
def test_a_test_that_is_newly_skipped(path, before, old, new, excused):
    assert is_other_test(path)
    after = before.replace(old, new, 1)
    assert compared(path, before, before) == []
    assert compared(path, before, after) == [
        ("skipped", "TestFour" if path.endswith("go") else "four", excused)
    ]
    assert compared(path, after, after) == [], "it was skipped before"
    assert compared(path, None, after) in ([], [("skipped", "four", False)]), "a new test takes nothing away"


@pytest.mark.parametrize(
    ("path", "text"), [("a.test.js", JS), ("a_test.go", GO), ("a.rs", RUST), ("ATest.java", JAVA)]
)
def test_a_test_that_is_gone_and_one_that_has_another_name(path, text):
    tests = read_tests(path, text)
    last = tests[-1].name
    assert [c[:2] for c in compared(path, text, text.replace(last, tests[0].name))] == [("removed", last)]
    assert compared(path, text, text.replace(last, last.replace("our", "ive"))) == []
    moved = compare_other_tests([(path, text, None), (f"moved/{path}", None, text)])
    assert moved == []


@pytest.mark.parametrize(
    "path", ["shop.js", "src/latest.ts", "main.go", "Shop.java", "contest.py", "test.py"]
)
def test_other_files_are_left_alone(path):
    assert not is_other_test(path)


def test_words_in_comments_and_calls_are_no_tests():
    text = "// it.skip('a', f)\n * it.skip('b', f)\nawait('c');\nobject.test('d');\nsplit('e');\n"
    assert read_tests("a.test.js", text) == []


@pytest.mark.parametrize("path", ["a.test.js", "a_test.go", "a.rs", "ATest.java"])
@pytest.mark.parametrize(
    "piece", ["it('" + "\\\\" * 9, "func TestA(t *testing.T) {\n", "#[test]\n\n  ", "@Test\n \n", "it.skip"]
)
def test_hostile_text_ends_in_time(path, piece):
    assert len(read_tests(path, piece * 5_000)) <= 5_000
