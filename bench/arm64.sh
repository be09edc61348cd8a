#!/usr/bin/env bash
# minicnn on 64-bit Arm, the Raspberry Pi's processor: an arm64 Python with NumPy and Pillow alone, run by user-mode emulation,
# must give the results of this machine; and with Numba, whose kernels are then compiled for Arm, the steps of the engine must give those
# of NumPy. See bench/arm64.py for what is compared. The short form leaves Numba out: an emulated compiler takes minutes.
#
#     bash bench/arm64.sh [--short] [FOLDER]
#
# FOLDER takes 300 MB of Debian packages and wheels, the emulator too, and keeps them for the next time (default: a temporary one).
# Needs Debian's apt and a Python with minicnn, torch and pip (PYTHON=..., default python3); neither root nor a changed system.
set -euo pipefail
short=
if [ "${1-}" = --short ]; then short=--short; shift; fi
if [ -n "${1-}" ]; then
    mkdir -p "$1"
    folder=$(cd "$1" && pwd)
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
cd "$(dirname "$0")/.."
root=$folder/root site=$folder/site compiled=$folder/compiled wheels=$folder/wheels debs=$folder/apt/cache/archives
emulator=$folder/host/usr/bin/qemu-aarch64-static
python=${PYTHON:-python3}
host=$(dpkg --print-architecture)

# apt-get or apt-cache for arm64, with lists of its own and no package installed, so that it fetches whatever the named ones need
apt() {
    local command=$1
    shift
    "$command" -qq -o Dir::State="$folder/apt" -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt/cache" \
        -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Architectures::="$host" \
        -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"
}

if [ ! -e "$folder/laid-out" ]; then
    mkdir -p "$folder/apt/lists/partial" "$debs/partial" "$root" "$wheels"
    : > "$folder/apt/status"
    apt apt-get update
    minimal=$(apt apt-cache depends python3-minimal | sed -n 's/.*Depends: \(python3\.[0-9]*\)-minimal.*/\1/p')
    echo "fetching $minimal for arm64" >&2
    apt apt-get install -y --no-install-recommends --download-only "$minimal-minimal" "lib$minimal-stdlib" libstdc++6 \
        "qemu-user-static:$host"
    for package in "$debs"/*_arm64.deb "$debs"/*_all.deb; do dpkg -x "$package" "$root"; done
    mkdir -p "$folder/host"
    dpkg --fsys-tarfile "$debs"/qemu-user-static_*.deb | tar -x -C "$folder/host" ./usr/bin/qemu-aarch64-static
    "$python" -m pip download -q --only-binary=:all: --no-deps --python-version "${minimal#python}" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        -d "$wheels" numpy pillow
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
    "$python" -m pip download -q --only-binary=:all: --no-deps --python-version "${minimal#python}" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        -d "$folder/numba" numba llvmlite numpy
    for wheel in "$folder"/numba/*.whl; do "$python" -m zipfile -e "$wheel" "$compiled"; done
    echo "$minimal" > "$folder/laid-out"
fi

# minicnn's own tree, as setup.cfg's package_dir lays it out
for place in "$site" "$compiled"; do
    rm -rf "$place/minicnn"
    cp -r minicnn "$place/minicnn"
    cp -r detection compression "$place/minicnn/"
done

"$python" bench/arm64.py prepare "$folder" $short
# The Pi 4's processor. qemu's default one has vector instructions (SVE) that it emulates with false warnings, and once a false NaN.
arm() { "$emulator" -cpu cortex-a72 -L "$root" "$root/usr/bin/$(cat "$folder/laid-out")" -B "$@"; }
PYTHONPATH=$site arm -W error bench/arm64.py check "$folder"
if [ -z "$short" ]; then
    PYTHONPATH=$compiled NUMBA_CACHE_DIR=$folder/cache arm bench/arm64.py compiled "$folder"
    "$python" bench/arm64.py publish "$folder" --emulator "$("$emulator" --version | head -1), -cpu cortex-a72"
fi
