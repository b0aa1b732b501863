"""What `status` and `up` warn of: full disks, clocks that differ, few open files."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from local import file_limit
from local.clocks import describe_difference, measure_difference
from local.disk_space import Volume, find_full_disks, format_bytes
from local.file_limit import raise_file_limit

GB = 1_000_000_000


# --- Disks ---


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        (Volume(1, 250 * GB, 80 * GB), None),
        (Volume(1, 250 * GB, GB), None),
        (Volume(1, 250 * GB, GB - 1), "only 1,000 MB of 250 GB are free"),
        (Volume(1, 250 * GB, 0), "only 0 bytes of 250 GB are free"),
        # Of a small one, a tenth will do.
        (Volume(1, 64_000_000, 6_400_000), None),
        (Volume(1, 64_000_000, 6_300_000), "only 6.3 MB of 64 MB are free"),
        (Volume(1, 250 * GB, 80 * GB, 16_000_000, 9_999), "only 9,999 more files can be made (of 16,000,000)"),
        (Volume(1, 250 * GB, 80 * GB, 16_000_000, 10_000), None),
        (Volume(1, 250 * GB, 80 * GB, 0, 0), None),
        (Volume(1, 250 * GB, 80 * GB, 1_000, 99), "only 99 more files can be made (of 1,000)"),
    ],
)
def test_a_volume_with_little_space_is_told(volume: Volume, problem: str | None) -> None:
    assert volume.problem() == problem


def test_folders_on_one_volume_share_a_warning() -> None:
    volumes = {
        Path("/a"): Volume(1, 250 * GB, 5_000_000),
        # Looked at a moment later.
        Path("/b"): Volume(1, 250 * GB, 4_000_000),
        Path("/c"): Volume(2, 250 * GB, 100 * GB),
        Path("/d"): Volume(3, 64_000_000, 0),
    }
    folders = {"one": Path("/a"), "two": Path("/b"), "three": Path("/c"), "four": Path("/d"), "five": Path("/none")}

    def volume_of(folder: Path) -> Volume:
        if folder not in volumes:
            raise FileNotFoundError(folder)
        return volumes[folder]

    assert find_full_disks(folders, volume_of) == [
        "only 5.0 MB of 250 GB are free for one (/a) and two (/b)",
        "only 0 bytes of 64 MB are free for four (/d)",
    ]


def test_the_volume_of_a_real_folder(tmp_path: Path) -> None:
    volume = Volume.of(tmp_path)
    assert volume.device == tmp_path.stat().st_dev
    assert 0 < volume.free <= volume.size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (41_900_000, "42 MB"), (3_210_000_000_000, "3.2 TB")],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert format_bytes(count) == text


# --- Clocks ---


@pytest.mark.parametrize(
    ("there", "seconds"),
    [(105.0, 0.0), (100.0, 0.0), (110.0, 0.0), (117.0, 7.0), (93.0, -7.0), (3710.0, 3600.0), (-3500.0, -3600.0)],
)
def test_what_the_time_of_the_answer_explains_is_no_difference(there: float, seconds: float) -> None:
    # The question takes ten seconds.
    clock = iter([100.0, 110.0])
    assert measure_difference(lambda: there, lambda: next(clock)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, None),
        (2.0, None),
        (-2.0, None),
        (2.5, "the clock of valkey is 2.5 s ahead of this machine's"),
        (-3600.0, "the clock of valkey is 3,600.0 s behind this machine's"),
    ],
)
def test_a_difference_of_more_than_two_seconds_is_told(seconds: float, text: str | None) -> None:
    assert describe_difference("valkey", seconds) == text


# --- Open files ---


def limits(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, highest: int = 2**62) -> SimpleNamespace:
    """Stand in for the process's own limit, which cannot be raised again.

    :param highest: the most that the system gives, as macOS does whatever the hard limit says.
    """
    state = SimpleNamespace(soft=soft, hard=hard)

    def set_limit(_: int, values: tuple[int, int]) -> None:
        if values[0] > highest or (hard != resource.RLIM_INFINITY and values[0] > hard):
            raise ValueError("not allowed to raise maximum limit")
        state.soft, state.hard = values

    stand_in = SimpleNamespace(
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        RLIM_INFINITY=resource.RLIM_INFINITY,
        getrlimit=lambda _: (state.soft, state.hard),
        setrlimit=set_limit,
    )
    monkeypatch.setattr(file_limit, "resource", stand_in)
    return state


@pytest.mark.parametrize(
    ("soft", "hard", "highest", "result"),
    [
        (256, 1_048_576, 2**62, 1_048_576),
        (1024, 4096, 2**62, 4096),
        (20_000, 20_000, 2**62, 20_000),
        # As on macOS.
        (256, resource.RLIM_INFINITY, 10_240, 10_240),
        (256, resource.RLIM_INFINITY, 245_760, 65_536),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10_240, resource.RLIM_INFINITY),
    ],
)
def test_the_limit_is_raised_to_the_highest(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, highest: int, result: int
) -> None:
    state = limits(monkeypatch, soft, hard, highest)
    assert raise_file_limit() is None
    assert (state.soft, state.hard) == (result, hard)


@pytest.mark.parametrize("soft", [128, 256])
def test_a_low_hard_limit_is_told(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    state = limits(monkeypatch, soft, 256)
    warning = raise_file_limit()
    assert state.soft == 256
    assert warning is not None
    assert "only 256 files open" in warning
    assert "ulimit -Hn" in warning
