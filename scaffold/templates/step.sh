# @NAME@: a CSV file in, those of its rows that are wanted out.
set -euo pipefail

[ -s "$1" ] || { echo "$(basename "$1") is empty; give a CSV file with a header" >&2; exit 1; }
LC_ALL=C awk '
  function wanted(row) { return row ~ /[^,"]/ } # say here which rows you want: now, those that are not empty

  { row = row $0; quotes += gsub(/"/, "&") }
  quotes % 2 { row = row "\n"; next } # a cell in quotes goes on in the next line
  {
    rows++
    if (rows == 1 || wanted(row)) { kept++; print row }
    row = ""
  }
  END {
    if (quotes % 2) { print FILENAME ": a quote is never closed; clean it first" > "/dev/stderr"; exit 1 }
    metrics = ENVIRON["STEP_OUTPUTS"] "/metrics.json"
    printf "{\"rows_in\": %d, \"rows_out\": %d}\n", rows - 1, kept - 1 > metrics
  }
' "$1" >"$STEP_OUTPUTS/@NAME@.csv"
