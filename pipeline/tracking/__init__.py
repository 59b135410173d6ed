"""What is written to and read from MLflow's tracking store."""
