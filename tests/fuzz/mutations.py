"""Damage to files that knows their structure: `mutate(rng, name, data)`."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 256, 65536, 10**6, 10**9, 2**31 - 1, 2**31, 2**32, 2**53]
NUMBERS += [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e-300, 1e38, 1e308]
STRINGS = [
    "",
    " ",
    "\n",
    "\x00",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\r\nqkv: fine",
    "\u202e",
]
STRINGS += ["\u2066x", "\u200b", "\u2028", "../../x", "/etc/passwd", "[bold]x[/bold]", "%s{0}", "é"]
STRINGS += [
    "日本",
    "👩‍👩‍👧",
    "a" * 300,
    "z" * 100_000,
    "x" * 7 + "\n" * 50,
    "nan",
    "1e999",
    "\ufffe",
]
WORDS = ["linear", "gelu", "relu", "silu", "yarn", "dynamic", "llama3", "longrope", "mean", "first"]
WORDS += [
    "BPE",
    "Unigram",
    "WordPiece",
    "Sequence",
    "Precompiled",
    "Metaspace",
    "F16",
    "BF16",
    "BOOL",
]
# Put into JSON text as they are.
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000, "1" * 400 + ".5", '"\\ud800"']
RAW += [
    '"\\udc00\\ud800"',
    "[" * 3000 + "]" * 3000,
    '{"a":' * 3000 + "1" + "}" * 3000,
    "[" * 100_000,
]
_INT = struct.Struct("<Q")


def mutate(rng: random.Random, name: str, data: bytes) -> bytes:
    """Damage a file once to three times, mostly as its kind of file can be damaged."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        structured = _of_kind(name, data)
        change = structured if rng.random() < 0.85 else mutate_bytes
        try:
            data = change(rng, data)
        except Exception:  # an earlier change damaged it
            data = mutate_bytes(rng, data)
    return data


def _of_kind(name: str, data: bytes) -> Callable[[random.Random, bytes], bytes]:
    suffix = name.rpartition(".")[2]
    if suffix in ("json", "html"):
        return mutate_json if data.lstrip()[:1] in (b"{", b"[") else mutate_text
    if suffix == "safetensors":
        return mutate_safetensors
    if data[:4] == b"PK\x03\x04":
        return mutate_zip
    if suffix == "npy":
        return mutate_npy
    if suffix == "model":
        return mutate_protobuf
    if suffix in ("txt", "vec", "yml"):
        return mutate_text
    return mutate_fields


def odd_value(rng: random.Random, old: Any = None) -> Any:
    """A replacement for a value, of the same or of another type."""
    if isinstance(old, bool) and rng.random() < 0.3:
        return not old
    if isinstance(old, int | float) and rng.random() < 0.5:
        return rng.choice(
            [old + 1, old - 1, -old, old * 2, old // 2 if old else 5, old * 1000, old / 3]
        )
    if isinstance(old, str) and rng.random() < 0.4:
        return rng.choice([old + rng.choice(STRINGS), old[:-1], old.upper(), rng.choice(WORDS)])
    if isinstance(old, list) and old and rng.random() < 0.5:
        return rng.choice([old[:-1], old + old, [old], old[::-1], old[:1], old * 50])
    kinds: list[Callable[[], Any]] = [
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(STRINGS),
        lambda: rng.choice(WORDS),
        lambda: rng.choice([None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2], "x"]),
        lambda: f"@raw{rng.randrange(len(RAW))}@",
    ]
    return rng.choice(kinds)()


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    tree = json.loads(data)
    places = list(_places(tree))
    if not places:
        return rng.choice(RAW).encode()
    for _ in range(rng.choice((1, 1, 2))):
        parent, key = _chosen(rng, places)
        action = rng.random()
        try:
            if action < 0.7:
                parent[key] = odd_value(rng, parent[key])
            elif action < 0.8:
                del parent[key]
            elif action < 0.9:
                source, other_key = rng.choice(places)
                parent[key] = source[other_key]
            elif isinstance(parent, dict):
                parent[odd_key(rng, str(key))] = parent.pop(key)
            else:
                parent.insert(key, odd_value(rng))
        except (KeyError, IndexError):
            continue  # an earlier change removed it
    try:
        text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    except (ValueError, RecursionError):  # it would contain itself
        return mutate_bytes(rng, data)
    text = re.sub(r'"@raw(\d+)@"', lambda match: RAW[int(match[1])], text)
    if rng.random() < 0.03:
        text = text.replace("{", '{"a":1,"a":2,', 1)
    return text.encode("utf-8", "replace")


def odd_key(rng: random.Random, key: str) -> str:
    return rng.choice([key + "x", key[:-1], key.upper(), rng.choice(STRINGS), key + ".weight"])


def _chosen(rng: random.Random, places: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Any place in a tree, those near its root more often."""
    return rng.choice(places[:40] if rng.random() < 0.5 else places)


def _places(tree: Any) -> Any:
    """Each (container, key) of a tree, level by level."""
    level = [tree]
    while level:
        next_level = []
        for node in level:
            items = node.items() if isinstance(node, dict) else enumerate(node)
            for key, value in list(items):
                yield node, key
                if isinstance(value, dict | list):
                    next_level.append(value)
        level = next_level


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    (n_header,) = _INT.unpack_from(data)
    header, body = data[8 : 8 + n_header], data[8 + n_header :]
    action = rng.random()
    if action < 0.7:
        header = mutate_json(rng, header)
    elif action < 0.8:
        body = mutate_floats(rng, body)
    elif action < 0.85:
        body = rng.choice(
            [body + b"\0" * rng.choice((1, 4, 8, 4096)), body[: rng.randrange(len(body))]]
        )
    elif action < 0.9:
        return _INT.pack(rng.choice([0, 1, -1 % 2**64, 2, n_header + 1, 2**63])) + data[8:]
    elif action < 0.95:
        tree = json.loads(header)
        names = [name for name in tree if name != "__metadata__"]
        first, second = rng.choice(names), rng.choice(names)
        for key in rng.choice([("data_offsets",), ("shape", "data_offsets"), ("dtype",)]):
            tree[first][key], tree[second][key] = tree[second][key], tree[first][key]
        header = json.dumps(tree).encode()
    else:
        header = mutate_bytes(rng, header)
    return _INT.pack(len(header)) + header + body


def mutate_floats(rng: random.Random, data: bytes) -> bytes:
    """Numbers of an array become odd ones."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 5, 500))):
        if len(changed) < 8:
            break
        at = rng.randrange(len(changed) // 4 - 1) * 4
        value = rng.choice([float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 3e-45, 1e20])
        struct.pack_into("<f", changed, at, value)
    return bytes(changed)


def mutate_npy(rng: random.Random, data: bytes) -> bytes:
    if data[:6] != b"\x93NUMPY" or rng.random() < 0.2:
        return mutate_fields(rng, data)
    n_header = struct.unpack_from("<H", data, 8)[0]
    header, body = data[10 : 10 + n_header].decode("latin-1"), data[10 + n_header :]
    action = rng.random()
    if action < 0.4:
        odd = rng.choice(
            [str(rng.choice(NUMBERS)), "2,2,2,2", "", "()", "1" * 5000, "-3", "'x'", "1e3"]
        )
        header = re.sub(r"\([^)]*\)", f"({odd},)", header)
    elif action < 0.7:
        kinds = [
            "|O",
            "<U4",
            "|S3",
            "<c8",
            "<M8[s]",
            "|b1",
            "<i8",
            ">f4",
            "<f2",
            "<f16",
            "|V8",
            "<u1",
        ]
        kinds += ["<f8", "x", "<f4000000000", "<U1000000000"]
        header = re.sub(r"'descr': *'[^']*'", f"'descr': '{rng.choice(kinds)}'", header)
    elif action < 0.8:
        header = header.replace("False", rng.choice(["True", "None", "1", "__import__('os')"]))
    elif action < 0.9:
        body = (
            mutate_floats(rng, body) if rng.random() < 0.5 else body[: rng.randrange(len(body) + 1)]
        )
    else:
        header = rng.choice(
            ["(" * 500, "{" * 5000, "{}", "x", header + "x", header[:-9], "[1]" * 900]
        )
    coded = header.encode("latin-1")
    return data[:8] + struct.pack("<H", len(coded) & 0xFFFF) + coded + body


def mutate_zip(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.25:
        return mutate_fields(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        members = [(i.filename, packed.read(i)) for i in packed.infolist()]
    at = rng.randrange(len(members))
    name, inside = members[at]
    action = rng.random()
    if action < 0.55:
        members[at] = (name, mutate(rng, name, inside))
    elif action < 0.65:
        del members[at]
    elif action < 0.75:
        members[at] = (
            rng.choice(["../" + name, "/" + name, name + "x", "\x1b[31m", "", "a/b"]),
            inside,
        )
    elif action < 0.8:
        members.append((name, inside))
    elif action < 0.85:
        members[at] = (name, inside + bytes(10**5 if rng.random() < 0.98 else 3 * 10**7))
    else:
        members.append((rng.choice(["x.npy", "mask.npy", "scores.npy", "m/y.json"]), inside))
    buffer = io.BytesIO()
    kind = rng.choice(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
    )
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", kind) as packed:
        warnings.simplefilter("ignore")  # duplicate names are intended
        for name, inside in members:
            packed.writestr(zipfile.ZipInfo(name or "x"), inside, kind)
    changed = bytearray(buffer.getvalue())
    if rng.random() < 0.3:  # flags, compression, checksum and sizes, there and in the directory
        offsets = [match.start() for match in re.finditer(b"PK\x01\x02", changed)]
        listed = rng.choice(offsets)
        local = struct.unpack_from("<I", changed, listed + 42)[0]
        field, code = rng.choice([(6, "<H"), (8, "<H"), (14, "<I"), (18, "<I"), (22, "<I")])
        value = rng.choice([0, 1, 8, 9, 12, 14, 93, 97, 99, 2049, 65535])
        struct.pack_into(code, changed, listed + field + 2, value)
        if rng.random() < 0.7:
            struct.pack_into(code, changed, local + field, value)
    return bytes(changed)


def mutate_protobuf(rng: random.Random, data: bytes) -> bytes:
    """Fields of a protocol buffer message, one level deep or two."""
    fields = _fields(data)
    at = (
        rng.randrange(len(fields))
        if rng.random() < 0.6
        else len(fields) - 1 - rng.randrange(min(4, len(fields)))
    )
    number, kind, value = fields[at]
    action = rng.random()
    if kind == 2 and action < 0.6:
        try:
            value = mutate_protobuf(rng, value)
        except (ValueError, IndexError, struct.error):
            value = mutate_bytes(rng, value)
    elif action < 0.75:
        if kind == 0:
            value = rng.choice([0, 1, 5, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
        elif kind == 5:
            value = struct.pack("<f", rng.choice([float("nan"), float("inf"), -1e38, 0.0]))
        else:
            value = rng.choice(
                [value[:-1], value * 3, rng.choice(STRINGS).encode("utf-8", "replace"), b"\xff"]
            )
    elif action < 0.85:
        del fields[at]
        return _encoded(fields)
    elif action < 0.9:
        number = rng.choice([1, 2, 3, 4, 5, 10, 30, 45, 10**8])
    else:
        fields.insert(at, fields[rng.randrange(len(fields))])
    fields[at] = (number, kind, value)
    return _encoded(fields)


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    fields, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, value = tag & 7, None
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(kind)
        fields.append((tag >> 3, kind, value))
    if at > len(data) or not fields:
        raise ValueError("no message")
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def _encoded(fields: list[tuple[int, int, Any]]) -> bytes:
    out = bytearray()
    for number, kind, value in fields:
        out += _as_varint(number << 3 | kind)
        if kind == 0:
            out += _as_varint(value)
        else:
            out += _as_varint(len(value)) + value if kind == 2 else value
    return bytes(out)


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def mutate_text(rng: random.Random, data: bytes) -> bytes:
    """Lines and the values in them."""
    lines = data.split(b"\n")
    at = rng.randrange(min(len(lines), 10)) if rng.random() < 0.6 else rng.randrange(len(lines))
    action = rng.random()
    if action < 0.6:
        values = lines[at].split(b" ")
        odd = rng.choice(
            [str(rng.choice(NUMBERS)), rng.choice(STRINGS), "nan", "inf", "1e999", "9" * 5000]
        )
        values[rng.randrange(len(values))] = odd.encode("utf-8", "replace")
        lines[at] = b" ".join(values)
    elif action < 0.7:
        del lines[at]
    elif action < 0.8:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif action < 0.9:
        lines[at] = rng.choice(
            [b"", b" ", b"\xff\xfe", b"\0", b"x " * 300, b"\x1b[31m", lines[at] * 40]
        )
    else:
        return mutate_bytes(rng, data)
    return b"\n".join(lines)


def mutate_fields(rng: random.Random, data: bytes) -> bytes:
    """Whole numbers of a binary file: most are small, and in its first part."""
    changed = bytearray(data)
    if len(changed) < 16:
        return mutate_bytes(rng, data)
    for _ in range(20):
        end = min(len(changed), rng.choice((64, 400, 4000, len(changed)))) - 8
        at = rng.randrange(max(end, 1))
        code = rng.choice(("<I", "<Q", "<H", "<i"))
        if 0 < struct.unpack_from(code, changed, at)[0] < 10**6:
            break
    value = int(rng.choice(NUMBERS[:20])) % 256 ** struct.calcsize(code)
    if rng.random() < 0.3:
        value = (struct.unpack_from(code, changed, at)[0] + rng.choice((1, -1))) % 2**15
    struct.pack_into(code.upper(), changed, at, value)
    return bytes(changed)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    if not changed:
        return rng.choice([b"\0", b"{", b"\xff\xfe", b"x" * 1000])
    action, at = rng.random(), rng.randrange(len(changed))
    if action < 0.4:
        for _ in range(rng.choice((1, 1, 2, 30))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif action < 0.6:
        del changed[at:]
    elif action < 0.7:
        del changed[at : at + rng.choice((1, 4, 100))]
    elif action < 0.8:
        changed[at:at] = rng.choice(
            [b"\0" * 100, b"\xff" * 9, b"\x1b]0;x\x07", b"[" * 2000, changed[:50]]
        )
    elif action < 0.9:
        source = rng.randrange(len(changed))
        changed[at : at + 64] = changed[source : source + 64]
    else:
        return rng.choice(
            [b"", b"\0", b"{}", b"[]", b"\x1b[2J", bytes(changed) * 2, b"\xef\xbb\xbf" + data]
        )
    return bytes(changed)
