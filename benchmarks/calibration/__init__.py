"""How often tests reject true nulls and intervals miss the truth, on nulls built from real records."""
