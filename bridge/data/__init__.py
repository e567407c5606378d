"""Items, with a gold answer where a task asks for one: where they come from, which are usable, how they are split."""
