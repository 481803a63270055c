"""Items of a cache by the ids that manifests give them."""

from pathlib import Path

import cache_files
import pytest
import torch
from cache_files import fill
from contracts import SPEC, encoded

from emoclim.cache import open_cache
from emoclim.errors import CacheError

path = cache_files.path


def write_table(cache: Path, manifest: str, *rows: str) -> Path:
    table = cache.with_name(f"{cache.stem}.{manifest}.items.csv")
    table.write_text("".join(f"{row}\n" for row in ("id,state,key,reason", *rows)))
    return table


def test_ids_are_looked_up_in_the_tables_beside_the_cache(path: Path) -> None:
    fill(path)
    write_table(path, "photos", "b/1.jpg,committed,b,", "f.jpg,failed,f,too short", '"a, again.jpg",committed,a,')
    write_table(path, "more", "d,missing,,", "three,committed,c,", "b/1.jpg,committed,b,")
    with open_cache(path) as cache:
        features = cache.features(["three", "b/1.jpg", "a, again.jpg", "three", "d"])
        assert features.ids == ("three", "b/1.jpg", "a, again.jpg", "three", "d")
        assert torch.equal(features.values, cache.read(list("cbacd")).values)
        assert torch.equal(features.values[1], encoded("b").value)


def test_ids_that_are_not_there_are_counted_and_named(path: Path) -> None:
    fill(path)
    write_table(
        path, "photos", "1.jpg,committed,b,", "f.jpg,failed,f,too short", "g.jpg,missing,,", "h,committed,gone,"
    )
    with open_cache(path) as cache, pytest.raises(CacheError, match=r"4 of the 5 items .* \(f.jpg, g.jpg, h, i.jpg\)"):
        cache.features(["1.jpg", "f.jpg", "g.jpg", "h", "i.jpg"])


def test_an_id_of_two_contents_is_refused(path: Path) -> None:
    fill(path)
    write_table(path, "old", "1.jpg,committed,a,", "2.jpg,committed,b,")
    write_table(path, "new", "1.jpg,committed,c,", "2.jpg,failed,d,gone")
    with open_cache(path) as cache:
        match = r"'1.jpg' .* cache.new.items.csv and cache.old.items.csv"
        with pytest.raises(CacheError, match=match):
            cache.features(["2.jpg", "1.jpg"])
        assert torch.equal(cache.features(["2.jpg"]).values[0], encoded("b").value)


def test_an_id_of_an_import_and_of_a_manifest_is_refused(path: Path) -> None:
    with open_cache(path, SPEC) as cache:
        cache.append([encoded("id:1"), encoded("a")])
        write_table(path, "m", "1,committed,a,")
        with pytest.raises(CacheError, match="'1' .* imported and cache.m.items"):
            cache.features(["1"])
        write_table(path, "m", "1,committed,id:1,")
        assert torch.equal(cache.features(["1"]).values[0], encoded("id:1").value)


def test_tables_of_other_caches_are_not_looked_at(path: Path) -> None:
    fill(path)
    write_table(path.with_stem("cache2"), "m", "1,committed,a,")
    path.with_name("cache.m.failures.csv").write_text("id,path,reason\n")
    with open_cache(path) as cache, pytest.raises(CacheError, match="1 of the 1 items"):
        cache.features(["1"])


@pytest.mark.parametrize(
    "content", [b"", b"id,path\n", b"id,state,key,reason\n1,committed\n", b"id,state,key,reason\n\0"]
)
def test_what_is_no_table_is_told(path: Path, content: bytes) -> None:
    fill(path)
    table = write_table(path, "m")
    table.write_bytes(content)
    with open_cache(path) as cache:
        with pytest.raises(CacheError, match=r"cache.m.items.csv"):
            cache.features(["1"])
        assert cache.features(["a"]).ids == ("a",)  # a key needs no table
