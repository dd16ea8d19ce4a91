-- Numbers that commits of several runs change together, with the most each may be: budgets.

CREATE TABLE counters (
    key     TEXT PRIMARY KEY,
    value   INTEGER NOT NULL,
    at_most INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
