"""One file per verb beyond tick: each loads, drafts by the machine, commits."""
