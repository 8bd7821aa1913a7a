"""Recall, false alarms and speed of masking on a labelled corpus made here.

Run by hand: ``python tests/bench/secrets/bench_secrets.py [LINES]``. The corpus is generated, from a fixed seed, by the
formats that issuers publish and by lines as tools print them; it is no sample of real leaks, so its figures say
how far the rules reach, not how common a miss is in the field. Each secret line has one secret with its label;
harmless lines hold what looks alike: digests, UUIDs, versions, paths, placeholders, identifiers.
"""

from __future__ import annotations

import base64
import json
import random
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

Draw = Callable[[random.Random], str]
ALNUM = string.ascii_letters + string.digits


def chars(alphabet: str, count: int) -> Draw:
    return lambda rng: "".join(rng.choices(alphabet, k=count))


def after(prefix: str, draw: Draw) -> Draw:
    return lambda rng: prefix + draw(rng)


def _jwt(rng: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": str(rng.randrange(10**9)), "iat": rng.randrange(10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{chars(ALNUM + '-_', 43)(rng)}"


SECRETS: dict[str, Draw] = {
    "github classic": after("ghp_", chars(ALNUM, 36)),
    "github server": after("ghs_", chars(ALNUM, 36)),
    "github fine-grained": after("github_pat_", chars(ALNUM, 82)),
    "gitlab": after("glpat-", chars(ALNUM + "-_", 20)),
    "slack bot": lambda rng: f"xoxb-{rng.randrange(10**11)}-{rng.randrange(10**12)}-{chars(ALNUM, 24)(rng)}",
    "aws id": after("AKIA", chars(string.ascii_uppercase + "234567", 16)),
    "google": after("AIza", chars(ALNUM + "-_", 35)),
    "stripe": after("sk_live_", chars(ALNUM, 24)),
    "npm": after("npm_", chars(ALNUM, 36)),
    "pypi": after("pypi-AgEIcHlwaS5vcmc", chars(ALNUM + "-_", 80)),
    "jwt": _jwt,
    "sendgrid": lambda rng: f"SG.{chars(ALNUM, 22)(rng)}.{chars(ALNUM, 43)(rng)}",
    "telegram": lambda rng: f"{rng.randrange(10**8, 10**9)}:AA{chars(ALNUM + '-_', 33)(rng)}",
    "digitalocean": after("dop_v1_", chars("0123456789abcdef", 64)),
    "assigned random": chars(ALNUM + "+/", 32),
    "assigned hexadecimal": chars("0123456789abcdef", 40),
    "assigned password": lambda rng: (
        f"{chars(string.ascii_letters, 6)(rng)}{rng.randrange(100)}!{chars(ALNUM, 4)(rng)}"
    ),
    "address": lambda rng: chars(ALNUM, 14)(rng),
}
LINES = {
    "address": ("cloning https://ci:{}@git.example.org/a/b.git", "redis://:{}@cache:6379/0"),
    "assigned random": (
        "AWS_SECRET_ACCESS_KEY={}",
        'api_key: "{}"',
        "client_secret = '{}'",
        '{{"token":"{}"}}',
    ),
    "assigned hexadecimal": ("export SERVICE_TOKEN={}", 'secret_key: "{}"', "Authorization: Bearer {}"),
    "assigned password": ("password={}", "DB_PASSWORD: {}", 'login(user="bob", password="{}")'),
}
PLAIN_LINES = (
    "found {} in configuration",
    "Authorization: Bearer {}",
    "TOKEN={} make deploy",
    "error: 401 for key {}",
)
HARMLESS: tuple[Draw, ...] = (
    lambda rng: f"commit {chars('0123456789abcdef', 40)(rng)}",
    lambda rng: f"sha256:{chars('0123456789abcdef', 64)(rng)}  dist/package-1.{rng.randrange(99)}.tar.gz",
    lambda rng: (
        f"tests/unit/test_token.py::test_password_reset[{rng.randrange(99)}] PASSED [ {rng.randrange(99)}%]"
    ),
    lambda rng: (
        f"request {chars('0123456789abcdef', 8)(rng)}-{chars('0123456789abcdef', 4)(rng)} took {rng.randrange(999)} ms"
    ),
    lambda rng: f"password: ******** (length {rng.randrange(20)})",
    lambda rng: f"token = get_token(user_{rng.randrange(99)})",
    lambda rng: (
        f"Downloading https://files.example.org/packages/{chars(ALNUM, 20)(rng)}/x-{rng.randrange(9)}.whl"
    ),
    lambda rng: f"secret: ${{{{ secrets.DEPLOY_{rng.randrange(99)} }}}}",
    lambda rng: f"integrity sha512-{chars(ALNUM + '+/', 86)(rng)}==",
    lambda rng: (
        f"2024-05-{rng.randrange(1, 28):02d}T12:00:00Z INFO token_count={rng.randrange(99999)} cached=true"
    ),
    lambda rng: f"warning: unused variable: `api_key_{rng.randrange(99)}`",
    lambda rng: f"passwd file is /etc/passwd{rng.randrange(9)}; tokens: {rng.randrange(10**6)}",
    lambda rng: f"build id {chars(ALNUM, 22)(rng)} done",
    lambda rng: (
        f'  File "/usr/lib/python3/site-packages/secrets_{rng.randrange(9)}.py", line {rng.randrange(900)}'
    ),
)


def corpus(count: int, seed: int = 7) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Secret lines as (label, line, secret), and harmless lines."""
    rng = random.Random(seed)
    labels = list(SECRETS)
    secret_lines = []
    for number in range(count):
        label = labels[number % len(labels)]
        value = SECRETS[label](rng)
        secret_lines.append((label, rng.choice(LINES.get(label, PLAIN_LINES)).format(value), value))
    return secret_lines, [rng.choice(HARMLESS)(rng) for _ in range(count)]


def main(count: int) -> None:
    from dre_core.pipeline.mask import Masker

    secret_lines, harmless = corpus(count)
    gone: dict[str, list[bool]] = {}
    for label, line, value in secret_lines:
        gone.setdefault(label, []).append(value not in Masker().text(line + "\n"))
    print("| kind | masked |\n| --- | --- |")
    for label, results in gone.items():
        print(f"| {label} | {sum(results) / len(results):.2f} |")
    everything = [result for results in gone.values() for result in results]
    altered = [line for line in harmless if Masker().text(line) != line]
    print(
        f"\nrecall {sum(everything) / len(everything):.3f} of {len(everything)} secret lines; "
        f"{len(altered) / len(harmless):.2%} of {len(harmless)} harmless lines altered"
    )
    text = "\n".join([line for _, line, _ in secret_lines[: count // 20]] + harmless * 4).encode()
    began = time.perf_counter()
    Masker().bytes(text)
    print(
        f"{len(text) / 1e6 / (time.perf_counter() - began):.0f} MB/s on {len(text) / 1e6:.1f} MB of such lines"
    )
    for line in sorted(set(altered))[:5]:
        print("altered:", line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3600)
