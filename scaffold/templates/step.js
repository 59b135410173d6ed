// @NAME@: a CSV file in, those of its rows that are wanted out.
const fs = require("fs");
const path = require("path");

const input = process.argv[2];
const outputs = process.env.STEP_OUTPUTS;

// Say here which rows you want: now, those that are not empty.
const wanted = (row) => /[^,"]/.test(row);

function fail(sentence) {
  console.error(path.basename(input) + sentence);
  process.exit(1);
}

const text = fs.readFileSync(input, "utf8");
if (!text) fail(" is empty; give a CSV file with a header");
const rows = [];
let quoted = false;
let start = 0;
for (let end = 0; end < text.length; end++) {
  if (text[end] === '"') quoted = !quoted;
  if (text[end] === "\n" && !quoted) {
    rows.push(text.slice(start, end));
    start = end + 1;
  }
}
if (quoted) fail(": a quote is never closed; clean it first");
if (start < text.length) rows.push(text.slice(start));

const kept = rows.filter((row, number) => number === 0 || wanted(row));
fs.writeFileSync(path.join(outputs, "@NAME@.csv"), kept.join("\n") + "\n");
const metrics = { rows_in: rows.length - 1, rows_out: kept.length - 1 };
fs.writeFileSync(path.join(outputs, "metrics.json"), JSON.stringify(metrics));
