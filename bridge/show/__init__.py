"""How results are shown: looks, tables and plots."""
