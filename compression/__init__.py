"""The compression method of Gong, Zhang and Zeng (2020): pruning by filter statistics, and Tucker decomposition.

``compress_detector`` and ``compress_classifier`` are the whole method, as ``from minicnn.compression import compress_detector``; its
steps are the functions ``observe.observe``, ``cut.cut``, ``repair.repair`` and ``measure.measure``. Names are imported from their files
when they are first used. Functions that have the name of their file are imported from it, as ``from minicnn.compression.kmeans import
kmeans``.

The folder shares its name with a package of Python 3.14's standard library, whose modules ``gzip``, ``bz2`` and ``lzma``
import. Extending the path keeps those imports working when the repository's root comes first on ``sys.path``; exports exist only under the
installed name, ``minicnn.compression``.
"""

import importlib
import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)

FILES = {
    "method": ("compress_classifier", "compress_detector"), "options": ("DetectorOptions",), "rules": ("RankRule",),
    "rounds": ("PruningOptions", "PruningTarget", "prune_in_rounds"), "hybrid": ("HybridOptions",), "checkpoint": ("Checkpoint",),
    "reports": ("ClassifierReport", "DetectorReport"), "calibration_images": ("draw_images",),
    "cost_model": ("CostModel", "machine_cost_model", "read_cost_model"), "channels": ("prune_group",),
    "filter_statistics": ("cluster_filters",),
    "kmeans": ("silhouette",), "low_rank": ("LowRank",), "tucker": ("hosvd", "mode_product", "reconstruct", "tucker2", "unfold"),
    "dry_run": ("predict_compression",), "svd": ("truncated_svd",), "ranks": ("energy_rank", "evbmf_rank"),
}
__all__ = sorted(name for names in FILES.values() for name in names) if __name__ == "minicnn.compression" else []


def __getattr__(name):
    """Import an exported name from its file."""
    if name in __all__:
        file = next(file for file, names in FILES.items() if name in names)
        return getattr(importlib.import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
