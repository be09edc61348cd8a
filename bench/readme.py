"""Put the tables of ``bench/results`` into the README, between the comments that name them.

    python bench/readme.py [NAME ...]

With names only these.
"""

import importlib
import json
import re
import sys

import harness  # noqa: F401  puts bench/harness on the path
from record import RESULTS, ROOT


def main():
    path = ROOT / "README.md"
    text = path.read_text()
    for name in sys.argv[1:] or re.findall(r"<!-- (\w+) -->", text):
        document = json.loads((RESULTS / f"{name}.json").read_text())
        made = document["made"]
        versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
        rows = f" (rows on {', '.join(document['rows_made_on'])})" if "rows_made_on" in document else ""
        source = (f"`{made['command']}`, {made['date']}, commit {made['commit']}{rows}, {made['processor']}, {made['cores']} cores, "
                  f"Python {made['python']}, {versions}; [all figures](bench/results/{name}.json)")
        block = f"<!-- {name} -->\n{importlib.import_module(name).markdown(document)}\n\n<sub>{source}</sub>\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL)
    path.write_text(text)


if __name__ == "__main__":
    main()
