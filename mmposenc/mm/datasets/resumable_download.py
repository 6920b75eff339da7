"""Downloads one file so that an interruption costs nothing and a wrong file is never kept."""

import os
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from mmposenc.mm.datasets.file_md5 import file_md5

__all__ = ['resumable_download']

_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 3
_BLOCK = 1 << 18


def resumable_download(url: str, target: Path, md5: str) -> None:
    """Downloads `url` to `target`, continuing what an earlier call left (ours).

    The bytes go to `target` + '.part', which is renamed when its checksum is right. A part that was continued and turns
    out wrong is fetched once more from the start.

    Args:
        url: An http(s) address; the server need not support ranges.
        target: Where the file shall lie; its folder is made.
        md5: The expected checksum, 32 hexadecimal digits.

    Raises:
        ConnectionError: If the server cannot be reached or breaks off; what has arrived is kept for the next call.
        ValueError: If the whole file has another checksum; it is deleted.
    """
    part = target.with_name(target.name + '.part')
    continued = part.exists()
    _fetch(url, part)
    got = file_md5(part)
    if got != md5 and continued:
        part.unlink()
        _fetch(url, part)
        got = file_md5(part)
    if got != md5:
        part.unlink()
        raise ValueError(
            f'the file from {url} has md5 {got}, expected {md5}; it was deleted. '
            'The server or a proxy sends another file: fetch it by hand or from another place.'
        )
    os.replace(part, target)


def _fetch(url: str, part: Path) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _append(url, part)
        except ConnectionError:
            if attempt == _ATTEMPTS:
                raise


def _append(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {'User-Agent': 'mmposenc', **({'Range': f'bytes={have}-'} if have else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing follows what is there already
            return
        raise ConnectionError(f'{url} answers {error.code} {error.reason}') from error
    except (OSError, HTTPException) as error:
        raise ConnectionError(f'{url} cannot be reached: {error}') from error
    with response:
        continues = response.headers.get('Content-Range', '').startswith(f'bytes {have}-') and response.status == 206
        start = have if continues else 0
        length = response.headers.get('Content-Length')
        total = None if length is None else start + int(length)
        part.parent.mkdir(parents=True, exist_ok=True)
        arrived = _copy(response, part, start, total, url)
    if total is not None and arrived < total:
        raise ConnectionError(f'{url} broke off after {arrived} of {total} bytes; run again to continue')


def _copy(response: HTTPResponse, part: Path, arrived: int, total: int | None, url: str) -> int:
    columns = (TextColumn(part.stem), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with part.open('ab' if arrived else 'wb') as file, Progress(*columns) as progress:
        task = progress.add_task('', total=total, completed=arrived)
        while block := _read(response, url, arrived):
            file.write(block)
            arrived += len(block)
            progress.update(task, completed=arrived)
    return arrived


def _read(response: HTTPResponse, url: str, arrived: int) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise ConnectionError(f'{url} broke off after {arrived} bytes: {error}; run again to continue') from error
