"""Data sets: where they come from, the folder each becomes, exact answers, and how hard they are.

`prepare` makes a folder as `PROTOCOL.md` says; the rest of the benchmark sees only that folder.
"""
