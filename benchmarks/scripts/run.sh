# run.sh LIST FOLDER SEED: four Python processes, one after the other.
set -e
here=$(dirname "$0")
python "$here/download.py" "$1" "$2/data.csv"
python "$here/clean.py" "$2/data.csv" "$2/clean_data.csv"
python "$here/train.py" "$2/clean_data.csv" "$2/model.skops" "$3"
python "$here/score.py" "$2/model.skops" "$1" "$2/predictions.csv"
