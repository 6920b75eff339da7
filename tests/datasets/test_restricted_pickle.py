import os
import pickle
import struct

import numpy as np
import pytest

from mmposenc.mm.datasets.restricted_pickle import _STAND_INS, ForbiddenPickleError, load_data_pickle


@pytest.fixture
def load(tmp_path):
    def load(content: bytes) -> dict:
        path = tmp_path / 'pickle'
        path.write_bytes(content)
        return load_data_pickle(path)

    return load


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def python2_pickle(data: bytes, shape: tuple[int, int]) -> bytes:
    """{'data': uint8 array, 'labels': [1, 2], 'batch_label': text} as Python 2 and numpy 1 wrote it, protocol 2."""

    def text(value: bytes) -> bytes:
        return b'U' + bytes([len(value)]) + value  # SHORT_BINSTRING

    empty = b'cnumpy.core.multiarray\n_reconstruct\n' + b'cnumpy\nndarray\n' + b'K\x00\x85' + text(b'b') + b'\x87R'
    dtype = b'cnumpy\ndtype\n' + text(b'u1') + b'K\x00K\x01\x87R'
    dtype += b'(K\x03' + text(b'|') + b'NNN' + b'J\xff\xff\xff\xff' * 2 + b'K\x00tb'
    raw = b'T' + struct.pack('<i', len(data)) + data  # BINSTRING
    state = b'(K\x01' + b'K%cK%c\x86' % shape + dtype + b'\x89' + raw + b'tb'
    items = text(b'data') + empty + state + text(b'labels') + b']' + b'(K\x01K\x02e'
    return b'\x80\x02}(' + items + text(b'batch_label') + text(b'training batch 1 of 5') + b'u.'


def test_a_python_2_pickle(load):
    raw = bytes([7, 255, 128, 0, 200, 10])
    content = python2_pickle(raw, (2, 3))
    assert pickle.loads(content, encoding='latin1')['data'].tolist() == [[7, 255, 128], [0, 200, 10]]
    loaded = load(content)
    assert loaded['data'].tolist() == [[7, 255, 128], [0, 200, 10]]
    assert loaded['data'].dtype == np.uint8
    assert loaded['labels'] == [1, 2]
    assert loaded['batch_label'] == b'training batch 1 of 5'


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize(
    'array',
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4)),
        np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::3],
        np.array([-1, 2**40], dtype='>i8'),
        np.array([0.5, np.inf], dtype=np.float32),
        np.array([True, False]),
        np.array(['apple', 'bär']),
    ],
    ids=['C', 'Fortran', 'strided', 'big-endian', 'float', 'bool', 'text'],
)
def test_arrays_of_every_protocol(load, protocol, array):
    loaded = load(pickle.dumps({'array': array}, protocol))['array']
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_plain_values(load, protocol):
    content = {'list': [1, 2.5, 'é', None, True, 10**30], 'nested': {'pair': (1, [2])}, 'empty': []}
    assert load(pickle.dumps(content, protocol)) == content


def test_numpy_scalars_become_numbers(load):
    labels = load(pickle.dumps({'labels': [np.int64(3), np.int32(-4), np.float64(0.25)]}))['labels']
    assert labels == [3, -4, 0.25]
    assert [type(label) for label in labels] == [int, int, float]


def test_an_array_is_not_copied(load):
    assert not load(pickle.dumps({'data': np.zeros((2, 3), np.uint8)}, 4))['data'].flags.owndata


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_call_does_not_run(load, tmp_path, protocol):
    proof = tmp_path / 'ran'
    hostile = pickle.dumps({'data': Call(os.mkdir, str(proof))}, protocol)
    with pytest.raises(ForbiddenPickleError, match=r'pickle asks for the global posix\.mkdir, which is forbidden'):
        load(hostile)
    assert not proof.exists()
    pickle.loads(hostile)
    assert proof.exists()  # it would have run


@pytest.mark.parametrize(
    'function, named',
    [
        (eval, 'eval'),
        (getattr, 'getattr'),
        (np.load, 'load'),
        (np.fromfile, 'fromfile'),
        (pickle.loads, 'loads'),
        (__import__, '__import__'),
        (type, 'type'),
    ],
)
def test_other_globals_are_named(load, function, named):
    with pytest.raises(ValueError, match=rf'global \S*{named}, which is forbidden.*Nothing of it was run'):
        load(pickle.dumps(Call(function, 'x')))


def test_a_global_without_a_call_is_refused(load):
    with pytest.raises(ForbiddenPickleError, match='forbidden'):
        load(b'cos\nsystem\n.')


def test_dotted_names_do_not_reach_past_the_table(load):
    content = b'\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclasses\x93.'
    with pytest.raises(ForbiddenPickleError, match=r'numpy\.ndarray\.__subclasses'):
        load(content)


def test_object_arrays_are_refused(load):
    with pytest.raises(ForbiddenPickleError, match="dtype 'O8'; allowed are numbers, booleans and strings"):
        load(pickle.dumps({'data': np.array([None, 'a'], dtype=object)}))


def test_what_a_pickle_writes_onto_a_global_does_not_last(load):
    """BUILD with a pair sets attributes on the object below it: here on what stands for numpy's scalar()."""
    with pytest.raises(ValueError, match='must hold a dict, got function'):
        load(b'\x80\x02cnumpy.core.multiarray\nscalar\n' + b'N}X\x07\x00\x00\x00plantedK\x01s\x86b.')
    assert not hasattr(_STAND_INS['numpy.core.multiarray.scalar'], 'planted')


def test_every_truncation_is_an_error(load):
    whole = pickle.dumps({'data': np.arange(12, dtype=np.uint8), 'labels': [1, 2, 3]}, 2)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match='truncated or not a pickle'):
            load(whole[:length])


@pytest.mark.parametrize('content', [b'not a pickle', b'<html></html>', b'\x80\x04]\x94.'])
def test_other_files(load, content):
    with pytest.raises(ValueError, match=r'not a pickle|must hold a dict, got list'):
        load(content)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_data_pickle(tmp_path / 'nowhere')
