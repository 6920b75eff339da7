import hashlib

import pytest

from mmposenc.mm.datasets.resumable_download import resumable_download

BODY = bytes(i * 7 % 251 for i in range(1_000_000))
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'data' / 'file.tar.gz'


@pytest.fixture
def part(target):
    return target.with_name('file.tar.gz.part')


def test_a_whole_file(site, target, part):
    site.body = BODY
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert not part.exists()
    assert site.asked == [None]


def test_a_part_is_continued(site, target, part):
    site.body = BODY
    target.parent.mkdir()
    part.write_bytes(BODY[:700_000])
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert site.asked == ['bytes=700000-']


def test_a_broken_line_is_continued_at_once(site, target):
    site.body, site.break_after = BODY, 300_000
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert site.asked == [None, 'bytes=300000-']


def test_a_server_without_ranges_starts_over(site, target, part):
    site.body, site.ranges = BODY, False
    target.parent.mkdir()
    part.write_bytes(BODY[:700_000])
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert site.asked == ['bytes=700000-']


def test_a_complete_part_needs_no_bytes(site, target, part):
    site.body = BODY
    target.parent.mkdir()
    part.write_bytes(BODY)
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert site.asked == ['bytes=1000000-']


@pytest.mark.parametrize('stale', [b'x' * 700_000, b'x' * 2_000_000])
def test_a_stale_part_is_fetched_anew(site, target, part, stale):
    site.body = BODY
    target.parent.mkdir()
    part.write_bytes(stale)
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
    assert site.asked == [f'bytes={len(stale)}-', None]


def test_a_wrong_file_is_not_kept(site, target, part):
    site.body = BODY[:-1] + b'?'
    with pytest.raises(ValueError, match=rf'has md5 {hashlib.md5(site.body).hexdigest()}, expected {MD5}'):
        resumable_download(site.url, target, MD5)
    assert list(target.parent.iterdir()) == []


def test_no_server(target):
    with pytest.raises(ConnectionError, match=r'http://127\.0\.0\.1:9/x cannot be reached'):
        resumable_download('http://127.0.0.1:9/x', target, MD5)
    assert not target.parent.exists()


def test_a_line_that_stays_broken_leaves_its_bytes_for_the_next_call(site, target, part, monkeypatch):
    monkeypatch.setattr('mmposenc.mm.datasets.resumable_download._ATTEMPTS', 1)
    site.body, site.break_after = BODY, 300_000
    with pytest.raises(ConnectionError, match='broke off after 300000 of 1000000 bytes; run again to continue'):
        resumable_download(site.url, target, MD5)
    assert part.read_bytes() == BODY[:300_000]
    assert not target.exists()
    resumable_download(site.url, target, MD5)
    assert target.read_bytes() == BODY
