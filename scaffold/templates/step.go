// @NAME@: a CSV file in, those of its rows that are wanted out.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Say here which rows you want: now, those that are not empty.
func wanted(row string) bool {
	return strings.Trim(row, `,"`) != ""
}

func fail(sentence string) {
	fmt.Fprintln(os.Stderr, filepath.Base(os.Args[1])+sentence)
	os.Exit(1)
}

// rows are the text's; a cell in quotes may go on in the next line.
func rows(text string) []string {
	var found []string
	quoted, start := false, 0
	for end := 0; end < len(text); end++ {
		if text[end] == '"' {
			quoted = !quoted
		}
		if text[end] == '\n' && !quoted {
			found = append(found, text[start:end])
			start = end + 1
		}
	}
	if quoted {
		fail(": a quote is never closed; clean it first")
	}
	if start < len(text) {
		found = append(found, text[start:])
	}
	return found
}

func write(name string, text string) {
	if err := os.WriteFile(filepath.Join(os.Getenv("STEP_OUTPUTS"), name), []byte(text), 0o644); err != nil {
		fail(": " + err.Error())
	}
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(" cannot be read: " + err.Error())
	}
	if len(text) == 0 {
		fail(" is empty; give a CSV file with a header")
	}
	found := rows(string(text))
	kept := found[:1:1]
	for _, row := range found[1:] {
		if wanted(row) {
			kept = append(kept, row)
		}
	}
	write("@NAME@.csv", strings.Join(kept, "\n")+"\n")
	write("metrics.json", fmt.Sprintf(`{"rows_in": %d, "rows_out": %d}`, len(found)-1, len(kept)-1))
}
