"""Other people's systems, one folder each. Nothing outside a folder imports its vendor."""
