"""The bundle: what `export` writes and everything after it reads.

Its names are given here, the one package that does so: every stage speaks of them.
"""

from tritonclip_export.bundle.contents import (
    NAME_PATTERN,
    TOWERS,
    Artifact,
    Baseline,
    Binding,
    BundleInfo,
    CleaningRule,
    Engine,
    HardwareCompatibility,
    ImageSpec,
    Parity,
    Precision,
    Profile,
    Similarity,
    Source,
    TextSpec,
    Tokens,
    Tower,
)
from tritonclip_export.bundle.folder import FILENAME, Bundle, require_name, sha256_of
from tritonclip_export.bundle.lengths import bucket_lengths

__all__ = [
    "FILENAME",
    "NAME_PATTERN",
    "TOWERS",
    "Artifact",
    "Baseline",
    "Binding",
    "Bundle",
    "BundleInfo",
    "CleaningRule",
    "Engine",
    "HardwareCompatibility",
    "ImageSpec",
    "Parity",
    "Precision",
    "Profile",
    "Similarity",
    "Source",
    "TextSpec",
    "Tokens",
    "Tower",
    "bucket_lengths",
    "require_name",
    "sha256_of",
]
