"""Run the Python models of a repository outside the server: JOB and RESULT are pickles.

    python served_models.py JOB RESULT

It runs in the environment that is judged, which has the packages of `requirements.txt` alone.
"""

import asyncio
import importlib.util
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import stand_in


def main(job_file, result_file):
    """Answer every request of the job, model by model."""
    job = pickle.loads(Path(job_file).read_bytes())
    models = _Models(job)
    results = {
        model: [models.answers(model, requests) for requests in calls]
        for model, calls in job["calls"].items()
    }
    versions = {"python": sys.version, "numpy": np.__version__}
    Path(result_file).write_bytes(pickle.dumps((versions, results)))


class _Models:
    def __init__(self, job):
        self._job, self._loaded = job, {}
        self._pb_utils = stand_in.install(job["pb_utils"], job["surface"], self._infer)

    def answers(self, model, requests):
        """Outputs by name, or the message of an error, for each request; they are one batch."""
        wanted = [output["name"] for output in self._job["configs"][model]["output"]]
        made = [
            self._pb_utils.InferenceRequest(
                inputs=[self._pb_utils.Tensor(name, array) for name, array in inputs.items()],
                requested_output_names=wanted,
                model_name=model,
            )
            for inputs in requests
        ]
        return [self._outputs(response) for response in self._execute(model, made)]

    def _execute(self, model, requests):
        responses = self._model(model).execute(requests)
        if asyncio.iscoroutine(responses):
            return asyncio.run(responses)
        # For those that it returns nothing for, it sends something later.
        both = list(zip(responses or [None] * len(requests), requests, strict=True))
        while not all(response or request.responses for response, request in both):
            time.sleep(0.001)
        return [response or request.responses[0] for response, request in both]

    def _outputs(self, response):
        if response.has_error():
            return response.error().message()
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    def _infer(self, model, inputs):
        """What a model calls another with, through ensembles."""
        config, tensors = self._job["configs"][model], dict(inputs)
        if "ensemble_scheduling" not in config:
            (answer,) = self.answers(model, [inputs])
            return self._pb_utils.TritonError(answer) if isinstance(answer, str) else answer
        for step in config["ensemble_scheduling"]["step"]:
            given = {name: tensors[source] for name, source in step["input_map"].items()}
            answer = self._infer(step["model_name"], given)
            if isinstance(answer, self._pb_utils.TritonError):
                return answer
            tensors |= {target: answer[name] for name, target in step["output_map"].items()}
        return tensors

    def _model(self, model):
        if model not in self._loaded:
            self._loaded[model] = self._load(model)
        return self._loaded[model]

    def _load(self, model):
        """Load it as a stub does: its folder first on the path, and no other model's modules."""
        folder = Path(self._job["repository"]) / model
        version = folder / "1"
        sys.path.insert(0, str(version))
        spec = importlib.util.spec_from_file_location(f"{model}.model", version / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded = module.TritonPythonModel()
        loaded.initialize(
            {
                "model_config": self._job["json"][model],
                "model_repository": str(folder),
                "model_version": "1",
                "model_name": model,
                "model_instance_kind": "CPU",
                "model_instance_device_id": "0",
            }
        )
        sys.path.remove(str(version))
        for file in version.glob("*.py"):
            sys.modules.pop(file.stem, None)
        return loaded


if __name__ == "__main__":
    main(*sys.argv[1:])
