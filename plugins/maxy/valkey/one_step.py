"""Publish a group of plain keys in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.valkey.group_scripts import KEYS_AT_ONCE

if TYPE_CHECKING:
    import redis

    from maxy.valkey.group_checks import KeyCheck
    from maxy.valkey.group_scripts import GroupScripts
    from maxy.valkey.group_view import GroupView
    from maxy.valkey.publication import PublicationRequest

#: So many keys are swapped in one step, and as many removed. Measured: 5 to 7 microseconds of the server's CPU time a
#: key where all keys are replaced by others, so 15 to 21 ms.
MOST_KEYS = 3000
_STAGING_SECONDS = 3600


class OneStep:
    """One publication: the hashes are staged in batches, then renamed by one script.

    :param client: connected to a server that is not a cluster.
    :param scripts: the group's.
    :param request: what is published.
    """

    def __init__(self, client: redis.Redis, scripts: GroupScripts, request: PublicationRequest) -> None:
        self._client = client
        self._scripts = scripts
        self._request = request
        self._staging = f"{scripts.index_key}:staging:{request.token}:"
        self._is_staged = False

    def publish(self, view: GroupView, check: KeyCheck) -> int | None:
        """Publish over what was seen.

        :return: how many keys were removed; None if the group has changed, with nothing changed here.
        """
        request = self._request
        self._stage()
        sequence = view.next_sequence
        done, *removed = self._scripts.run(
            "publish_hashes",
            [
                view.state,
                request.record(sequence, token=request.token, index_sequence=sequence),
                request.expire_seconds,
                request.record_seconds,
                request.template,
                int(check.is_own_index),
                MOST_KEYS,
                check.places,
                *request.rows.keys,
            ],
            keys=[self._staging],
        )
        if not done:
            return None
        # The staged hashes have their own names now.
        self._is_staged = False
        return int(removed[0])

    def discard(self) -> None:
        """Remove what was staged and is not published."""
        if not self._is_staged:
            return
        for part in self._request.slices(KEYS_AT_ONCE):
            self._client.unlink(*(f"{self._staging}{position}" for position in part))

    def _stage(self) -> None:
        if self._is_staged:
            return
        request, fields = self._request, self._request.rows.fields
        for part in request.slices(KEYS_AT_ONCE):
            values = [value for row in request.rows.values(part, request.absent) for value in row]
            arguments: list[str | int] = [part.start, _STAGING_SECONDS, request.absent, len(fields), *fields, *values]
            self._scripts.run_slice("stage_hashes", arguments, keys=[self._staging])
        self._is_staged = True
