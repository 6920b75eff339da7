"""Pickles that would do something if they were run as programs; what they do is make a file, the canary."""

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

# Each turns the path of the canary into module, name and arguments of a call that makes it.
CALLS: dict[str, Callable[[str], tuple[str, str, tuple]]] = {
    'os.system': lambda canary: ('os', 'system', (f'touch {canary}',)),
    'posix.system': lambda canary: ('posix', 'system', (f'touch {canary}',)),
    'posix.mkdir': lambda canary: ('posix', 'mkdir', (canary,)),
    'os.mkfifo': lambda canary: ('os', 'mkfifo', (canary,)),
    'subprocess.call': lambda canary: ('subprocess', 'call', (['touch', canary],)),
    'builtins.eval': lambda canary: ('builtins', 'eval', (f'open({canary!r}, "w")',)),
    'builtins.exec': lambda canary: ('builtins', 'exec', (f'open({canary!r}, "w").close()',)),
    '__builtin__.eval': lambda canary: ('__builtin__', 'eval', (f'open({canary!r}, "w")',)),
    'builtins.open': lambda canary: ('builtins', 'open', (canary, 'w')),
    'io.FileIO': lambda canary: ('io', 'FileIO', (canary, 'w')),
    'shutil.copyfile': lambda canary: ('shutil', 'copyfile', (__file__, canary)),
    'timeit.timeit': lambda canary: ('timeit', 'timeit', ('pass', f'open({canary!r}, "w").close()')),
    'bdb.Bdb.run': lambda canary: ('bdb', 'Bdb.run', (None, f'open({canary!r}, "w")')),
    'numpy.runstring': lambda canary: ('numpy.testing', 'rundocs', (canary,)),
    'numpy.memmap': lambda canary: ('numpy', 'memmap', (canary, 'u1', 'w+', 0, (1,))),
    'torch.save': lambda canary: ('torch', 'save', ([1], canary)),
    'torch.from_file': lambda canary: ('torch', 'from_file', (canary, True, 1)),
    'torch.storage': lambda canary: ('torch', 'UntypedStorage.from_file', (canary, True, 1)),
    'torch.serialization.load': lambda canary: ('torch.serialization', 'os.mkdir', (canary,)),
    'torch.hub': lambda canary: ('torch.hub', 'shutil.copyfile', (__file__, canary)),
    'pathlib.touch': lambda canary: ('pathlib', 'os.mkdir', (canary,)),
    'codecs.open': lambda canary: ('codecs', 'open', (canary, 'w')),
    'mmengine.mkdir': lambda canary: ('mmengine.utils', 'mkdir_or_exist', (canary,)),
    'mmengine.dump': lambda canary: ('mmengine.fileio', 'dump', ([1], canary, 'json')),
}
HARMLESS = ('numpy.runstring', 'bdb.Bdb.run', '__builtin__.eval')  # need more than one call, or Python 2


def value(argument: Any) -> bytes:
    """An argument as opcodes that every protocol reads."""
    if argument is None:
        return b'N'
    if isinstance(argument, bool):
        return b'\x88' if argument else b'\x89'
    if isinstance(argument, int):
        return b'J' + struct.pack('<i', argument)
    if isinstance(argument, str):
        text = argument.encode()
        return b'X' + struct.pack('<I', len(text)) + text
    inner = b''.join(map(value, argument))
    return b'(' + inner + (b't' if isinstance(argument, tuple) else b'l')


def reference(module: str, name: str, style: str) -> bytes:
    """A global, by the old opcode, the new one, or as an attribute of an admitted one."""
    if style == 'GLOBAL':
        return f'c{module}\n{name}\n'.encode()
    if style == 'STACK_GLOBAL':
        return value(module) + value(name) + b'\x93'
    # getattr of a module that is fetched by its name
    fetched = b'cimportlib\nimport_module\n' + value((module,)) + b'R'
    return b'cbuiltins\ngetattr\n(' + fetched + value(name) + b'tR'


def call(kind: str, canary: Path, style: str, opcode: str) -> bytes:
    """Opcodes that call a function of `CALLS` and leave its result on the stack."""
    module, name, arguments = CALLS[kind](str(canary))
    function = reference(module, name, style)
    if opcode == 'REDUCE':
        return function + value(arguments) + b'R'
    if opcode == 'OBJ':
        return b'(' + function + b''.join(map(value, arguments)) + b'o'
    if opcode == 'INST':
        return b'(' + b''.join(map(value, arguments)) + f'i{module}\n{name}\n'.encode()
    if opcode == 'NEWOBJ':
        return function + value(arguments) + b'\x81'
    if opcode == 'NEWOBJ_EX':
        return function + value(arguments) + b'}\x92'
    return function + value(arguments) + b'b'  # BUILD: __setstate__ of whatever the global is


def wrap(inner: bytes, where: str, admitted: bytes) -> bytes:
    """Put opcodes where a reader may look less closely."""
    if where == 'nested':
        return b'](((' + inner + b'tttae'[:3] + b'a'
    if where == 'argument':  # of a call that is admitted
        return admitted + b'(' + inner + b'tR'
    if where == 'state':
        return admitted + b')R' + inner + b'b'
    if where == 'thrown away':
        return inner + b'0N'
    if where == 'memo':
        return inner + b'q\x05' + b'0h\x05'
    return inner


@st.composite
def hostile_values(draw: st.DrawFn, canary: Path, admitted: list[tuple[str, str]]) -> bytes:
    """Opcodes of one hostile value, for a place in a pickle that is otherwise right.

    Args:
        canary: The file that must not come to be.
        admitted: Module and name of globals that the reader admits.
    """
    kind = draw(st.sampled_from(sorted(CALLS)))
    style = draw(st.sampled_from(['GLOBAL', 'STACK_GLOBAL', 'getattr']))
    opcode = draw(st.sampled_from(['REDUCE', 'OBJ', 'INST', 'NEWOBJ', 'NEWOBJ_EX', 'BUILD']))
    where = draw(st.sampled_from(['plain', 'nested', 'argument', 'state', 'thrown away', 'memo']))
    name = reference(*draw(st.sampled_from(admitted)), draw(st.sampled_from(['GLOBAL', 'STACK_GLOBAL'])))
    return wrap(call(kind, canary, style, opcode), where, name)


def program(entries: dict[str, bytes], protocol: int = 2) -> bytes:
    """A pickled dict whose values are given as opcodes."""
    items = b''.join(value(key) + entry for key, entry in entries.items())
    return b'\x80' + bytes([protocol]) + b'}(' + items + b'u.'


def in_zip(whole: bytes, data: bytes, extra: dict[str, bytes] | None = None) -> bytes:
    """A checkpoint as PyTorch writes it, with another data.pkl."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, 'w') as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith('data.pkl') else old.read(name))
        folder = old.namelist()[0].split('/')[0]
        for name, content in (extra or {}).items():
            new.writestr(f'{folder}/{name}', content)
    return buffer.getvalue()


def in_legacy(data: bytes) -> bytes:
    """The format of PyTorch before 1.6: magic number, version, sizes, then the data."""
    head = [0x1950A86A20F9469CFC6C, 1001, dict(protocol_version=1001, little_endian=True, type_sizes={})]
    return b''.join(pickle.dumps(part, 2) for part in head) + data + pickle.dumps([], 2)


def in_tar(data: bytes) -> bytes:
    """The format of PyTorch before 0.2."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name, content in (('storages', data), ('tensors', data), ('pickle', data)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
