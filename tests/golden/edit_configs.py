"""Configurations edited key by key, each read by qkv and compared with transformers.

Run by hand where torch, transformers and qkv are installed:
`python tests/golden/edit_configs.py [CASE ...] [--mode one|two|omitted] [--store FOLDER]`.
With `--store`, transformers' numbers are kept: a second run on other code of qkv takes seconds.
Each case of checkpoints/ keeps its weights and its token ids; only its config is edited. A key is
one of the file's, one that transformers' config class declares, or one that its code reads by name
(old spellings too). Both sides read the edited folder, and every pattern, the last hidden state and
the logits of a model with a head are compared. Prints a table for each verdict that needs a look:

OTHER     both read it, and the numbers differ: the worst
near      the same, by less than 10 times the tolerance: often only rounding
crash     qkv fails with an error that is not a QkvError
needless  qkv refuses an edit that leaves transformers' numbers as they were
unable    qkv refuses an edit that changes transformers' numbers
lenient   transformers refuses or lacks a tensor, and qkv reads it
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import traceback
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tr
from edits import Edit, edited, omissions, single_edits, spell
from transformers.initialization import no_init_weights

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.errors import QkvError
from qkv_cli.formats.safetensors import open_tensors

HERE = Path(__file__).parent / "checkpoints"
Numbers = dict[str, np.ndarray]
SPARE = ("lm_head", "embed_out", "pooler", "final_logits_bias")  # not needed for the patterns
WRONG = ("OTHER", "near", "crash", "needless", "unable", "lenient")
NEAR = 10
FAR_MORE = 20  # a model of its class's own size takes gigabytes, only to lack its tensors
# They change which class or tensors are loaded.
SLOW = ("model_type", "quantization_config", "tie_word_embeddings", "tie_encoder_decoder")
SLOW += ("share_encoder_decoder_embeddings", "text_config")


class Case:
    """A checkpoint, its expected file's token ids, and what both sides make of its config."""

    def __init__(self, name: str, config_name: str, store: Path | None) -> None:
        self.name = name if config_name == "config.json" else f"{name} ({config_name})"
        self.config: dict[str, Any] = json.loads((HERE / name / config_name).read_text())
        expected = np.load(HERE / name / "expected.npz")
        given = ("input_ids", "decoder_input_ids", "token_type_ids")
        self.given = {key: expected[key] for key in given if key in expected}
        self.tensors = open_tensors(HERE / name / "model.safetensors")
        self.auto = tr.AutoModel
        if "logits" in expected:
            two = "decoder_input_ids" in expected
            self.auto = tr.AutoModelForSeq2SeqLM if two else tr.AutoModelForCausalLM
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "model.safetensors").symlink_to(HERE / name / "model.safetensors")
        self.store = store and store / f"{name} {config_name}.pickle"
        self.known: dict[str, tuple[Numbers | None, str]] = {}
        if self.store and self.store.is_file():
            self.known = pickle.loads(self.store.read_bytes())
        self.weights: dict[str, torch.Tensor] = {}
        self.plain, _ = self.theirs(self.config)

    def loaded(self, config: dict[str, Any]) -> tuple[Any, str]:
        """transformers' model, and a remark: tensors that it drops.

        Raises:
            LookupError: A tensor is missing, and transformers would draw it at random.
        """
        (self.folder / "config.json").write_text(json.dumps(config))
        parsed = tr.AutoConfig.from_pretrained(self.folder)
        with torch.device("meta"):
            n_needed = self.auto.from_config(parsed).num_parameters()
        if n_needed > FAR_MORE * (n_stored := sum(t.size for t in self.tensors.values())):
            raise LookupError(f"tensors missing: {n_stored} numbers of {n_needed}")
        if (model := self.loaded_fast(parsed, config)) is not None:
            return model, ""
        model, info = self.auto.from_pretrained(
            self.folder,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
        )
        if not self.weights:
            self.weights, self.model_class = model.state_dict(), type(model)
            self.missing, self.unexpected = info["missing_keys"], info["unexpected_keys"]
        missing = {n for n in info["missing_keys"] - self.missing if not n.startswith(SPARE)}
        if missing:
            raise LookupError(f"{len(missing)} tensors missing: {min(missing)}")
        dropped = info["unexpected_keys"] - self.unexpected
        self.has_head = self.auto is not tr.AutoModel and not info["missing_keys"]
        return model, f"drops {len(dropped)} tensors: {min(dropped)}" if dropped else ""

    def loaded_fast(self, parsed: Any, config: dict[str, Any]) -> Any | None:
        """The same where class and tensors are those of the unedited model, else None."""
        if not self.weights or any(config.get(key) != self.config.get(key) for key in SLOW):
            return None
        parsed._attn_implementation = "eager"
        try:
            with no_init_weights():
                model = self.model_class(parsed)
            fits = model.load_state_dict(self.weights, strict=False)
        except Exception:
            return None  # the slow way says what is wrong
        self.has_head = self.auto is not tr.AutoModel
        return None if fits.missing_keys or fits.unexpected_keys else model

    def theirs(self, config: dict[str, Any]) -> tuple[Numbers, str]:
        """transformers' numbers, and what `loaded` remarks."""
        model, remark = self.loaded(config)
        given = {key: torch.tensor(ids[None]) for key, ids in self.given.items()}
        found: Numbers = {}
        with torch.no_grad():
            if self.has_head:
                found["logits"] = model.eval()(**given).logits[0].numpy()
            base = model.base_model.eval()
            decoder = getattr(base, "decoder", None)
            if getattr(decoder, "project_out", None) is not None:
                decoder.project_out = None  # it follows the last hidden state
            out = base(**given, output_attentions=True, return_dict=True)
        blocks = {"attn": "attentions"} | {
            block: f"{block}_attentions" for block in ("encoder", "decoder", "cross")
        }
        for block, field in blocks.items():
            for i, pattern in enumerate(getattr(out, field, None) or ()):
                found[f"{block}.{i}"] = pattern[0].numpy()
        found["last"] = out.last_hidden_state[0].numpy()
        return found, remark

    def ours(self, config: dict[str, Any]) -> Numbers:
        model = build(json.loads(json.dumps(config)), Tensors(self.tensors))
        inputs = [ids.tolist() for name, ids in self.given.items() if name != "token_type_ids"]
        types = self.given["token_type_ids"].tolist() if "token_type_ids" in self.given else ()
        found: Numbers = {}
        for layer in model.layers(*inputs, types=types):
            block = layer.stack if len(inputs) == 2 else "attn"
            for trace, called in ((layer.attn, block), (layer.cross, "cross")):
                if trace is not None:
                    found[f"{called}.{layer.index}"] = trace.pattern()
        norm = model.stacks[layer.stack].final_norm
        found["last"] = layer.resid_post if norm is None else norm(layer.resid_post)
        if model.unembed is not None:
            found["logits"] = model.unembed(found["last"])
        return found

    def tried(self, config: dict[str, Any]) -> tuple[Numbers | None, str]:
        """The same; None where transformers refuses, empty where nothing has changed."""
        try:
            found, remark = self.theirs(config)
        except Exception as error:
            return None, f"{type(error).__name__}: {first_line(error)}"
        return {} if difference(found, self.plain) == 0 else found, remark

    def row(self, edit: Edit) -> dict[str, Any]:
        """What both sides make of an edit, and the verdict."""
        config = edited(self.config, edit)
        if spell(edit) not in self.known:
            self.known[spell(edit)] = self.tried(config)
        theirs, remark = self.known[spell(edit)]
        changed = bool(theirs)
        theirs = self.plain if theirs == {} else theirs
        row = {
            "family": self.config["model_type"],
            "case": self.name,
            "keys": [".".join(path) for path in edit],
            "edit": spell(edit),
            "theirs": "refuses" if theirs is None else "changes" if changed else "same",
            "remark": remark,
        }
        try:
            ours = self.ours(config)
        except QkvError as error:
            verdict = "both refuse" if theirs is None else "unable" if changed else "needless"
            return row | {"verdict": verdict, "ours": first_line(error)}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            said = f"{type(error).__name__}: {first_line(error)} ({where})"
            return row | {"verdict": "crash", "ours": said}
        far = difference(ours, self.plain if theirs is None else theirs)
        if theirs is None:
            as_before = "the numbers of the unedited" if far <= 1 else "numbers of its own"
            return row | {"verdict": "lenient", "ours": as_before}
        verdict = "equal" if far <= 1 else "near" if far <= NEAR else "OTHER"
        return row | {"verdict": verdict, "ours": f"{far:.3g} times the tolerance"}


def first_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or "(no message)")[:160]


def difference(ours: Numbers, theirs: Numbers) -> float:
    """The largest, in parts of what is allowed: 1e-5 of a weight, 2e-5 of the largest number."""
    names = set(theirs) & set(ours) if "logits" in ours.keys() ^ theirs.keys() else set(theirs)
    if set(ours) - {"logits"} != set(theirs) - {"logits"}:
        return float("inf")
    worst = 0.0
    for name in names:
        a, b = ours[name], theirs[name]
        if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
            return float("inf")
        a, b = np.nan_to_num(a), np.nan_to_num(b)
        allowed = 2e-5 * np.abs(b).max() if name in ("last", "logits") else 1e-5
        worst = max(worst, float(np.abs(a - b).max()) / (allowed or 1e-12))
    return worst


def rows_of(task: tuple[str, str, bool, argparse.Namespace]) -> list[dict[str, Any]]:
    name, config_name, everything, options = task
    torch.set_num_threads(1)
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # threads cost more than these tiny files
    warnings.simplefilter("ignore")
    tr.logging.set_verbosity(tr.logging.CRITICAL)
    tr.logging.disable_progress_bar()
    case = Case(name, config_name, options.store)
    edits: Iterable[Edit] = single_edits(case.config, everything=everything)
    if options.mode == "omitted":
        edits = omissions(case.config)
    if options.mode == "two":
        draw, pool = random.Random(f"{options.seed} {case.name}"), list(edits)
        edits = [draw.choice(pool) | draw.choice(pool) for _ in range(options.draws)]
    by_name = {spell(edit): edit for edit in edits if edited(case.config, edit) != case.config}
    rows = [case.row({})]
    if rows[0]["verdict"] != "equal":
        return rows  # the others would only repeat it
    for edit in by_name.values():
        rows.append(case.row(edit))
        if case.store and (len(rows) > len(by_name) or not len(rows) % 100):
            case.store.parent.mkdir(exist_ok=True)
            case.store.write_bytes(pickle.dumps(case.known))
    return rows


def tables(rows: list[dict[str, Any]]) -> None:
    """What needs a look, a table for each verdict: equal edits of a family in one line."""
    for verdict in WRONG:
        grouped = defaultdict(list)
        for row in rows:
            if row["verdict"] == verdict:
                grouped[row["family"], row["edit"], row["theirs"]].append(row)
        print(f"\n## {verdict}: {len(grouped)}\n\n| family | edit | theirs | ours | cases |")
        print("|---|---|---|---|---|")
        for (family, edit, theirs), same_rows in sorted(grouped.items()):
            remark, ours = (same_rows[0][key].replace("|", "\\|") for key in ("remark", "ours"))
            cases = ", ".join(sorted({row["case"] for row in same_rows}))
            edit = edit.replace("|", "\\|")
            print(f"| {family} | `{edit}` | {theirs} {remark} | {ours} | {cases} |")


def keys(rows: list[dict[str, Any]]) -> None:
    """What transformers does with each key alone."""
    effects: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if len(row["keys"]) == 1:
            effects[row["family"]][row["keys"][0]].add(row["theirs"])
    for family, of_keys in sorted(effects.items()):
        print(f"\n## {family}")
        for effect in ("changes", "same", "refuses"):
            names = [n for n, key_effects in of_keys.items() if effect in key_effects]
            of_keys = {n: key_effects for n, key_effects in of_keys.items() if n not in names}
            print(f"- {effect}: {', '.join(sorted(names))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", help="folders of checkpoints/; all if not given")
    parser.add_argument("--mode", choices=("one", "two", "omitted"), default="one")
    parser.add_argument("--draws", type=int, default=200, help="edits of a case, with --mode two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="keep transformers' numbers here, or use them")
    parser.add_argument("--rows", type=Path, help="write every row here, as JSON lines")
    parser.add_argument("--keys", action="store_true", help="list what transformers does with keys")
    options = parser.parse_args()
    tasks, families = list[tuple[str, str, bool, argparse.Namespace]](), set[str]()
    for name in options.cases or sorted(path.parent.name for path in HERE.glob("*/expected.npz")):
        for config in sorted(HERE.glob(f"{name}/config*.json"), reverse=True):  # the old one last
            family = json.loads(config.read_text())["model_type"]
            everything = family not in families
            families.add(family)
            tasks.append((name, config.name, everything, options))
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for case_rows in pool.imap_unordered(rows_of, tasks):
            rows += case_rows
            print(f"{case_rows[0]['case']}: {len(case_rows)} edits", file=sys.stderr)
            if options.rows:
                with options.rows.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in case_rows)
    tables(rows)
    if options.keys:
        keys(rows)


if __name__ == "__main__":
    main()
