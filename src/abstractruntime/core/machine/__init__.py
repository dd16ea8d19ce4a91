"""How a run may move: the transition table and one small reducer per concern.

Reducers change a `Draft` of a run; `assemble` turns the draft into the Commit that a store writes.
Pure: times, ids and salts are passed in. The only place where a run's status changes.
"""
