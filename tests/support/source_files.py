"""Every source file of the three packages, by the name under which it is imported."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_name(path):
    """The name under which a file is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "minicnn" else ["minicnn", *parts])


FILES = {module_name(path): path for folder in ("minicnn", "detection", "compression") for path in sorted((ROOT / folder).rglob("*.py"))}
