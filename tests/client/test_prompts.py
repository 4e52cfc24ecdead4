import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

from tritonclip.errors import InvalidArgument
from tritonclip.prompts import (
    OPENAI,
    LabelMeans,
    check_labels,
    prompts,
    resolve_templates,
)


def test_the_openai_templates_are_those_of_open_clip():
    open_clip = importlib.util.find_spec("open_clip")
    if open_clip is None:
        pytest.skip("open_clip is not installed")
    # Only this file of it, because importing the package imports torch.
    file = Path(open_clip.origin).with_name("zero_shot_metadata.py")
    theirs = runpy.run_path(str(file))["OPENAI_IMAGENET_TEMPLATES"]
    assert [template("{}") for template in theirs] == list(OPENAI)


def test_templates_are_a_name_or_a_template_or_several():
    assert resolve_templates("photo") == ("a photo of a {}.",)
    assert resolve_templates("plain") == ("{}",)
    assert resolve_templates("my {}") == ("my {}",)
    assert resolve_templates(["a {}", "the {}"]) == ("a {}", "the {}")


@pytest.mark.parametrize(
    ("templates", "complaint"),
    [("imagenet", "'imagenet'.*'openai'"), ([], "empty"), (["a {}", "b"], "'b' has no {}")],
)
def test_unusable_templates_are_refused(templates, complaint):
    with pytest.raises(InvalidArgument, match=complaint):
        resolve_templates(templates)


def test_prompts_go_label_by_label_and_braces_in_labels_survive():
    made = list(prompts(["{0}", "{}", "a{b"], ["{}!", "{} or {}"]))
    assert made == ["{0}!", "{0} or {0}", "{}!", "{} or {}", "a{b!", "a{b or a{b"]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [("cat", r"\['cat'\]"), ([], "empty"), (["cat", 3], "label 1 is 3")],
)
def test_unusable_labels_are_refused(labels, complaint):
    with pytest.raises(InvalidArgument, match=complaint):
        check_labels(labels)


def test_a_label_is_the_normalised_mean_of_its_prompts():
    vectors = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    means = LabelMeans(labels=2, templates=2, dim=2)
    for vector in vectors:
        means.add(vector)
    assert means.result() == pytest.approx(np.array([[2**-0.5, 2**-0.5], [0, 1]]))
