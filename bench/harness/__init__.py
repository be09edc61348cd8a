"""What the programs of ``bench`` share with each other, and partly with the tests: importing this puts its files on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
