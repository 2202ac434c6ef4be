"""Paths of a nest and the names that are made of them."""

from __future__ import annotations

from collections import namedtuple

from trm_export.step.nest import flatten, rebuild, short_names


def test_a_nest_comes_apart_and_together_again() -> None:
    pair = namedtuple("pair", "left right")
    nest = {"inner": {"z_H": 1, "z_L": [2, 3]}, "pair": pair(4, (5,)), "none": None, 7: 8}
    leaves = flatten(nest)
    assert leaves["inner", "z_L", "1"] == 3
    assert leaves["7",] == 8
    assert set(leaves.values()) == {1, 2, 3, 4, 5, 8}
    assert rebuild(nest, leaves) == nest


def test_names_are_last_parts_where_these_are_enough() -> None:
    paths = [("inner_carry", "z_H"), ("inner_carry", "z_L"), ("steps",)]
    assert list(short_names(paths).values()) == ["z_H", "z_L", "steps"]


def test_ambiguous_last_parts_get_the_longer_path() -> None:
    paths = [("high", "state"), ("low", "state"), ("memory",)]
    assert list(short_names(paths).values()) == ["high_state", "low_state", "memory"]
    assert short_names([("current", "logits")], {"logits"}) == {
        ("current", "logits"): "current_logits"
    }
    deep = [("a", "x", "s"), ("b", "x", "s"), ("c", "s")]
    assert list(short_names(deep).values()) == ["a_x_s", "b_x_s", "c_s"]


def test_no_two_names_are_equal_even_where_paths_are_perverse() -> None:
    paths = [("a_b",), ("a", "b"), ("q", "b")]
    assert len(set(short_names(paths).values())) == 3
    assert short_names([("logits",)], {"logits"}) == {("logits",): "logits_2"}
    assert short_names([("a b/c",)]) == {("a b/c",): "a_b_c"}


def test_names_of_arguments_begin_with_a_letter_and_are_no_keywords() -> None:
    paths = [("z", "0"), ("z", "1"), ("0", "2"), ("_h",), ("0h",), ("class",), ("self",), ("ä",)]
    assert list(short_names(paths, arguments=True).values()) == [
        "z_0", "z_1", "state_0_2", "state_h", "state_0h", "state_class", "state_self", "state_",
    ]  # fmt: skip
    assert list(short_names(paths).values())[:4] == ["0", "1", "2", "_h"]  # of outputs: any


def test_names_of_arguments_differ_not_by_case_alone() -> None:
    nested = [("upper", "G"), ("lower", "g")]
    assert list(short_names(nested, arguments=True).values()) == ["upper_G", "lower_g"]
    assert list(short_names([("G",), ("g",)], arguments=True).values()) == ["G", "g_2"]
    assert short_names([("Inputs",)], {"inputs"}, arguments=True) == {("Inputs",): "Inputs_2"}
    assert list(short_names([("G",), ("g",)]).values()) == ["G", "g"]


def test_names_of_arguments_that_become_equal_stay_distinct() -> None:
    paths = [("_h",), ("__h",), ("state_h",), ("z_0",), ("z", "0")]
    names = list(short_names(paths, arguments=True).values())
    assert names == ["state_h", "state_h_2", "state_h_3", "z_0", "z_0_2"]
