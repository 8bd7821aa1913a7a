"""What sealing a file costs, beside what people do today: digest it, pack it, or run in-toto.

``python tests/bench/bench_seal.py [RUNS] [SIZE…]`` with sizes in KiB (default: 1, 10240 and 1048576). Each contender is
a process of its own; printed are the median of its wall time, that time against ``sha256sum`` of the same run, and the
largest resident size. The file is base64 of random bytes: a text that compresses to three quarters. Needs zip, zstd
and in-toto-run on PATH; who is missing is left out.
"""

from __future__ import annotations

import base64
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DRE = f"{sys.executable} -m dre_ci.cli"
TAKE = """
import sys
from pathlib import Path
from dre_core.capture.collector import Captured
from dre_core.encryption import Secrecy
from dre_core.crypto.payload_key import PayloadKey
from dre_core.intake import Intake
from dre_core.model.verdict import Vantage
from dre_core.pipeline.mask import Masker
from dre_core.store.local import LocalStore
mode, path, folder = sys.argv[1:]
secrecy = Secrecy(key=PayloadKey.new("op_x"), encryption=None) if mode == "encrypted" else None
intake = Intake(LocalStore(Path(folder)), Masker(), compress=mode != "stored", secrecy=secrecy)
what = dict(name="a", kind="a", vantage=Vantage.OBSERVED, media_type="application/octet-stream")
captured = Captured(**what, path=Path(path))
intake.take(captured, masked=True)
intake.commit()
"""


def measured(command: str, folder: Path, environ: dict[str, str]) -> tuple[float, int]:
    """Wall seconds and largest resident KiB of a shell command and its children."""
    program = (
        "import resource,subprocess,sys,time;t=time.monotonic();"
        "c=subprocess.run(['bash','-c',sys.argv[1]],stdout=subprocess.DEVNULL,stderr=subprocess.PIPE);"
        "e=time.monotonic()-t;print(e,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,c.returncode);"
        "sys.stderr.buffer.write(c.stderr[-500:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, resident, code = done.stdout.split()
    if code not in ("0", "4", "5"):
        raise SystemExit(f"{command}: exit code {code}: {done.stderr}")
    return float(seconds), int(resident)


def contenders(file: Path, folder: Path) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Name to what comes before each run (not measured), the command, and the tools it needs."""
    take = folder / "take.py"
    take.write_text(TAKE)
    clean = f"rm -rf {folder}/store {folder}/out.*"
    found = {
        "sha256sum": ("", f"sha256sum {file}", ("sha256sum",)),
        "zip": (clean, f"zip -q {folder}/out.zip {file}", ("zip",)),
        "tar | zstd": (
            clean,
            f"tar c -C / {str(file)[1:]} | zstd -q -3 -o {folder}/out.zst",
            ("tar", "zstd"),
        ),
        "in-toto-run (digest)": (
            "",
            f"in-toto-run -n s --signing-key {folder}/key.pem -m {file} -- true",
            ("in-toto-run",),
        ),
        "dre wrap --artifact (digest)": ("", f"{DRE} wrap --artifact {file.name} -- true", ()),
    }
    for mode in ("stored", "zstd", "encrypted"):
        found[f"payload, {mode}"] = (clean, f"{sys.executable} {take} {mode} {file} {folder}/store", ())
    return found


def row(name: str, seconds: float, against: float, resident: int) -> str:
    return f"| {name:<28} | {seconds * 1000:>9.1f} ms | {seconds / against:>6.2f} | {resident / 1024:>6.0f} MiB |"


def main() -> None:
    """Prints a table for each size."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sizes = [int(text) for text in sys.argv[2:]] or [1, 10 << 10, 1 << 20]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environ |= {"HOME": name, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(pem)
        # Known to git and left out by it, as large files are; in-toto-run does not look at the rest of the tree either.
        (folder / ".gitignore").write_text("*\n")
        subprocess.run(["git", "init", "-q", name], check=True, capture_output=True)
        for size in sizes:
            file = folder / "file.txt"
            with file.open("wb") as stream:
                for _ in range(max(1, size // 1024)):
                    stream.write(base64.b64encode(os.urandom(3 << 18))[: min(size, 1024) << 10])
            print(
                f"\n{size} KiB, median of {runs}\n\n| what | time | x sha256sum | peak |\n| --- | --- | --- | --- |"
            )
            print("\n".join(measure(file, folder, environ, runs)))
            archive_rows(file, folder, environ, runs)


def measure(file: Path, folder: Path, environ: dict[str, str], runs: int) -> list[str]:
    every = contenders(file, folder)
    present = {name: it for name, it in every.items() if all(map(shutil.which, it[2]))}
    taken: dict[str, list[tuple[float, int]]] = {name: [] for name in present}
    for _ in range(runs):
        for name, (before, command, _) in present.items():
            subprocess.run(["bash", "-c", before], check=True)
            taken[name].append(measured(command, folder, environ))
    medians = {name: statistics.median(t for t, _ in found) for name, found in taken.items()}
    peak = {name: max(size for _, size in found) for name, found in taken.items()}
    return [row(name, medians[name], medians["sha256sum"], peak[name]) for name in present]


def archive_rows(file: Path, folder: Path, environ: dict[str, str], runs: int) -> None:
    """Exporting and verifying an archive that holds the file's bytes as the output of a command."""
    measured(f"rm -rf .dre; {DRE} wrap -- cat {file}", folder, environ)
    archive = folder / "e.zip"
    for name, command in (
        ("dre evidence export", f"{DRE} evidence export --output {archive}"),
        ("dre verify ARCHIVE", f"{DRE} verify {archive}"),
        ("sha256sum ARCHIVE", f"sha256sum {archive}"),
    ):
        found = [measured(command, folder, environ) for _ in range(runs)]
        against = statistics.median(measured(f"sha256sum {file}", folder, environ)[0] for _ in range(runs))
        seconds = statistics.median(t for t, _ in found)
        print(row(name, seconds, against, max(size for _, size in found)), flush=True)


if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"\n{time.monotonic() - begun:.0f} s; load {os.getloadavg()[0]:.1f}")
