// A table as it came in, clean_data.csv out: what the project's data_cleaning makes of it, in Node.js.
const fs = require("fs");
const path = require("path");

const [input, declaration, maxRejected] = process.argv.slice(2);
const outputs = process.env.STEP_OUTPUTS;
const GAPS = /^(-|\?|#n\/a|<na>|n\/a|na|nan|none|null)?$/i;

function fail(sentence) {
  console.error(path.basename(input) + sentence);
  process.exit(1);
}

// The rows of a CSV text, each a list of cells; in quotes a cell may hold commas, line ends, and quotes twice.
function parse(text) {
  const rows = [];
  let row = [], cell = "", quoted = false, begun = false;
  const endCell = () => { row.push(cell); cell = ""; begun = false; };
  const endRow = () => { endCell(); if (row.length > 1 || row[0] !== "") rows.push(row); row = []; };
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (c === '"' && !begun) quoted = begun = true;
    else if (c === ",") endCell();
    else if (c === "\n" || c === "\r") endRow();
    else { cell += c; begun = true; }
  }
  if (quoted) fail(": a quote is never closed; correct it");
  endRow();
  return rows;
}

// The one way in which a number is written: 22, 0.42; null where it is none.
function number(text) {
  const match = /^([+-]?)0*([0-9]*)(?:\.([0-9]*?)0*)?$/.exec(text);
  if (!match || !/[0-9]/.test(text)) return null;
  const made = (match[2] || "0") + (match[3] ? "." + match[3] : "");
  return match[1] === "-" && made !== "0" ? "-" + made : made;
}

// A cell by its column's kind: "" for a gap, null where it cannot be.
function clean(cell, kind) {
  const text = cell.replace(/\s+/g, " ").trim();
  if (GAPS.test(text)) return "";
  if (kind === "text") return text;
  if (kind === "number") return number(text);
  if (kind === "integer") return /\./.test(number(text) ?? ".") ? null : number(text);
  const meant = [text.toLowerCase(), number(text)]; // 3.0 is 3
  return kind.split("|").find((value) => meant.includes(value.toLowerCase())) ?? null;
}

const columns = declaration.split(" ").map((word) => {
  const [, name, kind, must] = /^(.*):([^:]*?)(!?)$/.exec(word);
  return { name, key: kind === "key", kind: kind === "key" ? "integer" : kind, must: must || kind === "key" };
});
const rows = parse(fs.readFileSync(input, "utf8").replace(/^\uFEFF/, ""));
if (!rows.length) fail(" is empty; give a CSV file with a header");
const header = rows.shift().map((name) => name.trim());
for (const column of columns) {
  column.place = header.indexOf(column.name);
  if (column.place < 0) fail(` has no column ${column.name}; it has ${header.join(", ")}`);
}

const line = (cells) => cells.map((cell) => (/[",]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");
const seen = new Map(); // from a key to its row
let rejected = 0, duplicates = 0;
for (const row of rows) {
  const cells = columns.map((column) => clean(row[column.place] ?? "", column.kind));
  const bad = columns.some((column, i) => cells[i] === null || (column.must && cells[i] === ""));
  const key = cells[columns.findIndex((column) => column.key)];
  if (!bad && row.length === header.length && !seen.has(key)) seen.set(key, line(cells));
  else if (!bad && row.length === header.length && seen.get(key) === line(cells)) duplicates++;
  else rejected++;
}
if (rejected > maxRejected * rows.length) {
  fail(`: ${rejected} of ${rows.length} rows were rejected, more than max_rejected=${maxRejected}; correct them`);
}
const lines = [line(columns.map((column) => column.name)), ...seen.values()]; // a Map keeps the order
fs.writeFileSync(path.join(outputs, "clean_data.csv"), lines.join("\n") + "\n");
const metrics = { rows_in: rows.length, rows_out: seen.size, rejected, duplicates };
fs.writeFileSync(path.join(outputs, "metrics.json"), JSON.stringify(metrics));
