"""The command line: what people type, and what they are shown. Needs the extra `cli`."""
