# A table as it came in, clean_data.csv out: what the project's data_cleaning makes of it, in bash and awk.
set -euo pipefail

LC_ALL=C awk -v name="$(basename "$1")" -v declaration="$2" -v most="$3" '
  function fail(sentence) { print name sentence > "/dev/stderr"; failed = 1; exit 1 }

  # The cells of a row into `cells`; in quotes a cell may hold commas, line ends, and quotes twice.
  function split_row(row, cells,   n, cell) {
    for (row = row ","; row != ""; row = substr(row, RLENGTH + 1)) {
      if (!match(row, /^"[^"]*(""[^"]*)*"[^,]*,/)) match(row, /^[^,]*,/)
      cell = substr(row, 1, RLENGTH - 1)
      if (sub(/^"/, "", cell)) { sub(/"[^"]*$/, "", cell); gsub(/""/, "\"", cell) }
      cells[++n] = cell
    }
    return n
  }

  # The one way in which a number is written: 22, 0.42; "x" where it is none.
  function number(text,   minus) {
    if (text !~ /^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)$/) return "x"
    minus = text ~ /^-/
    sub(/^[+-]/, "", text); sub(/^0+/, "", text)
    if (text ~ /[.]/) { sub(/0+$/, "", text); sub(/[.]$/, "", text) }
    if (text == "" || text ~ /^[.]/) text = "0" text
    return minus && text != "0" ? "-" text : text
  }

  # A cell by the kind of its column: "" for a gap; `bad` counts those that cannot be.
  function clean(text, kind,   values, n, i) {
    gsub(/[ \t\r\n\v\f]+/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text)
    if (tolower(text) ~ /^(-|[?]|#n\/a|<na>|n\/a|na|nan|none|null)?$/) return ""
    if (kind == "text") return text
    if (kind == "number" || kind == "integer") {
      text = number(text)
      bad += text == "x" || (kind == "integer" && text ~ /[.]/)
      return text
    }
    n = split(kind, values, "|")
    for (i = 1; i <= n; i++) if (tolower(values[i]) == tolower(text) || values[i] == number(text)) return values[i] # 3.0 is 3
    bad++
  }

  function quote(cell) {
    if (cell ~ /[",]/) { gsub(/"/, "\"\"", cell); cell = "\"" cell "\"" }
    return cell
  }

  function read_header(row,   line, there, words, i, at, all) {
    width = split_row(row, there)
    for (i = 1; i <= width; i++) { there[i] = clean(there[i], "text"); place_of[there[i]] = i; all = all ", " there[i] }
    count = split(declaration, words, " ")
    for (i = 1; i <= count; i++) {
      match(words[i], /:[^:]*$/)
      at = substr(words[i], 1, RSTART - 1)
      kind[i] = substr(words[i], RSTART + 1)
      must[i] = sub(/!$/, "", kind[i])
      if (kind[i] == "key") { key = i; must[i] = 1; kind[i] = "integer" }
      if (!(at in place_of)) fail(" has no column " at "; it has " substr(all, 3))
      place[i] = place_of[at]
      line = line "," quote(at)
    }
    print substr(line, 2)
  }

  NR == 1 { sub(/^\357\273\277/, "") } # the mark at the beginning of files from Windows
  { row = row $0; quotes += gsub(/"/, "&") }
  quotes % 2 { row = row "\n"; next } # a cell in quotes goes on in the next line
  { sub(/\r$/, "", row) }
  row == "" { next }
  !width { read_header(row); row = ""; next }
  {
    rows_in++
    bad = split_row(row, cells) != width
    line = row = ""
    for (i = 1; i <= count && !bad; i++) {
      cell = clean(cells[place[i]], kind[i])
      bad += must[i] && cell == ""
      if (i == key) number_of_row = cell
      line = line "," quote(cell)
    }
    if (!bad && !(number_of_row in seen)) { seen[number_of_row] = line; rows_out++; print substr(line, 2) }
    else if (!bad && seen[number_of_row] == line) duplicates++
    else rejected++
  }
  END {
    if (failed) exit 1
    if (quotes % 2) fail(": a quote is never closed; correct it")
    if (!width) fail(" is empty; give a CSV file with a header")
    if (rejected > most * rows_in)
      fail(": " rejected " of " rows_in " rows were rejected, more than max_rejected=" most "; correct them")
    printf "{\"rows_in\": %d, \"rows_out\": %d, \"rejected\": %d, \"duplicates\": %d}\n", rows_in, rows_out, rejected,
      duplicates > (ENVIRON["STEP_OUTPUTS"] "/metrics.json")
  }
' "$1" >"$STEP_OUTPUTS/clean_data.csv"
