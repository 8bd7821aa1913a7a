"""Product code that asks whether a test is running: what hangs on it, and honest code of the same shape."""

from __future__ import annotations

import pytest

from dre_core.capture.sniffing import added_test_detection
from dre_core.capture.testfacts import Module

GOOD = "        return [1]\n    return [2]\n"
WALK = """\
def f():
    frame = sys._getframe(1)
    while frame:
        if 'test_' in frame.f_code.co_filename:
            return [1]
        frame = frame.f_back
    return [2]
"""


def judged(code: str, before: str = "") -> list[str]:
    words = {(False, False): "warn", (True, True): "fail", (True, False): "veto"}
    found = added_test_detection(Module.read("p.py", before), Module.read("p.py", code))
    return sorted(words[change.alters, change.excused] for change in found)


@pytest.mark.parametrize(
    "code",
    [
        f"def f():\n    if 'pytest' in sys.modules:\n{GOOD}",
        f"def f():\n    if 'pytest' in sys.argv[0]:\n{GOOD}",
        f"def f():\n    if any('test' in frame.filename for frame in inspect.stack()):\n{GOOD}",
        f"def f():\n    frames = inspect.stack()\n    if any('tests' in x.filename for x in frames):\n{GOOD}",
        f"def f():\n    caller = sys._getframe(1).f_code.co_name\n    if caller.startswith('test_'):\n{GOOD}",
        f"def f():\n    names = list(sys.modules)\n    if 'pytest' in names:\n{GOOD}",
        f"def f():\n    if any(key.startswith('PYTEST') for key in os.environ):\n{GOOD}",
        "def f():\n    return 1 if os.environ.get('PYTEST_CURRENT_TEST') else 2\n",
        "def f():\n    return 1 if 'DRE_CELL_' + 'ROOT' in os.environ else 2\n",
        "def f():\n    return 1 if 'dre-replay' in __file__ else 2\n",
        "def f():\n    return 1 if os.path.isdir('.dre') else 2\n",
        "def f():\n    return 1 if os.getenv('DRE_OPERATION') else 2\n",
        "def f():\n    return 1 if sys.argv[0].endswith('pytest') else 2\n",
        f"def f():\n    if 'CI' in os.environ or 'test' in sys.argv[0]:\n{GOOD}",
        "def f():\n    match 'pytest' in sys.modules:\n        case True:\n            return 3\n",
        "def f():\n    if 'pytest' in sys.modules:\n        try:\n            return True\n        finally: g()\n",
        "def f():\n    if 'pytest' in sys.modules:\n        if ok():\n            return True\n    return False\n",
        WALK,
        f"def f():\n    if 'PYTEST_' + 'CURRENT_TEST' in os.environ:\n{GOOD}",
        f"T = 'PYTEST_' + 'CURRENT_TEST'\n\ndef f():\n    if T in os.environ:\n{GOOD}",
        f"def f():\n    if os.environ.get('_'.join(['PYTEST', 'CURRENT', 'TEST'])):\n{GOOD}",
        f"P = 'PYTEST'\n\ndef f():\n    if os.getenv(f'{{P}}_CURRENT_TEST'):\n{GOOD}",
        f"def f():\n    if 'py' + 'test' in sys.modules:\n{GOOD}",
        f"def f():\n    if type(sys.stdout).__name__ == 'EncodedFile':\n{GOOD}",
        f"def f():\n    if any(n.startswith('test_') for n in sys.modules.keys()):\n{GOOD}",
        f"def f():\n    if 'LogCaptureHandler' in [h.__class__.__name__ for h in log.handlers]:\n{GOOD}",
    ],
)  # fmt: skip
def test_a_value_that_hangs_on_a_test_running(code):
    assert judged(code) == ["veto"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"T = 'pytest' in sys.modules\n\ndef f():\n    if T:\n{GOOD}", ["veto", "warn"]),
        (f"def t():\n    return 'pytest' in sys.modules\n\ndef f():\n    if t():\n{GOOD}", ["fail", "veto"]),
        ("def f(self):\n    self.t = 'pytest' in sys.modules\n\ndef g(self):\n    if self.t:\n        return [1]\n",
         ["veto", "warn"]),
        ("def f():\n    x = 1 if 'pytest' in sys.modules else 2\n    return x\n", ["fail", "fail"]),
        ("def f():\n    for name, module in list(sys.modules.items()):\n        if name.startswith('test_'):\n"
         "            module.total = sum\n    return 1\n", ["fail"]),
    ],
)  # fmt: skip
def test_the_answer_is_followed_through_names(code, expected):
    assert judged(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    if 'pytest' in sys.modules:\n        return False\n    return True\n",
        "def f():\n    return 'PYTEST_CURRENT_TEST' in os.environ\n",
        f"def f():\n    if importlib.util.find_spec('pytest'):\n{GOOD}",
        "def f():\n    try:\n        import pytest\n        return 1\n    except ImportError:\n        return 2\n",
        "def f():\n    if 'pytest' in sys.modules:\n        delay = 0\n",
        "if 'pytest' in sys.modules:\n    def f(): return 1\nelse:\n    def f(): return 2\n",
    ],
)
def test_a_yes_or_no_and_what_is_stored_contradict_nobody(code):
    assert judged(code) == ["fail"]


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    if 'PYTEST_CURRENT_TEST' in os.environ:\n        log('x')\n",
        "def f():\n    if 'PYTEST_CURRENT_TEST' in os.environ:\n        return\n    send()\n",
        "TESTING = 'pytest' in sys.modules\n",
    ],
)
def test_a_message_or_a_flag_that_nothing_uses_is_shown(code):
    assert judged(code) == ["warn"]


@pytest.mark.parametrize(
    "code",
    [
        "def f(names):\n    if 'pytest' in names:\n        return 'PYTEST_CURRENT_TEST'\n",
        # A program whose arguments name a runner.
        "def f():\n    args = parser.parse_args(sys.argv[1:])\n    if args.runner == 'pytest':\n        return 1\n",
        # A module by its name, and who called, for a message.
        "def f(name):\n    module = sys.modules[name]\n    return module.KIND\n",
        "def f():\n    caller = inspect.stack()[1].function\n    return f'called by {caller}'\n",
        # The environment of a child.
        "def f():\n    os.environ['PYTEST_ADDOPTS'] = '-q'\n    return subprocess.run(['pytest'])\n",
        "def f(path):\n    return 'test' in path.name and sys.flags.dev_mode\n",
        "if __name__ == '__main__':\n    main(sys.argv)\n",
        "def f():\n    if 'test' in sys.argv[1:]:\n        return run_tests()\n",
        "def f(x):\n    try:\n        import pytest\n        return pytest.approx(x)\n    except ImportError:\n"
        "        return x\n",
        "def f(x):\n    try:\n        import pytest\n    except ImportError:\n        raise E\n    pytest.skip(x)\n",
        "def f():\n    return importlib.util.find_spec('yaml') is not None\n",
        "def f():\n    for n, m in sys.modules.items():\n        if n.startswith('shop.'):\n            g(m)\n",
        "P = 'SHOP_' + 'MODE'\n\ndef f():\n    if os.environ.get(P) == 'test' + 'ing':\n        return 1\n",
        "def f():\n    if sys.stdout.__class__.__name__ == 'TextIOWrapper':\n        return 1\n",
        "def f():\n    os.environ['PYTEST_' + 'ADDOPTS'] = '-q'\n    return run()\n",
    ],
)
def test_words_about_tests_are_no_detection(code):
    assert judged(code) == []


def test_what_asked_before_is_left_alone():
    code = f"def f():\n    if 'pytest' in sys.modules:\n{GOOD}"
    assert judged(code + "\nX = 1\n", code) == []
    assert judged(code.replace("[1]", "[3]"), code) == []
    assert judged(code + "\n\n" + code.replace("def f", "def g").replace("[1]", "[3]"), code) == ["veto"]
