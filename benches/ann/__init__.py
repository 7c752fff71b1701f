"""Lodestone beside other engines of nearest neighbour search, in one interleaved run on the same vectors and cores.

- `sets` prepares data: a folder each, with exact answers.
- `engines` lists what is measured; each is a process that speaks `PROTOCOL.md`. `worker` and `peers` do for the peers.
- `measure` makes the engines take turns; `curve` reads a speed at a recall off what it found.
- `report` and `plot` show it.
"""
