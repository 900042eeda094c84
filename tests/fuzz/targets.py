"""What is damaged: for each target, folders of valid files, and the commands that read them.

This checkout writes the files; the code that reads them may be that of another.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).parents[1]
CHECKPOINTS = TESTS / "golden" / "checkpoints"
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "the", "river", "bank", "was", "muddy", "after", "rain"]
WORDS += ["en_XX", "eng_Latn", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "the river bank was muddy",
    "the bank",
    "The rivers, muddied bank!",
    "",
    "the\x1b[31m \u202eriver",
]


@dataclass(frozen=True)
class Target:
    """Files to damage, and how they are read.

    Attributes:
        write_seeds: Writes folders of files into a folder.
        command: The arguments of `qkv` that read such a folder.
        damaged: Which of the files are damaged, by the end of their names; the first more often.
    """

    write_seeds: Callable[[Path], None]
    command: Callable[[random.Random, Path], list[str]]
    damaged: tuple[str, ...]


def _attend(rng: random.Random, folder: Path) -> list[str]:
    text, model = rng.choice(TEXTS), ["-m", str(folder)]
    if rng.random() < 0.6:
        return ["attend", text, *model, "--json"]
    return rng.choice(
        [
            ["attend", text, *model, "--json", "--layer", "all"],
            ["attend", text, *model, "--width", "60"],
            ["attend", text, *model, "--head", "L0H0"],
            ["explain", text, *model, "--head", "L0H0", "--json"],
            ["grid", text, *model],
            ["models", "check", str(folder)],
            ["models", "show", str(folder)],
        ]
    )


def _tokenizer(folder: Path, kind: str = "words") -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    if kind == "words":
        tokenizer = Tokenizer(
            models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    elif kind == "pieces":
        names = [*WORDS, *letters, *("##" + x for x in "aeimnrsuy"), "##ddied"]
        tokenizer = Tokenizer(
            models.WordPiece({w: i for i, w in enumerate(names)}, unk_token="<unk>")
        )
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
    elif kind == "pairs":
        names = [
            "<s>",
            "<pad>",
            "</s>",
            "<unk>",
            *letters,
            "Ġ",
            "th",
            "the",
            "Ġr",
            "an",
            "k",
            "Ġthe",
        ]
        names = list(dict.fromkeys(names))
        merges = [("t", "h"), ("th", "e"), ("Ġ", "r"), ("a", "n"), ("Ġ", "the")]
        tokenizer = Tokenizer(
            models.BPE({w: i for i, w in enumerate(names)}, merges, unk_token="<unk>")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        pieces = [(w, 0.0) for w in WORDS[:4]] + [(f"▁{w}", -1.0) for w in WORDS[4:]]
        tokenizer = Tokenizer(
            models.Unigram(pieces + [(x, -3.0) for x in ["▁", *letters]], unk_id=3)
        )
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(" ", " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _checkpoint(target: Path, case: str, kind: str | None = "words") -> Path:
    target.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        if (CHECKPOINTS / case / name).is_file():
            shutil.copy(CHECKPOINTS / case / name, target / name)
    if kind is not None:
        _tokenizer(target, kind)
    source = {"name": case, "about": "a test", "licence": "MIT", "source": "here"}
    (target / "source.json").write_text(json.dumps(source))
    if case.startswith("m2m_100"):
        (target / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    return target


def _every_family(folder: Path) -> None:
    for path in sorted(CHECKPOINTS.glob("*/expected.npz")):
        _checkpoint(folder / path.parent.name, path.parent.name)


def _some_families(folder: Path) -> None:
    for case in ("bert", "gpt2", "llama-plain", "t5", "bloom", "albert", "mixtral"):
        _checkpoint(folder / case, case)
    from safetensors.numpy import load_file, save_file

    shards = _checkpoint(folder / "shards", "bert")
    tensors = load_file(shards / "model.safetensors")
    (shards / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[i::2]) for i in range(2)]
    places = {}
    for i, half in enumerate(halves):
        save_file(half, shards / f"model-{i}.safetensors")
        places |= dict.fromkeys(half, f"model-{i}.safetensors")
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _tokenizers(folder: Path) -> None:
    cases = ("bert", "words"), ("bert", "pieces"), ("gpt2", "pairs"), ("roberta", "pairs")
    cases += (
        ("llama-plain", "unigram"),
        ("t5", "unigram"),
        ("gpt_neox", "pairs"),
        ("bert", "unigram"),
    )
    for case, kind in cases:
        model_folder = _checkpoint(folder / f"{case}-{kind}", case, kind)
        config = {"do_lower_case": True, "add_prefix_space": False, "model_max_length": 512}
        config |= {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}}
        (model_folder / "tokenizer_config.json").write_text(json.dumps(config))
        (model_folder / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<unk>"}))
        (model_folder / "added_tokens.json").write_text(json.dumps({"<s>": 0}))


def _vocabularies(folder: Path) -> None:
    for case, name in (("llama-next", "bpe"), ("llama-plain", "bytes"), ("gemma", "plain")):
        model_folder = _checkpoint(folder / f"{case}-{name}", case, None)
        shutil.copy(TESTS / "golden" / "pieces" / f"{name}.model", model_folder / "tokenizer.model")
    for case, name, file in (
        ("t5", "unigram", "spiece.model"),
        ("albert", "unigram", "spiece.model"),
    ):
        model_folder = _checkpoint(folder / f"{case}-{name}", case, None)
        shutil.copy(TESTS / "golden" / "pieces" / f"{name}.model", model_folder / file)
    model_folder = _checkpoint(folder / "bert-txt", "bert", None)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[4:11], "##s", "##ddied"]
    (model_folder / "vocab.txt").write_text("\n".join(names) + "\n")
    model_folder = _checkpoint(folder / "gpt2-pairs", "gpt2", "pairs")
    tokenizer = json.loads((model_folder / "tokenizer.json").read_text())
    (model_folder / "tokenizer.json").unlink()
    vocabulary = tokenizer["model"]["vocab"] | {"<|endoftext|>": 50}
    (model_folder / "vocab.json").write_text(json.dumps(vocabulary))
    (model_folder / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ r\na n\nĠ the\n")


def _gguf(folder: Path) -> None:
    sys.path.append(str(TESTS / "unit" / "formats"))
    from test_gguf import write

    for case in ("llama-plain", "qwen3", "gemma3-published", "llama-yarn"):
        (folder / case).mkdir(parents=True)
        write(folder / case / "model.gguf", case)


def _marian(folder: Path) -> None:
    sys.path.append(str(TESTS / "unit" / "formats"))
    from test_marian import weights, write
    from tokenizers import Tokenizer, models, pre_tokenizers

    model_folder = folder / "marian"
    model_folder.mkdir(parents=True)
    write(model_folder / "model.bin", weights())
    pieces = [("</s>", 0.0), ("<unk>", 0.0), *((f"▁{w}", -1.0) for w in ("the", "river", "bank"))]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("s", -1.0)], unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(model_folder / "tokenizer.json"))


VECTORS = "the 1 2 3\nriver 3 4 -1\nbank 5 6 .5\nmuddy .25 1e-3 0\nwas 1 0 0\n"


def _vectors(folder: Path) -> None:
    import struct

    sys.path.append(str(TESTS / "unit" / "formats"))
    from test_fasttext import write_bin

    binary = b"5 3\n"
    for line in VECTORS.splitlines():
        word, *numbers = line.split()
        binary += word.encode() + b" " + struct.pack("<3f", *map(float, numbers)) + b"\n"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as packed:
        packed.writestr("v.txt", VECTORS)
    headed = "5 3\n" + VECTORS
    for name, data in {
        "glove/v.txt": VECTORS.encode(),
        "headed/v.vec": headed.encode(),
        "binary/v.bin": binary,
        "gzip/v.gz": gzip.compress(VECTORS.encode()),
        "bzip2/v.bz2": bz2.compress(headed.encode()),
        "zip/v.zip": zipped.getvalue(),
    }.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(data)
    for name, settings in {
        "fasttext": {},
        "old": {"is_new": False},
        "labels": {"labels": ("a",)},
    }.items():
        (folder / name).mkdir()
        write_bin(folder / name / "v.bin", n_buckets=7, **settings)


def _add(rng: random.Random, folder: Path) -> list[str]:
    [file] = folder.glob("v.*")
    limit = rng.choice([[], [], ["--limit", "3"]])
    return ["models", "add", str(folder / "added"), "--force", "--vectors", str(file), *limit]


def _run(*arguments: str) -> str:
    """Run a command of this checkout in this process; what it prints."""
    from qkv_cli.__main__ import main

    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with (
        mock.patch.object(sys, "argv", ["qkv", *arguments]),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main()
    printed.flush()
    text: str = printed.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return text


def _documents(folder: Path) -> None:
    text, shorter = "the river bank was muddy", "the bank"
    commands = {
        "attend": ["attend", text],
        "scores": ["attend", text, "--include", "scores,q,k,v,z"],
        "cross": ["attend", text, "--source", shorter],
        "explain": ["explain", text, "--head", "L0H0"],
        "focus": ["focus", text, "--key", "river"],
        "compare": ["compare", "L0H0", "L0H1", text],
        "heads": ["heads", "-"],
        "grid": ["grid", text],
    }
    for name, command in commands.items():
        printed = _run(*command, "--json")
        if printed.startswith("{"):
            (folder / name).mkdir(parents=True)
            (folder / name / "d.json").write_text(printed)
    two = _run("attend", text, "--json") + _run("attend", shorter, "--json")
    (folder / "lines").mkdir()
    (folder / "lines" / "d.json").write_text(two)


def _render(rng: random.Random, folder: Path) -> list[str]:
    [file] = folder.glob("d.*")
    if rng.random() < 0.005:  # pictures take long
        name = rng.choice(["o.svg", "o.html", "o.png"])
        return ["render", str(file), "-o", str(folder / name)]
    options = [[], ["--json"], ["--width", "50"], ["--color", "always"], ["--format", "csv"]]
    return rng.choice(
        [*(["render", str(file), *option] for option in options), ["compare", str(file), str(file)]]
    )


def _npz(folder: Path) -> None:
    for name, extra in {
        "plain": [],
        "all": ["--include", "scores,q,k,v,z"],
        "layers": ["--layer", "all"],
    }.items():
        (folder / name).mkdir(parents=True)
        _run("attend", "the river bank", *extra, "-o", str(folder / name / "d.npz"))


def _arrays(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    weights = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3, 4)).astype(np.float32)
    for name, array in {
        "npy": weights,
        "half": weights.astype("<f2"),
        "map": weights[0, 0],
    }.items():
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "w.npy", array)
    (folder / "npz").mkdir()
    np.savez(folder / "npz" / "w.npz", layer0=weights[0], layer1=weights[1])
    (folder / "safetensors").mkdir()
    save_file({"a": weights[0], "b": weights[1]}, folder / "safetensors" / "w.safetensors")
    for array_folder in folder.iterdir():
        tokens = ["the", "river", "bank", "was"]
        odd = array_folder.name in ("half", "npz")
        token_file = {"queries": tokens, "keys": tokens} if odd else tokens
        (array_folder / "t.json").write_text(json.dumps(token_file))


def _render_array(rng: random.Random, folder: Path) -> list[str]:
    [file] = folder.glob("w.*")
    command = ["render", str(file), "--tokens", str(folder / "t.json")]
    return [*command, *rng.choice([[], ["--json"], ["--head", "L0H0"]])]


def _own_models(folder: Path) -> None:
    (folder / "files").mkdir(parents=True)
    _vectors(folder / "files" / "v")
    for name, file in {"added": "headed/v.vec", "ngrams": "fasttext/v.bin"}.items():
        _run("models", "add", str(folder / name), "--vectors", str(folder / "files" / "v" / file))
    for name in ("added", "ngrams"):
        assert (folder / name / "config.json").is_file()
    shutil.rmtree(folder / "files")


def _trained(folder: Path) -> None:
    folder.mkdir(parents=True)
    vectors = folder / "v.txt"
    vectors.write_text(VECTORS)
    corpus = folder / "corpus.txt"
    corpus.write_text("the river bank was muddy\nthe bank was the river\nmuddy was the bank\n" * 4)
    model_folder = folder / "run" / "mine"
    (folder / "run").mkdir()
    shape = ["--heads", "2", "--d-head", "3", "--epochs", "1", "--vectors", str(vectors)]
    _run("train", str(corpus), "--out", str(model_folder), *shape)
    assert (model_folder / "config.json").is_file()
    corpus.rename(folder / "run" / "corpus.txt")
    vectors.unlink()


def _resume(rng: random.Random, folder: Path) -> list[str]:
    model = str(folder / "mine")
    resume = ["train", str(folder / "corpus.txt"), "--out", model, "--resume", "--epochs", "2"]
    return rng.choice([resume, resume, ["attend", "the river", "-m", model, "--json"]])


def _wheels(folder: Path) -> None:
    (folder / "wheel").mkdir(parents=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("config.json", "model.safetensors"):
            packed.write(CHECKPOINTS / "bert" / name, f"m/{name}")
        packed.writestr("m/__init__.py", "")
        packed.writestr("tiny-1.0.dist-info/METADATA", "Name: tiny\nVersion: 1.0\n")
    (folder / "wheel" / "tiny-1.0-py3-none-any.whl").write_bytes(buffer.getvalue())


def _indexes(folder: Path) -> None:
    _wheels(folder)
    shutil.copytree(folder / "wheel", folder / "html")
    entry = {"filename": "tiny-1.0-py3-none-any.whl", "url": "../../tiny-1.0-py3-none-any.whl"}
    entry |= {"hashes": {"sha256": "@sha256@"}, "size": 9999999, "yanked": False}
    index_page = {"meta": {"api-version": "1.1"}, "name": "tiny", "files": [entry]}
    (folder / "wheel" / "page.json").write_text(json.dumps(index_page))
    link = '<a href="../../tiny-1.0-py3-none-any.whl#sha256=@sha256@">tiny-1.0-py3-none-any.whl</a>'
    page = f"<!DOCTYPE html>\n<html><body>\n{link}<br>\n</body></html>\n"
    (folder / "html" / "page.html").write_text(page)


def _pull(rng: random.Random, folder: Path) -> list[str]:
    return ["models", "pull", "pypi:tiny==1.0", "--force"]


def _texts(folder: Path) -> None:
    (folder / "text").mkdir(parents=True)
    text = "the river bank was muddy.\nNaïve café — 日本語 👩‍👩‍👧 \u202eabc\n\nthe bank\n"
    (folder / "text" / "x.txt").write_text(text)


def _read_text(rng: random.Random, folder: Path) -> list[str]:
    file = str(folder / "x.txt")
    out = str(folder / "made")
    train = [
        "train",
        file,
        "--out",
        out,
        "--force",
        "--epochs",
        "1",
        "--heads",
        "1",
        "--d-head",
        "2",
    ]
    if rng.random() < 0.1:  # these take long
        return rng.choice(
            [["heads", "-f", file, "--shuffles", "2"], ["explain", "-f", file], train]
        )
    options = [[], ["--json"], ["--head", "L0H0"], ["--links", "3"]]
    commands = [["attend", "-f", file, *option] for option in options]
    return rng.choice([*commands, ["focus", "-f", file, "--key", "the"]])


TARGETS = {
    "config": Target(
        _every_family, _attend, ("/config.json", "generation_config.json", "source.json")
    ),
    "safetensors": Target(_some_families, _attend, ("safetensors", "index.json")),
    "tokenizer": Target(
        _tokenizers, _attend, ("tokenizer.json", "_config.json", "_map.json", "added_tokens.json")
    ),
    "vocabulary": Target(
        _vocabularies, _attend, ("model", "vocab.txt", "vocab.json", "merges.txt")
    ),
    "gguf": Target(_gguf, _attend, ("gguf",)),
    "marian": Target(_marian, _attend, ("bin",)),
    "vectors": Target(_vectors, _add, ("",)),
    "document": Target(_documents, _render, ("json",)),
    "npz": Target(_npz, _render, ("npz",)),
    "array": Target(_arrays, _render_array, ("npy", "npz", "safetensors", "json")),
    "model": Target(_own_models, _attend, ("json", "safetensors")),
    "training": Target(_trained, _resume, ("training.safetensors", "json", "safetensors", "txt")),
    "wheel": Target(_wheels, _pull, ("whl",)),
    "index": Target(_indexes, _pull, ("page.json", "page.html")),
    "text": Target(_texts, _read_text, ("txt",)),
}


def write_seeds(folder: Path, names: Sequence[str]) -> None:
    """Write the seeds of these targets, a folder each, with `qkv` of this checkout."""
    with mock.patch.dict(os.environ, {"QKV_HOME": str(folder / ".home"), "COLUMNS": "80"}):
        for name in names:
            TARGETS[name].write_seeds(folder / name)
