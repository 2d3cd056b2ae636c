"""The process's switch for matrix products on a GPU: set for a run, given back after it."""

import pytest
import torch

from auxin.training.loop import float32_products


def test_products_are_tf32_where_asked_for_and_never_by_accident() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        for outside in (False, True):
            matmul.allow_tf32 = outside
            for precision, inside in (("float32", False), ("tf32", True), ("bfloat16", True)):
                with float32_products(precision):
                    assert matmul.allow_tf32 is inside
                assert matmul.allow_tf32 is outside
    finally:
        matmul.allow_tf32 = before


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="needs torch 2.9")
@pytest.mark.parametrize("outside", ["tf32", "ieee"])
def test_a_switch_set_by_its_newer_name_comes_back(outside: str) -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision == "tf32"
    try:
        for precision, inside in (("float32", "ieee"), ("tf32", "tf32")):
            matmul.fp32_precision = outside
            with float32_products(precision):
                assert matmul.fp32_precision == inside
            assert matmul.fp32_precision == outside
    finally:
        matmul.allow_tf32 = before
