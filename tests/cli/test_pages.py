"""HTML pages: the contents of the file, and its behaviour in headless Chromium."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest

from qkv_cli.export.attention import from_json
from qkv_cli.render.theme import Theme

TEXT = "The mango and the apple are fruits that grow on a tree"
ODD = (
    "</script><script>window.hit=1</script> <img src=x onerror=window.hit=1> & \"quoted\" 'it' "
    "{{data}} <!-- שלום مرحبا 😀 👩\u200d👩\u200d👧 \u2028 river"
)
in_chromium = pytest.mark.skipif(
    not (browser.CHROMIUM and browser.DRIVER), reason="chromium and chromedriver are not installed"
)


@pytest.fixture
def write(qkv: Callable, tiny_glove: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run `qkv COMMAND TEXT -m TINY -o NAME ARGS` and return the path of the file."""

    def run(*args: object, text: str = TEXT, command: str = "attend", name: str = "a.html") -> Path:
        result = qkv(command, text, "-m", tiny_glove, "-o", tmp_path / name, *args)
        assert (result.code, result.stdout) == (0, ""), result.stderr
        return tmp_path / name

    return run


@pytest.fixture(scope="module")
def window() -> Iterator[browser.Browser]:
    with browser.browser() as opened:
        yield opened


@pytest.fixture
def layers(qkv: Callable, write: Callable, tmp_path: Path) -> Path:
    """A page of 3 layers x 4 heads; word-vector models have only one layer."""
    document = json.loads(write(name="a.json").read_text())
    heads = document["maps"]
    document["model"]["layers"] = 3
    document["maps"] = [
        head | {"name": f"L{layer}H{head['head']}", "layer": layer}
        for layer in range(3)
        for head in heads
    ]
    (tmp_path / "layers.json").write_text(json.dumps(document))
    assert qkv("render", tmp_path / "layers.json", "-o", tmp_path / "b.html").code == 0
    return tmp_path / "b.html"


def part(page: str, which: str) -> str:
    """The contents of the script element with this id."""
    [result] = re.findall(rf'<script type="[^"]+" id="{which}">(.*?)</script>', page, re.DOTALL)
    return str(result)


def weights(page: str) -> tuple[dict[str, Any], np.ndarray]:
    """The data of a page, and its weights; nan where masked."""
    data = json.loads(part(page, "data"))
    steps = np.frombuffer(zlib.decompress(base64.b64decode(part(page, "weights"))), np.uint8)
    steps = steps.reshape(len(data["maps"]), len(data["queries"]), len(data["keys"]))
    zero, step = (np.array([m[w] for m in data["maps"]])[:, None, None] for w in ("zero", "step"))
    return data, np.where(steps == data["masked"], np.nan, (steps - zero.astype(float)) * step)


@pytest.mark.parametrize("weighting", ["softmax", "linear"])
def test_html_weights_are_quantized_within_half_a_step(write, qkv, tiny_glove, weighting) -> None:
    data, decoded_maps = weights(write("--weighting", weighting).read_text())
    json_text = qkv("attend", TEXT, "-m", tiny_glove, "--weighting", weighting, "--json").stdout
    maps = from_json(json_text).maps
    assert [m["name"] for m in data["maps"]] == [m.name for m in maps]
    for m, result, described in zip(maps, decoded_maps, data["maps"], strict=True):
        off = ~np.eye(len(result), dtype=bool)
        assert np.isnan(result[~off]).all()  # a word cannot attend to itself
        furthest = np.abs(m.pattern[off]).max()
        steps = 127 if weighting == "linear" else 254
        assert described["step"] == pytest.approx(furthest / steps, rel=1e-5)
        assert np.abs(result - m.pattern)[off].max() <= described["step"] * 0.5001
        assert f"1/{steps} of each map's maximum" in data["notes"]


LONG = " ".join(["the river bank"] * 250)


def test_html_of_long_text_holds_blocks_and_says_what_they_cover(write, qkv, tiny_glove) -> None:
    data, [result] = weights(write("--head", "1", text=LONG).read_text())
    json_text = qkv("attend", LONG, "-m", tiny_glove, "--head", "1", "--json").stdout
    blocks = np.asarray(from_json(json_text).maps[0].pattern).reshape(375, 2, 375, 2)
    assert data["pooled"] and data["same"]
    assert np.abs(result - blocks.max(axis=(1, 3))).max() <= data["maps"][0]["step"] * 0.5001
    assert data["queries"][1] == {"text": "bank the", "told": "2–3 (bank … the)"}
    note = "Each cell is the largest of 2x2 weights (queries x keys). --window 0:512 shows a part"
    assert note in data["notes"]
    assert not weights(write("--head", "1").read_text())[0]["pooled"]


@pytest.mark.parametrize(("word", "at"), [("5", 2), ("749", 374)])
def test_html_of_focus_on_long_text_selects_block_of_word(write, word, at) -> None:
    data, _ = weights(write("--key", word, text=LONG, command="focus").read_text())
    assert data["start"] == {"side": "key", "at": at, "pinned": True}


def test_html_security_policy_allows_only_embedded_style_and_script(write) -> None:
    page = write().read_text()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; ")
    for kind, tag in (("style", "style"), ("script", "script")):
        [code] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org/2000/svg)|innerHTML|@import", page)


def test_html_of_hostile_text_escapes_script_data_and_title(write) -> None:
    page = write(text=ODD).read_text()
    data = part(page, "data")
    assert not set("<>&\u2028") & set(data)
    words = [token["text"] for token in json.loads(data)["queries"]]
    assert {"<?", "script?"} <= set(words)
    [title] = re.findall("<title>(.*?)</title>", page)
    assert "&lt;script&gt;" in title
    assert "<" not in title


def test_html_is_reproducible_byte_for_byte(write) -> None:
    assert write().read_bytes() == write(name="b.html").read_bytes()


@pytest.mark.parametrize(
    ("command", "args"),
    [("explain", ["--query", "apple", "--key", "fruits"]), ("heads", ["--shuffles", "0"])],
)
def test_html_of_explain_and_heads_contains_same_words_as_terminal(
    write, qkv, tiny_glove, command, args
) -> None:
    page = write(*args, command=command).read_text()
    assert "<script" not in page
    assert re.search("default-src 'none'; style-src 'sha256-[^']+'; base-uri", page)
    terminal_text = qkv(command, TEXT, "-m", tiny_glove, *args, "--width", 130).stdout
    for theme in ("light", "dark"):
        [result] = re.findall(rf'<pre class="{theme}">(.*?)</pre>', page, re.DOTALL)
        plain = re.sub("<[^>]+>", "", result).replace("&gt;", ">").replace("&lt;", "<")
        assert re.findall(r"[-\w.]+", plain) == re.findall(r"[-\w.]+", terminal_text)
    chosen = write(*args, "--background", "dark", command=command).read_text()
    assert 'class="dark"' in chosen
    assert 'class="light"' not in chosen


def test_html_of_several_texts_is_refused(qkv, tiny_glove, tmp_path) -> None:
    file = tmp_path / "two.txt"
    file.write_text("the river bank\nthe apple tree\n", encoding="utf-8")
    args = ["attend", "--file", file, "--lines", "-m", tiny_glove, "-o", tmp_path / "a.html"]
    result = qkv(*args)
    assert (result.code, result.stderr.count("\n")) == (2, 1)
    assert "An .html file of maps holds one picture, not 2" in result.stderr


@in_chromium
def test_html_of_hostile_text_runs_no_script_in_browser(write, window) -> None:
    window.open(write(text=ODD))
    assert window.run("return window.hit === undefined")
    assert window.run("return document.scripts.length") == 3
    assert window.run("return document.images.length") == 0
    words = "return [...document.querySelectorAll('#queries span')].map(s => s.textContent)"
    displayed = window.run(words)
    assert {"<?", "script?", "שלום?", "مرحبا?", "😀?", "👩\u200d👩\u200d👧?"} <= set(displayed)
    assert window.log() == []


def format_weight(w: float, step: float) -> str:
    """Format a weight with as many decimals as the step size supports."""
    decimals = min(3, max(0, int(-np.log10(step))))
    text = f"{w:.{1 if w >= 0.995 else decimals}f}"
    return text.replace("0.", ".", 1) if text.strip("0.") else "0"


@in_chromium
def test_html_hover_over_word_lists_its_largest_weights(write, qkv, tiny_glove, window) -> None:
    page = write("--head", "1")
    window.open(page)
    words = TEXT.split()
    words[0], words[3] = "The\u2080", "the\u2083"  # told apart, as in the terminal
    data, [pattern] = weights(page.read_text())
    step = data["maps"][0]["step"]
    q, k = np.unravel_index(np.nanargmax(pattern), pattern.shape)
    link = f"\u2068{words[q]}\u2069 → \u2068{words[k]}\u2069 {format_weight(pattern[q, k], step)}"
    assert window.text("said").startswith(f"L0H1. {link}, ")
    assert window.text("said").endswith(". Select a word.")
    window.hover("query-1")
    order = np.argsort(-np.nan_to_num(pattern[1]), kind="stable")[:5]
    expected = [(words[at], format_weight(pattern[1, at], step)) for at in order]
    links = [f"\u2068{word}\u2069 {figure}" for word, figure in expected if figure != "0"]
    assert window.text("said") == f"L0H1. \u2068mango\u2069 attends to {', '.join(links)}."
    exact = qkv("attend", TEXT, "-m", tiny_glove, "--head", "1", "--json").stdout
    row = from_json(exact).maps[0].pattern[1]
    for at, (_, figure) in zip(order, expected, strict=True):
        last = 10.0 ** -len(figure.partition(".")[2]) if "." in figure else 0.01
        assert abs(float(figure) - row[at]) <= last
    assert window.run("return document.querySelectorAll('#keys .shaded').length") == 11
    window.hover("key-2")
    assert "\u2068and\u2069 is attended to by" in window.text("said")
    window.hover("model")
    assert "Select a word" in window.text("said")


@in_chromium
def test_html_click_pins_word_until_escape(write, window) -> None:
    window.open(write())
    window.click("query-1")
    window.hover("query-3")
    assert "\u2068mango\u2069 attends to" in window.text("said")
    assert window.run("return document.getElementById('query-1').classList.contains('pinned')")
    window.press("Right")
    assert window.text("said").startswith("L0H1. \u2068mango\u2069 attends to")
    window.press("Escape")
    assert "Select a word" in window.text("said")


@in_chromium
def test_html_arrow_keys_select_head_and_layer(layers, window) -> None:
    window.open(layers)
    for key, name in [
        *[("Right", "L0H1"), ("Down", "L1H1"), ("Down", "L2H1"), ("Down", "L2H1")],
        *[("Left", "L2H0"), ("Left", "L1H3"), ("Up", "L0H3"), ("Up", "L0H3")],
    ]:
        window.press(key)
        assert window.text("name") == name
    checked = "return [...document.querySelectorAll('[aria-checked=true]')].map(b => b.ariaLabel)"
    assert [label.strip() for label in window.run(checked)] == ["L0H3"]


@in_chromium
def test_html_word_list_is_navigable_by_keyboard(write, window) -> None:
    window.open(write())
    window.run("document.getElementById('queries').focus()")
    active = "return document.getElementById('queries').getAttribute('aria-activedescendant')"
    assert window.run(active) == "query-0"
    window.press("Right", "Down")
    assert window.run(active) == "query-2"
    window.press("Enter", "Left")
    assert window.run(active) == "query-1"
    assert window.text("name") == "L0H0"  # the same keys, but not among the words
    assert (
        window.run("return getComputedStyle(document.getElementById('queries')).outlineStyle")
        != "none"
    )


@in_chromium
@pytest.mark.parametrize("background", ["light", "dark"])
def test_html_cells_have_colours_of_palette(write, window, background) -> None:
    page = write("--head", "1", "--palette", "magma")
    window.prefer(prefers_color_scheme=background)
    window.open(page)
    _, [pattern] = weights(page.read_text())
    colours = Theme.paper("magma", background).colours(signed=False, n=127)
    pixels = window.run(
        "const c = document.getElementById('cells');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    cells = np.array(pixels).reshape(*pattern.shape, 4)
    top = np.nanmax(pattern)
    for (row, column), weight in np.ndenumerate(pattern):
        if np.isnan(weight):
            assert cells[row, column, 3] == 0
        else:
            assert tuple(cells[row, column, :3]) == colours[round(weight / top * 126)]
    window.prefer()


@in_chromium
def test_html_in_browser_without_decompression_shows_message(write, window) -> None:
    source = {"source": "delete window.DecompressionStream"}
    added = {"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": source}
    result = window.ask("POST", "/goog/cdp/execute", added)
    try:
        window.ask("POST", "/url", {"url": write().as_uri()})
        assert "This browser cannot decompress the weights" in window.text("said")
    finally:
        removed = {"cmd": "Page.removeScriptToEvaluateOnNewDocument", "params": result}
        window.ask("POST", "/goog/cdp/execute", removed)


@in_chromium
def test_html_of_long_text_shows_words_once_with_shaded_weights(write, window) -> None:
    window.open(write("--head", "1", text=" ".join(["the river bank"] * 30)))
    assert window.run("return document.getElementById('keys').parentElement.hidden")
    window.hover("query-4")
    assert window.run("return document.querySelectorAll('#queries .shaded').length") == 89


@in_chromium
def test_html_of_long_text_says_which_words_a_cell_covers(write, window) -> None:
    window.open(write("--head", "1", text=LONG))
    assert window.run("return document.querySelectorAll('#queries .token').length") == 375
    assert window.text("said").endswith(" Select a block of words.")
    window.hover("cells")
    block = r"37[2-6]–37[3-7] \(\w+ … \w+\)"
    assert re.fullmatch(rf"{block} → {block}  \S+", window.text("cell"))
