"""What can go wrong with a bulk run, as branches of the client's `TritonClipError`."""
# Named for what happened, as in the client.
# ruff: noqa: N818

from tritonclip.errors import InvalidArgument, TritonClipError


class EndpointMismatch(TritonClipError):
    """A server embeds with another model, precision or batch size than the run was begun with."""


class PlanMismatch(InvalidArgument):
    """The target holds a run of another kind."""


class ShardUnreadable(TritonClipError):
    """What a shard is made of cannot be read now: it is not there, closed to us, or unreachable."""


class TargetError(TritonClipError):
    """The target cannot be read or written."""


class ClusterError(TritonClipError):
    """Ray has no such cluster, or failed."""
