"""Download torchvision's published weights into a cache folder, and verify them by the hash in their name.

A file is written as ``NAME.part``, and renamed when it is complete and verified, so that an interrupted download can be resumed. The
names end in the first 8 hexadecimal digits of the SHA-256. This detects damaged, truncated and exchanged files, but not a file forged
on purpose, since 32 bits can be searched in minutes. HTTPS and a trusted server protect from that, so plain HTTP is accepted only from
this computer.
"""

import http.client
import ipaddress
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from minicnn.errors import InputError
from minicnn.files import cache_folder, make_cache_folder, make_folder, sha256, unwritable
from minicnn.progress import Progress
from minicnn.version import __version__
from minicnn.weight_files.published import BASE, FILES

LARGEST = 2 * 2**30         # bytes; vgg16, the largest, has 0.55e9
PIECE = 2**20               # bytes read at once, at most
TIMEOUT = 30                # seconds without an answer


def download(architecture, folder=None, base=BASE):
    """Download torchvision's weights, or the missing rest of them, unless they are in the cache already.

    Args:
        architecture: a key of ``FILES``.
        folder: the cache; None means ``cache_folder()``.
        base: address of a server with files of the same names: https, or http on this computer.

    Returns:
        path: of the verified ``.pth`` file.

    Raises:
        InputError: an unknown architecture, an address that is not allowed, no answer, a lost connection (the part received is
            kept), a file with another hash (it is removed), or a folder that cannot be written.
    """
    if architecture not in FILES:
        raise InputError(f"got the architecture {architecture!r}, expected one of {', '.join(FILES)}. Choose one of them.")
    check_address(base)
    make = make_folder if folder else make_cache_folder
    folder, name = Path(folder or cache_folder()), FILES[architecture]
    path, url = Path(os.path.realpath(folder / name)), f"{base.rstrip('/')}/{name}"      # a link in the cache stays
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists() and verified(path, name):
            return path
        make(folder)
        resumed = part.exists()
        fetch(url, part, architecture)
        while not verified(part, name):
            part.unlink()
            if not resumed:
                raise InputError(f"got a file from {url} with another SHA-256, expected one that begins with {digits(name)}. "
                                 "It was removed; run the same command again, or choose another server.")
            resumed = False                             # the old part may have been of another file: download once from the beginning
            fetch(url, part, architecture)
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def verified(path, name):
    """Whether the file's SHA-256 begins with the digits in its published name."""
    return sha256(path).startswith(digits(name))


def digits(name):
    """vgg16-397923af.pth -> 397923af"""
    return name.rpartition("-")[2].removesuffix(".pth")


def fetch(url, part, label):
    """Download the rest of ``url`` that the file ``part`` lacks; overwrite it if the server cannot send the rest alone."""
    start = part.stat().st_size if part.exists() else 0
    response = request(url, start)
    if response is None:
        return
    with response:
        start = start if response.status == 206 else 0
        length = response.length
        if length is None or start + length > LARGEST:
            raise InputError(f"got {'no length' if length is None else f'{start + length} bytes'} for {url}, expected at most "
                             f"{LARGEST} bytes. Choose another server.")
        with open(part, "ab" if start else "wb") as file, Progress(length, label, unit="bytes") as progress:
            for piece in pieces(response, url, length):
                file.write(piece)
                progress.update(len(piece))


def request(url, start):
    """The server's response, from byte ``start`` on if the server can do that; None if the file has no further bytes.

    Raises:
        InputError: no answer, or an error status.
    """
    # a proxy for https only: http is for servers on this computer
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), CheckedRedirects)
    headers = {"User-Agent": f"minicnn/{__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        raise InputError(f"got the status {error.code} {error.reason} for {url}, expected the file. Check the address.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"got no answer for {url} ({reason(error)}), expected the file. Check the network and the address, and run the "
                         "same command again.") from error


def pieces(response, url, length):
    """Yield the response's bytes in pieces, ``length`` in total.

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
    """A few words on why a request failed."""
    return getattr(error, "reason", None) or str(error) or type(error).__name__


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that the user could have given."""

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
        raise InputError(f"got the address {url!r}, expected https://... (http only for this computer, since it does not protect the "
                         "weights from changes). Choose another server.")


def is_loopback(host):
    """Whether a host name or address is this computer's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
