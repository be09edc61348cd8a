"""The description of the machine, from the system files of two kinds of processor."""

import json

import pytest

from minicnn.fast import machine

INTEL = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\n"
PI = ("processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\nCPU revision\t: 3\n\nprocessor\t: 1\n"
      "CPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")


@pytest.fixture
def files(monkeypatch):
    """files(path, content, ...): these are the system's files, and no others."""
    def files(*pairs):
        known = dict(zip(pairs[::2], pairs[1::2]))
        monkeypatch.setattr(machine, "text", lambda path: known.get(str(path), ""))
        machine.processor.cache_clear()
    yield files
    machine.processor.cache_clear()


def test_a_processor_with_a_name(files):
    files("/proc/cpuinfo", INTEL, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3000000")
    assert machine.processor() == "Some CPU @ 2.00GHz" and machine.board() is None and machine.celsius() is None


def test_a_raspberry_pi(files):
    files("/proc/cpuinfo", PI, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000",
          "/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0", "/sys/class/thermal/thermal_zone0/temp", "48686",
          "/proc/meminfo", "MemTotal:        3884360 kB\nMemFree: 1 kB")
    assert machine.processor() == "Cortex-A72, 1.8 GHz" and machine.board() == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.celsius() == 48.686 and machine.memory() == 3793


def test_a_system_that_reports_nothing(files, monkeypatch):
    files()
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine.processor() == machine.platform.machine()
    assert machine.board() is machine.celsius() is machine.memory() is None


def test_all_of_it_goes_into_json(backend):
    document = json.loads(json.dumps(machine.describe(backend)))
    assert document["threads"] >= 1 and document["cores"] >= 1 and document["versions"]["numpy"]


def test_threads_are_those_of_the_backend(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    assert machine.threads("numpy") == 1
