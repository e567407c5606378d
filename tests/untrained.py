"""Overrides for cells of a few tenths of a second."""

# Models of the shape of pair=tiny that have learnt nothing: enough where no score is asserted.
UNTRAINED = [f"pair.{side}.zoo.{what}" for side in ("source", "target") for what in ("n_steps=2", "width=32")]
FAST = [*UNTRAINED, "control.n_draws=2", "task.n_resamples=20", "device=cpu"]
SMALL = [*FAST, "dataset.relations=[city_country,animal_kind]"]
