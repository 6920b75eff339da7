from mmposenc.mm.datasets.file_md5 import file_md5


def test_known_digests(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'')
    assert file_md5(path) == 'd41d8cd98f00b204e9800998ecf8427e'
    path.write_bytes(b'a' * 1_000_000)
    assert file_md5(path) == '7707d6ae4e027c70eea2a935c2296f21'  # a test vector of the SHA/MD5 suites: a million 'a'


def test_every_block_counts(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'a' * 3_000_000)
    whole = file_md5(path)
    path.write_bytes(b'a' * 2_999_999 + b'b')
    assert file_md5(path) != whole
