"""Toys, as the parts that all families share know them."""

from __future__ import annotations

from maxy.family import Family, LiveLoops
from maxy.toys.settings import LIVE_LOOPS, loop_settings

FAMILY = Family(name="toys", domain="toys", loops=LiveLoops(LIVE_LOOPS, loop_settings), web="maxy.toys.web.family.WEB")
