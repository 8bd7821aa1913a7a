"""What the log costs: durable appends, proofs and a whole check, at sizes that grow tenfold.

``python tests/bench/bench_log.py [SIZE…]`` (default: 1000, 10000 and 100000 events). Printed are single durable appends
a second, appends in groups of 100, the time of an inclusion proof, of its check and of a consistency proof (medians of
200), and of ``Log.check``, which recomputes every hash and reads every event: as the clock has it and, for busy
machines, as the processor has.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dre_core.crypto import merkle
from dre_core.crypto.keys import Signer
from dre_core.model import event as events
from dre_core.store.log import Log

LOG_ID = "6fc1c9b2-0000-4000-8000-000000000000"
GROUP = 100
PROOFS = 200


def made(count: int) -> list[events.Event]:
    data = {"item": "stdout", "size": "12345", "digest": f"sha256:{'0' * 64}"}
    return [
        events.new("evidence.stored", operation="op_01m814yb7pff3r3611rakj2y4f", source="bench", data=data)
        for _ in range(count)
    ]


def rate(log: Log, group: int, seconds: float) -> float:
    """Durable appends a second, of groups of so many events."""
    batch = made(group)
    begun = time.monotonic()
    count = 0
    while time.monotonic() - begun < seconds:
        log.append(batch)
        count += group
    return count / (time.monotonic() - begun)


def median_us(work: Callable[[int], object], places: list[int]) -> float:
    taken = []
    for place in places:
        begun = time.perf_counter()
        work(place)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def row(size: int, folder: str) -> str:
    """One row of the table."""
    with Log.create(Path(folder, "log.db"), log_id=LOG_ID) as log:
        while log.size < size:
            log.append(made(min(1_000, size - log.size)))
        signer = Signer.generate()
        log.checkpoint(signer)
        chance = random.Random(size)
        places = [chance.randrange(1, size) for _ in range(PROOFS)]
        root = log.root(size)
        prove = median_us(lambda place: log.inclusion(place, size), places)
        proofs = {place: (merkle.leaf_hash(log.leaf(place)), log.inclusion(place, size)) for place in places}

        def check_one(place: int) -> bool:
            leaf, proof = proofs[place]
            return merkle.verify_inclusion(leaf, place, size, root, proof)

        check = median_us(check_one, places)
        consistency = median_us(lambda place: log.consistency(place, size), places)
        begun, used = time.perf_counter(), time.process_time()
        assert log.check(signer.public) == []
        whole, busy = time.perf_counter() - begun, time.process_time() - used
        single, grouped = rate(log, 1, 2.0), rate(log, GROUP, 2.0)
    return (
        f"| {size} | {single:.0f} | {grouped:.0f} | {prove:.0f} µs | {check:.0f} µs | {consistency:.0f} µs "
        f"| {whole:.2f} s | {busy:.2f} s |"
    )


def main() -> None:
    """Prints one row a size."""
    print(
        "| events | single appends/s | in groups/s | inclusion proof | its check | consistency proof | whole check "
        "| of the processor |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in [int(text) for text in sys.argv[1:]] or [1_000, 10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            print(row(size, folder), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
