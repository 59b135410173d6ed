#!/bin/sh
# Ask the scoring server (mlflow run inference -e serve) about one passenger.
# Usage: client.sh [URL]
curl --silent --show-error --fail-with-body "${1:-http://127.0.0.1:5001}/invocations" \
  --header 'Content-Type: application/json' \
  --data '{"dataframe_records": [{
    "PassengerId": 1, "Pclass": 1, "Name": "Doe, Miss. Jane", "Sex": "female", "Age": 29.5, "SibSp": 0, "Parch": 0,
    "Ticket": "PC 17599", "Fare": 71.28, "Cabin": null, "Embarked": "C"}]}'
