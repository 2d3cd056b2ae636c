"""Hostile bytes: random ones, damaged valid files, and claims far larger than the file that makes them."""

import contextlib
import json
import math
import resource
import struct
import time
from collections.abc import Callable, Iterator
from random import Random

from hypothesis import settings
from hypothesis import strategies as st

from auxin.errors import AuxinError

SECONDS, MEBIBYTES = 2.0, 256  # of one core, and of memory, that reading one of these files may take

EXAMPLES = (
    2 * settings().max_examples
)  # of a profile: a few thousand in all, a hundred thousand for `make fuzz`

BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "C64": 8,
}  # fmt: skip
"""Of the types of a safetensors file."""

TOKENS = [
    b"", b"\0", b"\xff\xfe", b"\n", b"\t", b" ", b"=", b'"', b"'", b"{", b"}", b"[", b"]", b"(", b")", b",",
    b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 30, b"9" * 5000, b"10000000000000000000",
    b"[" * 3000, b"(a " * 3000, b"../../../../etc/passwd", b"/etc/passwd", "²".encode(), "\u2028".encode(),
    b"\\ud800", b"a" * 5000, b"<eos>",
]  # fmt: skip


def damaged(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files with up to four places overwritten, cut out, doubled or pieced together from another."""
    return st.tuples(st.integers(1, 4), st.integers(0, 2**64 - 1)).map(lambda drawn: _damage(valid, *drawn))


def _damage(valid: list[bytes], places: int, seed: int) -> bytes:
    """By a generator of its own: drawing each choice from hypothesis takes longer than reading the file."""
    random = Random(seed)
    content = random.choice(valid)
    for _ in range(places):
        a, b = sorted(random.randint(0, len(content)) for _ in range(2))
        b = min(b, a + random.choice([0, 1, 4, 40, len(content)]))
        other = random.choice(valid)
        pieces = [random.choice(TOKENS), random.randbytes(random.randint(0, 8)), content[a:b] * 2, other[a:b]]
        new = random.choice([*pieces, *pieces[:2], other[:a], b""])
        content = content[:a] + new + content[b:]
    return content


def hostile(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Damaged copies of valid files and, more rarely, arbitrary bytes and text."""
    noise = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
    return damaged(list(valid)) | damaged(list(valid)) | damaged(list(valid)) | noise


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail where what is inside takes longer or more memory than reading a small file may."""
    before, since = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - since < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * MEBIBYTES


def refused_or_read(read: Callable[[], object]) -> bool:
    """Whether the reader refused; the refusal must be an ``AuxinError`` of one short line, within the bounds."""
    with bounded():
        try:
            read()
        except AuxinError as error:
            message = str(error)
            assert len(message.splitlines()) == 1
            assert len(message) < 1000
            return True
    return False


def safetensors(tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None = None) -> bytes:
    """A file whose header is sound in itself: of each tensor a type and a shape; its bytes are zeros."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + BYTES[kind] * math.prod(shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def shapes(content: bytes) -> dict[str, tuple[str, list[int]]]:
    """Of each tensor of a safetensors file its type and shape."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    return {
        name: (entry["dtype"], entry["shape"]) for name, entry in header.items() if name != "__metadata__"
    }
