"""The orchestrator: plans and runs a graph of MLflow projects. It knows MLflow and graphs, and nothing of the data."""
