"""The stage chain: order, flushing through later stages, settling."""

from __future__ import annotations

from dre_core.pipeline.mask import Masker
from dre_core.pipeline.patterns import Patterns
from dre_core.pipeline.stage import Chain, Stage


class Hold:
    """Holds the last `size` bytes and marks what passes."""

    def __init__(self, mark: bytes, size: int = 2) -> None:
        self.mark, self.size, self.held, self.seen = mark, size, b"", b""

    def feed(self, data: bytes, /) -> bytes:
        self.seen += data
        text = self.held + data
        self.held = text[-self.size :]
        return text[: -self.size]

    def settle(self) -> bytes:
        text, self.held = self.held, b""
        return text

    def flush(self) -> bytes:
        return self.settle() + self.mark


def test_an_empty_chain_is_the_identity() -> None:
    chain = Chain()
    assert chain.feed(b"abc") == b"abc"
    assert chain.settle() == b""
    assert chain.flush() == b""


def test_what_an_early_stage_holds_reaches_the_later_ones() -> None:
    first, second = Hold(b"1"), Hold(b"2")
    chain = Chain((first, second))
    out = chain.feed(b"abcdef") + chain.flush()
    assert out == b"abcdef12"
    assert second.seen == b"abcdef1"


def test_settle_empties_every_stage_in_order() -> None:
    first, second = Hold(b""), Hold(b"")
    chain = Chain((first, second))
    assert chain.feed(b"abcdef") == b"ab"
    assert chain.settle() == b"cdef"
    assert second.seen == b"abcdef"


def test_the_built_in_stages_and_chains_are_stages() -> None:
    assert isinstance(Masker().stage(), Stage)
    assert isinstance(Patterns(), Stage)
    assert isinstance(Chain(), Stage)


def test_patterns_after_masking_never_see_a_secret() -> None:
    patterns = Patterns()
    chain = Chain((Masker(["error-hunter2"]).stage(), patterns))
    assert chain.feed(b"1 error-hunter2 failed\n") + chain.flush() == b"1 *** failed\n"
    assert [match.text for match in patterns.matches] == ["1 *** failed"]
