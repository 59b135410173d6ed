// A table as it came in, clean_data.csv out: what the project's data_cleaning makes of it, in Go.
package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	gap       = regexp.MustCompile(`(?i)^(-|\?|#n/a|<na>|n/a|na|nan|none|null)?$`)
	numeric   = regexp.MustCompile(`^([+-]?)0*([0-9]*)(?:\.([0-9]*?)0*)?$`)
	digit     = regexp.MustCompile(`[0-9]`)
	described = regexp.MustCompile(`^(.*):([^:]*?)(!?)$`)
)

type column struct {
	name, kind string
	key, must  bool
	place      int // in the input
}

func fail(sentence string, values ...any) {
	fmt.Fprintln(os.Stderr, filepath.Base(os.Args[1])+fmt.Sprintf(sentence, values...))
	os.Exit(1)
}

// number is the one way in which a number is written: 22, 0.42; false where it is none.
func number(text string) (string, bool) {
	match := numeric.FindStringSubmatch(text)
	if match == nil || !digit.MatchString(text) {
		return "", false
	}
	made := match[2]
	if made == "" {
		made = "0"
	}
	if match[3] != "" {
		made += "." + match[3]
	}
	if match[1] == "-" && made != "0" {
		made = "-" + made
	}
	return made, true
}

// clean is a cell by its column's kind: "" for a gap, false where it cannot be.
func clean(cell, kind string) (string, bool) {
	text := strings.Join(strings.Fields(cell), " ")
	switch {
	case gap.MatchString(text):
		return "", true
	case kind == "text":
		return text, true
	case kind == "number" || kind == "integer":
		made, good := number(text)
		return made, good && (kind == "number" || !strings.Contains(made, "."))
	}
	plain, _ := number(text) // 3.0 is 3
	for _, value := range strings.Split(kind, "|") {
		if strings.EqualFold(value, text) || value == plain {
			return value, true
		}
	}
	return "", false
}

// quote is a cell as it is written: in quotes only where it must be.
func quote(cell string) string {
	if strings.ContainsAny(cell, `",`) {
		return `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
	}
	return cell
}

func main() {
	input, declaration := os.Args[1], os.Args[2]
	content, err := os.ReadFile(input)
	if err != nil {
		fail(" cannot be read (%v)", err)
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	reader := csv.NewReader(bytes.NewReader(content))
	reader.FieldsPerRecord = -1 // a row of another length is rejected, and the others stay
	rows, err := reader.ReadAll()
	if err != nil {
		fail(" is no CSV file (%v); correct it", err)
	}
	if len(rows) == 0 {
		fail(" is empty; give a CSV file with a header")
	}
	header, rows := rows[0], rows[1:]
	var columns []column
	var names []string
	for _, word := range strings.Fields(declaration) {
		match := described.FindStringSubmatch(word)
		one := column{match[1], match[2], match[2] == "key", match[3] != "" || match[2] == "key", -1}
		if one.key {
			one.kind = "integer"
		}
		for place, name := range header {
			if strings.TrimSpace(name) == one.name {
				one.place = place
			}
		}
		if one.place < 0 {
			fail(" has no column %s; it has %s", one.name, strings.Join(header, ", "))
		}
		columns, names = append(columns, one), append(names, quote(one.name))
	}
	lines, seen := []string{strings.Join(names, ",")}, map[string]string{}
	rejected, duplicates := 0, 0
	for _, row := range rows {
		good, key, cells := len(row) == len(header), "", []string{}
		for i := 0; i < len(columns) && good; i++ {
			cell, possible := clean(row[columns[i].place], columns[i].kind)
			good = possible && !(columns[i].must && cell == "")
			cells = append(cells, quote(cell))
			if columns[i].key {
				key = cell
			}
		}
		line := strings.Join(cells, ",")
		if good && seen[key] == "" {
			seen[key], lines = line, append(lines, line)
		} else if good && seen[key] == line {
			duplicates++
		} else {
			rejected++
		}
	}
	if limit, _ := strconv.ParseFloat(os.Args[3], 64); float64(rejected) > limit*float64(len(rows)) {
		fail(": %d of %d rows were rejected, more than max_rejected=%s; correct them", rejected, len(rows), os.Args[3])
	}
	made := map[string]string{
		"clean_data.csv": strings.Join(lines, "\n") + "\n",
		"metrics.json": fmt.Sprintf(`{"rows_in": %d, "rows_out": %d, "rejected": %d, "duplicates": %d}`,
			len(rows), len(lines)-1, rejected, duplicates),
	}
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(os.Getenv("STEP_OUTPUTS"), name), []byte(text), 0o644); err != nil {
			fail(": %v", err)
		}
	}
}
