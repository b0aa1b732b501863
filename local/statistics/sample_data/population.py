"""The packages and devices of the sample data, and which devices are there on a day."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

# Ordered by size, largest first. The small ones carry the names that break careless quoting, key building and
# encoding: colons, brackets, quotes, a backslash, a percent sign, outer blanks, letters outside ASCII.
PACKAGES = (
    "com.maxy.shop",
    "com.maxy.bank",
    "맥시 쇼핑몰",
    "com.maxy.travel",
    "com.maxy:beta",
    "com.maxy.game[x]",
    "com.maxy.o'neill",
    'com.maxy."quoted"',
    "com.maxy\\windows",
    "100%25.discount",
    "🚀.com.maxy.launch",
    " com.maxy.padded ",
)
# Nobody uses this one from Monday to Friday: its keys have no page then, but devices of the last 30 days.
WEEKEND_PACKAGE = "🚀.com.maxy.launch"
SERVER_TYPES = (0, 1)
SYSTEMS = ("Android", "iOS", "Web")

_SERVER_SHARES = (0.8, 0.2)
_SYSTEM_SHARES = (0.55, 0.3, 0.15)
_ZIPF_EXPONENT = 1.5
_DEVICES_AT_SCALE_1 = 7_000

_SATURDAY = 6

# Each purpose draws from its own stream, so that a change in one leaves the others as they were.
_STREAM_POPULATION, _STREAM_ACTIVITY = 1, 2


@dataclass(frozen=True)
class ActiveDevices:
    """The devices of one day; all arrays are parallel, one entry a device.

    :param device_id: stable for as long as the device exists.
    :param package: index into PACKAGES.
    :param server_type: a member of SERVER_TYPES.
    :param system: index into SYSTEMS.
    :param is_new: the device was installed on this day.
    """

    device_id: NDArray[np.object_]
    package: NDArray[np.int64]
    server_type: NDArray[np.int64]
    system: NDArray[np.int64]
    is_new: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.device_id)


class Population:
    """Devices that come back with a probability of their own, and are replaced by new ones in the end.

    A slot is held by one device after the other: each lives for the slot's lifetime, and its first day is the
    install. So the devices of a day follow from the seed and the day alone, whatever days were asked for before.

    :param seed: the same seed gives the same devices.
    :param scale: 1.0 means 7,000 devices, about a third of which are there on a day.
    :raises ValueError: scale is not positive.
    """

    def __init__(self, *, seed: int, scale: float) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be positive, not {scale}")
        self._seed = seed
        rng = np.random.default_rng([seed, _STREAM_POPULATION])
        slots = max(len(PACKAGES) * len(SYSTEMS), round(_DEVICES_AT_SCALE_1 * scale))
        weights = 1.0 / np.arange(1, len(PACKAGES) + 1) ** _ZIPF_EXPONENT
        self._package = rng.choice(len(PACKAGES), slots, p=weights / weights.sum())
        # However small the scale, no package is without devices.
        self._package[: len(PACKAGES)] = np.arange(len(PACKAGES))
        self._server_type = rng.choice(SERVER_TYPES, slots, p=_SERVER_SHARES)
        self._system = rng.choice(len(SYSTEMS), slots, p=_SYSTEM_SHARES)
        # Few devices come daily, many come seldom.
        self._activity = rng.beta(0.8, 1.6, slots)
        self._lifetime_days = rng.integers(30, 240, slots)
        self._phase_days = rng.integers(0, 240, slots)

    def active_on(self, day: date) -> ActiveDevices:
        """The devices of the day, in an order that is the same at each call."""
        rng = np.random.default_rng([self._seed, _STREAM_ACTIVITY, day.toordinal()])
        generation, age_days = np.divmod(day.toordinal() + self._phase_days, self._lifetime_days)
        is_new = age_days == 0
        is_active = is_new | (rng.random(len(self._activity)) < self._activity)
        if day.isoweekday() < _SATURDAY:
            is_active &= self._package != PACKAGES.index(WEEKEND_PACKAGE)
        slots = np.flatnonzero(is_active)
        identifiers = [self._device_id(slot, generation[slot]) for slot in slots.tolist()]
        return ActiveDevices(
            device_id=np.array(identifiers, dtype=object),
            package=self._package[slots],
            server_type=self._server_type[slots],
            system=self._system[slots],
            is_new=is_new[slots],
        )

    def _device_id(self, slot: int, generation: int) -> str:
        return hashlib.blake2b(f"{self._seed}/{slot}/{generation}".encode(), digest_size=8).hexdigest()
