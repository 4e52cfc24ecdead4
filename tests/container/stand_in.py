"""`triton_python_backend_utils` outside the server: NVIDIA's own file, and classes like the stub's.

The classes have the members, and the members take the arguments, that the real server's have (see
`surface`); what no model of this project uses raises. Strings are kept as the bytes that travel,
and are read by the module's own function, as in the stub.
"""

import importlib.util
import inspect
import re
import sys

import numpy as np

_PARAMETER = re.compile(r"(\w+): [^,]+?(?P<default> = [^,]+)?(?=, \w+: |\) -> )")


def install(file, surface, infer):
    """Make the module importable by its name, and give it.

    Args:
        file: NVIDIA's `triton_python_backend_utils.py`.
        surface: what the real one offers, as `surface` tells.
        infer: (model, inputs by name) -> outputs by name, or a TritonError; arrays all of them.
    """
    name = "triton_python_backend_utils"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    implemented = {"Tensor": _tensor(module), "TritonError": _error(), "Logger": _logger()}
    implemented["InferenceResponse"] = _response()
    implemented["InferenceRequest"] = _request(module, infer)
    for kind, members in surface.items():
        if isinstance(members, dict):
            setattr(module, kind, _class(kind, members, implemented.get(kind, {})))
    module.TritonModelException = type("TritonModelException", (Exception,), {})
    return module


def _class(kind, members, implemented):
    if unknown := set(implemented) - set(members):
        raise TypeError(f"the real {kind} has no {unknown}")
    namespace = {}
    for name, signature in members.items():
        if name not in implemented:
            namespace[name] = _refusal(f"{kind}.{name}")
        elif callable(implemented[name]):
            namespace[name] = _checked(implemented[name], signature)
        else:
            namespace[name] = implemented[name]
    return type(kind, (), namespace)


def _checked(function, signature):
    """`function`, called with the arguments that the real one takes."""
    kinds, parameters = inspect.Parameter, []
    found = list(_PARAMETER.finditer(signature))
    defaults = [bool(one["default"]) for one in found]
    # pybind11 allows what Python does not: a default before one that must be given, by keyword.
    named = kinds.POSITIONAL_OR_KEYWORD if sorted(defaults) == defaults else kinds.KEYWORD_ONLY
    for one in found:
        unnamed = one[1] == "self" or one[1].startswith("arg")
        kind = kinds.POSITIONAL_ONLY if unnamed else named
        default = None if one["default"] else kinds.empty
        parameters.append(kinds(one[1], kind, default=default))
    known = inspect.Signature(parameters)

    def call(*args, **kwargs):
        known.bind(*args, **kwargs)
        return function(*args, **kwargs)

    return staticmethod(call) if not parameters or parameters[0].name != "self" else call


def _refusal(name):
    def refuse(*_args, **_kwargs):
        raise NotImplementedError(f"the stand-in has no {name}")

    return refuse


def _tensor(module):
    def init(self, name, array):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"incompatible constructor arguments: {name!r}, {type(array)}")
        self._name, self._shape = name, array.shape
        self._is_string = array.dtype.kind in "OSU"
        if self._is_string:
            self._data = module.serialize_byte_tensor(array) or b""
        else:
            self._data = np.ascontiguousarray(array)

    def as_numpy(self):
        if not self._is_string:
            return self._data
        return module.deserialize_bytes_tensor(self._data).reshape(self._shape)

    return {"__init__": init, "as_numpy": as_numpy, "name": lambda self: self._name}


def _error():
    def init(self, message, code=1):
        self._message, self._code = message, code

    codes = ("UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED")
    return {
        "__init__": init,
        "message": lambda self: self._message,
        "code": lambda self: self._code,
        **{name: number for number, name in enumerate(codes)},
    }


def _logger():
    return dict.fromkeys(("log_info", "log_warn", "log_error"), print)


def _response():
    def init(self, output_tensors=(), error=None):
        self._tensors, self._error = list(output_tensors), error

    return {
        "__init__": init,
        "output_tensors": lambda self: self._tensors,
        "has_error": lambda self: self._error is not None,
        "error": lambda self: self._error,
    }


def _request(module, infer):
    def init(self, inputs, requested_output_names, model_name, **_):
        self._inputs, self._names, self._model = inputs, requested_output_names, model_name
        self.responses = []

    def execute(self):
        answer = infer(self._model, {tensor.name(): tensor.as_numpy() for tensor in self._inputs})
        if isinstance(answer, module.TritonError):
            return module.InferenceResponse(error=answer)
        return module.InferenceResponse([module.Tensor(name, answer[name]) for name in self._names])

    async def async_exec(self):
        return execute(self)

    return {
        "__init__": init,
        "inputs": lambda self: self._inputs,
        "exec": execute,
        "async_exec": async_exec,
        "get_response_sender": lambda self: _Sender(self.responses),
    }


class _Sender:
    """What a decoupled model answers with; here only the first answer counts."""

    def __init__(self, responses):
        self._responses = responses

    def send(self, response=None, flags=0):  # noqa: ARG002
        self._responses.append(response)
