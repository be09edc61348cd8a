"""What the programs of ``bench`` share, some of it also with the tests. Importing this puts the folder's modules on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
