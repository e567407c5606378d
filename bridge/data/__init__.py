"""Items with one gold answer each: where they come from, which can be used, and how they are split."""
