import pytest

from tritonclip.errors import ModelMismatch, ModelNotFound
from tritonclip.info import ModelConfig, choose_model, parse_info

PARAMETERS = {
    "tritonclip_name": "demo",
    "tritonclip_source": "ViT-B-16-SigLIP:webli",
    "tritonclip_dim": "768",
    "tritonclip_similarity": "sigmoid",
    "tritonclip_logit_scale": "117.33",
    "tritonclip_logit_bias": "-12.9",
    "tritonclip_image_height": "224",
    "tritonclip_image_width": "256",
    "tritonclip_context_length": "64",
    "tritonclip_precision": "fp16",
    "tritonclip_runtime": "tensorrt",
    "tritonclip_preprocess": "exact",
    "tritonclip_weights_sha256": "ab" * 32,
    "tritonclip_max_image_bytes": "33554432",
    "tritonclip_max_image_pixels": "89478485",
}


def parse(**changes: str):
    parameters = PARAMETERS | {f"tritonclip_{key}": value for key, value in changes.items()}
    config = ModelConfig(8, {key: value for key, value in parameters.items() if value})
    return parse_info("demo", config, config)


def test_parameters_become_a_typed_object():
    info = parse()
    assert (info.name, info.dim, info.similarity) == ("demo", 768, "sigmoid")
    assert (info.logit_scale, info.logit_bias) == (117.33, -12.9)
    assert (info.image_height, info.image_width) == (224, 256)


def test_a_server_turns_by_exif_only_where_it_says_so():
    assert parse(orient="true").orient
    assert not parse(orient="false").orient
    assert not parse().orient  # assembled before there was a choice


def test_the_smaller_of_the_two_batch_sizes_holds():
    info = parse_info("demo", ModelConfig(8, PARAMETERS), ModelConfig(64, PARAMETERS))
    assert info.max_batch_size == 8


@pytest.mark.parametrize(
    "change",
    [
        {"dim": ""},
        {"dim": "many"},
        {"dim": "0"},
        {"name": "other"},
        {"similarity": "cosine"},
        {"logit_scale": "nan"},
        {"logit_bias": "x"},
        {"max_image_bytes": "-1"},
        {"precision": ""},
    ],
)
def test_a_missing_or_odd_parameter_is_named(change):
    with pytest.raises(ModelMismatch, match=f"tritonclip_{next(iter(change))}") as caught:
        parse(**change)
    assert "demo_image" in str(caught.value)


def test_halves_of_different_bundles_do_not_match():
    other = ModelConfig(8, PARAMETERS | {"tritonclip_dim": "512"})
    with pytest.raises(ModelMismatch, match=r"demo_text.*dim.*'512'.*'768'"):
        parse_info("demo", ModelConfig(8, PARAMETERS), other)


def test_models_that_do_not_batch_are_refused():
    with pytest.raises(ModelMismatch, match="does not batch"):
        parse_info("demo", ModelConfig(0, PARAMETERS), ModelConfig(8, PARAMETERS))


def test_the_only_bundle_needs_no_name():
    assert choose_model(["a_image", "a_text", "a_zero_shot", "lonely_image"], None) == "a"


@pytest.mark.parametrize(
    ("models", "wanted", "complaint"),
    [
        (["a_image", "a_text", "b_image", "b_text"], None, "several CLIP models: a, b"),
        (["resnet"], None, "models there: resnet"),
        ([], None, "none at all"),
        (["a_image", "a_text"], "c", "no model 'c'.*there: a"),
    ],
)
def test_what_is_there_is_listed_when_the_choice_is_not_clear(models, wanted, complaint):
    with pytest.raises(ModelNotFound, match=complaint):
        choose_model(models, wanted)
