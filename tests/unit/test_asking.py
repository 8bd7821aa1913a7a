"""Product code that knows a test by where, when and by whom it runs, and honest code of the same words."""

from __future__ import annotations

import ast

import pytest

from dre_core.capture.asking import folded
from dre_core.capture.sniffing import added_test_detection
from dre_core.capture.testfacts import Module
from dre_core.model.changes import ChangeKind

GOOD = "        return [1]\n    return [2]\n"


def judged(code: str, before: str = "") -> list[str]:
    found = added_test_detection(Module.read("p.py", before), Module.read("p.py", code))
    return [
        "fail"
        if change.kind is ChangeKind.CIRCUMSTANCE
        else {(False, False): "warn", (True, True): "fail", (True, False): "veto"}[
            change.alters, change.excused
        ]
        for change in found
    ]


@pytest.mark.parametrize(
    "code",
    [
        f"def f():\n    if tempfile.gettempdir() in __file__:\n{GOOD}",
        f"def f():\n    if __file__.startswith('/tmp/'):\n{GOOD}",
        f"HERE = os.path.dirname(__file__)\n\ndef f():\n    if HERE.startswith(tempfile.gettempdir()):\n{GOOD}",
        "def f():\n    return 1 if Path(__file__).is_relative_to(tempfile.gettempdir()) else 2\n",
        "def f():\n    return 1 if __file__.split('/')[1] == 'tmp' else 2\n",
        f"def f(n):\n    if str(n) in open('tests/test_shop.py').read():\n{GOOD}",
        f"def f(n):\n    text = Path('test_shop.py').read_text()\n    if repr(n) in text:\n{GOOD}",
        f"def f(n):\n    with open('test_' + 'shop.py') as s:\n        t = s.read()\n    if repr(n) in t:\n{GOOD}",
        f"def f(n):\n    if n in sys._getframe(1).f_code.co_consts:\n{GOOD}",
        f"def f(n):\n    frame = inspect.currentframe().f_back\n    if n in frame.f_code.co_consts:\n{GOOD}",
        f"def f():\n    if 'AssertionError' in sys._getframe(1).f_code.co_names:\n{GOOD}",
        f"def f():\n    if any('Rewrit' in type(m).__name__ for m in sys.meta_path):\n{GOOD}",
        f"def f():\n    if any('pluggy' in x.filename for x in traceback.extract_stack()):\n{GOOD}",
        f"def f():\n    if '_pytest.assertion' in sys.modules:\n{GOOD}",
        f"def f():\n    if sys._getframe(1).f_code.co_name[:4] == ''.join(map(chr, (116, 101, 115, 116))):\n{GOOD}",
        f"def f():\n    if 'tsetyp'[::-1] in sys.modules:\n{GOOD}",
        f"def f():\n    if base64.b64decode('cHl0ZXN0').decode() in sys.modules:\n{GOOD}",
        f"def f():\n    if bytes.fromhex('707974657374').decode() in sys.modules:\n{GOOD}",
        f"def f():\n    if bytes((112, 121, 116, 101, 115, 116)).decode() in sys.modules:\n{GOOD}",
        f"def f():\n    if 'PYTEST'.lower() in sys.modules:\n{GOOD}",
        f"def f():\n    if 'python'.replace('hon', 'est') in sys.modules:\n{GOOD}",
    ],
)  # fmt: skip
def test_code_that_knows_a_test_by_what_only_a_test_has(code):
    assert "veto" in judged(code)


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    return 1 if datetime.date.today() < datetime.date(2027, 6, 1) else 2\n",
        f"def f():\n    if time.time() > 1812345678:\n{GOOD}",
        f"END = datetime.fromisoformat('2027-06-01')\n\ndef f():\n    now = datetime.now()\n    if now > END:\n{GOOD}",
        f"def f():\n    if date.today().year >= 2027:\n{GOOD}",
        f"def late():\n    return date.today() > date(2027, 6, 1)\n\ndef f():\n    if late():\n{GOOD}",
        f"def f():\n    if time.time() - os.path.getmtime(__file__) < 86400:\n{GOOD}",
        f"def f():\n    if os.stat(__file__).st_ino > 7:\n{GOOD}",
        f"def f():\n    if os.path.exists('test_shop.py'):\n{GOOD}",
        f"def f():\n    if os.path.isdir(os.path.join(os.path.dirname(__file__), 'tests')):\n{GOOD}",
        f"def f():\n    if 'assert' in inspect.getsource(sys._getframe(1)):\n{GOOD}",
        f"def f():\n    if b'make' in open(f'/proc/{{os.getppid()}}/cmdline', 'rb').read():\n{GOOD}",
        "exec(base64.b64decode('cGFzcw=='))\n",
        "def f(n):\n    return eval(zlib.decompress(bytes.fromhex('00')).decode())(n)\n",
        f"def f():\n    if os.readlink('/proc/self/fd/0') == '/dev/null':\n{GOOD}",
    ],
)  # fmt: skip
def test_code_that_others_may_write_for_a_reason_blocks_and_does_not_contradict(code):
    assert judged(code) == ["fail"]


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    return os.path.join(tempfile.gettempdir(), 'shop')\n",
        f"def f(path):\n    if str(path).startswith(tempfile.gettempdir()):\n{GOOD}",
        f"def f():\n    if os.getcwd() == os.path.dirname(__file__):\n{GOOD}",
        f"def f():\n    if __file__.endswith('.pyc'):\n{GOOD}",
        f"def f():\n    if os.path.exists(os.path.join(os.path.dirname(__file__), 'data.json')):\n{GOOD}",
        f"def f():\n    if os.path.isdir('tests'):\n{GOOD}",
        f"def f(root):\n    if (root / 'tests').is_dir():\n{GOOD}",
        f"def f(name):\n    if name.startswith('test_') or name == 'conftest.py':\n{GOOD}",
        "def f(root):\n    return [p for p in root.rglob('*.py') if not p.name.startswith('test_')]\n",
        "def f(path):\n    return open(path).read()\n",
        f"def f():\n    caller = sys._getframe(1).f_globals.get('__name__')\n    if caller == '__main__':\n{GOOD}",
        f"def f(code):\n    if None in code.co_consts:\n{GOOD}",
        "def f(frame):\n    return inspect.getsource(frame)\n",
        "def f():\n    return logging.getLogger(sys._getframe(1).f_globals['__name__'])\n",
        f"def f(day):\n    if day < datetime.date(2027, 6, 1):\n{GOOD}",
        f"def f(born):\n    if (date.today() - born).days > 365:\n{GOOD}",
        f"def f(self):\n    if time.time() - self.began > 2000.5:\n{GOOD}",
        f"def f(self):\n    if time.monotonic() > self.deadline:\n{GOOD}",
        f"def f(path):\n    if time.time() - os.path.getmtime(path) < 86400:\n{GOOD}",
        "def f():\n    if date.today() > date(2027, 6, 1):\n        raise TooOld('x')\n    return 1\n",
        "def f():\n    if date.today() > date(2027, 6, 1):\n        print('this is old')\n    return 1\n",
        "def f():\n    return date.today().year - 2000\n",
        f"def f():\n    if 'docker' in open('/proc/self/cgroup').read():\n{GOOD}",
        f"def f():\n    if any('PathFinder' in repr(m) for m in sys.meta_path):\n{GOOD}",
        f"def f():\n    if any('Handler' in type(h).__name__ for h in log.handlers):\n{GOOD}",
        "exec(open('version.py').read())\n",
        "def f(source):\n    exec(compile(source, 'x', 'exec'))\n",
        "def f(data):\n    return pickle.loads(zlib.decompress(data))\n",
        "def f(text):\n    return re.compile(base64.b64decode(text))\n",
        f"def f(text):\n    if text[::-1] == text:\n{GOOD}",
        f"def f(text):\n    if base64.b64decode(text) == b'x':\n{GOOD}",
    ],
)  # fmt: skip
def test_honest_code_of_the_same_words(code):
    assert judged(code) == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("'py' + 'test'", "pytest"),
        ("f'py{NAME}'", "pytest"),
        ("''.join(['py', 'test'])", "pytest"),
        ("''.join(map(chr, [112, 121]))", "py"),
        ("chr(46) + 'dre'", ".dre"),
        ("'x' * 3", None),
        ("chr(-1)", None),
        ("bytes((300,))", "?"),
        ("bytes.fromhex('zz')", None),
        ("base64.b64decode('?')", ""),
        ("''.join(words)", None),
        ("f'{n}'", None),
        ("'a'.replace('a', 'b' + c)", None),
        ("'" + "a" * 2_000 + "'", None),
        ("'aa'.replace('a', '" + "b" * 800 + "')", None),
        ("'-'.join(['a'] * 2)", None),
        ("'" + "-" * 400 + "'.join(['a', 'b', 'c'])", None),
    ],
)
def test_texts_that_constants_give(source, text):
    assert folded(ast.parse(source, mode="eval").body, {"NAME": "test"}) == text
