"""The scripts of a group of hashes, and the keys that each of them is given."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from maxy.valkey.groups import REGISTRY_KEY, record_key
from maxy.valkey.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

#: What one script handles at the most where other clients must have their turn in between: about a millisecond of the
#: server's CPU time.
KEYS_AT_ONCE = 100
_LONGEST_PAUSE = 0.005
_STATE, _WRITE = "group_state", "write_hash"
_PARTS = {
    "look_at_group": (_STATE,),
    "check_keys": (_STATE,),
    "stage_hashes": (_WRITE,),
    "publish_hashes": (_STATE,),
    "begin_slices": (_STATE,),
    "write_slice": (_STATE, _WRITE),
    "remove_slice": (_STATE,),
    "end_slices": (_STATE,),
    "begin_generation": (_STATE,),
    "switch_generation": (_STATE,),
    "retire_slice": (_STATE,),
}


class GroupScripts:
    """Runs the scripts of one group.

    :param client: connected to a server that is not a cluster.
    :param index_key: where the group's index is kept.
    """

    def __init__(self, client: redis.Redis, index_key: str) -> None:
        self.index_key = index_key
        #: The keys that the group itself is kept by: record, index, the former release's note, and the registry.
        self.own_keys = (record_key(index_key), index_key, f"{index_key}:emptied", REGISTRY_KEY)
        #: The scripts by name.
        self.by_name = {
            name: client.register_script("".join(map(read_script, (*parts, name)))) for name, parts in _PARTS.items()
        }

    def run(self, name: str, arguments: Sequence[str | int | float], *, keys: Sequence[str] = ()) -> Any:
        """Run a script.

        :param keys: after the group's own, if the script is about those.
        :raises redis.RedisError: on a server or network error.
        """
        own = self.own_keys if _STATE in _PARTS[name] else ()
        return self.by_name[name](keys=[*own, *keys], args=arguments)

    def run_slice(self, name: str, arguments: Sequence[str | int | float], *, keys: Sequence[str] = ()) -> Any:
        """Run a script that is one of many, and then leave the server to others for as long as it took.

        Without the pause a server on a busy machine would use up its share of the processor, and all its clients would
        wait for the next one.
        """
        began = time.monotonic()
        answer = self.run(name, arguments, keys=keys)
        time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))
        return answer
