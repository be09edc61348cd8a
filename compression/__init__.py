"""The compression method of Gong, Zhang and Zeng (2020): pruning by filter statistics, Tucker decomposition.

Import its parts by their files, for example ``from minicnn.compression.channels import prune_group``.

The folder shares its name with a package of Python 3.14's standard library, whose modules ``gzip``, ``bz2`` and ``lzma``
import. Extending the path keeps those imports working when the repository's root comes first on ``sys.path``.
"""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
