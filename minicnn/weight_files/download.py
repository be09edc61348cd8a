"""torchvision's published weights, fetched into a cache folder and held against the hash in their name.

A file grows as ``NAME.part`` and is renamed when it is whole and verified, so that what was interrupted can be gone on with. The
names end in the first 8 hexadecimal digits of the SHA-256. That protects from damage, from truncation and from one file in another's
place; it does not protect from somebody who makes a file for it on purpose, since 32 bits are tried through in minutes. Against that
stand HTTPS and a trusted server, hence no plain HTTP from elsewhere.
"""

import http.client
import ipaddress
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import minicnn
from minicnn.errors import InputError
from minicnn.files import cache_folder, make_folder, sha256, unwritable
from minicnn.progress import Progress

BASE = "https://download.pytorch.org/models/"       # as in torchvision 0.29.1
FILES = {
    "vgg16": "vgg16-397923af.pth",
    "fasterrcnn_resnet50_fpn": "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
    "fasterrcnn_resnet50_fpn_v2": "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    "fasterrcnn_mobilenet_v3_large_fpn": "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
}
LARGEST = 2 * 2**30         # bytes; vgg16, the largest, has 0.55e9
PIECE = 2**20               # bytes read at once, at most
TIMEOUT = 30                # seconds of silence


def download(architecture, folder=None, base=BASE):
    """The verified file of torchvision's weights; fetched, or what is still missing of it, unless it is in the cache already.

    Args:
        architecture: a key of ``FILES``.
        folder: where files are kept; None means ``cache_folder()``.
        base: address that holds files of the same names: https, or http on this computer.

    Returns:
        path: of the ``.pth``.

    Raises:
        InputError: no such architecture, an address that cannot be used, no answer, a connection lost (what came is kept), a file
            that is not the published one (it is removed), or no room for it.
    """
    if architecture not in FILES:
        raise InputError(f"got the architecture {architecture!r}, expected one of {', '.join(FILES)}. Choose one of them.")
    check_address(base)
    folder, name = Path(folder or cache_folder()), FILES[architecture]
    path, part, url = folder / name, folder / f"{name}.part", f"{base.rstrip('/')}/{name}"
    try:
        if path.exists() and verified(path, name):
            return path
        make_folder(folder)
        resumed = part.exists()
        fetch(url, part, architecture)
        while not verified(part, name):
            part.unlink()
            if not resumed:
                raise InputError(f"got a file from {url} that is damaged or another one, expected a SHA-256 that begins with "
                                 f"{digits(name)}. It was removed; run the same command again, or choose another server.")
            resumed = False                             # what was there may have belonged to another file: once from the beginning
            fetch(url, part, architecture)
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def verified(path, name):
    """Whether the file's SHA-256 begins as the published name says."""
    return sha256(path).startswith(digits(name))


def digits(name):
    """vgg16-397923af.pth -> 397923af"""
    return name.rpartition("-")[2].removesuffix(".pth")


def fetch(url, part, label):
    """Append to the file ``part`` what it lacks of ``url``'s; begin anew if the server sends all of it."""
    start = part.stat().st_size if part.exists() else 0
    response = request(url, start)
    if response is None:
        return
    with response:
        start = start if response.status == 206 else 0
        length = response.length
        if length is None or start + length > LARGEST:
            raise InputError(f"got {'no length' if length is None else f'{start + length} bytes'} announced for {url}, expected at most "
                             f"{LARGEST}. Choose another server.")
        with open(part, "ab" if start else "wb") as file, Progress(length, label, unit="bytes") as progress:
            for piece in pieces(response, url, length):
                file.write(piece)
                progress.update(len(piece))


def request(url, start):
    """The server's answer, from byte ``start`` on if it can do that; None if there are no further bytes.

    Raises:
        InputError: no answer, or a refusal.
    """
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}     # never for this computer
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), CheckedRedirects)
    headers = {"User-Agent": f"minicnn/{minicnn.__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        raise InputError(f"got the answer {error.code} {error.reason} for {url}, expected the file. Check the address.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"got no answer for {url} ({reason(error)}), expected the file. Check the network and the address, and run the "
                         "same command again.") from error


def pieces(response, url, length):
    """The body as it comes, not more than was announced.

    Raises:
        InputError: the connection was lost before the end.
    """
    left = length
    while left:
        try:
            piece = response.read1(min(left, PIECE))
            lost = "closed by the server"
        except (OSError, http.client.HTTPException) as error:
            piece, lost = b"", reason(error)
        if not piece:
            raise InputError(f"lost the connection to {urlsplit(url).netloc} ({lost}) with {left} of {length} bytes missing, expected all. "
                             "Run the same command again to go on.")
        yield piece
        left -= len(piece)


def reason(error):
    return getattr(error, "reason", None) or str(error) or type(error).__name__


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows to where the user might have sent us, too."""

    def redirect_request(self, request, response, code, message, headers, url):
        try:
            check_address(url)
        except InputError:
            response.close()
            raise
        return super().redirect_request(request, response, code, message, headers, url)


def check_address(url):
    """Raise InputError unless the address is https, or http on this computer."""
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and (parts.scheme == "https" or parts.scheme == "http" and is_loopback(parts.hostname))
    except ValueError:
        fine = False
    if not fine:
        raise InputError(f"got the address {url!r}, expected https://... (http only for this computer: weights must not be changed on "
                         "their way). Choose another server.")


def is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
