"""Picture files: labels, escaping of markup in texts, and errors in one line."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from qkv_cli.cli.output import Target
from qkv_cli.errors import UsageError

TEXT = "The mango and the apple are fruits that grow on a tree"
ODD = 'the <script>alert(1)</script> & "$x$ $" שלום 漢字 😀 👩\u200d👩\u200d👧 \u202e river'
SVG = "{http://www.w3.org/2000/svg}"

Qkv = Callable[..., "object"]


@pytest.fixture
def draw(qkv: Callable, tiny_glove: Path, tmp_path: Path) -> Callable[..., bytes]:
    """Run `qkv COMMAND TEXT -m TINY -o NAME ARGS` and return the bytes of the file."""

    def run(name: str, *args: object, text: str = TEXT, command: str = "attend") -> bytes:
        result = qkv(command, text, "-m", tiny_glove, "-o", tmp_path / name, *args)
        assert (result.code, result.stdout) == (0, ""), result.stderr
        return (tmp_path / name).read_bytes()

    return run


def texts(svg: bytes) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_attend_svg_labels_axes_and_caption_describes_model_and_heads(draw) -> None:
    labels = texts(draw("a.svg", "--head", "2"))
    words = TEXT.split()
    assert [t for t in labels if t in words] == words * 2  # queries, then keys
    assert {"L0H2", "query (attends)", "key (attended to)", "tiny"} <= set(labels)
    caption = " ".join(labels[labels.index("tiny") + 1 :])
    assert "L0H2. Word vectors. 1 layer x 4 heads. Heads learned in a test." in caption
    assert "Softmax weights." in caption
    assert "Blank diagonal" in caption


def test_attend_svg_caption_names_weighting_and_causal_mask(draw) -> None:
    assert "Linear: Q Kᵀ / √d, no softmax." in " ".join(
        texts(draw("a.svg", "--weighting", "linear"))
    )
    assert "Causal." in " ".join(texts(draw("a.svg", "--causal")))


def test_attend_svg_has_tile_of_every_head(draw) -> None:
    labels = texts(draw("a.svg"))
    assert [t for t in labels if re.fullmatch(r"L0H\d", t)] == ["L0H0", "L0H1", "L0H2", "L0H3"]


def test_attend_svg_with_numbers_prints_weights_in_cells(draw, qkv, tiny_glove) -> None:
    from qkv_cli.export.attention import from_json
    from qkv_cli.figures import cell_number

    maps = from_json(qkv("attend", TEXT, "-m", tiny_glove, "--head", "2", "--json").stdout)
    pattern = maps.maps[0].pattern
    expected = [cell_number(w) for i, r in enumerate(pattern) for j, w in enumerate(r) if i != j]
    labels = texts(draw("a.svg", "--head", "2", "--numbers"))
    numbers = [t for t in labels if re.fullmatch(r"-?\d*\.?\d+", t)]
    assert numbers[: len(expected)] == expected


@pytest.mark.parametrize(
    ("name", "background"), [("a.svg", "light"), ("a.pdf", "dark"), ("a.png", "light")]
)
def test_attend_picture_file_is_reproducible_byte_for_byte(draw, name, background) -> None:
    first = draw(name, "--background", background)
    assert first == draw(name, "--background", background)
    assert first.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[name[2:]])


@pytest.mark.parametrize("name", ["a.svg", "a.pdf", "a.png"])
def test_attend_picture_file_of_hostile_text_escapes_markup(draw, qkv, name) -> None:
    data = draw(name, "--head", "1", text=ODD)
    if name == "a.svg":
        assert b"<script" not in data
        labels = texts(data)
        assert {"שלום?", "😀?", "👩\u200d👩\u200d👧?"} <= set(labels)
        assert not any("\u202e" in t for t in labels)
    if name == "a.pdf":
        assert b"/Type3" not in data  # glyphs as drawings, which cannot be searched


def test_attend_svg_of_long_text_labels_every_nth_token_and_states_it(draw) -> None:
    words = " ".join(["the river bank"] * 60)
    data = draw("a.svg", text=words)
    labels = texts(data)
    caption = " ".join(labels[labels.index("tiny") :])
    assert re.search(r"Every (\w+) token is labelled, with its number", caption)
    assert "0 the" in labels
    assert len(data) < 1_000_000
    assert data.count(b"<image ") == 4  # pixels: shapes would be 130,000


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("explain", ["--query", "apple", "--key", "fruits"]),
        ("heads", ["--shuffles", "0"]),
        ("grid", []),
        ("focus", ["--query", "apple"]),
        ("compare", ["L0H0", "L0H1"]),
        ("compare", ["--nearest", "L0H0"]),
    ],
)
@pytest.mark.parametrize("name", ["a.svg", "a.pdf", "a.png", "a.html"])
def test_every_drawing_command_writes_every_picture_type(draw, command, args, name) -> None:
    data = draw(name, *args, command=command)
    if name == "a.svg":
        joined = " ".join(texts(data))
        assert "tiny" in joined
        assert "L0H0" in joined or command == "explain"


def test_focus_svg_contains_same_bars_as_terminal(draw, qkv, tiny_glove) -> None:
    args = ["--query", "apple", "--top", "4"]
    terminal_text = qkv(
        "focus", TEXT, "-m", tiny_glove, *args, "--width", 36
    ).stdout  # one head per line
    bars = re.findall(r"^(\S+|\d+ more) +([-.\d]+)(?: +[^\s\d]+)?$", terminal_text, re.MULTILINE)
    assert len(bars) == 4 * 5
    labels = texts(draw("a.svg", *args, command="focus"))
    assert labels[0] == "apple attends to"
    assert labels[1:13] == TEXT.split()
    start = labels.index("L0H0")
    bar_labels = [t for t in labels[start : labels.index("tiny")] if not re.fullmatch(r"L0H\d", t)]
    assert list(zip(bar_labels[::2], bar_labels[1::2], strict=True)) == bars


def test_compare_svg_contains_same_figures_as_terminal(draw, qkv, tiny_glove) -> None:
    terminal_text = qkv("compare", TEXT, "L0H0", "L0H1", "-m", tiny_glove, "--links", 0).stdout
    labels = texts(draw("a.svg", "L0H0", "L0H1", command="compare"))
    caption = " ".join(labels[labels.index("tiny") :])
    [figures] = re.findall(r"Jensen-Shannon.*Pearson \S+", terminal_text)
    for figure in figures.split(" · "):
        assert f"{figure[0].upper()}{figure[1:]}." in caption
    title = "divergence by query, bits"
    rows = re.findall(r"^  (\S+) +(\S+)", terminal_text.partition(title)[2], re.MULTILINE)
    row_labels = labels[labels.index(title) + 1 : labels.index("tiny")]
    assert list(zip(row_labels[::2], row_labels[1::2], strict=True)) == rows
    assert len(rows) == 12


def test_grid_svg_labels_layers_and_heads(draw) -> None:
    labels = texts(draw("a.svg", "--shuffles", 0, command="grid"))
    assert [t for t in labels if re.fullmatch(r"[LH]\d", t)] == ["H0", "H1", "H2", "H3", "L0"]


def test_explain_svg_contains_same_words_as_terminal(draw, qkv, tiny_glove) -> None:
    args = ["--query", "apple", "--key", "fruits"]
    terminal_text = qkv("explain", TEXT, "-m", tiny_glove, *args, "--width", 130).stdout
    joined = " ".join(texts(draw("a.svg", *args, command="explain")))
    assert re.findall(r"[-\w.]+", joined) == re.findall(r"[-\w.]+", terminal_text)


def test_explain_svg_of_right_to_left_text_has_no_direction_marks(draw) -> None:
    args = ["--query", "river", "--key", "שלום"]
    labels = texts(draw("a.svg", *args, text="the river שלום bank", command="explain"))
    assert any("שלום" in t for t in labels)
    assert not any("\u200e" in t for t in labels)


def test_attend_of_several_texts_writes_pdf_pages_and_refuses_svg(
    qkv, tiny_glove, tmp_path
) -> None:
    file = tmp_path / "two.txt"
    file.write_text("the river bank\nthe apple tree\n", encoding="utf-8")
    args = ["attend", "--file", file, "--lines", "-m", tiny_glove]
    assert qkv(*args, "-o", tmp_path / "a.pdf").code == 0
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "a.pdf").read_bytes())) == 2
    result = qkv(*args, "-o", tmp_path / "a.svg")
    assert (result.code, result.stderr) == (
        2,
        "qkv: A .svg file holds one picture, not 2: use .pdf.\n",
    )
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "a.tiff",
            2,
            "use .txt, .svg, .pdf, .png, .html, .json, .jsonl, .csv or .npz.",
        ),
        ("missing/a.svg", 2, "missing/a.svg: No such file or directory."),
        ("folder.svg", 2, "folder.svg: Is a directory."),
    ],
)
def test_attend_with_unwritable_output_path_prints_one_line_error(
    qkv, tiny_glove, tmp_path, name, code, message
) -> None:
    (tmp_path / "folder.svg").mkdir()
    result = qkv("attend", TEXT, "-m", tiny_glove, "-o", tmp_path / name)
    assert (result.code, result.stdout) == (code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_attend_svg_to_full_disk_prints_one_line_error(qkv, tiny_glove) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    result = qkv("attend", TEXT, "-m", tiny_glove, "-o", full, "--format", "svg")
    assert (result.code, result.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in result.stderr


def test_attend_with_unknown_palette_exits_2_and_lists_palettes(qkv, tiny_glove, tmp_path) -> None:
    result = qkv("attend", TEXT, "-m", tiny_glove, "-o", tmp_path / "a.svg", "--palette", "jet")
    assert result.code == 2
    assert "Unknown palette 'jet': use viridis" in result.stderr


@pytest.mark.parametrize(
    ("heads", "caption"),
    [
        (["3"], "L0H3."),
        (["1", "3"], "L0H1 and L0H3."),
        (["0", "1", "3"], "L0H0, L0H1 and L0H3."),
        (["1:4"], "L0H1 to L0H3."),
    ],
)
def test_attend_svg_caption_names_selected_heads(
    qkv, tiny_glove, tmp_path, heads: list[str], caption: str
) -> None:
    chosen = [arg for head in heads for arg in ("--head", head)]
    file = tmp_path / "a.svg"
    assert qkv("attend", "the river bank", "-m", tiny_glove, *chosen, "-o", file).code == 0
    assert caption in file.read_text(encoding="utf-8")


def test_focus_svg_with_font_without_bold_prints_no_font_warning(qkv, tiny_glove, tmp_path) -> None:
    done = qkv("focus", "I \x1b bank", "-m", tiny_glove, "--query", "1", "-o", tmp_path / "a.svg")
    assert done.code == 0 and "findfont" not in done.stderr


def test_target_of_png_to_terminal_raises_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="A terminal cannot show a png"):
        Target.of(None, "png", as_json=False)
