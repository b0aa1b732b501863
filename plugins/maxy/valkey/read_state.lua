-- Tell a group's state, to be compared when the group is published.   Safe to retry: reads only.
--
-- KEYS[1]  the group's index
-- KEYS[2]  where the version of a group without keys is kept
return state_of(KEYS[1], KEYS[2])
