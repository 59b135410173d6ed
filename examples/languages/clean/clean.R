# A table as it came in, clean_data.csv out: what the project's data_cleaning makes of it, in R.
arguments <- commandArgs(trailingOnly = TRUE)
input <- arguments[1]
declaration <- arguments[2]
max_rejected <- as.numeric(arguments[3])
outputs <- Sys.getenv("STEP_OUTPUTS")

fail <- function(...) {
  message(basename(input), ...)
  quit(status = 1)
}

# The rows of a CSV file, each as its cells; in quotes a cell may hold commas, line ends, and quotes twice.
read_rows <- function(path) {
  lines <- sub("\r$", "", readLines(path, warn = FALSE, encoding = "bytes"))
  if (length(lines) == 0) fail(" is empty; give a CSV file with a header")
  lines[1] <- sub("^\xef\xbb\xbf", "", lines[1], useBytes = TRUE)
  # A row ends with a line where all quotes are closed.
  ends <- cumsum(nchar(gsub('[^"]', "", lines, useBytes = TRUE), "bytes")) %% 2 == 0
  if (!ends[length(ends)]) fail(": a quote is never closed; correct it")
  rows <- vapply(split(lines, cumsum(c(TRUE, ends[-length(ends)]))), paste, "", collapse = "\n")
  rows <- paste0(rows[rows != ""], ",")
  found <- gregexpr('"[^"]*(?:""[^"]*)*"[^,]*,|[^,]*,', rows, perl = TRUE, useBytes = TRUE)
  lapply(regmatches(rows, found), function(cells) {
    cells <- sub(",$", "", cells, useBytes = TRUE)
    quoted <- startsWith(cells, '"')
    inside <- sub('"[^"]*$', "", sub('^"', "", cells[quoted], useBytes = TRUE), useBytes = TRUE)
    cells[quoted] <- gsub('""', '"', inside, fixed = TRUE, useBytes = TRUE)
    cells
  })
}

# The one way in which a number is written: 22, 0.42; NA where it is none.
number <- function(text) {
  good <- grepl("^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)$", text, useBytes = TRUE)
  minus <- startsWith(text, "-")
  text <- sub("^[+-]?0*", "", text, useBytes = TRUE)
  fraction <- grepl(".", text, fixed = TRUE)
  text[fraction] <- sub("[.]?0*$", "", text[fraction])
  text <- ifelse(text == "" | startsWith(text, "."), paste0("0", text), text)
  ifelse(good, ifelse(minus & text != "0", paste0("-", text), text), NA)
}

# A column by its kind: "" for a gap, NA where a cell cannot be.
clean <- function(cells, kind) {
  cells <- gsub("^ | $", "", gsub("[ \t\r\n\v\f]+", " ", cells, useBytes = TRUE), useBytes = TRUE)
  gap <- grepl("^(-|[?]|#n/a|<na>|n/a|na|nan|none|null)?$", cells, ignore.case = TRUE, useBytes = TRUE)
  made <- if (kind == "text") {
    cells
  } else if (kind %in% c("key", "integer", "number")) {
    number(cells)
  } else {
    values <- strsplit(kind, "|", fixed = TRUE)[[1]]
    plain <- number(cells) # 3.0 is 3
    values[match(ifelse(is.na(plain), tolower(cells), plain), tolower(values))]
  }
  if (kind %in% c("key", "integer")) made[grepl(".", made, fixed = TRUE)] <- NA
  ifelse(gap, "", made)
}

quote_cells <- function(cells) {
  needed <- grepl('[",]', cells, useBytes = TRUE)
  cells[needed] <- paste0('"', gsub('"', '""', cells[needed], fixed = TRUE, useBytes = TRUE), '"')
  cells
}

rows <- read_rows(input)
header <- trimws(rows[[1]])
rows <- rows[-1]
words <- strsplit(declaration, " +")[[1]]
names <- sub(":[^:]*$", "", words)
kinds <- sub("!$", "", sub("^.*:", "", words))
must <- endsWith(words, "!") | kinds == "key"
missing <- names[!names %in% header]
if (length(missing)) fail(" has no column ", missing[1], "; it has ", paste(header, collapse = ", "))

whole <- lengths(rows) == length(header)
cells <- matrix(unlist(rows[whole]), ncol = length(header), byrow = TRUE)
columns <- Map(function(name, kind) clean(cells[, match(name, header)], kind), names, kinds)
bad <- Reduce(`|`, Map(function(column, needed) is.na(column) | (needed & column == ""), columns, must))
lines <- do.call(paste, c(unname(lapply(columns, function(column) quote_cells(column[!bad]))), sep = ","))
keys <- columns[[which(kinds == "key")]][!bad]
again <- duplicated(keys)
same <- again & lines == lines[match(keys, keys)]
rejected <- sum(!whole) + sum(bad) + sum(again & !same)
if (rejected > max_rejected * length(rows)) {
  fail(sprintf(": %d of %d rows were rejected, more than max_rejected=%g; correct them", rejected, length(rows), max_rejected))
}
made <- file(file.path(outputs, "clean_data.csv"), "wb")
writeLines(c(paste(quote_cells(names), collapse = ","), lines[!again]), made, useBytes = TRUE)
close(made)
metrics <- sprintf(
  '{"rows_in": %d, "rows_out": %d, "rejected": %d, "duplicates": %d}\n',
  length(rows), sum(!again), rejected, sum(same)
)
cat(metrics, file = file.path(outputs, "metrics.json"))
