from importlib.util import find_spec

# SAELens brings a hundred packages along; `make test-saelens` needs the extra of that name and runs the file.
collect_ignore = [] if find_spec("sae_lens") else ["test_saelens_agreement.py"]
