"""What result objects share, and files that are never partially written."""

import os
from pathlib import Path


def atomic_write(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file under a temporary name and rename it, so that no reader ever sees half of it.

    Folders are made. A file that was there is replaced only once the new one is whole.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
    try:
        if isinstance(content, str):
            temporary.write_text(content, encoding='utf-8')
        else:
            temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
