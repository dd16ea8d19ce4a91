"""The demo: real invoices, real kills, and proof that nothing was paid twice or missed."""
