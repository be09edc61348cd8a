#!/usr/bin/env bash
# Detection with Debian 12's own Python, NumPy and Pillow and nothing else: the packages that Raspberry Pi OS Bookworm has, where pip
# installs nothing outside a virtual environment.
#
#     bash bench/debian12.sh FOLDER COMMAND...
#
# Unpacks the packages into FOLDER (80 MB; kept for the next time), and runs COMMAND with their Python: bench/debian12.sh deb -c 'import PIL'.
# Needs Debian 12's apt; neither root nor a changed system.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
root=$folder/root debs=$folder/apt/cache/archives

# apt-get with lists of its own and no package installed, so that it fetches whatever the named ones need
apt() { apt-get -qq -o Dir::State="$folder/apt" -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt/cache" \
    -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"; }

if [ ! -e "$folder/laid-out" ]; then
    mkdir -p "$folder/apt/lists/partial" "$debs/partial" "$root"
    : > "$folder/apt/status"
    apt update
    apt install -y --no-install-recommends --download-only python3 python3-numpy python3-pil
    for package in "$debs"/*.deb; do dpkg -x "$package" "$root"; done
    touch "$folder/laid-out"
fi

libraries=$(dirname "$(find "$root" -name libz.so.1)")
loader=$(find "$root/lib" "$root/lib64" -name 'ld-linux-*.so.*' 2> /dev/null | head -1)
# blas and lapack: an installed system has links to these
PYTHONHOME=$root/usr exec "$loader" --library-path "$libraries:$root/usr/lib/$(basename "$libraries"):$(find "$root/usr/lib" -type d \
    \( -name blas -o -name lapack \) -path '*linux-gnu/*' | paste -sd:)" "$root/usr/bin/python3.11" -s -B "$@"
