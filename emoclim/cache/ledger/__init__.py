"""The ledger of a cache on disk: what was committed, kept as lines and looked up by key."""
