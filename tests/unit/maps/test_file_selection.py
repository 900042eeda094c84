"""Selecting heads from the maps of a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export_examples import example

from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.selection import select_from


def _file(*places: tuple[int, int | None]) -> HeadMaps:
    """A file of a model with 6 layers of 8 heads, with some heads' maps."""
    maps = [
        HeadMap(
            f"L{layer} mean of 8" if head is None else f"L{layer}H{head}",
            "self", layer, head, np.full((3, 3), 10 * layer + (head or 0), np.float32),
        )
        for layer, head in places
    ]  # fmt: skip
    return replace(example(), model=replace(example().model, n_layers=6), maps=maps)


SOME = _file((2, 3), (2, 5), (4, 3), (4, 7))
CASES = [
    ((), (), "L2H3 L2H5 L4H3 L4H7"),
    ((), ("3",), "L2H3 L4H3"),
    ((), ("all",), "L2H3 L2H5 L4H3 L4H7"),
    ((), ("4:8",), "L2H5 L4H7"),
    ((), ("L4H7", "L2H5"), "L2H5 L4H7"),
    ((), ("L4H*",), "L4H3 L4H7"),
    (("4",), (), "L4H3 L4H7"),
    (("-2",), ("-1",), "L4H7"),
    (("all",), ("5",), "L2H5"),
    (("4", "2"), ("3",), "L4H3 L2H3"),
]


@pytest.mark.parametrize(("layers", "heads", "names"), CASES)
def test_select_from_file_returns_requested_maps(layers, heads, names) -> None:
    result = {m.name for m in select_from(SOME, layers, heads).maps}
    assert result == set(names.split())


def test_select_from_file_keeps_requested_order() -> None:
    assert [m.name for m in select_from(SOME, ("4", "2"), ("3",)).maps] == ["L4H3", "L2H3"]


@pytest.mark.parametrize(
    ("layers", "heads", "message"),
    [
        ((), ("L2H4",), "The file has no L2H4: it has L2H3, L2H5, L4H3, L4H7."),
        ((), ("5",), "The file has no L4H5: it has L2H3, L2H5, L4H3, L4H7."),
        (("2",), ("3", "6"), "The file has no L2H6: it has"),
        (("1",), (), "The file has no layer 1: it has L2H3"),
        ((), ("0:2",), "The file has no L2H0: it has"),
        ((), ("8",), "Head 8 does not exist: this model has heads 0 to 7."),
        (("6",), (), "Layer 6 does not exist: this model has layers 0 to 5."),
        ((), ("x",), "'x' is not a head"),
    ],
)
def test_select_from_file_without_requested_head_lists_available_ones(
    layers, heads, message
) -> None:
    with pytest.raises(UsageError) as error:
        select_from(SOME, layers, heads)
    assert message in str(error.value)


def test_select_from_file_error_lists_twelve_heads_and_counts_the_rest() -> None:
    file = _file(*((layer, head) for layer in range(2) for head in range(8)))
    with pytest.raises(UsageError, match=r"L0H7, L1H0, L1H1, L1H2, L1H3 and 4 more\.$"):
        select_from(file, (), ("L2H0",))


def test_select_from_file_with_mean_averages_selected_heads_of_layer() -> None:
    means = select_from(SOME, ("4",), (), mean=True).maps
    assert [m.name for m in means] == ["L4 mean of H3 H7"]
    assert np.array_equal(means[0].pattern, np.full((3, 3), 45, np.float32))


def test_select_from_file_of_averages_keeps_them_and_has_no_heads() -> None:
    file = _file((2, None), (4, None))
    assert [m.name for m in select_from(file, ("4",), (), mean=True).maps] == ["L4 mean of 8"]
    with pytest.raises(UsageError, match=r"The file has no L2H0: it has L2 mean of 8, L4 mean"):
        select_from(file, (), ("0",))


def test_select_from_file_of_model_without_heads_raises_usage_error() -> None:
    file = _file((2, None))
    file = replace(file, model=replace(file.model, n_heads=0))
    with pytest.raises(UsageError):
        select_from(file, (), ("0",))
    with pytest.raises(UsageError):
        select_from(file, ("1",), ())


def test_select_from_file_with_mean_ignores_stored_average() -> None:
    file = _file((2, 3), (2, 5), (2, None))
    [mean] = select_from(file, (), (), mean=True).maps
    assert mean.name == "L2 mean of H3 H5"
    assert np.array_equal(mean.pattern, np.full((3, 3), 24, np.float32))  # of 23 and 25
