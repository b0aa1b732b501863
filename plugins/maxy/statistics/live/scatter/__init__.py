"""The latest loading and response times as points, a bounded sample of a sliding window.

A scatter's points are in three places:

- Shown: a sorted set for each key. A member is a point's text, one JSON object; its score is the point's arrival, that
  is, its time of insertion in milliseconds since 1970. Beside it a hash with the number of points of each band.
- Noted: ``…:notes``, a sorted set of notes, one for each step that put points in or took some out to make room, see
  :mod:`~maxy.statistics.live.scatter.notes`. What is noted are the points whose last event, in the order of the steps'
  sequence, is that they were added.
- Remembered: :class:`~maxy.statistics.live.scatter.window_sample.WindowSample`, in the memory of the copy that ticks,
  without the texts.

A step is one run of write_points.lua: it takes out and puts in points and notes that, all or nothing. A tick is several
steps, and after them finish_points.lua writes ``…:state`` (its version, up to when the source was read, the cutoff, how
many points there were) and forgets the notes that speak of nothing but points older than the cutoff. Points that
arrived before the cutoff, a window before the tick, have aged out; no step notes that, since arrivals tell it.

As long as the state is there:

1. After every step, whatever becomes of its tick, and for every instant from that tick's cutoff on: the points that
   arrived since are shown if they are noted, and noted if they are shown. Of each noted point the key, the arrival and
   the CRC-32 of the text are those of one shown point; two texts of one key are never the same.
2. No band of a key has more points than its cap, among those that are noted and have not aged out.
3. After a tick, nothing that has aged out is shown, the state's number is that of the points, and what the copy
   remembers is what is noted. A copy that remembers nothing learns it from the notes.
4. What was read up to the state's instant is noted, so reading from there on, and a little before for what comes late,
   misses nothing. A row that is a point already is known by its identity.

Where the state is missing, of another version, speaks of more points than are noted, or a key has lost its points to
somebody else, nothing of this is relied on: state and notes are removed in one step, and the window is read anew. The
first step that writes a key then removes what is in it.
"""
