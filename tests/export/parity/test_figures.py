"""The figures of parity, on numbers worked out by hand, and that they can fail."""

import numpy as np
import pytest

from tritonclip_export.errors import ParityError
from tritonclip_export.parity.figures import (
    Tolerance,
    compare,
    compare_exact,
    require,
    retrieval_agreement,
)
from tritonclip_export.parity.pairs import Pair, compare_pairs

STRICT = Tolerance(relative_to_spread=1e-3, min_cosine=0.999)


def unit(*angles: float) -> np.ndarray:
    return np.array([(np.cos(angle), np.sin(angle)) for angle in angles])


def test_figures_of_a_known_rotation() -> None:
    figure = compare("x", unit(0, np.pi), unit(0.01, np.pi + 0.01), STRICT)

    chord = 2 * np.sin(0.005)
    assert figure.max_abs_error == pytest.approx(np.sin(0.01))
    assert figure.min_cosine == pytest.approx(np.cos(0.01))
    # Two opposite unit vectors lie at distance 1 from their mean, the origin.
    assert figure.relative_to_spread == pytest.approx(chord)
    assert not figure.passed


def test_an_error_that_cosine_misses_shows_against_the_spread() -> None:
    """Random towers: all inputs nearly alike, so exchanging two of them hardly moves cosine."""
    reference = unit(0.0, 0.002, 0.004)

    figure = compare("x", reference, reference[::-1], STRICT)

    assert figure.min_cosine is not None
    assert figure.min_cosine > 0.99999
    assert figure.relative_to_spread is not None
    assert figure.relative_to_spread > 1
    assert not figure.passed


def test_rounding_passes_whatever_the_spread() -> None:
    reference = unit(0.0, 1e-6)
    assert compare("x", reference, reference + 5e-7, STRICT).passed


def test_nan_never_passes() -> None:
    reference = unit(0.0, 1.0)
    assert not compare("x", reference, np.full_like(reference, np.nan), STRICT).passed


def test_different_shapes_are_an_error() -> None:
    with pytest.raises(ParityError, match="shapes"):
        compare("x", unit(0, 1), unit(0), STRICT)


def test_exact_comparison_finds_one_value_in_a_thousand() -> None:
    ids = [np.arange(1000), np.arange(5)]
    other = [ids[0].copy(), ids[1]]
    other[0][500] += 3

    assert compare_exact("ids", ids, ids).passed
    figure = compare_exact("ids", ids, other)
    assert (figure.passed, figure.max_abs_error, figure.samples) == (False, 3, 2)
    assert not compare_exact("ids", ids, [ids[0], ids[1][:4]]).passed


def test_uint8_differences_do_not_wrap() -> None:
    figure = compare_exact("pixels", [np.array([0], np.uint8)], [np.array([255], np.uint8)])
    assert figure.max_abs_error == 255


def test_retrieval_agreement_counts_texts_that_find_another_image() -> None:
    images, texts = unit(0.0, 1.0), unit(0.1, 0.9)
    assert retrieval_agreement((images, texts), (images, texts), 1e-6) == 1.0
    assert retrieval_agreement((images, texts), (images, unit(0.1, 0.2)), 1e-6) == 0.5


def test_images_that_a_precision_cannot_tell_apart_may_change_places() -> None:
    images, texts = unit(0.0, 0.02, 3.0), unit(0.0097, 2.9)
    moved = unit(0.0103, 2.9)
    gap = 1 - np.cos(0.0103) - (1 - np.cos(0.0097))

    assert retrieval_agreement((images, texts), (images, moved), gap / 2) == 0.5
    assert retrieval_agreement((images, texts), (images, moved), gap * 2) == 1.0


def test_the_first_broken_stage_is_named() -> None:
    good = compare_exact("token ids", [np.arange(3)], [np.arange(3)])
    bad = compare("onnx text", unit(0, 1), unit(0.5, 1.5), STRICT)
    with pytest.raises(ParityError, match=r"'onnx text'.*relative to spread"):
        require([good, bad])


def test_texts_that_find_other_images_break_parity_whatever_their_cosine() -> None:
    """Two images so close together that an error within every other tolerance exchanges them."""
    images, texts = unit(1.0, 1.02, 3.0), unit(1.0097, 2.9)
    moved = Pair(images, unit(1.0103, 2.9))

    image, text = compare_pairs("onnx", Pair(images, texts), moved)

    assert image.passed
    assert text.relative_to_spread is not None
    assert text.relative_to_spread < 1e-3
    assert text.retrieval_agreement == 0.5
    assert not text.passed
