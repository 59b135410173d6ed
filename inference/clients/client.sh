#!/bin/sh
# Ask the scoring server (mlflow run inference -e serve) about the rows of a CSV file.
# Usage: client.sh FILE [URL]
curl --silent --show-error --fail-with-body "${2:-http://127.0.0.1:5001}/invocations" \
  --header 'Content-Type: text/csv' --data-binary "@$1"
