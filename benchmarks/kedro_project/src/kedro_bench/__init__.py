"""The benchmark as a Kedro project."""
