"""Results of any task: scores beside their controls, comparisons, curves, families and verdicts."""
