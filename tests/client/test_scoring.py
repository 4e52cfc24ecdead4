from dataclasses import replace

import numpy as np
import pytest

from tritonclip.scoring import classifications, probabilities

IMAGES = np.array([[1, 0], [0, 1]], dtype=np.float32)
LABELS = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)


@pytest.fixture
def info(model_info):
    return replace(model_info, logit_scale=2.0, logit_bias=-1.0)


def test_softmax_compares_the_labels_with_each_other(info):
    result = probabilities(IMAGES, LABELS, info)
    expected = np.exp([2.0, 1.2, 0.0]) / np.exp([2.0, 1.2, 0.0]).sum()
    assert result.dtype == np.float32
    assert result[0] == pytest.approx(expected)


def test_sigmoid_judges_each_label_alone(info):
    result = probabilities(IMAGES, LABELS, replace(info, similarity="sigmoid"))
    assert result[0] == pytest.approx(1 / (1 + np.exp(-np.array([1.0, 0.2, -1.0]))))


@pytest.mark.parametrize("similarity", ["softmax", "sigmoid"])
def test_extreme_logits_do_not_overflow(info, similarity):
    extreme = replace(info, similarity=similarity, logit_scale=1e5, logit_bias=0.0)
    with np.errstate(all="raise", under="ignore"):
        result = probabilities(IMAGES, np.array([[1, 0], [-1, 0]], dtype=np.float32), extreme)
    assert result[0].tolist() == [1, 0]


def test_a_classification_names_its_best_labels(info):
    first, second = classifications(IMAGES, LABELS, ["right", "between", "up"], info)
    assert (first.label, second.label) == ("right", "up")
    assert [label for label, _ in first.top(2)] == ["right", "between"]
    assert first.top(1)[0][1] == first.probability
    assert len(first.top(99)) == 3
    assert str(second).startswith("up (")
