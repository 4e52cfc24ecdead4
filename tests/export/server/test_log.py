from tritonclip_export.server.log import Level, errors, load_failures, parse_line, still_loading

# Printed by tritonserver 2.51.
LOG = r"""
I1122 00:01:22.687601 6398 cache_manager.cc:174] "Creating TritonCache with name: 'local'"
W1122 00:01:22.687617 6398 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
E1122 00:01:22.687659 6398 server.cc:241] "CudaDriverHelper has not been initialized."
[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format inference.ModelConfig: 1:35: Expected integer, got: banana
E1122 00:01:22.688114 6398 model_repository_manager.cc:1460] "Poll failed for model directory 'typo': failed to read text proto from bad/typo/config.pbtxt"
E1122 00:01:22.688485 6398 model_repository_manager.cc:703] "Invalid argument: ensemble image contains models that are not available or ambiguous: absent"
I1122 00:01:22.688384 6398 model_lifecycle.cc:472] "loading: broken:1"
I1122 00:01:22.688400 6398 model_lifecycle.cc:472] "loading: slow:1"
I1122 00:01:22.688400 6398 model_lifecycle.cc:472] "loading: fine:1"
E1122 00:01:22.688879 6398 model_repository_manager.cc:724] "failed to load model 'empty': at least one version must be available under the version policy of model 'empty'"
E1122 00:01:24.338253 6398 model_lifecycle.cc:642] "failed to load 'broken' version 1: Internal: RuntimeError: no file:\nlook\n\nAt:\n  /m/broken/1/model.py(3): initialize\n"
I1122 00:01:24.338266 6398 model_lifecycle.cc:777] "failed to load 'broken'"
I1122 00:01:24.197613 6398 model_lifecycle.cc:839] "successfully loaded 'fine'"
E1122 00:01:24.229964 6398 model_repository_manager.cc:703] "Invalid argument: ensemble 'text' depends on 'broken' which has no loaded version. Model 'broken' loading failed with error: version 1 is at UNAVAILABLE state: Internal: RuntimeError: no file;"
+----------+---------+
| Model    | Version |
error: creating server: Internal - failed to load all models
"""  # noqa: E501
LINES = [parse_line(line) for line in LOG.splitlines()]


def test_each_model_that_failed_has_the_servers_reason() -> None:
    assert load_failures(LINES) == {
        "typo": "failed to read text proto from bad/typo/config.pbtxt "
        "(line 1, column 35: Expected integer, got: banana)",
        "image": "contains models that are not available or ambiguous: absent",
        "empty": "at least one version must be available under the version policy of model 'empty'",
        "broken": "Internal: RuntimeError: no file:\nlook\n\nAt:\n"
        "  /m/broken/1/model.py(3): initialize",
        "text": "depends on 'broken', which did not load",
    }


def test_models_whose_loading_has_not_ended_are_known() -> None:
    assert still_loading(LINES) == ["slow"]


def test_a_line_knows_its_severity_and_its_message() -> None:
    line = parse_line('W1122 00:01:15.664699 6303 metrics.cc:798] "a \\"quoted\\"\\nthing"')

    assert line.level == Level.WARNING
    assert line.message == 'a "quoted"\nthing'


def test_complaints_about_a_missing_gpu_are_no_warnings() -> None:
    assert [line.level for line in LINES if "Cuda" in line.text or "pinned" in line.text] == [
        Level.INFO,
        Level.INFO,
    ]


def test_what_a_python_model_prints_is_shown_by_default() -> None:
    assert parse_line("UserWarning: this model is deprecated").level == Level.WARNING
    assert parse_line("| Model | Version |").level == Level.INFO


def test_without_an_error_the_last_words_count() -> None:
    lines = [parse_line(text) for text in ("first", "+--+", "| x |", "", "last")]

    assert errors(lines, limit=1) == ["last"]
    assert errors(LINES, limit=1) == [
        "error: creating server: Internal - failed to load all models"
    ]
