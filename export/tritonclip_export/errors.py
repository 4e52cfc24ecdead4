"""What can go wrong between a checkpoint and a running server, under the client's error tree."""

from tritonclip.errors import TritonClipError


class CheckpointError(TritonClipError):
    """A checkpoint reference cannot be resolved, or its weights do not fit its architecture."""


class ExportError(TritonClipError):
    """An encoder cannot be traced, or its graph fails a check."""


class BundleError(TritonClipError):
    """A bundle is missing, damaged or lacks what was asked for."""


class MountPointError(TritonClipError):
    """A folder that is to be replaced in one step is a file system of its own."""


class DiskSpaceError(TritonClipError):
    """What is to be written does not fit on the disk."""


class RepositoryError(TritonClipError):
    """A model repository cannot be assembled or is inconsistent."""


class EditedConfigError(RepositoryError):
    """Assembling would undo what somebody has changed in a repository by hand."""


class ParityError(TritonClipError):
    """A stage disagrees with the one before it by more than its tolerance."""


class PrecisionError(TritonClipError):
    """An encoder cannot be had in the precision that was asked for.

    Attributes:
        layer: the layer that is to blame, where one is known.
    """

    def __init__(self, message: str, layer: str | None = None) -> None:
        self.layer = layer
        super().__init__(message)


class EngineError(TritonClipError):
    """An engine cannot be built: the compiler, the GPU or the options do not allow it."""


class BenchmarkError(TritonClipError):
    """A benchmark cannot be run, or its report cannot be read."""


class TuningError(TritonClipError):
    """A repository cannot be tuned here, or a server does not let itself be tuned."""


class SettingRefusedError(TuningError):
    """A server cannot run the models under a setting that `tune` tries, or fails under it."""
