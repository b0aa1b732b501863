"""Which paths of statements stay inside the folder of user files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from embedded_clickhouse.user_files import UserFiles, is_file_url, url_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, which is the working directory as in a server, with links in and out of it."""
    root = tmp_path / "user_files"
    (root / "safe" / "deep").mkdir(parents=True)
    (root / "safe" / "a.csv").write_text("1")
    (root / "safe" / "inner").symlink_to(root / "safe" / "deep")
    (tmp_path / "outside.csv").write_text("2")
    (root / "risky" / "deep").mkdir(parents=True)
    (root / "risky" / "b.csv").write_text("3")
    (root / "risky" / "deep" / "link.csv").symlink_to(tmp_path / "outside.csv")
    (root / "way").symlink_to(root / "risky" / "deep")
    (root / "twin").mkdir()
    os.link(tmp_path / "outside.csv", root / "twin" / "c.csv")
    (root / "twin" / "gone.csv").symlink_to(tmp_path / "not there")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize(
    "path",
    [
        *("a.csv", "safe/a.csv", "safe", "safe/deep", "not/there/yet.csv", "./safe/../safe/a.csv", "safe/inner/x.csv"),
        *("safe/*", "safe/**", "safe/{a,b}.csv", "safe/?.csv", "safe/{1..3}.csv", "risky/*.csv", "risky/b.csv"),
        *(
            "safe/a.tar :: x/../y.csv",
            "{p}.csv",
            "name with blank.csv",
            "한글.csv",
            "a..b.csv",
            "new_{_partition_id}.csv",
        ),
        *("@/safe/a.csv", "@/safe/*.csv"),
    ],
)
def test_paths_inside(root: Path, path: str) -> None:
    assert UserFiles(root).allows(path.replace("@", str(root)))


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/", "..", "../outside.csv", "safe/../../outside.csv", "@/../outside.csv", "@x/a.csv", "@/.."),
        *(
            "safe/inner/../../../outside.csv",
            "/*",
            "/e*c/passwd",
            "{..,safe}/outside.csv",
            "safe/*/../../../x",
            "*/../../x",
        ),
        *(
            "{/etc,safe}/../x",
            "risky",
            "risky/*/*",
            "risky/**",
            "risky/deep/link.csv",
            "way/link.csv",
            "way/*",
            "*/*.csv",
        ),
        *("twin/c.csv", "twin/*", "twin", "twin/gone.csv", "@", "**", "/etc/a.tar :: x", "../a.tar::x", "a\0b"),
        *("-", "stdin", "STDOUT", "stderr"),
    ],
)
def test_paths_outside(root: Path, path: str) -> None:
    assert not UserFiles(root).allows(path.replace("@", str(root)))


def test_the_folder_may_be_reached_over_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    files = UserFiles(link)
    assert files.allows(f"{link}/safe/a.csv")
    assert files.allows(f"{root}/safe/a.csv")
    assert not files.allows(f"{link}/../outside.csv")


def test_another_working_directory_is_no_folder_of_user_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not UserFiles(root).allows("safe/a.csv")
    assert UserFiles(root).allows("user_files/safe/a.csv")


@pytest.mark.parametrize("name", ["events", "a/b", "sum(a)/2", "/ratio", "/", "a*b/c", "@/safe/a.csv", "../not there"])
def test_names_of_tables_and_columns(root: Path, name: str) -> None:
    assert UserFiles(root).allows_name(name.replace("@", str(root)))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside.csv", "/etc/*", "../*", "risky/deep/link.csv", "FILE:///etc/x"]
)
def test_names_that_are_files_outside(root: Path, name: str) -> None:
    assert not UserFiles(root).allows_name(name)


def test_urls_of_files() -> None:
    assert [is_file_url(url) for url in ("file:///a", " FILE://a", "https://file:80/", "files")] == [
        True,
        True,
        False,
        False,
    ]
    assert [url_path(url) for url in ("file:///a/b", "FILE://c", "file:/d")] == ["/a/b", "c", "/d"]
