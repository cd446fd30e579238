"""The command line: `check`, `evaluate`, `rank` and `report`; needs the extra `cli`."""
