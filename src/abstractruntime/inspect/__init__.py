"""Read models of runs, ledgers, graphs and stores, shared by every surface. It prints nothing."""
